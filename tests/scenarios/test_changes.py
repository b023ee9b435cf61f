"""What is declared anew arrives on live tunnels, and every other tunnel goes on undisturbed."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests import runs
from tests.lab.lab import Lab, LabMachine
from tests.runs import Hosts
from tests.scenarios.cases import LANS, Lan, inventory, ipv4_of
from tests.scenarios.conftest import Deploy
from tests.scenarios.observation import Pings, assert_all_flow, assert_lan, pending

Data = dict[str, dict[str, Any]]

# The tunnels that are not the clients' way to the Internet, by the client's interface.
OTHERS = {
    "client-ifupdown": ("sit-second", "2001:db8:2::4"),
    "client-netplan": ("sit-second", "2001:db8:1::4"),
    "server-netplan": ("sit-ipv6", "2001:db8:1::6"),
}


def own(hosts: Data, client: str) -> dict[str, Any]:
    """The tunnel that is a client's way to the Internet."""
    tunnel: dict[str, Any] = hosts[client]["tunnel"][0]
    return tunnel


def drop_network(tunnel: dict[str, Any]) -> None:
    """Nothing is routed to the client any more."""
    del tunnel["routed_prefixes"], tunnel["lan"]


CLIENTS = ("client-ifupdown", "client-netplan")


def first_server_moves_and_a_number_changes(hosts: Data) -> None:
    hosts["server-ifupdown"]["tunnel_server"]["ipv4"] = ipv4_of("server-ifupdown", index=1)
    own(hosts, "client-netplan")["number"] = 9


def second_server_moves_and_a_number_changes(hosts: Data) -> None:
    hosts["server-netplan"]["tunnel_server"]["ipv4"] = ipv4_of("server-netplan", index=1)
    own(hosts, "client-ifupdown")["number"] = 9


def clients_move_and_packets_change(hosts: Data) -> None:
    for client in CLIENTS:
        own(hosts, client).update(ipv4=ipv4_of(client, index=1), mtu=1400, ttl=64)


def interfaces_get_other_names(hosts: Data) -> None:
    for client in CLIENTS:
        own(hosts, client).update(interface="six", server_interface="to-them")


def prefixes_come_and_go(hosts: Data) -> None:
    own(hosts, "client-ifupdown")["routed_prefixes"].append("2001:db8:102:100::/56")
    own(hosts, "client-ifupdown")["lan"]["address"] = "2001:db8:102:101::1/64"
    drop_network(own(hosts, "client-netplan"))


def a_client_goes_and_another_takes_the_other_way(hosts: Data) -> None:
    del hosts["client-ifupdown"]
    first, second = hosts["client-netplan"]["tunnel"]
    first["default_route"], second["default_route"] = False, True
    drop_network(first)
    # The one that gets the route stands before the one that has it.
    hosts["client-netplan"]["tunnel"].reverse()


def a_prefix_changes_and_another_is_routed(hosts: Data) -> None:
    hosts["server-ifupdown"]["tunnel_server"]["prefix"] = "2001:db8:1::f:0/112"
    hosts["server-netplan"]["tunnel_server"]["on_link"] = False


def another_manager(hosts: Data) -> None:
    for tunnel in hosts["client-netplan"]["tunnel"]:
        tunnel["manager"] = "ifupdown"
    # Which keeps nothing on the interfaces that netplan holds.
    drop_network(own(hosts, "client-netplan"))


@dataclass(frozen=True)
class Change:
    """Another declaration, and the clients whose other tunnel it doesn't touch.

    What takes something away is tried in a reboot too: nothing may bring it back. The changes in
    `after` are made and looked at first, and share that reboot.
    """

    make: Callable[[Data], None]
    undisturbed: tuple[str, ...]
    networks: tuple[Lan, ...] = LANS
    prepare: Mapping[str, str] = field(default_factory=dict)
    takes_away: bool = True
    after: tuple["Change", ...] = ()

    @property
    def all(self) -> tuple["Change", ...]:
        """In their order, this one last."""
        return (*self.after, self)

    def __str__(self) -> str:
        return "_then_".join(change.make.__name__ for change in self.all)


