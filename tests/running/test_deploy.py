"""A run from end to end on fake hosts: what it costs, what it says, how it ends."""

import re
from typing import Any

import pytest

from tests.running.conftest import CLIENT_HOST, SERVER_HOST, Start
from tests.samples import CLIENT, SERVER

# What is asked of a host that changes.
REMOVED = ["read", "rehearse", "change", "read", "confirm"]
CHANGED = [*REMOVED, "verify"]


def test_a_dry_run_reads_a_host_and_tries_what_would_change(run: Start) -> None:
    done = run("deploy.py", "--dry", "--diff", server={"is_deployed": True})
    assert done.status == 0
    assert done.on(SERVER_HOST) == ["read"]
    assert done.on(CLIENT_HOST) == ["read", "rehearse"]
    assert f"+++ {CLIENT_HOST}:/etc/network/interfaces.d/60-culvert-sit-ipv6\n" in done.output
    assert "+route default via 2001:db8:1::2 dev sit-ipv6\n" in done.output


def test_an_mtu_that_does_not_fit_is_refused_before_any_host_is_changed(run: Start) -> None:
    tunnel = {**CLIENT, "server": SERVER_HOST, "server_interface": "sit-web1", "mtu": 1490}
    done = run(client={"tunnel": tunnel})
    assert done.status == 1
    refusal = f'so 1490 is too much for the tunnel of {CLIENT_HOST}: write `"mtu": 1480` there'
    for host in (SERVER_HOST, CLIENT_HOST):
        carried = f"eth0 of {SERVER_HOST} carries packets of 1500 bytes"
        assert f"[{host}] {carried}, {refusal}, or no `mtu`\n" in done.output
        assert done.on(host) == ["read"]


def test_a_path_that_is_narrow_decides_at_both_ends_and_is_said_beside_the_plan(run: Start) -> None:
    done = run("deploy.py", "--dry", "--diff", client={"passes": 1400})
    assert done.status == 0, done.output
    remark = (
        f"packets of up to 1400 bytes pass from {CLIENT_HOST} to {SERVER_HOST} (198.51.100.10), so "
        f"an MTU of 1380 goes to the tunnel of {CLIENT_HOST}, at both ends\n"
    )
    for host, path in ((SERVER_HOST, "198.51.100.10 remote 203.0.113.20"), (CLIENT_HOST, "203")):
        assert f"[{host}] {remark}" in done.output
        assert f"+++ {host}:/var/lib/culvert/mtus\n" in done.output
        assert f"sit local {path}" in done.output
    assert done.output.count(" ttl 255 mtu 1380 up\n") == 2


def test_both_ends_prove_their_tunnels_at_the_same_time(run: Start) -> None:
    as_declared = {"is_deployed": True}
    wait = {"waits_for_other": True}
    done = run(
        "tasks.verify.verify",
        *("-y", "--parallel", "1"),
        server=as_declared | wait,
        client=as_declared | wait,
    )
    assert done.status == 0, done.output


def test_what_needs_the_other_end_is_left_out_where_that_is_lost(run: Start) -> None:
    as_declared = {"is_deployed": True}
    done = run(
        "tasks.verify.verify", "-y", server=as_declared | {"breaks": "verify"}, client=as_declared
    )
    assert done.status == 1
    assert f"[{SERVER_HOST}] nothing is known of the tunnels: " in done.output
    assert f"[{CLIENT_HOST}] verified: {SERVER_HOST} answers at" in done.output
    assert "TCP passes both ways" not in done.output
    assert f"[{CLIENT_HOST}] verified: TCP from" in done.output


def test_an_unchanged_run_costs_two_execs_and_says_that_nothing_changes(run: Start) -> None:
    as_declared = {"is_deployed": True}
    done = run(server=as_declared, client=as_declared)
    assert done.status == 0, done.output
    assert done.on(SERVER_HOST) == ["read", "verify"]
    assert done.on(CLIENT_HOST) == ["read", "verify"]
    assert done.output.count("nothing to change (") == 2


def test_a_run_that_changes_a_host_costs_six_execs(run: Start) -> None:
    done = run()
    assert done.on(SERVER_HOST) == CHANGED
    assert done.on(CLIENT_HOST) == CHANGED


