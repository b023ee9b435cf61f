"""Pure: what shows that packets flow on a host: a script to run there, and sentences to read."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from netaddr import IPAddress

from tasks.declared.model import End
from tasks.host.state import sysctl_key
from tasks.parts import filtering
from tasks.parts.part import Site

# A neighbour, a route and the tunnel may all be new, and the provider's router may have given up on
# an address a moment ago.
ATTEMPTS = 10

AT_ONCE = 250
"""Checks that are made at the same time, of up to four processes each: a small host allows a user
some 2,000."""


_TCP = Path(__file__).with_name("tcp.pl")
# What goes around the data of an echo request: the headers of IPv6 and of ICMPv6.
_ECHO_HEADERS = 48


@dataclass(frozen=True)
class Way:
    """From which address to which other one packets are to pass."""

    source: IPAddress
    target: IPAddress


@dataclass(frozen=True)
class Check:
    """One expectation, and a shell command that prints what is seen and fails if it isn't met.

    One of TCP has a `role` instead, as the program that tries all of them knows it. It needs the
    proof on its `partner` at the same time, if it has one. `way` is that of pings and TCP, `size`
    that of large pings.
    """

    expected: str
    command: str = ""
    way: Way | None = None
    size: int = 0
    role: str = ""
    partner: str = ""


@dataclass(frozen=True)
class Result:
    """What a check saw; `seen` is its last line of output."""

    check: Check
    is_met: bool
    seen: str

    @property
    def sentence(self) -> str:
        if self.is_met:
            return f"verified: {self.check.expected}"
        return f"expected: {self.check.expected}; seen: {self.seen or 'nothing'}"


def checks(site: Site, absent: Collection[str] = ()) -> list[Check]:
    """Everything to be proven on one host.

    A server is not held to account for clients that are `absent` from the run.
    """
    found = [check for end in site.ends for check in _of_end(end, absent, site)]
    if site.node.server is not None:
        found += _of_server(site)
    # By a process that holds it, which no flush takes away.
    told = f"nft --terse list table {filtering.TABLE} 2>&1 | grep -m 1 -e 'flags owner' -e Error"
    held = _seen(told, "grep -w 'flags owner'")
    return [*found, Check(f"the tunnels' filter is in force (table {filtering.TABLE})", held)]


def _of_end(end: End, absent: Collection[str], site: Site) -> Iterable[Check]:
    probe = end.tunnel.server.probe_address
    if end.is_client or end.peer_host not in absent:
        # What leads on from there, for a server that answers no echo request.
        beyond = str(probe) if end.default_route else "''"
        way = Way(end.address, end.peer)
        yield Check(
            f"{end.peer_host} answers at {end.peer} through {end.interface}",
            f"{_ping(way)} {beyond}",
            way,
        )
        yield Check(
            f"packets of full size ({end.mtu} bytes) pass through {end.interface} both ways",
            f"{_ping(way)} {beyond} {end.mtu - _ECHO_HEADERS}",
            way,
            end.mtu,
        )
    if end.peer_host not in absent:
        yield Check(
            f"TCP passes both ways between {end.address} and {end.peer} through {end.interface} "
            "(16 KB each way)",
            way=Way(end.address, end.peer),
            role="client" if end.is_client else "server",
            partner=end.peer_host,
        )
    if end.default_route:
        yield Check(
            f"{probe} is routed into {end.interface}",
            _seen(f"ip -6 route get {probe} from {end.address}", f"grep -w {end.interface}"),
        )
    if end.is_client:
        yield from _of_networks(end)
    else:
        for prefix in end.destinations:
            yield Check(
                f"{prefix} is routed into {end.interface}",
                _seen(f"ip -6 route show {prefix}", f"grep -w {end.interface}"),
            )
    if end.default_route or not end.is_client:
        # From the server's own tunnel address: the answer comes only if that one is proxied too.
        way = Way(end.address, probe)
        command = _ping(way)
        if not end.is_client:
            external = site.external_interface
            command = f"count {external}; {command} || compare {probe} {external}"
        yield Check(f"{probe} on the Internet answers {end.address}", command, way)
        if end.is_client:
            yield _of_tcp_beyond(way)


def _of_networks(end: End) -> Iterable[Check]:
    for prefix in end.tunnel.routed_prefixes:
        yield Check(
            f"what nobody uses of {prefix} is unreachable",
            _seen(f"ip -6 route show type unreachable {prefix}", f"grep -wF {prefix}"),
        )
    if end.default_route:
        probe = end.tunnel.server.probe_address
        for lan in end.tunnel.lans:
            way = Way(lan.address.ip, probe)
            yield Check(
                f"{probe} on the Internet answers {lan.address.ip} on {lan.interface}",
                _ping(way),
                way,
            )
            yield _of_tcp_beyond(way)


def _ping(way: Way) -> str:
    return f"reach {way.source} {way.target}"


def _of_tcp_beyond(way: Way) -> Check:
    return Check(f"TCP from {way.source} to {way.target} is answered", way=way, role="probe")


def _of_server(site: Site) -> Iterable[Check]:
    external = site.external_interface
    paths = ["net/ipv6/conf/all/forwarding", f"net/ipv6/conf/{external}/forwarding"]
    if site.proxied:
        paths.append("net/ipv6/conf/all/proxy_ndp")
    for path in paths:
        yield Check(f"{sysctl_key(path)} is 1", _seen(f"cat /proc/sys/{path}", "grep -x 1"))
    for address in site.proxied:
        yield Check(
            f"the proxy entry for {address} is on {external}",
            f'echo "$proxies" | grep -F "{address} dev {external} "',
        )


def losses(sentences: Iterable[str]) -> Iterable[str]:
    """What the next boot would take away, as failures of the proof."""
    for sentence in sentences:
        yield f"expected: all of this outlives a boot; would be lost at the next boot: {sentence}"


def _seen(command: str, search: str) -> str:
    """A command's output, met where the search finds something in it."""
    return f'seen=$({command} 2>&1); echo "$seen"; echo "$seen" | {search} >/dev/null'


