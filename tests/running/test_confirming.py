"""Hosts that wait after their change for a word that all is well, and what becomes of them."""

from pathlib import Path

import pytest

from tests import runs
from tests.running.conftest import CLIENT_HOST, SERVER_HOST, Start
from tests.samples import CLIENT, HOSTS, SERVER, bare, deployed
from tests.ssh_hosts import At, How, SshHost, SshHosts

# Of hosts that are declared to carry nothing any more: each needs no other.
OLD, NEW = deployed("ifupdown", "client"), bare("ifupdown", "client")
WEB1 = "web1.example.net"
AS_DECLARED = {"is_deployed": True}
ROUTE = "IPv4 default route via 192.0.2.1 dev eth0"
LOST = f"@@ lost: {ROUTE}\n@@ ended: undone"
CHANGED = ["read", "rehearse", "change", "read", "confirm"]


def cleaned(folder: Path, host: SshHost, **data: object) -> runs.Run:
    """A run that takes Culvert off one host."""
    with SshHosts({WEB1: host}) as listening:
        return runs.run(folder, [listening.data(WEB1, tunnel=[], **data)], "deploy.py", "-y")


def test_a_host_that_does_not_change_is_connected_to_once(tmp_path: Path) -> None:
    host = SshHost(NEW, NEW)
    assert cleaned(tmp_path, host).status == 0
    assert (host.asked, host.connections) == (["read"], 1)


def test_a_change_is_confirmed_over_a_new_connection_and_the_rest_goes_there(
    tmp_path: Path,
) -> None:
    host = SshHost(OLD, NEW)
    done = cleaned(tmp_path, host)
    assert done.status == 0, done.output
    assert host.asked == CHANGED
    assert host.asked_by == [1, 1, 1, 1, 2]
    assert host.connections == 2


def test_what_was_seen_is_said_in_a_line(run: Start) -> None:
    done = run(client={"works": [ROUTE]})
    assert done.status == 0, done.output
    said = "confirmed over a new SSH connection"
    assert f"[{CLIENT_HOST}] {said}: all that worked before still does ({ROUTE})\n" in done.output
    assert f"[{SERVER_HOST}] {said}, and nothing worked before" in done.output
    # Servers first.
    asked = [host for host, kind in done.execs if kind == "confirm"]
    assert asked == [SERVER_HOST, CLIENT_HOST]


def test_where_no_new_connection_is_taken_the_host_goes_back_by_the_old_one(tmp_path: Path) -> None:
    host = SshHost(OLD, NEW, {"change": "shuts"})
    done = cleaned(tmp_path, host)
    assert done.status == 1
    assert host.asked == ["read", "rehearse", "change", "read", "recall"]
    assert host.asked_by == [1] * 5
    assert "undone: no new SSH connection to it: Could not connect (" in done.output
    assert [row[:2] for row in done.table] == [[WEB1, "undone"]]
    assert done.table[0][2].startswith("no new SSH connection to it")


# What a host does where, what is asked of it then, and what the table has.
FAILING: list[tuple[dict[At, How], list[str], str, str]] = [
    ({"change": "hangs"}, ["recall"], "undone", "no end of a command in 4 s"),
    (
        {"change": "breaks"},
        ["recall"],
        "undone",
        "the connection broke before the command's end",
    ),
    (
        {"change": "fails"},
        [],
        "undone",
        "Culvert stopped at: mv -f x y; what it made is taken back",
    ),
    (
        {"change": "hangs", "recall": "hangs"},
        ["recall"],
        "not confirmed yet",
        "it goes back by itself: no end of a command in 4 s",
    ),
    (
        {"confirm": "breaks"},
        ["read", "confirm", "recall"],
        "undone",
        "no answer whether all still works: the connection broke before the command's end",
    ),
]


@pytest.mark.parametrize(("unkind", "then", "word", "why"), FAILING)
def test_a_host_that_fails_after_its_change_began_goes_back_and_it_is_told_what_failed(
    tmp_path: Path, unkind: dict[At, How], then: list[str], word: str, why: str
) -> None:
    host = SshHost(OLD, NEW, unkind)
    done = cleaned(tmp_path, host, ssh_command_timeout=4)
    assert done.status == 1
    # It is told twice where no answer came the first time.
    assert [*dict.fromkeys(host.asked[3:])] == then
    assert done.table == [[WEB1, word, why]]


def test_a_host_that_was_confirmed_while_its_answer_was_lost_stays(tmp_path: Path) -> None:
    host = SshHost(OLD, NEW, {"confirm": "breaks"}, says={"recall": "kept\n"})
    done = cleaned(tmp_path, host)
    assert done.status == 0, done.output
    assert host.asked[-2:] == ["confirm", "recall"]
    assert done.table[0][:2] == [WEB1, "done"]


def test_a_script_that_stopped_before_it_changed_anything_has_failed(tmp_path: Path) -> None:
    class Stops(SshHost):
        def answer(self, name, script):  # type: ignore[no-untyped-def]
            kind, status, output, errors = super().answer(name, script)
            return kind, status, output, errors.replace("; what it made is taken back", "")

    host = Stops(OLD, NEW, {"change": "fails"})
    done = cleaned(tmp_path, host)
    assert host.asked == ["read", "rehearse", "change"]
    assert done.table == [[WEB1, "failed", "Culvert stopped at: mv -f x y"]]


