"""A host that never answers costs a run some seconds, and no other host anything."""

import time
from pathlib import Path

import gevent
import pytest

from tasks.running.deadlines import within
from tests import runs
from tests.samples import bare, deployed, pair
from tests.ssh_hosts import At, SshHost, SshHosts

# Of hosts that are declared to carry nothing any more: each needs no other.
OLD, NEW = deployed("ifupdown", "client"), bare("ifupdown", "client")
# The one that ends a wait is short; a busy machine may need the others.
CONNECTING, ASKING = {"ssh_connect_timeout": 3}, {"ssh_command_timeout": 4}
AT_WORK = "no end of a command in 4 s, and it may still be at work there: run again"
HUNG: list[tuple[At, dict[str, int], str]] = [
    ("banner", CONNECTING, "it takes the TCP connection and says nothing in 3 s: "),
    ("login", CONNECTING, "no answer to the login in 3 s: "),
    ("exec", ASKING, AT_WORK),
    ("read", ASKING, AT_WORK),
    ("change", ASKING, AT_WORK),
]


def test_hosts_that_hang_fail_alone_with_what_was_waited_for(tmp_path: Path) -> None:
    well = SshHost(OLD, NEW)
    hosts: dict[str, SshHost] = {at: SshHost(OLD, NEW, {at: "hangs"}) for at, *_ in HUNG}
    with SshHosts({**hosts, "web1.example.net": well}) as listening:
        inventory = [listening.data(at, tunnel=[], **limits) for at, limits, _ in HUNG]
        inventory.append(listening.data("web1.example.net", tunnel=[]))
        done = runs.run(tmp_path, inventory, "deploy.py", "-y")
    assert done.status == 1
    for at, _, sentence in HUNG:
        assert any(f"[{at}] " in line and sentence in line for line in done.lines), done.output
    assert well.asked == ["read", "rehearse", "change", "read", "confirm"]


AT: list[tuple[At, str]] = [
    ("banner", "unreachable"),
    ("login", "unreachable"),
    ("read", "failed"),
    ("rehearse", "failed"),
    ("change", "undone"),
    ("confirm", "undone"),
    ("verify", "failed"),
]


@pytest.mark.parametrize(("at", "word"), AT)
def test_wherever_some_hosts_hang_all_others_are_done(tmp_path: Path, at: At, word: str) -> None:
    of = {name: told for number in range(1, 7) for name, told in pair(number).items()}
    hosts = {name: SshHost(before, after) for name, (_, before, after) in of.items()}
    hung = [name for name in hosts if name.startswith("web")][:5]
    for name in hung:
        hosts[name].unkind = {at: "hangs"}
    limits = CONNECTING if word == "unreachable" else ASKING
    with SshHosts(hosts) as listening:
        inventory = [
            listening.data(name, **data, **(limits if name in hung else {}))
            for name, (data, *_) in of.items()
        ]
        done = runs.run(tmp_path, inventory, "deploy.py", "-y")
    assert done.status == 1
    assert [row[:2] for row in done.table] == [
        [name, word if name in hung else "done"] for name in hosts
    ]


def test_a_connection_that_is_dead_ends_a_command_before_its_time(tmp_path: Path) -> None:
    hosts = {
        "web1.example.net": SshHost(OLD, NEW, {"exec": "hangs"}),
        # At work for longer than it takes to hear of a dead one.
        "web2.example.net": SshHost(OLD, NEW, takes={"change": 10}),
    }
    with SshHosts(hosts) as listening:
        inventory = [listening.data(name, tunnel=[], **CONNECTING) for name in hosts]
        done = runs.run(tmp_path, inventory, "deploy.py", "-y")
    assert done.status == 1
    silent = "its sshd, which had answered, says nothing in 3 s"
    assert done.table == [
        ["web1.example.net", "failed", f"{silent}, and it may still be at work there"],
        ["web2.example.net", "done", done.table[1][2]],
    ]


def test_a_connection_that_breaks_in_a_command_is_told(tmp_path: Path) -> None:
    with SshHosts({"web1.example.net": SshHost(OLD, NEW, {"change": "breaks"})}) as listening:
        done = runs.run(
            tmp_path, [listening.data("web1.example.net", tunnel=[])], "deploy.py", "-y"
        )
    assert done.status == 1
    assert "the connection broke before the command's end, and it may still be at" in done.output


def test_a_port_that_is_closed_and_a_key_that_is_missing_fail_alone(tmp_path: Path) -> None:
    hosts = {name: SshHost(NEW, NEW) for name in ("web1.example.net", "web2.example.net")}
    with SshHosts({**hosts, "web3.example.net": SshHost(NEW, NEW)}) as listening:
        inventory = [
            listening.data("web1.example.net", tunnel=[], ssh_key="/nonexistent/key"),
            listening.data("web2.example.net", tunnel=[]),
            listening.data("web3.example.net", tunnel=[]),
        ]
        listening.close("web3.example.net")
        done = runs.run(tmp_path, inventory, "deploy.py", "-y")
    assert done.status == 1
    assert "[web1.example.net] No such private key file: /nonexistent/key" in done.output
    assert "[web3.example.net] Could not connect (" in done.output
    assert hosts["web2.example.net"].asked == ["read"]


def test_a_limit_ends_a_wait_and_nothing_that_is_done_in_time() -> None:
    with within(2):
        gevent.sleep(0.1)
    with pytest.raises(TimeoutError), within(1):
        gevent.sleep(10)
    gevent.sleep(1.2)


def test_a_limit_does_not_count_what_held_up_this_program_itself() -> None:
    with within(2):
        # As a question does.
        time.sleep(3)
        gevent.sleep(0.5)


def test_an_inner_limit_is_no_outer_one() -> None:
    with within(5), pytest.raises(TimeoutError), within(1):
        gevent.sleep(10)


def test_an_outer_limit_is_no_inner_one() -> None:
    with pytest.raises(TimeoutError) as caught, within(1), within(5):
        gevent.sleep(10)
    assert caught.value.errno is None
