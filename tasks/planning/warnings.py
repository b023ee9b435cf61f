"""Pure: what stops nothing, and is better known: said beside the plan."""

from collections import defaultdict
from collections.abc import Iterable

from tasks.declared.model import End
from tasks.declared.written import IPV6_MINIMUM_MTU
from tasks.host.state import HostState, Link, sysctl_key
from tasks.parts import openings
from tasks.parts.part import Site
from tasks.planning import policy

# What goes around each packet: an IPv4 header without options.
_HEADER = 20
_ECHO_IGNORED = "net/ipv6/icmp/echo_ignore_all"


def warnings(site: Site, state: HostState) -> Iterable[str]:
    """What a person may want to change."""
    yield from _of_mtu(site, state)
    yield from _of_echo(site, state)
    yield from policy.warnings(site, state)
    yield from openings.warnings(site, state)


def _of_mtu(site: Site, state: HostState) -> Iterable[str]:
    """Tunnels whose packets are too long for what carries them."""
    too_long: dict[str, dict[str, End]] = defaultdict(dict)
    for end in site.ends:
        carrier = _carrier(end, state)
        if carrier is not None and end.mtu > carrier.mtu - _HEADER:
            too_long[carrier.name][end.tunnel.client] = end
    for name, ends in too_long.items():
        carried, clients = state.links[name].mtu, " and ".join(ends)
        fitting = carried - _HEADER
        if fitting < IPV6_MINIMUM_MTU:
            way_out = f"IPv6 needs {IPV6_MINIMUM_MTU}, so have {name} carry more"
        else:
            way_out = f'write `"mtu": {fitting}` there'
        yield (
            f"{name} carries packets of {carried} bytes, so those over {fitting} don't fit through "
            f"the tunnel of {clients}: {way_out}"
        )


def _carrier(end: End, state: HostState) -> Link | None:
    """The interface by which a tunnel's packets leave."""
    name = state.ipv4_devices.get(end.remote) or state.addresses.get(end.local)
    return state.links.get(name) if name else None


def _of_echo(site: Site, state: HostState) -> Iterable[str]:
    """A host that can't be asked whether it is there."""
    # A client's proof has another way to see its server where it sends all else through it.
    asking = [end.peer_host for end in site.ends if end.is_client or not end.tunnel.default_route]
    if asking and state.sysctls.get(_ECHO_IGNORED) == "1":
        peers = " and ".join(dict.fromkeys(asking))
        yield (
            f"{sysctl_key(_ECHO_IGNORED)} is 1, so it answers no echo request, by which the proof "
            f"on {peers} looks for it: set it to 0 for the time of a proof"
        )
