"""The host that benches deploy to is made a server as others are, and stays one."""

import os
import subprocess

import pytest

from tasks import parts
from tasks.declared.model import Node
from tasks.host import answer
from tasks.host.rollback import Guard
from tasks.host.state import HostState
from tasks.planning import confirming
from tasks.planning.plan import plan
from tests.bench import commands, container
from tests.bench.container import Container

GUARD = Guard(by="alice@laptop", within=60, limit=60, run="run-1")


def told(host: Container, script: str) -> str:
    """What a script prints there, which is its shell's input as it is by SSH."""
    words = [*host.entering(), "sh", "-s"]
    done = subprocess.run(words, input=script.encode(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def read(host: Container, node: Node) -> HostState:
    return answer.parse(told(host, parts.script(node)))


@pytest.mark.skipif(os.geteuid() != 0, reason="this needs root")
def test_it_is_made_a_server_confirms_it_and_has_nothing_left_to_do() -> None:
    wanted = commands.server(2)
    with container.up(wanted.clients) as host:
        bare = read(host, wanted.node)
        found = plan(wanted.node, bare)
        probes = confirming.before(wanted.node, bare)
        worked = confirming.works(
            told(host, confirming.looking(probes) + found.changes.rehearsal())
        )
        assert any("2001:db8:1::ffff" in each for each in worked)
        told(host, found.changes.script(GUARD))
        probes = confirming.after(wanted.node, bare, found.tunnels)
        said = confirming.verdict(told(host, confirming.script(GUARD, probes, worked)))
        assert (said.ended, said.lost) == ("confirmed", ())
        assert not plan(wanted.node, read(host, wanted.node)).changes