_OWN_IS_ANSWERED = "the host's own address is answered"

_PROLOGUE = rf"""export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"
proxies=$(ip -6 neighbour show proxy 2>&1)
# From an address to another one, perhaps with the address of who answers further on, and a size.
reach() {{
    for attempt in $(seq {ATTEMPTS}); do
        # -W bounds the wait for an answer; an address without a route fails at once.
        answer=$(ping -6 -n -c 1 -W 1 ${{4:+-M do -s "$4"}} -I "$1" "$2" 2>&1) && break
        # Who answers no echo request still says that a packet may go no further.
        [ -z "$3" ] || case $(ping -6 -n -c 1 -W 1 ${{4:+-M do -s "$4"}} -t 1 -I "$1" "$3" 2>&1) in
        *"From $2 "*) return 0 ;;
        esac
        sleep 0.2
    done
    said=$(echo "$answer" | grep -E 'transmitted|ping:|nreachable|rohibited' | tail -n 1)
    echo "$said"
    case $answer in *', 0% packet loss'*) return 0 ;; *) return 1 ;; esac
}}
# Neighbour solicitations that came, and advertisements sent: called again, since the last time.
count() {{
    while read -r key value; do
        case $key in
        Icmp6InNeighborSolicits) came=$((value - ${{came:-0}})) ;;
        Icmp6OutNeighborAdvertisements) sent=$((value - ${{sent:-0}})) ;;
        esac
    done <"/proc/net/dev_snmp6/$1"
}}
# Of a tunnel's address that isn't answered: whether the host's own is.
compare() {{
    own=$(ip -6 route get "$1" 2>/dev/null | sed -n 's/.* src \([^ ]*\).*/\1/p')
    if ping -6 -n -c 1 -W 1 -I "$own" "$1" >/dev/null 2>&1; then
        count "$2"
        said="$said; {_OWN_IS_ANSWERED}: $own; to $2 came $came neighbour solicitations meanwhile"
        said="$said, and $sent advertisements left"
    fi
    echo "$said"
    return 1
}}"""


