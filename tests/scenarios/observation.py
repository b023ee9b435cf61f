"""What a machine looks like from the inside, and whether packets flow."""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from tasks import parts
from tasks.declared import declaration
from tasks.host import answer, rollback
from tasks.host.state import HostState
from tasks.parts import managers
from tasks.planning import plan
from tests.lab.lab import Lab, LabMachine
from tests.lab.machines import FAR_ADDRESS
from tests.runs import Hosts
from tests.scenarios import advertisements
from tests.scenarios.cases import Case, Lan

# One command, since each costs an emulated machine a quarter of a second. Not every host has
# a folder of networkd's generated files, or of Culvert's; lifetimes count down, and a router's
# neighbours come and go; all else is configuration.
_SCRIPT = r"""
folders="/etc $(ls -d /run/systemd/network /var/lib/culvert 2>/dev/null)"
find $folders -xdev \( -type f -o -type d \) -printf '%y %04m %p\n'
find $folders -xdev -type l -printf '%p -> %l\n'
find $folders -xdev -type f -exec md5sum {} +
echo @@; sysctl -a --pattern '^net.ipv6.(conf|neigh)' 2>/dev/null
echo @@; ip -json -details link show
echo @@; ip -json -details -6 address show
echo @@; ip -json -details -6 route show
echo @@; ip -json -details -4 route show
echo @@; ip -json -6 neighbour show proxy
echo @@; [ ! -e /sys/module/nf_tables ] || nft list tables
"""


@dataclass(frozen=True)
class Observation:
    """A machine's configuration files and its kernel's state, to be compared.

    `kernel` has all that iproute2 tells, the others names.
    """

    files: frozenset[str]
    sysctls: dict[str, str]
    links: frozenset[str]
    addresses: frozenset[str]
    routes: frozenset[str]
    proxies: frozenset[str]
    tables: frozenset[str]
    kernel: frozenset[str]


def differences(found: Mapping[str, Observation], expected: Mapping[str, Observation]) -> list[str]:
    """What is there beyond the expectation (+), and what is missing (-), a line for each thing."""
    return [
        f"{sign} {name}: {thing}"
        for name in expected
        for sign, here, there in (("+", found, expected), ("-", expected, found))
        for thing in sorted(_things(here[name]) - _things(there[name]))
    ]


def _things(observation: Observation) -> set[str]:
    return {
        f"{kind}: {f'{each} = {things[each]}' if isinstance(things, dict) else each}"
        for kind, things in vars(observation).items()
        for each in things
    }


def observe(machine: LabMachine) -> Observation:
    files, sysctls, *kernel, tables = machine.run(_SCRIPT).stdout.split("@@\n")
    links, addresses, routes6, routes4, proxies = (json.loads(text or "[]") for text in kernel)
    return Observation(
        files=frozenset(files.splitlines()),
        sysctls={
            key: value for key, _, value in (line.partition(" = ") for line in sysctls.splitlines())
        },
        links=frozenset(link["ifname"] for link in links),
        addresses=frozenset(
            f"{address['local']}/{address['prefixlen']} dev {link['ifname']}"
            for link in addresses
            for address in link.get("addr_info", ())
        ),
        routes=frozenset(
            f"{route['dst']}{via} dev {route['dev']}"
            for route in routes6 + routes4
            for via in [f" via {route['gateway']}" if "gateway" in route else ""]
        ),
        tables=frozenset(tables.splitlines()),
        proxies=frozenset(f"{entry['dst']} dev {entry['dev']}" for entry in proxies),
        kernel=frozenset(
            json.dumps(_lasting(entry)) for entry in [*links, *addresses, *routes6, *routes4]
        ),
    )


def _lasting(entry: Any) -> Any:
    """The same without what counts down."""
    if isinstance(entry, dict):
        return {k: _lasting(v) for k, v in entry.items() if k not in _VOLATILE}
    return [_lasting(each) for each in entry] if isinstance(entry, list) else entry