def test_files_that_a_manager_would_refuse_are_found_before_any_host_is_changed(run: Start) -> None:
    done = run(client={"refuses": "rehearse"})
    assert done.status == 1
    assert f"[{CLIENT_HOST}]     netplan: no such key\n" in done.output
    assert done.on(CLIENT_HOST) == ["read", "rehearse"]
    order = [tuple(each) for each in done.execs]
    assert order.index((CLIENT_HOST, "rehearse")) < order.index((SERVER_HOST, "change"))


def test_servers_are_changed_before_clients_and_verified_last(run: Start) -> None:
    done = run()
    assert done.status == 0, done.output
    kinds = [(host, kind) for host, kind in done.execs if kind in {"change", "verify"}]
    assert kinds[:2] == [(SERVER_HOST, "change"), (CLIENT_HOST, "change")]
    assert sorted(kinds[2:]) == [(SERVER_HOST, "verify"), (CLIENT_HOST, "verify")]


def test_a_server_that_is_refused_takes_its_client_along(run: Start) -> None:
    done = run(server={"tunnel_server": {**SERVER, "external_interface": "eth9"}})
    assert done.status == 1
    assert "there is no interface eth9" in done.output
    assert f"left alone, because its tunnel server {SERVER_HOST} failed" in done.output
    assert {kind for _, kind in done.execs} == {"connect", "read", "rehearse"}


def test_a_server_that_fails_while_it_is_changed_leaves_its_client_alone(run: Start) -> None:
    done = run(server={"breaks": "change"})
    assert done.status == 1
    # It said nothing of what it did, and is told to go back.
    assert done.on(SERVER_HOST) == ["read", "rehearse", "change", "recall"]
    assert done.on(CLIENT_HOST) == ["read", "rehearse"]
    assert f"left alone, because its tunnel server {SERVER_HOST} failed" in done.output


OF_PYINFRA = {"_ignore_errors": True, "_run_once": True, "_serial": True, "_retries": 2}


def test_a_run_decides_itself_what_fails_and_who_waits_for_whom(run: Start) -> None:
    done = run(server=OF_PYINFRA, client=OF_PYINFRA)
    assert done.status == 0, done.output
    assert done.on(CLIENT_HOST) == CHANGED
    done = run(server={**OF_PYINFRA, "breaks": "change"}, client=OF_PYINFRA)
    assert done.status == 1
    assert done.on(SERVER_HOST) == ["read", "rehearse", "change", "recall"]
    assert done.on(CLIENT_HOST) == ["read", "rehearse"]


def test_a_host_that_cannot_be_read_fails_alone(run: Start) -> None:
    done = run(client={"breaks": "read"})
    assert done.status == 1
    assert done.on(SERVER_HOST) == CHANGED
    assert done.on(CLIENT_HOST) == ["read"]


def test_why_a_host_gives_no_answer_is_told(run: Start) -> None:
    told = {
        "nobody to ask": "sudo asks for a password, and nobody answers here",
        "no session": "its `MaxSessions` is too low",
        "no connection": "the connection broke: reset by peer",
    }
    others = {f"@fake/{index}": {"raises": name, "tunnel": []} for index, name in enumerate(told)}
    done = run("deploy.py", "--dry", others=others)
    assert done.status == 1
    assert all(sentence in done.output for sentence in told.values()), done.output


def test_a_check_that_fails_is_a_failed_run(run: Start) -> None:
    done = run(client={"fails_check": 0})
    assert done.status == 1
    assert (
        f"expected: {SERVER_HOST} answers at 2001:db8:1::2 through sit-ipv6; seen: what was seen"
        in done.output
    )


def of_many_tunnels(run: Start, *arguments: str, **data: Any) -> list[str]:
    """What the proof of a server with 21 tunnels says, whose clients aren't in the run."""
    others = {
        f"@fake/web{n}": {"tunnel": {"server": SERVER_HOST, "number": n, "ipv4": f"192.0.2.{n}"}}
        for n in range(2, 22)
    }
    alone = ("tasks.verify.verify", "-y", "--limit", SERVER_HOST)
    done = run(*alone, *arguments, server={"is_deployed": True, **data}, others=others)
    return [
        line.partition("] ")[2]
        for line in done.stderr.splitlines()
        if re.search(r"\] +(verif|exp)|left alone", line)
    ]


ALL_ABSENT = "21 other ends are not in this run, and left alone (-v lists them)"


