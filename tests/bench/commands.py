"""What is started to have a server made: Culvert, and what it is compared with."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tasks.declared import declaration
from tasks.declared.model import Node
from tasks.parts import managers, sit
from tests import runs
from tests.bench.container import EXTERNAL
from tests.samples import HOSTS, many

SERVER = HOSTS["server"]
PROBE = "2001:db8:ffff::8888"
_PEERS = Path(__file__).parent / "peers"
PLAYBOOK = runs.REPOSITORY / ".venv-ansible/bin/ansible-playbook"
_COMPILING = "PYTHONDONTWRITEBYTECODE"
_NOTHING_OF_THE_USERS = ("-F", "/dev/null", "-o", "UserKnownHostsFile=/dev/null")


@dataclass(frozen=True)
class Tunnel:
    """A server's end of one, and the two addresses that it answers for on its link."""

    name: str
    mtu: int
    local: str
    remote: str
    ttl: int
    address: str
    entries: tuple[str, str]


@dataclass(frozen=True)
class Wanted:
    """What a server is to be: in Culvert's own words, and in those of the others."""

    inventory: Mapping[str, dict[str, Any]]

    @property
    def node(self) -> Node:
        return self._nodes[SERVER]

    @property
    def _nodes(self) -> Mapping[str, Node]:
        return declaration.read(self.inventory, managers.NAMES).nodes

    @property
    def tunnels(self) -> list[Tunnel]:
        return [
            Tunnel(
                end.interface,
                end.mtu,
                str(end.local),
                str(end.remote),
                end.ttl,
                str(end.network),
                (str(end.address), str(end.peer)),
            )
            for end in self.node.ends
        ]

    @property
    def clients(self) -> str:
        """Lines of iproute2's that make the other ends of the tunnels."""
        lines = []
        for end in (end for node in self._nodes.values() for end in node.ends if end.is_client):
            # As the server's are called, of which no two have the same name.
            name = end.tunnel.server_interface
            ends = f"local {end.local} remote {end.remote} ttl {end.ttl}"
            lines += [
                f"link add {name} mtu {end.mtu} type sit {ends}",
                f"link set dev {name} up",
                f"address add {end.network} dev {name}",
            ]
        return "".join(f"{each}\n" for each in lines)

    @property
    def variables(self) -> dict[str, Any]:
        """For those who fill templates."""
        return {
            "external": EXTERNAL,
            "tunnels": [asdict(tunnel) for tunnel in self.tunnels],
            "entries": [entry for tunnel in self.tunnels for entry in tunnel.entries],
            "sysctls": {
                "net.ipv6.conf.all.forwarding": "1",
                "net.ipv6.conf.all.proxy_ndp": "1",
                f"net.ipv6.neigh.{EXTERNAL}.proxy_delay": "0",
            },
            "deaf": [*sit.UNHEARD],
        }


def server(tunnels: int, mtu: int | None = None) -> Wanted:
    """One of so many tunnels, of which the first may have another MTU."""
    hosts = many(tunnels, is_routed=False)
    written = {**hosts[SERVER]["tunnel_server"], "probe_address": PROBE}
    hosts[SERVER] = {"tunnel_server": written}
    if mtu is not None:
        hosts["web1.example.net"]["tunnel"]["mtu"] = mtu
    return Wanted(hosts)


@dataclass(frozen=True)
class Command:
    """A program, its input, and what its environment has beside this one's."""

    words: Sequence[str]
    told: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(self) -> str:
        """What it prints. Raises AssertionError with that where it fails."""
        # Who tests may have Python compile all of a program each time; who uses it doesn't.
        own = {name: value for name, value in os.environ.items() if name != _COMPILING}
        done = subprocess.run(
            self.words,
            input=self.told,
            cwd=runs.REPOSITORY,
            env={**own, **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{shlex.join(self.words)}:\n{done.stdout}"
        return done.stdout


Way = Mapping[str, Any]
"""What a host's data needs for a connection by pyinfra."""


def _pyinfra(hosts: Mapping[str, Mapping[str, Any]], folder: Path, *words: str) -> Command:
    inventory = folder / "inventory.py"
    inventory.write_text(f"hosts = {[*hosts.items()]!r}\n")
    return Command([*runs.PYINFRA, str(inventory), *words])


def culvert(wanted: Wanted, way: Way, folder: Path) -> Command:
    hosts = {**wanted.inventory, SERVER: {**wanted.inventory[SERVER], **way}}
    return _pyinfra(hosts, folder, "deploy.py", "-y", "--limit", SERVER)


def stock(wanted: Wanted, way: Way, folder: Path) -> Command:
    deploy = str((_PEERS / "stock.py").relative_to(runs.REPOSITORY))
    return _pyinfra({SERVER: {**wanted.variables, **way}}, folder, deploy, "-y")


def script(wanted: Wanted, way: Way, folder: Path) -> Command:
    del folder
    lines = (
        f"{t.name} {t.mtu} {t.local} {t.remote} {t.ttl} {t.address} {' '.join(t.entries)}"
        for t in wanted.tunnels
    )
    ssh = ["ssh", *_NOTHING_OF_THE_USERS, "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR"]
    reached = ["-i", way["ssh_key"], "-p", str(way["ssh_port"]), f"root@{way['ssh_hostname']}"]
    table = shlex.quote("\n".join(lines))
    told = f"tunnels={table}\n{(_PEERS / 'script.sh').read_text()}"
    return Command([*ssh, *reached, f"sh -s {EXTERNAL} {PROBE}"], told)


def ansible(wanted: Wanted, way: Way, folder: Path) -> Command:
    variables = {
        **wanted.variables,
        "ansible_host": way["ssh_hostname"],
        "ansible_port": way["ssh_port"],
        "ansible_user": "root",
        "ansible_ssh_private_key_file": way["ssh_key"],
        # That of this machine, which is the host's, too.
        "ansible_python_interpreter": str(Path(sys.executable).resolve()),
    }
    written = folder / "variables.json"
    written.write_text(json.dumps(variables))
    environment = {
        "ANSIBLE_CONFIG": str(_PEERS / "ansible.cfg"),
        "ANSIBLE_HOME": str(folder),
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(folder / "kept"),
        "ANSIBLE_LOCAL_TEMP": str(folder),
    }
    words = [str(PLAYBOOK), "-i", f"{SERVER},", "-e", f"@{written}", str(_PEERS / "playbook.yml")]
    return Command(words, environment=environment)


def end_kept(folder: Path) -> None:
    """End Ansible's connections, which the next run would find."""
    for path in (folder / "kept").glob("*"):
        told = ["ssh", *_NOTHING_OF_THE_USERS, "-o", f"ControlPath={path}", "-O", "exit", "none"]
        subprocess.run(told, check=False, capture_output=True)
    shutil.rmtree(folder / "kept", ignore_errors=True)


def start(folder: Path) -> Command:
    """What pyinfra takes for itself: it starts, reads an inventory, and does nothing to a host."""
    fake = {"@fake/one": {"fake_delay": 0, "fake_delay_jitter": 0}}
    return _pyinfra(fake, folder, "exec", "--", "true")
