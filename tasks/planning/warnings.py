"""Pure: what stops nothing, and is better known: said beside the plan."""

from collections.abc import Iterable

from tasks.host.state import HostState, sysctl_key
from tasks.parts.part import Site
from tasks.planning import policy

_ECHO_IGNORED = "net/ipv6/icmp/echo_ignore_all"


def warnings(site: Site, state: HostState) -> Iterable[str]:
    """What a person may want to change."""
    yield from _of_echo(site, state)
    yield from policy.warnings(site, state)


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