def script(wanted: list[Check]) -> str:
    """A shell script that makes all checks and prints a line for each: index, status, seen.

    Many are made at once, so the lines come in any order.
    """
    lines = [_PROLOGUE, *_tcp(wanted)]
    commands = [(index, check) for index, check in enumerate(wanted) if not check.role]
    for count, (index, check) in enumerate(commands, 1):
        lines.append(
            f"{{ answer=$({check.command}); status=$?; "
            f"printf '@@ check %s %s %s\\n' {index} $status "
            '"$(echo "$answer" | tail -n 1)"; } &'
        )
        if count % AT_ONCE == 0:
            lines.append("wait")
    lines += ["wait", ""]
    return "\n".join(lines)


def _tcp(wanted: Iterable[Check]) -> Iterable[str]:
    """One program for all connections, beside what else is checked."""
    tried = [
        f"{index} {check.role} {check.way.source} {check.way.target}"
        for index, check in enumerate(wanted)
        if check.role and check.way
    ]
    if tried:
        # Each connection takes two files, and 1024 is what a process is given by default.
        yield "{ ulimit -n \"$(ulimit -Hn)\"; exec perl - 2>&1; } <<'END_OF_PROGRAM' &"
        yield f"{_TCP.read_text()}__END__"
        yield from tried
        yield "END_OF_PROGRAM"


def results(wanted: list[Check], output: str) -> list[Result]:
    """What the script's output says of each check; one that it doesn't speak of isn't met."""
    told = {}
    for line in output.splitlines():
        if line.startswith("@@ check "):
            _, _, index, status, *seen = line.split(" ", 4)
            told[int(index)] = status == "0", "".join(seen)
    return [Result(check, *told.get(index, (False, ""))) for index, check in enumerate(wanted)]


def explanations(site: Site, found: Collection[Result]) -> Iterable[str]:
    """What several results say together, beyond each of them."""
    yield from _of_pings_alone(found)
    yield from _of_delivery(site, found)


_IS_CONNECTED = "a connection,"
"""How the program begins where TCP isn't refused, and gets stuck."""


def _of_pings_alone(found: Collection[Result]) -> Iterable[str]:
    """Ways that small pings pass, and large ones or TCP don't."""
    ways = {r.check.way for r in found if r.is_met and not (r.check.role or r.check.size)}
    for result in found:
        way = result.check.way
        if way is None or result.is_met or way not in ways:
            continue
        if result.check.size:
            yield (
                f"small packets pass between {way.source} and {way.target}, and those of "
                f"{result.check.size} bytes don't: the IPv4 path has room for less. Where pings "
                "show that, a run of both ends finds the MTU that fits; else write it under `mtu`"
            )
        if not result.check.role or result.seen.startswith(_IS_CONNECTED):
            continue
        if result.check.partner:
            where = f"on this host, or on {result.check.partner}"
        else:
            where = "on the tunnel server, in what it forwards, or beyond"
        yield (
            f"ping passes between {way.source} and {way.target}, and TCP doesn't: a firewall lets "
            f"ICMPv6 through and nothing else ({where})"
        )


def _of_delivery(site: Site, found: Collection[Result]) -> Iterable[str]:
    """An own address that is answered where a tunnel's isn't."""
    own = {*_of_server(site)} if site.node.server is not None else set()
    is_set_up = all(result.is_met for result in found if result.check in own)
    is_undelivered = any(_OWN_IS_ANSWERED in result.seen for result in found)
    if not (is_set_up and is_undelivered):
        return
    external = site.external_interface
    if site.proxied:
        yield (
            f"the entries are on {external}, and its own address is answered where the tunnels' "
            "aren't: the provider's network doesn't deliver to these. They may not be this host's "
            "to use there; advertisements from a link-local address may be dropped, as some panels "
            "do; a filter at the port may let pass the host's own address alone. Ask the provider, "
            "or have a prefix routed to this host, with `on_link` set to False"
        )
    else:
        yield (
            f"the own address of {external} is answered where the tunnels' aren't: the provider's "
            "network doesn't route their prefix to this host (`on_link` is False), or lets pass "
            "the host's own address alone. Ask the provider"
        )
