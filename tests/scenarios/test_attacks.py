"""What anybody can send who can write a source address, with Culvert's table taken out and with it.

Each attack is seen to succeed first, so that what is seen to fail could have succeeded.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tasks.parts.filtering import SERVICE
from tests.lab.lab import Lab
from tests.lab.machines import FAR_ADDRESS
from tests.lab.topologies import BROKER
from tests.scenarios.advertisements import ROUTER, advertisement
from tests.scenarios.cases import Neighbours, ipv4_of
from tests.scenarios.observation import assert_lan, pending
from tests.scenarios.packets import echo_request, in_ipv4, send, solicitation

NOBODY = "2001:db8:eeee::1"
STRANGER = "192.0.2.200"
"""An IPv4 address that is in no inventory."""
ROUTERS_SECONDS = 2


@dataclass(frozen=True)
class Wire:
    """Where a packet is looked for that shows that an attack succeeded."""

    machine: str
    interface: str
    direction: str
    only: str


@dataclass(frozen=True)
class Way:
    """Who sends, and between which IPv4 addresses; between none, a packet goes as it is."""

    sender: str
    source: str = ""
    destination: str = ""

    def packet(self, inner: bytes) -> bytes:
        """What goes out."""
        return in_ipv4(self.source, self.destination, inner) if self.source else inner


@dataclass(frozen=True)
class Attack:
    """Packets of which one, by what tcpdump prints of it, must not be seen."""

    name: str
    sender: str
    packets: list[bytes]
    wire: Wire
    sign: str


def attacks(among: Neighbours) -> Iterator[Attack]:
    """Those of two clients on each other and on their server, and of strangers on all."""
    server, forwarding, plain = among.server, among.forwarding, among.plain
    network, routed = among.network, among.routed
    own, first, second, unused = network[1], network[3], network[5], network[0x77]
    outer = {name: ipv4_of(name) for name in (server, forwarding, plain)}
    beyond = Wire("internet", BROKER.to_server(server), "in", "ip6")
    relayed = Wire(forwarding, "eth0", "out", "ip proto 41")
    into_first = Wire(forwarding, "sit-ipv6", "in", "ip6")
    into_second = Wire(server, "sit-plain", "out", "ip6")
    by_itself = Wire(server, "eth0", "out", f"ip proto 41 and dst {STRANGER}")
    embedded = int(own_ipv4(outer[server]))
    in_6to4 = f"2002:{embedded >> 16:x}:{embedded & 0xFFFF:x}::1"
    in_isatap = f"2001:db8:eeee::5efe:{embedded >> 16:x}:{embedded & 0xFFFF:x}"
    count = 0

    def attack(name: str, way: Way, source: object, aim: object, wire: Wire) -> Attack:
        nonlocal count
        count += 1
        sign = f"<attack-{count:02}>"
        packet = way.packet(echo_request(str(source), str(aim), sign.encode()))
        return Attack(name, way.sender, [packet], wire, sign)

    spoofed = Way("internet", outer[plain], outer[server])
    by_plain = Way(plain, outer[plain], outer[server])
    for source in (NOBODY, first, own, routed[1], unused):
        name = f"somebody with the client's IPv4 sends as {source}"
        yield attack(name, spoofed, source, FAR_ADDRESS, beyond)
    for source in (
        *(first, network[2], network[4], own, NOBODY, routed[1], unused, "fd00::5"),
        *("2002:c000:2c8::1", f"::{STRANGER}", "64:ff9b::1", "2001:0:c633:640a::1"),
    ):
        yield attack(f"a client sends as {source}", by_plain, source, FAR_ADDRESS, beyond)
    yield attack(
        "somebody with the server's IPv4 sends through a client that forwards",
        Way("internet", outer[server], outer[forwarding]),
        *(NOBODY, FAR_ADDRESS, relayed),
    )
    yield attack(
        "a client speaks to the server as another one",
        Way(forwarding, outer[forwarding], outer[server]),
        *(second, network[2], into_second),
    )
    for aim in (first, routed[1]):
        yield attack(f"a client speaks to another one's {aim}", by_plain, second, aim, into_first)
    yield attack(
        "somebody outside speaks to a client as another one",
        Way("internet"),
        *(second, first, into_first),
    )
    for source in (NOBODY, first):
        yield attack(
            f"an undeclared IPv4 sends as {source} through sit0",
            Way("internet", STRANGER, outer[server]),
            *(source, FAR_ADDRESS, beyond),
        )
    yield attack(
        "a client has the server send protocol 41 to anybody through sit0",
        by_plain,
        *(second, f"::{STRANGER}", by_itself),
    )
    for embedding in (in_6to4, in_isatap):
        yield attack(f"a client sends to {embedding}", by_plain, second, embedding, beyond)
    scanned = [network[0x90000 + number] for number in range(20)]
    yield Attack(
        "a client has the server look for neighbours",
        plain,
        [by_plain.packet(echo_request(second, each, b"scan")) for each in scanned],
        Wire(beyond.machine, beyond.interface, "in", "icmp6"),
        f"who has {network[0x90000]},",
    )


def own_ipv4(address: str) -> int:
    """Its number."""
    first, second, third, fourth = map(int, address.split("."))
    return first << 24 | second << 16 | third << 8 | fourth


def succeeded(lab: Lab, tried: list[Attack]) -> set[str]:
    """The names of those attacks whose sign is seen on its wire."""
    looking = {
        wire: lab.machine(wire.machine).start(
            f"exec tcpdump -l -n -A -i {wire.interface} -Q {wire.direction} '{wire.only}'"
        )
        for wire in dict.fromkeys(each.wire for each in tried)
    }
    for machine in dict.fromkeys(wire.machine for wire in looking):
        # That it listens, it says to a pipe that is read at its end.
        expected = sum(wire.machine == machine for wire in looking)
        lab.machine(machine).wait_for(
            f"[ $(grep -c '3 *0003' /proc/net/packet) -ge {expected} ]", 20
        )
    for sender in dict.fromkeys(each.sender for each in tried):
        packets = [packet for each in tried if each.sender == sender for packet in each.packets]
        for _ in range(2):
            send(lab.machine(sender), packets)
    lab.machine("internet").run(f"sleep {ROUTERS_SECONDS}")
    seen = {wire: each.stop("INT").stdout for wire, each in looking.items()}
    return {each.name for each in tried if each.sign in seen[each.wire]}


@contextmanager
def taken_out(lab: Lab, names: list[str]) -> Iterator[None]:
    """Meanwhile the hosts are without the table."""
    for name in names:
        lab.machine(name).run(f"systemctl stop {SERVICE} && ! nft list table inet culvert")
    try:
        yield
    finally:
        for name in names:
            lab.machine(name).run(f"systemctl start {SERVICE} && nft list table inet culvert")


def prepare(lab: Lab, among: Neighbours) -> list[Attack]:
    """Make attacks possible: sit0 is up, as a `.network` file for sit* has it; strangers answer."""
    lab.machine(among.server).run("ip link set sit0 up")
    lab.machine("internet").run(f"ip address replace {STRANGER}/32 dev lo")
    return [*attacks(among)]


def test_attacks_succeed_without_the_table_and_fail_with_it(
    running_lab: Lab, among: Neighbours
) -> None:
    tried = prepare(running_lab, among)
    names = [among.server, among.forwarding, among.plain]
    with taken_out(running_lab, names):
        assert succeeded(running_lab, tried) == {each.name for each in tried}
    assert succeeded(running_lab, tried) == set()
    assert_lan(running_lab, among.lan)


def test_what_the_client_itself_would_send_nobody_can_tell_from_it(
    running_lab: Lab, among: Neighbours
) -> None:
    """As SECURITY.md says: only the sender's provider can."""
    sign = "<as-the-client>"
    spoofed = Way("internet", ipv4_of(among.plain), ipv4_of(among.server))
    packet = spoofed.packet(echo_request(among.network[5], FAR_ADDRESS, sign.encode()))
    beyond = Wire("internet", BROKER.to_server(among.server), "in", "ip6")
    assert succeeded(running_lab, [Attack(sign, "internet", [packet], beyond, sign)])


