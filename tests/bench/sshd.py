"""One real sshd on loopback that is many hosts, each at an address of its own."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.bench.hosts import CHECKS, PROVES

PROGRAM = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")

# At another HOME, where no shell finds what it is to read first.
_CONFIG = """\
ListenAddress 0.0.0.0:{port}
AllowUsers root@127.0.0.0/8
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
AuthenticationMethods publickey
PermitRootLogin yes
StrictModes no
UsePAM no
MaxStartups 1000
PidFile none
SetEnv HOME={folder}
ForceCommand {folder}/answer
"""
# By the address to which somebody has connected.
_ANSWER = """\
#!/bin/sh
script=$(cat)
set -- $SSH_CONNECTION
case $script in
'') ;;
*'{proves}'*) cat {folder}/checks ;;
*) cat "{folder}/$3" ;;
esac
"""


@contextmanager
def listening(folder: Path, said: Mapping[str, str]) -> Iterator[dict[str, dict[str, Any]]]:
    """What each host's data needs for a connection, as long as the context lasts; as root."""
    answer = _ANSWER.format(folder=folder, proves=PROVES.strip())
    (folder / "checks").write_text(CHECKS)
    addresses = {n: f"127.1.{i // 250}.{i % 250 + 1}" for i, n in enumerate(said)}
    for name, address in addresses.items():
        (folder / address).write_text(said[name])
    with running(folder, answer) as (_, data):
        yield {n: {**data, "ssh_hostname": address} for n, address in addresses.items()}


@contextmanager
def running(
    folder: Path, answer: str
) -> Iterator[tuple["subprocess.Popen[bytes]", dict[str, Any]]]:
    """An sshd that has this script answer whatever it is asked; and the data to connect to it."""
    assert PROGRAM is not None
    for name in ("host", "user"):
        words = ["-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(["ssh-keygen", *words], check=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "config").write_text(_CONFIG.format(folder=folder, port=port))
    (folder / "answer").write_text(answer)
    (folder / "answer").chmod(0o755)
    data = {
        "ssh_hostname": "127.0.0.1",
        "ssh_port": port,
        "ssh_user": "root",
        "ssh_key": str(folder / "user"),
        "ssh_allow_agent": False,
        "ssh_look_for_keys": False,
        "ssh_config_file": "/dev/null",
        "ssh_known_hosts_file": "/dev/null",
        "ssh_strict_host_key_checking": "no",
    }
    # Where it has never been started, nobody has made it.
    Path("/run/sshd").mkdir(exist_ok=True)
    words = [PROGRAM, "-D", "-f", str(folder / "config"), "-E", str(folder / "log")]
    with subprocess.Popen(words) as sshd:
        try:
            _wait_for(port)
            yield sshd, data
        finally:
            sshd.terminate()


def _wait_for(port: int) -> None:
    for _ in range(100):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.1)
    raise TimeoutError("sshd doesn't listen")