def test_of_many_tunnels_what_is_well_is_said_in_a_line(run: Start) -> None:
    assert of_many_tunnels(run) == [
        ALL_ABSENT,
        "verified: 67 of 67 checks of 21 tunnels (-v lists them)",
    ]
    assert of_many_tunnels(run, fails_check=0) == [
        ALL_ABSENT,
        "verified: 66 of 67 checks of 21 tunnels (-v lists them)",
        "expected: 2001:4860:4860::8888 on the Internet answers 2001:db8:1::2; seen: what was seen",
    ]


def test_every_check_of_many_tunnels_is_listed_on_demand(run: Start) -> None:
    lines = of_many_tunnels(run, "-v")
    assert len(lines) == 21 + 67
    assert "@fake/web21, the other end of sit-web21, is not in this run, and is left alone" in lines
    assert "verified: the proxy entry for 2001:db8:1::2b is on eth0" in lines


def test_verification_alone_changes_nothing(run: Start) -> None:
    done = run("tasks.verify.verify", "-y")
    assert done.status == 0, done.output
    assert done.on(SERVER_HOST) == ["read", "verify"]
    assert done.on(CLIENT_HOST) == ["read", "verify"]


LOSS = {"is_deployed": True, "boots_with": "net.ipv6.conf.all.forwarding=0"}
LOST = (
    "/etc/sysctl.d/99-later.conf, line 1, sets net.ipv6.conf.all.forwarding = 0 at the next boot, "
    "where Culvert needs 1: take that line out"
)


def test_what_would_be_lost_at_the_next_boot_is_proven_now_and_fails(run: Start) -> None:
    done = run("tasks.verify.verify", "-y", server=LOSS, client={"is_deployed": True})
    assert done.status == 1
    assert done.on(SERVER_HOST) == ["read", "verify"]
    assert "verified: net.ipv6.conf.all.forwarding is 1" in done.output
    assert (
        f"expected: all of this outlives a boot; would be lost at the next boot: {LOST}\n"
        in done.output
    )


@pytest.mark.parametrize("task", ["deploy.py", "tasks.drift.drift"])
def test_nothing_is_changed_where_it_would_be_lost_at_the_next_boot(run: Start, task: str) -> None:
    done = run(task, "-y", server=LOSS)
    assert done.status == 1
    assert LOST in done.output
    assert done.on(SERVER_HOST) == ["read"]
    assert "change" not in done.on(CLIENT_HOST)


def test_what_would_be_lost_is_removed_all_the_same(run: Start) -> None:
    done = run("tasks.remove.remove", "-y", server=LOSS, client={"is_deployed": True})
    assert done.status == 0, done.output
    assert done.on(SERVER_HOST) == REMOVED


def test_a_run_limited_to_one_end_says_so(run: Start) -> None:
    done = run("deploy.py", "-y", "--limit", SERVER_HOST)
    assert done.status == 0, done.output
    assert done.on(CLIENT_HOST) == []
    assert f"{CLIENT_HOST}, the other end of sit-web1, is not in this run" in done.output


def test_drift_is_shown_and_fails(run: Start) -> None:
    done = run("tasks.drift.drift", "-y", server={"is_deployed": True})
    assert done.status == 1
    assert f"+++ {CLIENT_HOST}:/etc/network/interfaces.d/60-culvert-sit-ipv6\n" in done.output
    assert f"+++ {SERVER_HOST}" not in done.output
    assert {kind for _, kind in done.execs} == {"connect", "read", "rehearse"}


@pytest.mark.parametrize("mode", ["-y", "--dry"])
def test_no_drift_is_success(run: Start, mode: str) -> None:
    as_declared = {"is_deployed": True}
    done = run("tasks.drift.drift", mode, server=as_declared, client=as_declared)
    assert done.status == 0, done.output
    assert done.on(SERVER_HOST) == ["read"]


def test_a_run_that_was_cut_off_is_drift_and_no_proof(run: Start) -> None:
    cut, well = {"is_deployed": True, "was_cut_off": True}, {"is_deployed": True}
    done = run("tasks.drift.drift", "-y", server=cut, client=well)
    assert done.status == 1
    first = "a run that was cut off there is undone first"
    assert done.table == [
        [SERVER_HOST, "would change", first],
        [CLIENT_HOST, "nothing to do"],
    ]
    done = run("tasks.verify.verify", "-y", server=cut, client=well)
    assert done.status == 1
    assert "would be lost at the next boot: a run was cut off here" in done.output
    assert [row[:2] for row in done.table] == [[SERVER_HOST, "failed"], [CLIENT_HOST, "done"]]


