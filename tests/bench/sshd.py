"""One real sshd on loopback that is many hosts, each at an address of its own."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

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
Subsystem sftp {sftp}
ForceCommand {folder}/session
"""
_SFTP = "/usr/lib/openssh/sftp-server"
# The address to which somebody has connected tells which host that is.
_SESSION = """\
#!/bin/sh
set -- $SSH_CONNECTION
host={folder}/$3
{session}
"""
_DATA = {
    "ssh_user": "root",
    "ssh_allow_agent": False,
    "ssh_look_for_keys": False,
    "ssh_config_file": "/dev/null",
    "ssh_known_hosts_file": "/dev/null",
    "ssh_strict_host_key_checking": "no",
}


@contextmanager
def listening(
    folder: Path, names: Iterable[str], session: str
) -> Iterator[dict[str, dict[str, Any]]]:
    """What each host's data needs for a connection, as long as the context lasts; as root.

    `session` is as `running` has it.
    """
    with running(folder, names, session) as (_, data):
        yield data


@contextmanager
def running(
    folder: Path, names: Iterable[str], session: str
) -> Iterator[tuple["subprocess.Popen[bytes]", dict[str, dict[str, Any]]]]:
    """The sshd itself, and the same.

    What a shell does for a session is the same for all, and finds its own host's file as `$host`:
    that is called after the host's `ssh_hostname`, in the folder.
    """
    assert PROGRAM is not None
    for name in ("host", "user"):
        words = ["-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(["ssh-keygen", *words], check=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "config").write_text(_CONFIG.format(folder=folder, port=port, sftp=_SFTP))
    (folder / "session").write_text(_SESSION.format(folder=folder, session=session))
    (folder / "session").chmod(0o755)
    data = {}
    for number, name in enumerate(names):
        address = f"127.1.{number // 250}.{number % 250 + 1}"
        data[name] = {**_DATA, "ssh_hostname": address, "ssh_port": port}
        data[name]["ssh_key"] = str(folder / "user")
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