_VOLATILE = {"expires", "valid_life_time", "preferred_life_time"}
# A bridge's, and its ports'.
_VOLATILE |= {"hello_timer", "tcn_timer", "topology_change_timer", "gc_timer"}
_VOLATILE |= {"message_age_timer", "forward_delay_timer", "hold_timer"}


def without_journal(found: Observation) -> Observation:
    """All but what a host remembers of runs, and what says how it was made.

    The numbers of interfaces grow, and no address was tried by DAD that is on a tunnel.
    """
    journal = re.compile(rf" {rollback.STORE}/(.*/|pending|undoing|confirmed|gone|report)")
    left = {each for each in found.files if not journal.search(each)}
    if not any(f"{rollback.STORE}/" in each for each in left):
        left = {each for each in left if not each.endswith(rollback.STORE)}
    kernel = {json.dumps(_unnumbered(json.loads(each))) for each in found.kernel}
    return replace(found, files=frozenset(left), kernel=frozenset(kernel))


def _unnumbered(entry: Any) -> Any:
    if isinstance(entry, dict):
        return {k: _unnumbered(v) for k, v in entry.items() if k not in {"ifindex", "nodad"}}
    return [_unnumbered(each) for each in entry] if isinstance(entry, list) else entry


def observe_all(lab: Lab, names: Iterable[str] = ()) -> dict[str, Observation]:
    """Several machines at once, by name; all hosts where none is named."""
    names = tuple(names) or lab.topology.names
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda name: observe(lab.machine(name)), names)
        return dict(zip(names, found, strict=True))


def carried(lab: Lab, names: Iterable[str] = ()) -> dict[str, Observation]:
    """The same without what hosts remember of runs."""
    return {name: without_journal(found) for name, found in observe_all(lab, names).items()}


def settled(lab: Lab, names: Collection[str]) -> dict[str, Observation]:
    """What hosts carry once no address that came back is still looked for on its link (DAD)."""
    for name in names:
        lab.machine(name).wait_for("! ip -6 address show tentative | grep -q .", 10)
    return carried(lab, names)


def read_state(lab: Lab, hosts: Hosts, name: str) -> HostState:
    """A machine as a run on these hosts reads it, without pyinfra."""
    node = declaration.read(dict(hosts), managers.NAMES).nodes[name]
    return answer.parse(lab.machine(name).run(parts.script(node)).stdout)


def pending(lab: Lab, hosts: Hosts, name: str) -> str:
    """What a run would change on a machine, read without pyinfra."""
    node = declaration.read(dict(hosts), managers.NAMES).nodes[name]
    return plan.plan(node, read_state(lab, hosts, name)).changes.diff()


class Pings:
    """What a machine sends to an address again and again, and of which nothing may be lost.

    Unless it `confirms`, it leaves alone what the machine knows of its neighbours: the usual ping
    tells the kernel with every answer that the neighbour on the way is there (MSG_CONFIRM).
    """

    def __init__(
        self,
        machine: LabMachine,
        address: object,
        *,
        every: float,
        interface: str | None = None,
        confirms: bool = True,
    ) -> None:
        through = f"-I {interface} " if interface else ""
        program = "ping -n" if confirms else "busybox ping"
        self._first = 1 if confirms else 0
        self._every = every
        self._running = machine.start(f"exec {program} -6 -i {every} {through}{address}")

    def assert_answered(self, more_than: int) -> int:
        """End them. How many were answered: all, and more than so many."""
        done = self._running.stop("INT")
        answered = [int(number) for number in re.findall(r"seq=(\d+) ttl", done.stdout)]
        sent = re.search(r"(\d+) packets transmitted", done.stdout)
        assert sent, f"ping ended by itself: {done}"
        assert answered == [self._first + index for index in range(len(answered))], done.stdout
        # At the end some were on their way: as many as are sent while one of the last ones came.
        last = [float(each) / 1000 for each in re.findall(r"time=([\d.]+) ms", done.stdout)[-20:]]
        coming = max(last, default=0) // self._every
        assert more_than < int(sent[1]) <= len(answered) + 1 + coming, done.stdout
        return len(answered)


