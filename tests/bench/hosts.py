"""Hosts that are as declared: what each answers, and pyinfra on as many fake ones.

`python -m tests.bench.hosts ANSWERS …` is pyinfra, whose hosts answer as that file has it.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyinfra.connectors.fake import FakeConnector
from pyinfra.connectors.util import CommandOutput, OutputLine

from tasks.declared import declaration
from tasks.host.state import HostState
from tasks.parts import managers
from tests import answers, runs
from tests.samples import deployed, many, pair
from tests.ssh_hosts import EMPTY

# What tells a proof from what reads a host, and what is said of more checks than any has.
PROVES = "\nprove();\n"
CHECKS = "".join(f"@@ check {index} 0 what was seen\n" for index in range(20))
# The same by a shell, which has the host's answer in a file.
ANSWERING = f"""script=$(cat)
case $script in
'') ;;
*'{PROVES.strip()}'*) printf '%s' '{CHECKS}' ;;
*) cat "$host" ;;
esac"""


def inventory(hosts: int, prefix: str = "") -> tuple[runs.Hosts, dict[str, str]]:
    """So many hosts, in pairs of a server and its client, and what each answers."""
    data: runs.Hosts = []
    said = {}
    for number in range(1, hosts // 2 + 1):
        for name, (own, _, after) in pair(number, prefix).items():
            data.append((name, own))
            said[name] = answer(after, name)
    return data, said


def answer(state: HostState, name: str = "fra1") -> str:
    """What a host of that state answers."""
    machine = f"{name}\nnet:[4026531840]"
    return answers.text({**EMPTY, **answers.of(state), "machine": machine})


def broker(tunnels: int, prefix: str = "") -> tuple[runs.Hosts, dict[str, str]]:
    """A server with so many tunnels, each with a prefix, its clients, and what it answers."""
    data: runs.Hosts = []
    for name, own in many(tunnels, is_routed=True).items():
        if "tunnel" in own:
            own["tunnel"]["server"] = f"{prefix}{own['tunnel']['server']}"
        data.append((f"{prefix}{name}", own))
    (server, _), *_ = data
    node = declaration.read(dict(data), managers.NAMES).nodes[server]
    return data, {server: answer(deployed("networkd", "server", carried=node), server)}


def program(said: Mapping[str, str], folder: Path) -> list[str]:
    """pyinfra, with hosts that answer so."""
    (folder / "answers").write_text(json.dumps(said))
    return [sys.executable, "-m", "tests.bench.hosts", str(folder / "answers")]


def _run(self: FakeConnector, command: object, **arguments: Any) -> tuple[bool, CommandOutput]:
    del command
    script = str(arguments.get("_stdin") or "")
    said = script and (CHECKS if PROVES in script else _said[self.host.name])
    return True, CommandOutput([OutputLine("stdout", line) for line in said.splitlines()])


_said: dict[str, str] = {}

if __name__ == "__main__":
    # It replaces Python's threads: not where tests import this.
    from pyinfra_cli.main import main  # type: ignore[import-untyped]

    _said.update(json.loads(Path(sys.argv.pop(1)).read_text()))
    FakeConnector.run_shell_command = _run  # type: ignore[method-assign,assignment]
    main()