def test_advertisements_do_not_reach_a_client_that_listens(
    running_lab: Lab, among: Neighbours
) -> None:
    plain, internet = running_lab.machine(among.plain), running_lab.machine("internet")
    plain.run("sysctl -w net.ipv6.conf.sit-ipv6.accept_ra=1")
    advertised = in_ipv4(ipv4_of(among.server), ipv4_of(among.plain), advertisement())
    send(internet, [advertised, advertised])
    plain.run(f"sleep 1; ! ip -6 route show | grep {ROUTER}")
    with taken_out(running_lab, [among.plain]):
        send(internet, [advertised, advertised])
        plain.wait_for(f"ip -6 route show | grep {ROUTER}", 10)


def test_solicitations_make_no_neighbours_of_a_server(running_lab: Lab, among: Neighbours) -> None:
    """Each source that asks would be one more, in a table that all interfaces share."""
    server, client = running_lab.machine(among.server), running_lab.machine(among.forwarding)
    asking = [
        in_ipv4(
            ipv4_of(among.forwarding),
            ipv4_of(among.server),
            solicitation(among.routed[0x1000 + number], among.network[2]),
        )
        for number in range(20)
    ]
    remembered = f"ip -6 neighbour show nud all | grep '^{among.routed[0x1000]} '"
    send(client, asking)
    server.run(f"sleep 1; ! {remembered}")
    with taken_out(running_lab, [among.server]):
        send(client, asking)
        server.wait_for(remembered, 10)


# What takes away other tables, or loads them anew.
EVENTS = (
    "nft flush ruleset",
    "nft -f /etc/nftables.conf",
    *(f"systemctl {verb} nftables" for verb in ("start", "reload", "restart", "stop")),
    "! nft delete table inet culvert",
    "systemctl daemon-reexec",
    f"kill -KILL $(systemctl show --value --property=MainPID {SERVICE}); sleep 2",
)


def test_the_table_outlives_what_flushes(running_lab: Lab, among: Neighbours) -> None:
    tried = prepare(running_lab, among)
    for event in EVENTS:
        for name in (among.server, among.forwarding, among.plain):
            running_lab.machine(name).run(event)
        assert succeeded(running_lab, tried) == set(), event
        assert_lan(running_lab, among.lan)
    running_lab.reboot([among.server, among.forwarding, among.plain])
    assert_lan(running_lab, among.lan, 90)
    tried = prepare(running_lab, among)
    assert succeeded(running_lab, tried) == set()
    for name in (among.server, among.forwarding, among.plain):
        assert pending(running_lab, among.hosts(), name) == ""