class Solicitations:
    """Those by unicast that ask for an address on a router's link, from now on (RFC 4861, 7.3)."""

    def __init__(self, router: LabMachine, interface: str, address: object) -> None:
        self._address = address
        only = "icmp6 && (ip6[40] == 135 || ip6[40] == 136)"
        self._running = router.start(f"exec tcpdump -l -n -i {interface} '{only}'")

    def assert_answered(self, more_than: int) -> None:
        """End looking. Every one was answered before the next one, and there were so many."""
        lines = self._running.stop("INT").stdout.splitlines()
        solicitation = rf" > (?!ff02:).*: ICMP6, neighbor solicitation, who has {self._address},"
        asked = re.compile(solicitation)
        told = re.compile(rf": ICMP6, neighbor advertisement, tgt is {self._address},")
        seen = "".join(
            "?" * bool(asked.search(each)) + "!" * bool(told.search(each)) for each in lines
        )
        # At the start an answer may have been on its way, and one at the end.
        pairs = "?!" * seen.count("?")
        assert pairs.startswith(seen.lstrip("!")), "\n".join(lines)
        assert seen.count("?") > more_than, "\n".join(lines)


def forget_neighbours(router: LabMachine) -> None:
    """Have a router ask anew who has an address.

    A neighbour remembered from before would hide that the server answers for none any more. One
    that is being asked for stays, and with it the packet that waits for the answer.
    """
    known = " ".join(f"nud {state}" for state in ("reachable", "stale", "delay", "probe", "failed"))
    router.run(f"ip -6 neighbour flush {known}")


@contextmanager
def multicast_held_back(router: LabMachine) -> Iterator[None]:
    """Meanwhile a router asks for its neighbours by unicast alone, as if it had just asked all."""
    to_all = "icmpv6 type nd-neighbor-solicit ip6 daddr ff02::/16"
    router.run(
        "nft 'table ip6 held { chain output { type filter hook output priority filter; "
        f"{to_all} drop; }}; }}'"
    )
    try:
        yield
    finally:
        router.run("nft delete table ip6 held")


def assert_traffic(lab: Lab, case: Case) -> None:
    """Each end reaches the Internet host, and is reached from it, on what a router asks anew."""
    forget_neighbours(lab.machine("internet"))
    assert_both_ways(lab, case, 30)


def assert_both_ways(lab: Lab, case: Case, seconds: float) -> None:
    """Each end reaches the Internet host, and is reached from it."""
    internet = lab.machine("internet")
    for address in (case.client_ipv6, case.server_ipv6):
        internet.wait_for(f"ping -6 -n -c 1 -W 2 -I {FAR_ADDRESS} {address}", seconds)
    for name, address in ((case.client, case.client_ipv6), (case.server, case.server_ipv6)):
        lab.machine(name).run(f"ping -6 -n -c 3 -i 0.2 -W 2 -I {address} {FAR_ADDRESS}")


def assert_all_flow(lab: Lab, hosts: Hosts, seconds: float = 30) -> None:
    """The Internet host is answered by both ends of every tunnel of an inventory."""
    internet = lab.machine("internet")
    forget_neighbours(internet)
    for tunnel in declaration.read(dict(hosts), managers.NAMES).tunnels:
        for address in (tunnel.client_ipv6, tunnel.server_ipv6):
            internet.wait_for(f"ping -6 -n -c 1 -W 2 -I {FAR_ADDRESS} {address}", seconds)