CHANGES = (
    Change(first_server_moves_and_a_number_changes, ("client-ifupdown",), takes_away=False),
    Change(
        *(second_server_moves_and_a_number_changes, ("client-netplan", "server-netplan")),
        takes_away=False,
    ),
    Change(
        a_client_goes_and_another_takes_the_other_way,
        ("client-netplan", "server-netplan"),
        (),
        after=(Change(clients_move_and_packets_change, tuple(OTHERS)),),
    ),
    Change(
        prefixes_come_and_go,
        tuple(OTHERS),
        (Lan("client-ifupdown", "2001:db8:102:101::1/64", "eth0"),),
        after=(Change(interfaces_get_other_names, tuple(OTHERS)),),
    ),
    Change(
        a_prefix_changes_and_another_is_routed,
        ("client-ifupdown",),
        # All but the server's own address and its router's.
        prepare={
            "internet": "ip -6 route add 2001:db8:2::/120 via 2001:db8:2::1; "
            "ip -6 route add 2001:db8:2::1/128 dev eth1"
        },
        takes_away=False,
    ),
    Change(
        another_manager,
        ("client-ifupdown", "server-netplan"),
        LANS[:1],
        prepare={"client-netplan": "systemctl unmask networking ifupdown-pre"},
    ),
)


@contextmanager
def undisturbed(machine: LabMachine, interface: str, peer: str) -> Iterator[None]:
    """Nothing is lost of 20 pings a second through a tunnel, whose counters go on counting."""
    look = f"cat /sys/class/net/{interface}/ifindex /sys/class/net/{interface}/statistics/rx_bytes"
    index, received = machine.run(look).stdout.split()
    pings = Pings(machine, peer, every=0.05, interface=interface)
    enough = time.monotonic() + 8
    yield
    # A quick run is over before there are enough of them to tell.
    time.sleep(max(0, enough - time.monotonic()))
    answered = pings.assert_answered(100)
    index_now, received_now = machine.run(look).stdout.split()
    assert index_now == index
    assert int(received_now) - int(received) >= 64 * answered


def assert_carries(lab: Lab, hosts: Hosts, networks: Iterable[Lan]) -> None:
    """Every tunnel and every network carries IPv6."""
    assert_all_flow(lab, hosts)
    for lan in networks:
        assert_lan(lab, lan)


def _marks(change: Change) -> list[pytest.MarkDecorator]:
    # The same as the first, at the other server.
    return [pytest.mark.campaign] if change.make is second_server_moves_and_a_number_changes else []


@pytest.mark.parametrize(
    "last", [pytest.param(change, id=str(change), marks=_marks(change)) for change in CHANGES]
)
def test_a_change_arrives_and_disturbs_no_other_tunnel(
    running_lab: Lab, deployed: Deploy, tmp_path: Path, last: Change
) -> None:
    deployed("broker")
    declared = dict(inventory("broker"))
    for change in last.all:
        change.make(declared)
        hosts = list(declared.items())
        for name, command in change.prepare.items():
            running_lab.machine(name).run(command)
        with ExitStack() as pings:
            for name in change.undisturbed:
                pings.enter_context(undisturbed(running_lab.machine(name), *OTHERS[name]))
            done = runs.run(tmp_path, hosts, "deploy.py", "-y", "--diff")
        assert done.status == 0, done.output
        assert_carries(running_lab, hosts, change.networks)
        for name in declared:
            assert pending(running_lab, hosts, name) == ""

    if not last.takes_away:
        return
    running_lab.reboot(declared)
    assert_carries(running_lab, hosts, last.networks)
    again = runs.run(tmp_path, hosts, "deploy.py", "-y")
    assert again.status == 0, again.output
    assert again.stderr.count("nothing to change") == len(hosts)
