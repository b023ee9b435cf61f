"""Who may enter the machines: keys, ports, and how SSH clients and pyinfra are told of them."""

import os
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

import paramiko
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from tests.lab.errors import LabError
from tests.lab.machines import Machine
from tests.lab.places import PORTS, Place, cache

SUDO_PASSWORD = "forty-one"

SUDO = {"admin": "NOPASSWD: ", "shelly": "NOPASSWD: ", "greta": "NOPASSWD: ", "careful": ""}
"""Users beside root, and how sudo serves them: shelly's shell is tcsh, greta speaks German."""

SSH_ANSWERS = "lab: SSH answers"
"""What a machine says on its serial line once it does, at each boot."""


def user_key() -> Path:
    """The private key that opens every machine, made on first use."""
    return _key("id_ed25519")


def host_key() -> bytes:
    """The private key by which every machine proves that it is of the lab."""
    return _key("host_ed25519").read_bytes()


def authorized_key() -> str:
    """The line that admits the user's key."""
    return _public(user_key())


def _key(name: str) -> Path:
    path = cache() / name
    if not path.exists():
        text = Ed25519PrivateKey.generate().private_bytes(
            Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        # Of two programs that make one at the same time, the first one's stays.
        with NamedTemporaryFile(dir=path.parent) as draft, suppress(FileExistsError):
            draft.write(text)
            draft.flush()
            path.hardlink_to(draft.name)
    return path


def _public(private: Path) -> str:
    key = paramiko.Ed25519Key.from_private_key_file(str(private))
    return f"{key.get_name()} {key.get_base64()}"


def write_known_hosts(place: Place) -> None:
    """Tell SSH clients which key to expect on each port of that lab."""
    line = _public(_key("host_ed25519"))
    ports = range(place.port, place.port + PORTS)
    text = "".join(f"[127.0.0.1]:{port} {line}\n" for port in ports)
    place.known_hosts.write_text(text)


def port(place: Place, machine: Machine) -> int:
    """The port of 127.0.0.1 that leads to a machine's SSH server."""
    return place.port + machine.number


def ssh_data(machine: Machine, place: Place, user: str = "root") -> dict[str, object]:
    """What a pyinfra inventory says about a machine so that pyinfra reaches it."""
    if user not in ("root", *SUDO):
        users = ", ".join(("root", *SUDO))
        raise LabError(f"The lab's machines have no user {user!r}: use one of {users}.")
    sudo: dict[str, object] = {} if user == "root" else {"_sudo": True}
    if user in SUDO and not SUDO[user]:
        sudo["_sudo_password"] = SUDO_PASSWORD
    return {
        "ssh_hostname": "127.0.0.1",
        "ssh_port": port(place, machine),
        "ssh_user": user,
        "ssh_key": str(user_key()),
        "ssh_config_file": os.devnull,
        "ssh_known_hosts_file": str(place.known_hosts),
        "ssh_strict_host_key_checking": "yes",
        "ssh_allow_agent": False,
        "ssh_look_for_keys": False,
        # An emulated processor is slow, and more so while it has to be shared.
        "ssh_connect_timeout": 120,
        "ssh_command_timeout": 900,
        **sudo,
    }


def ssh_command(machine: Machine, place: Place, *command: str) -> list[str]:
    """The command line that opens a terminal on a machine, or runs a command there."""
    options = {
        "UserKnownHostsFile": str(place.known_hosts),
        "IdentitiesOnly": "yes",
        "LogLevel": "ERROR",
    }
    flags = [f"-o{name}={value}" for name, value in options.items()]
    where = ["-i", str(user_key()), "-p", str(port(place, machine)), "root@127.0.0.1"]
    return ["ssh", "-F", "none", *flags, *where, *command]