def assert_lan(lab: Lab, lan: Lan, seconds: float = 30) -> None:
    """The host behind a client reaches the Internet host and is reached from it."""
    host, internet = lab.machine("lan-host"), lab.machine("internet")
    there = f"ping -6 -n -c 1 -W 2 -I {lan.card} {FAR_ADDRESS}"
    host.wait_for(f"ip -6 address show dev {lan.card} | grep {lan.host_ipv6} && {there}", seconds)
    internet.wait_for(f"ping -6 -n -c 1 -W 2 -I {FAR_ADDRESS} {lan.host_ipv6}", seconds)


def assert_unheard(machine: LabMachine, tunnel: str) -> None:
    """What is advertised out of a tunnel came there, and has changed nothing."""
    conf = f"/proc/sys/net/ipv6/conf/{tunnel}"
    keys = ("accept_ra", "accept_redirects", "autoconf", "hop_limit", "mtu")
    values, table, kernel = machine.run(
        f"cd {conf} && cat {' '.join(keys)}; echo @@; nft list table inet culvert; echo @@; "
        "ip -6 address; ip -6 route show table all"
    ).stdout.split("@@\n")
    # By the rule for what came out of a tunnel and isn't of it.
    came = re.search(r"chain from_\w+ \{[^}]*\n\s*counter packets (\d+)", table)
    assert came, table
    assert int(came[1]) > 0
    found = dict(zip(keys, values.split(), strict=True))
    assert found == dict(zip(keys, ("0", "0", "0", "64", "1480"), strict=True))
    assert advertisements.ROUTER not in kernel
    assert advertisements.PREFIX not in kernel


def assert_as_by_hand(machine: LabMachine, tunnel: str) -> None:
    """To the kernel it is what the plain command makes, but for its name and its far end."""
    show = "ip -json -details link show dev"
    (own,) = json.loads(machine.run(f"{show} {tunnel}").stdout)
    ends = own["linkinfo"]["info_data"]
    (by_hand,) = json.loads(
        machine.run(
            f"ip link add by-hand type sit remote {_NOBODY} local {ends['local']} "
            f"ttl {ends['ttl']} && ip link set by-hand up && {show} by-hand; ip link delete by-hand"
        ).stdout
    )
    for each in (own, by_hand):
        # Some make it for IPv6 alone (`ip6ip`), as `ip tunnel add` does, and some for anything; of
        # some it gets no link-local address. Neither is anything to a packet of IPv6.
        for key in ("inet6_addr_gen_mode", "ifindex", "ifname", "address", "permaddr", "broadcast"):
            each.pop(key, None)
        for key in ("proto", "remote"):
            del each["linkinfo"]["info_data"][key]
    assert own == by_hand, (own, by_hand)


_NOBODY = "192.0.2.77"


def assert_tcp(lab: Lab, case: Case) -> None:
    """10 MB arrive intact in both directions."""
    client, internet = lab.machine(case.client), lab.machine("internet")
    ways = (
        (client, internet, FAR_ADDRESS, 5001, f"bind=[{case.client_ipv6}]"),
        (internet, client, str(case.client_ipv6), 5002, f"bind=[{FAR_ADDRESS}]"),
    )
    for sender, receiver, address, port, bind in ways:
        listen = f"TCP6-LISTEN:{port},bind=[{address}],reuseaddr"
        received = receiver.start(f"socat -u {listen} CREATE:/tmp/received")
        receiver.wait_for(f"ss -6 -H -l -t -n sport = {port} | grep .", 10)
        sender.run("head -c 10000000 /dev/urandom >/tmp/sent")
        sender.run(f"socat -u OPEN:/tmp/sent TCP6:[{address}]:{port},{bind}", timeout=120)
        received.wait(30)
        sums = [
            machine.run(f"md5sum <{file}; stat -c %s {file}").stdout
            for machine, file in ((sender, "/tmp/sent"), (receiver, "/tmp/received"))
        ]
        assert sums[0] == sums[1]
        assert sums[0].split()[-1] == "10000000"
