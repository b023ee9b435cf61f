"""Pure: what stops nothing, and is better known: said beside the plan."""

import re
from collections.abc import Iterable

from tasks.host.state import FALLBACK, HostState, sysctl_key
from tasks.parts import filtering, managers, openings
from tasks.parts.part import Site
from tasks.planning import exposure, policy

_ECHO_IGNORED = "net/ipv6/icmp/echo_ignore_all"


def warnings(site: Site, state: HostState) -> Iterable[str]:
    """What a person may want to change."""
    yield from _of_echo(site, state)
    yield from policy.warnings(site, state)
    yield from filtering.warnings(state)
    yield from openings.warnings(site, state)
    yield from _of_boot(site, state)
    yield from _of_fallback(site, state)
    yield from exposure.warnings(site, state)


def _of_boot(site: Site, state: HostState) -> Iterable[str]:
    if site.manager:
        yield from managers.by_name(site.manager).late_at_boot(site, state)


def _of_fallback(site: Site, state: HostState) -> Iterable[str]:
    """The kernel's sit0, which takes protocol 41 from anybody: up now, or after the next boot."""
    if not site.ends:
        return
    link = state.links.get(FALLBACK)
    if link is not None and link.is_up:
        yield (
            f"{FALLBACK} is up, so that it takes protocol 41 from anybody, and no tunnel needs it: "
            f"run `ip link set {FALLBACK} down`"
        )
    yield from dict.fromkeys(
        sentence for manager in managers.MANAGERS for sentence in manager.raising_fallback(state)
    )
    for line in state.lines:
        if _RAISES_FALLBACK.search(line.text) and not line.text.lstrip().startswith("#"):
            yield (
                f"{line.path}, line {line.number}, brings up {FALLBACK}, which takes protocol 41 "
                f"from anybody: take `{line.text.strip()}` out"
            )


_RAISES_FALLBACK = re.compile(
    rf"\bip\b.*\blink\s+set\s+(?:dev\s+)?{FALLBACK}\b.*\bup\b"
    rf"|\bifconfig\s+{FALLBACK}\s.*\b(?:up|tunnel|add)\b|\bifup\b.*\s{FALLBACK}\b"
)


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
