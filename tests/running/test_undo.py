"""A run that takes back the last one, on fake hosts."""

import pytest

from tests.running.conftest import CLIENT_HOST, SERVER_HOST, Start

BY = "alice@laptop from 192.0.2.9, since 2026-11-27 12:03:04 UTC"
WAS_RUN = {"is_deployed": True, "was_run": BY}
FILE = "/etc/network/interfaces.d/60-culvert-sit-ipv6"


def test_a_dry_run_tells_whose_run_is_taken_back_and_what_that_changes(run: Start) -> None:
    done = run("tasks.undo.undo", "--dry", "--diff", server=WAS_RUN, client=WAS_RUN)
    assert done.status == 0, done.output
    for host in (SERVER_HOST, CLIENT_HOST):
        assert done.on(host) == ["read", "rehearse"]
        heading = next(line for line in done.lines if f"[{host}] to change: " in line)
        taken_back = (
            "(takes back the run of alice@laptop from 192.0.2.9 at 2026-11-27 12:03:04 UTC)"
        )
        assert heading.endswith(taken_back)
        assert f"[{host}] CULVERT IS TAKEN OFF THIS HOST" in done.output
    assert f"--- {CLIENT_HOST}:{FILE}\n+++ /dev/null\n" in done.output
    assert "-route default via 2001:db8:1::2 dev sit-ipv6\n" in done.output
    assert "-sysctl net.ipv6.conf.all.forwarding = 1\n" in done.output
    assert "+sysctl net.ipv6.conf.all.forwarding = 0\n" in done.output
    assert [row[:2] for row in done.table] == [
        [SERVER_HOST, "would change"],
        [CLIENT_HOST, "would change"],
    ]


def test_clients_are_undone_first_and_then_all_are_confirmed(run: Start) -> None:
    done = run("tasks.undo.undo", "-y", server=WAS_RUN, client=WAS_RUN)
    assert done.status == 0, done.output
    changed = [host for host, kind in done.execs if kind == "change"]
    assert changed == [CLIENT_HOST, SERVER_HOST]
    for host in changed:
        assert done.on(host) == ["read", "rehearse", "change", "read", "confirm"]
    assert [row[:2] for row in done.table] == [[SERVER_HOST, "done"], [CLIENT_HOST, "done"]]


def test_what_was_edited_since_and_what_remembers_nothing_is_refused(run: Start) -> None:
    done = run(
        "tasks.undo.undo",
        "-y",
        server={"is_deployed": True},
        client={**WAS_RUN, "edits": FILE},
        others={"@fake/mail1": {"sample": "ifupdown client"}},
    )
    assert done.status == 1
    for host in (SERVER_HOST, CLIENT_HOST):
        assert done.on(host) == ["read"]
    assert f"[{CLIENT_HOST}] {FILE} was edited since that run wrote it" in done.output
    assert [row[:2] for row in done.table] == [
        [SERVER_HOST, "refused"],
        [CLIENT_HOST, "refused"],
        ["@fake/mail1", "refused"],
    ]
    assert done.table[0][2].startswith("it remembers no confirmed run")
    assert done.table[1][2].startswith(f"{FILE} was edited since")


def test_what_is_not_as_before_afterwards_is_told_and_goes_back(run: Start) -> None:
    # Its state stays what it is.
    stays = {"sample": "ifupdown client", "was_run": BY, "is_deployed": True, "stays": True}
    done = run("tasks.undo.undo", "-y", server=WAS_RUN, client=stays)
    assert done.status == 1
    assert "all was applied, and this is not as it should be:" in done.output
    assert f"--- {CLIENT_HOST}:{FILE}\n" in done.output
    assert "-link sit-ipv6: sit local 203.0.113.20 remote 198.51.100.10 ttl 255" in done.output
    assert done.on(CLIENT_HOST) == ["read", "rehearse", "change", "read", "recall"]
    assert done.on(SERVER_HOST)[-1] == "confirm"


@pytest.mark.parametrize("task", ["deploy.py", "tasks.remove.remove", "tasks.verify.verify"])
def test_no_other_run_asks_for_what_a_host_remembers(run: Start, task: str) -> None:
    done = run(task, "--dry", server=WAS_RUN, client=WAS_RUN)
    assert done.status == 0, done.output
    assert "alice" not in done.output
