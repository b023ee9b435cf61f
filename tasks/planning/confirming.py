"""Pure: whether what worked on a host before a run still does, asked over a new connection.

A tunnel that is new, or was dead before, is no reason to go back: that is for the proof to tell.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from netaddr import IPNetwork

from tasks.declared.model import Node
from tasks.host import perl, rollback
from tasks.host.rollback import Guard
from tasks.host.state import HostState
from tasks.parts.managers import owned_interfaces

_WORKS = "@@ works: "
_LOST = "@@ lost: "
_ENDED = "@@ ended: "
_PROBING = Path(__file__).with_name("probe.pl").read_text()
# For what comes back by itself after a change: neighbours, what routers advertise, a session.
_PATIENCE = 15


@dataclass(frozen=True)
class Probes:
    """What is tried: `own` interfaces are Culvert's, whose default routes come and go with it.

    `targets` are lines of a name, an interface or `-`, and an IPv6 address that should answer.
    """

    own: tuple[str, ...]
    targets: tuple[str, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """What probe.pl reads."""
        return (*(f"own {interface}" for interface in self.own), *self.targets)


def before(node: Node, state: HostState) -> Probes:
    """What to try on a host as it is, of which the node is what it is declared to be."""
    return _probes(node, tunnels(state), owned_interfaces(state))


def after(node: Node, state: HostState, wanted: Mapping[str, str]) -> Probes:
    """What to try once these are its tunnels, each with its other end; that may be none."""
    return _probes(node, wanted, owned_interfaces(state) | wanted.keys())


def tunnels(state: HostState) -> dict[str, str]:
    """By interface, the other end of each tunnel of Culvert's that is there."""
    return {
        name: end
        for name in sorted(owned_interfaces(state) & state.links.keys())
        for network in state.links[name].addresses
        if (end := peer(network))
    }


def peer(network: str) -> str | None:
    """The other address of a tunnel's two, by one of them."""
    found = IPNetwork(network)
    if found.version != 6 or found.prefixlen != 127:
        return None
    return next(str(each) for each in found if each != found.ip)


def _probes(node: Node, tunnels: Mapping[str, str], own: Collection[str]) -> Probes:
    native = [f"IPv6 - {node.server.probe_address}"] if node.server and not node.upstreams else []
    tried = (f"tunnel {interface} {end}" for interface, end in tunnels.items())
    return Probes(tuple(sorted(own)), (*native, *tried))


def looking(probes: Probes) -> str:
    """A script that prints what works; `works` reads it. It fails where it can't look at all."""
    probing = perl.command(_PROBING, lines=probes.lines)
    return rollback.program(f"export LC_ALL=C {perl.ENVIRONMENT}", f"{{ {probing}\n}} || exit")


def works(output: str) -> frozenset[str]:
    lines = output.splitlines()
    return frozenset(each.removeprefix(_WORKS) for each in lines if each.startswith(_WORKS))


def said_beside(output: str) -> str:
    """The rest of what was printed with it."""
    return "\n".join(each for each in output.splitlines() if not each.startswith(_WORKS))


def expected(worked: Collection[str], probes: Probes) -> list[str]:
    """What must still work, of what did: not what is no longer to be there at all."""
    tried = {" ".join(target.split()[:2]) for target in probes.targets}
    return sorted(
        each
        for each in worked
        if not each.startswith("tunnel ") or each.removesuffix(" answers") in tried
    )


def _told(target: str) -> str:
    """What probe.pl says of one that answers."""
    kind, interface, _ = target.split()
    return f"tunnel {interface} answers" if kind == "tunnel" else "the Internet answers over IPv6"


def without_tunnels(worked: Collection[str]) -> frozenset[str]:
    return frozenset(each for each in worked if not each.startswith("tunnel "))


def confirmed(worked: Collection[str], probes: Probes) -> str:
    """The sentence about a host where all of that was seen again."""
    seen = expected(worked, probes)
    # Of a router that answers, nobody doubts that it is there.
    told = [each for each in seen if each.replace(*_SILENT) not in {*seen} - {each}]
    if not told:
        return f"{_CONFIRMED}, and nothing worked before that could have been lost"
    return f"{_CONFIRMED}: all that worked before still does ({', '.join(told)})"


_SILENT = " is there", " answers"
_CONFIRMED = "confirmed over a new SSH connection"


def script(guard: Guard, probes: Probes, worked: Collection[str]) -> str:
    """Looks whether all is still there, then has the change stay, or the host go back."""
    patience = min(_PATIENCE, guard.within // 2)
    wanted = expected(worked, probes)
    # A tunnel that is new may have no other end yet, and each that is silent is waited for.
    tried = Probes(probes.own, tuple(each for each in probes.targets if _told(each) in wanted))
    lines = (*tried.lines, *(f"expected {each}" for each in wanted))
    judging = perl.command(_PROBING, str(patience), lines=lines)
    return rollback.program(
        "set -u",
        f"export LC_ALL=C {perl.ENVIRONMENT}",
        'export PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"',
        rollback.opening(guard),
        rollback.FILING,
        f'in_time() {{ mine || {{ echo "{_ENDED}$(went_back)"; return 1; }}; }}',
        "in_time || return 0",
        f"lost=$({judging}\n) || lost=${{lost:-{_UNSEEN}}}",
        _JUDGED,
        rollback.DISARMING,
        f"echo '{_ENDED}confirmed'",
    )


_UNSEEN = f"'{_LOST}sight of it: what looks there ended too early'"
_JUDGED = f"""if [ -n "$lost" ]; then
    echo "$lost"
    go_back "this was lost: $(echo "$lost" | sed 's/^{_LOST}//' | paste -sd , -)"
    echo "{_ENDED}$(went_back)"
    return
fi
in_time || return 0
set -e"""


@dataclass(frozen=True)
class Verdict:
    """How the judging of a host ended: `confirmed`, `undone`, or still `undoing`.

    `lost` is what worked before; nothing where it was going back before it was asked.
    """

    ended: str
    lost: tuple[str, ...] = ()


def verdict(output: str) -> Verdict:
    """What the script printed."""
    lines = output.splitlines()
    ended = next((e.removeprefix(_ENDED) for e in lines if e.startswith(_ENDED)), "")
    return Verdict(ended, tuple(e.removeprefix(_LOST) for e in lines if e.startswith(_LOST)))