def test_what_was_lost_is_named_and_the_clients_of_a_server_go_back_with_it(run: Start) -> None:
    done = run(server={"works": [ROUTE], "ends": LOST})
    assert done.status == 1
    assert done.on(SERVER_HOST)[-1] == "confirm"
    assert done.on(CLIENT_HOST) == ["read", "rehearse", "change", "read", "recall"]
    went = f"its tunnel server {SERVER_HOST} was undone"
    assert f"[{SERVER_HOST}] undone: lost by the change: {ROUTE}\n" in done.output
    assert f"[{CLIENT_HOST}] undone: {went}\n" in done.output
    assert done.table == [
        [SERVER_HOST, "undone", f"lost by the change: {ROUTE}"],
        [CLIENT_HOST, "undone", went],
    ]


def test_a_client_that_goes_back_leaves_its_server_as_it_is(run: Start) -> None:
    done = run(client={"works": [ROUTE], "ends": LOST})
    assert done.status == 1
    assert [row[:2] for row in done.table] == [[SERVER_HOST, "done"], [CLIENT_HOST, "undone"]]


@pytest.mark.parametrize(
    ("ends", "word", "why"),
    [
        ("@@ ended: undone", "undone", "it was going back by itself before it was asked"),
        (
            f"@@ lost: {ROUTE}\n@@ ended: undoing",
            "not confirmed yet",
            f"it goes back by itself: lost by the change: {ROUTE}",
        ),
    ],
)
def test_a_host_that_is_at_going_back_or_has_is_told(
    run: Start, ends: str, word: str, why: str
) -> None:
    done = run(client={"ends": ends})
    assert done.status == 1
    assert done.table[1] == [CLIENT_HOST, word, why]


def test_a_tunnel_that_is_new_and_fails_its_proof_stays(run: Start) -> None:
    done = run(client={"fails_check": 0})
    assert done.status == 1
    assert done.on(CLIENT_HOST)[-2:] == ["confirm", "verify"]
    assert done.table[1][:2] == [CLIENT_HOST, "failed"]
    assert done.table[1][2].startswith("expected: ")


def test_where_that_is_turned_off_no_host_waits_and_it_is_said(run: Start) -> None:
    off = {"confirm_within": 0}
    done = run(server=off, client=off)
    assert done.status == 0, done.output
    for host in (SERVER_HOST, CLIENT_HOST):
        assert done.on(host) == ["read", "rehearse", "change", "read", "verify"]
        assert f"[{host}] nothing is undone by itself: `confirm_within` is 0\n" in done.output
    assert "confirmed over" not in done.output


def test_hosts_wait_on_while_others_are_changed(tmp_path: Path) -> None:
    server, client = HOSTS["server"], HOSTS["client"]
    hosts = {
        server: SshHost(bare("ifupdown", "server"), deployed("ifupdown", "server")),
        client: SshHost(
            bare("ifupdown", "client"), deployed("ifupdown", "client"), takes={"change": 12}
        ),
    }
    with SshHosts(hosts) as listening:
        inventory = [
            listening.data(server, tunnel_server=SERVER, confirm_within=10),
            listening.data(client, tunnel=CLIENT, confirm_within=10),
        ]
        done = runs.run(tmp_path, inventory, "deploy.py", "-y")
    assert done.status == 0, done.output
    asked = hosts[server].asked
    assert asked[:4] == ["read", "rehearse", "change", "read"]
    assert asked[4:-2].count("extend") == len(asked[4:-2]) >= 2
    assert asked[-2:] == ["confirm", "verify"]
    assert hosts[client].asked == [*CHANGED, "verify"]
    assert [row[1] for row in done.table] == ["done", "done"]


HOLDER = (
    "alice@laptop, since 2026-01-01 10:00:00 UTC, is at work on this host, and that ends by itself "
    "in 9 s"
)
REPORT = "2026-01-01 09:00:00 UTC: undone, because nobody confirmed it: the run of alice@laptop"
WAYS = [("deploy.py", "-y"), ("deploy.py", "--dry"), ("tasks.drift.drift", "-y")]


@pytest.mark.parametrize("arguments", WAYS)
def test_a_host_at_which_another_run_is_at_work_is_refused(
    run: Start, arguments: tuple[str, ...]
) -> None:
    done = run(*arguments, server={"holder": HOLDER})
    assert done.status == 1
    assert f"[{SERVER_HOST}] {HOLDER}\n" in done.output
    assert done.on(SERVER_HOST) == ["read"]
    assert [row[:2] for row in done.table] == [
        [SERVER_HOST, "refused"],
        [CLIENT_HOST, "left alone"],
    ]


@pytest.mark.parametrize("arguments", WAYS)
def test_what_became_of_a_run_that_was_undone_is_said_first(
    run: Start, arguments: tuple[str, ...]
) -> None:
    done = run(*arguments, server=AS_DECLARED, client={**AS_DECLARED, "report": REPORT})
    assert done.status == 0, done.output
    said = [line for line in done.lines if SERVER_HOST in line or CLIENT_HOST in line]
    said = [line for line in said if "onnected" not in line]
    assert said[0].endswith(f"[{CLIENT_HOST}] {REPORT}"), said


def test_what_was_cut_off_is_taken_back_first_and_then_all_is_as_ever(run: Start) -> None:
    # As it was left, it is as declared.
    cut = {"is_deployed": True, "was_cut_off": True, "works": [ROUTE, "tunnel sit-ipv6 answers"]}
    done = run(client=cut)
    assert done.status == 0, done.output
    asked = ["read", "rehearse", "clear", "read", "change", "read", "confirm", "verify"]
    assert done.on(CLIENT_HOST) == asked
    assert f"still does ({ROUTE})" in done.output