def test_removal_takes_clients_first(run: Start) -> None:
    as_declared = {"is_deployed": True}
    done = run("tasks.remove.remove", "-y", "--diff", server=as_declared, client=as_declared)
    assert done.status == 0, done.output
    changed = [host for host, kind in done.execs if kind == "change"]
    assert changed == [CLIENT_HOST, SERVER_HOST]
    assert f"--- {SERVER_HOST}:/var/lib/culvert/sysctls\n+++ /dev/null\n" in done.output
    assert done.on(SERVER_HOST) == REMOVED


def test_a_removal_limited_to_one_end_says_so(run: Start) -> None:
    done = run("tasks.remove.remove", "-y", "--limit", SERVER_HOST, server={"is_deployed": True})
    assert done.status == 0, done.output
    assert f"{CLIENT_HOST}, the other end of sit-web1, is not in this run" in done.output
    assert done.on(CLIENT_HOST) == []


def test_a_host_that_is_to_carry_nothing_is_cleaned(run: Start) -> None:
    once_a_client = {"is_deployed": True, "tunnel": []}
    done = run("deploy.py", "-y", "--diff", "--limit", CLIENT_HOST, client=once_a_client)
    assert done.status == 0, done.output
    assert "CULVERT IS TAKEN OFF THIS HOST" in done.output
    assert f"--- {CLIENT_HOST}:/etc/network/interfaces.d/60-culvert-sit-ipv6" in done.output
    assert done.on(CLIENT_HOST) == REMOVED


@pytest.mark.parametrize(
    "arguments", [("deploy.py", "-y"), ("deploy.py", "--dry"), ("tasks.drift.drift", "-y")]
)
def test_a_host_that_nothing_is_said_of_is_left_alone_and_what_it_carries_is_told(
    run: Start, arguments: tuple[str, ...]
) -> None:
    once_a_client = {"is_deployed": True, "tunnel": None}
    done = run(*arguments, "--limit", CLIENT_HOST, client=once_a_client)
    assert done.status == 0, done.output
    assert done.on(CLIENT_HOST) == ["read"]
    assert "CULVERT IS ON THIS HOST (sit-ipv6; files: 5), and nothing is declared" in done.output


def test_a_task_cleans_a_host_that_nothing_is_said_of(run: Start) -> None:
    once_a_client = {"is_deployed": True, "tunnel": None}
    done = run("tasks.remove.remove", "-y", client=once_a_client)
    assert done.status == 0, done.output
    assert done.on(CLIENT_HOST) == REMOVED


def test_a_host_that_nothing_is_said_of_may_be_unreadable(run: Start) -> None:
    others = {"@fake/mail1": {"breaks": "read", "sample": "netplan client"}}
    done = run(others=others)
    assert done.status == 0, done.output
    assert "nothing is declared for it, and it can't be read: a command failed" in done.output


SECOND_NAME = {"sample": "ifupdown client", "machine": CLIENT_HOST, "is_deployed": True}


def test_a_second_name_of_a_machine_that_declares_nothing_is_left_alone(run: Start) -> None:
    done = run(client={"is_deployed": True}, others={"@fake/alias": SECOND_NAME})
    assert done.status == 0, done.output
    assert done.on("@fake/alias") == ["read"]
    assert f"the same machine as {CLIENT_HOST}, and declares nothing itself" in done.output


@pytest.mark.parametrize(
    "second",
    [
        [],
        {**CLIENT, "server": SERVER_HOST, "ipv4": "203.0.113.21", "number": 2},
    ],
)
def test_two_names_of_one_machine_that_both_declare_are_a_mistake(
    run: Start, second: object
) -> None:
    done = run("deploy.py", "--dry", others={"@fake/alias": {**SECOND_NAME, "tunnel": second}})
    assert done.status == 1
    assert f"{CLIENT_HOST} and @fake/alias are one machine" in done.output
    assert done.output.count("declare it under one of these names") == 2


def test_a_removal_goes_over_a_machine_of_two_names_once(run: Start) -> None:
    done = run(
        "tasks.remove.remove",
        "-y",
        client={"is_deployed": True},
        others={"@fake/alias": SECOND_NAME},
    )
    assert done.status == 0, done.output
    assert (done.on(CLIENT_HOST), done.on("@fake/alias")) == (REMOVED, ["read"])
