"""Pure: what shows that packets flow on a host: a script to run there, and sentences to read."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from netaddr import IPAddress

from tasks.declared.model import End
from tasks.host import perl
from tasks.host.state import sysctl_key
from tasks.parts import filtering
from tasks.parts.part import Site

_PROGRAM = "".join(
    Path(__file__).with_name(f"{name}.pl").read_text()
    for name in ("proof", "tables", "ping", "tcp")
)


@dataclass(frozen=True)
class Way:
    """From which address to which other one packets are to pass."""

    source: IPAddress
    target: IPAddress


@dataclass(frozen=True)
class Check:
    """One expectation, and in words of proof.pl's, what it is asked for on the host.

    `way` is that of pings and TCP, `size` that of large pings. One of TCP needs the proof on its
    `partner` at the same time, if it has one.
    """

    expected: str
    asked: str
    way: Way | None = None
    size: int = 0
    is_tcp: bool = False
    partner: str = ""


@dataclass(frozen=True)
class Result:
    """What a check saw, in a line."""

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
    return [*_of_site(site, absent)]


def _of_site(site: Site, absent: Collection[str]) -> Iterable[Check]:
    for end in site.ends:
        yield from _of_end(end, absent, site)
    if site.node.server is not None:
        yield from _of_server(site)
    yield Check(
        f"the tunnels' filter is in force (table {filtering.TABLE})", f"held {filtering.TABLE}"
    )


def _of_end(end: End, absent: Collection[str], site: Site) -> Iterable[Check]:
    probe = end.tunnel.server.probe_address
    way = Way(end.address, end.peer)
    if end.is_client or end.peer_host not in absent:
        # What leads on from there, for a server that answers no echo request.
        beyond = f" beyond {probe}" if end.default_route else ""
        yield _ping(f"{end.peer_host} answers at {end.peer} through {end.interface}", way, beyond)
        yield _ping(
            f"packets of full size ({end.mtu} bytes) pass through {end.interface} both ways",
            way,
            f" bytes {end.mtu}{beyond}",
            end.mtu,
        )
    if end.peer_host not in absent:
        yield _tcp(
            f"TCP passes both ways between {end.address} and {end.peer} through {end.interface} "
            "(16 KB each way)",
            way,
            "client" if end.is_client else "server",
            end.peer_host,
        )
    if end.default_route:
        yield Check(
            f"{probe} is routed into {end.interface}",
            f"leads {probe} {end.address} {end.interface}",
        )
    if end.is_client:
        yield from _of_networks(end)
    else:
        for prefix in end.destinations:
            yield Check(
                f"{prefix} is routed into {end.interface}", f"routed {prefix} {end.interface}"
            )
    if end.default_route:
        yield from _of_the_internet(end.address, end)
    elif not end.is_client:
        # From the server's own tunnel address: the answer comes only if that one is proxied too.
        yield _ping(
            f"{probe} on the Internet answers {end.address}",
            Way(end.address, probe),
            f" arriving {site.external_interface}",
        )


def _of_networks(end: End) -> Iterable[Check]:
    for prefix in end.tunnel.routed_prefixes:
        yield Check(f"what nobody uses of {prefix} is unreachable", f"unreachable {prefix}")
    if end.default_route:
        for lan in end.tunnel.lans:
            yield from _of_the_internet(lan.address.ip, end, f" on {lan.interface}")


def _of_the_internet(source: IPAddress, end: End, where: str = "") -> Iterable[Check]:
    way = Way(source, end.tunnel.server.probe_address)
    yield _ping(f"{way.target} on the Internet answers {source}{where}", way)
    yield _tcp(f"TCP from {source} to {way.target} is answered", way, "probe")


def _ping(expected: str, way: Way, more: str = "", size: int = 0) -> Check:
    return Check(expected, f"ping {way.source} {way.target}{more}", way, size)


def _tcp(expected: str, way: Way, role: str, partner: str = "") -> Check:
    asked = f"{role} {way.source} {way.target}"
    return Check(expected, asked, way, is_tcp=True, partner=partner)


def _of_server(site: Site) -> Iterable[Check]:
    external = site.external_interface
    paths = ["net/ipv6/conf/all/forwarding", f"net/ipv6/conf/{external}/forwarding"]
    if site.proxied:
        paths.append("net/ipv6/conf/all/proxy_ndp")
    for path in paths:
        yield Check(f"{sysctl_key(path)} is 1", f"sysctl {path} 1")
    for address in site.proxied:
        yield Check(
            f"the proxy entry for {address} is on {external}", f"proxied {address} {external}"
        )


def losses(sentences: Iterable[str]) -> Iterable[str]:
    """What the next boot would take away, as failures of the proof."""
    for sentence in sentences:
        yield f"expected: all of this outlives a boot; would be lost at the next boot: {sentence}"


# Each connection of TCP takes two files, and 1,024 is what a process is given by default.
_START = f"""export LC_ALL=C {perl.ENVIRONMENT} PATH="$PATH:/usr/sbin:/sbin"
while read -r what _ files _ most _; do
    [ "$what $files" != 'Max files' ] || ulimit -n "$most"
done </proc/self/limits"""


def script(wanted: Iterable[Check]) -> str:
    """A shell script that makes all checks and prints a line for each: index, status, seen.

    They are made by one program, in any order.
    """
    lines = [f"{index} {check.asked}" for index, check in enumerate(wanted)]
    proving = perl.command(f"{_PROGRAM}prove();\n", lines=lines)
    return f"{_START}\nexec {proving}\n"


def results(wanted: list[Check], output: str) -> list[Result]:
    """What the script's output says of each check; one that it doesn't speak of isn't met."""
    told = {}
    for line in output.splitlines():
        if line.startswith("@@ check "):
            _, _, index, status, *seen = line.split(" ", 4)
            told[int(index)] = status == "0", "".join(seen)
    return [Result(check, *told.get(index, (False, ""))) for index, check in enumerate(wanted)]


def verified(site: Site, found: Collection[Result], *, in_full: bool) -> Iterable[str]:
    """What is well: a line for each check, or where it would be very many, one for all."""
    met = [result.sentence for result in found if result.is_met]
    if in_full or len(site.ends) <= SEVERAL:
        yield from met
    elif met:
        yield (
            f"verified: {len(met):,} of {len(found):,} checks of {len(site.ends):,} tunnels (-v "
            "lists them)"
        )


SEVERAL = 20
"""Tunnels of a host that a person still reads of one by one."""


def explanations(site: Site, found: Collection[Result]) -> Iterable[str]:
    """What several results say together, beyond each of them."""
    yield from _of_pings_alone(found)
    yield from _of_delivery(site, found)


_IS_CONNECTED = "a connection,"
"""How tcp.pl begins where TCP isn't refused, and gets stuck."""
_OWN_IS_ANSWERED = "the host's own address is answered"
"""What ping.pl says of a server."""


def _of_pings_alone(found: Collection[Result]) -> Iterable[str]:
    """Ways that small pings pass, and large ones or TCP don't."""
    ways = {r.check.way for r in found if r.is_met and not (r.check.is_tcp or r.check.size)}
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
        if not result.check.is_tcp or result.seen.startswith(_IS_CONNECTED):
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
