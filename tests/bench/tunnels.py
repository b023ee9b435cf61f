"""What a server of very many tunnels takes: `python -m tests.bench.tunnels`, as root.

Seconds of CPU, of which the least of several turns counts: whatever else runs only adds to it. The
workstation's are those of the planner by itself, and of whole runs over a fake host; a host's own
are those of its scripts, in network namespaces of this machine. There a veth stands for each tunnel
that is proven, a VXLAN device for one that is read.
"""

import gc
import re
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tasks import parts
from tasks.declared import declaration
from tasks.declared.model import Node
from tasks.host import answer
from tasks.host.rollback import UNGUARDED
from tasks.host.state import HostState
from tasks.parts import managers
from tasks.parts.part import Site
from tasks.planning import proof
from tasks.planning.plan import plan
from tests import networks
from tests.bench import here, hosts
from tests.bench.wide import cost
from tests.host.test_size import linked
from tests.planning import proving
from tests.planning.test_growth import server
from tests.samples import bare, deployed, many

TURNS = 5
PLANNED = {1000: 0.3, 5000: 1.5}
"""By tunnels, the bar for a plan, in seconds."""
GROWN = 12
"""The bar for ten times the tunnels."""
FEW, MANY = 100, 1000
PROVEN = 1000
PROOF = 3.0
"""The bar for the proof of a tunnel, in milliseconds."""
RUN = 3
"""The bar for a run over a server of so many tunnels, in runs over a server of one."""


@dataclass(frozen=True)
class Cost:
    """The least and the most of several turns, in seconds of CPU."""

    least: float
    most: float

    def __str__(self) -> str:
        return f"{self.least:.3g} (to {self.most:.3g})"


def costs(prepare: Callable[[], Callable[[], object]]) -> Cost:
    """Of what `prepare` returns, which is made anew for each turn."""
    found = []
    for _ in range(TURNS):
        work = prepare()
        gc.collect()
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return Cost(min(found), max(found))


def told(what: str, figure: object, bar: float, *, is_met: bool) -> bool:
    print(f"{what}: {figure}, bar {bar:g}: {'met' if is_met else 'MISSED'}", flush=True)
    return is_met


# --- The workstation's -----------------------------------------------------------------------


def planning(manager: str, tunnels: int, *, is_routed: bool, is_there: bool) -> Cost:
    """A plan for a host that has all of it, or nothing yet; as read from its answer."""
    node = server(tunnels, is_routed=is_routed)
    state = deployed(manager, "server", carried=node) if is_there else bare(manager, "server")
    said = hosts.answer(state)

    def prepare() -> Callable[[], object]:
        fresh, read = server(tunnels, is_routed=is_routed), answer.parse(said)
        return lambda: plan(fresh, read)

    return costs(prepare)


def plans() -> Iterable[bool]:
    """A line for each size, with prefixes and without: the costliest of all managers."""
    for tunnels, bar in PLANNED.items():
        for is_routed in (False, True):
            found = {
                f"{manager}, {'unchanged' if is_there else 'first'}": planning(
                    manager, tunnels, is_routed=is_routed, is_there=is_there
                )
                for manager in managers.NAMES
                for is_there in (False, True)
            }
            worst = max(found, key=lambda each: found[each].least)
            yield told(
                f"plan() of {tunnels:,} tunnels{', each with a prefix' if is_routed else ''}, "
                f"seconds, the most of all managers ({worst})",
                found[worst],
                bar,
                is_met=found[worst].least <= bar,
            )


Work = Callable[[int], Callable[[], Callable[[], object]]]


def _declaring(tunnels: int) -> Callable[[], Callable[[], object]]:
    written = many(tunnels, is_routed=True)
    return lambda: lambda: declaration.read(written, managers.NAMES)


def _planning(tunnels: int) -> Callable[[], Callable[[], object]]:
    state = _there(tunnels)

    def prepare() -> Callable[[], object]:
        node = server(tunnels, is_routed=True)
        return lambda: plan(node, state)

    return prepare


def _scripting(tunnels: int) -> Callable[[], Callable[[], object]]:
    changes = plan(server(tunnels, is_routed=True), bare("networkd", "server")).changes
    return lambda: lambda: changes.script(UNGUARDED)


def _parsing(tunnels: int) -> Callable[[], Callable[[], object]]:
    said = hosts.answer(_there(tunnels))
    return lambda: lambda: answer.parse(said)


def _there(tunnels: int) -> HostState:
    return deployed("networkd", "server", carried=server(tunnels, is_routed=True))


def growth() -> Iterable[bool]:
    works: dict[str, Work] = {
        "the declaration": _declaring,
        "plan()": _planning,
        "the script": _scripting,
        "the answer": _parsing,
    }
    for name, work in works.items():
        few, much = costs(work(FEW)), costs(work(MANY))
        ratio = much.least / few.least
        what = f"{name} of {MANY:,} tunnels / of {FEW:,} ({much.least:.3f} s / {few.least:.3f} s)"
        yield told(what, f"{ratio:.1f}", GROWN, is_met=ratio <= GROWN)


# --- A host's own ----------------------------------------------------------------------------


def _used(script: str) -> Cost:
    """Of a script that prints what `times` says after it, in namespaces of their own."""
    found = []
    for _ in range(TURNS):
        *_, children = networks.run(script, seconds=600)
        parts_of = re.findall(r"(\d+)m([\d.]+)s", children)
        found.append(sum(int(minutes) * 60 + float(rest) for minutes, rest in parts_of))
    return Cost(min(found), max(found))


def _reading(tunnels: int) -> Cost:
    node = server(tunnels, is_routed=True)
    script = f"cat >/run/reading <<'END_OF_SCRIPT'\n{parts.script(node)}\nEND_OF_SCRIPT"
    # In a shell of its own, which made none of the tunnels.
    reading = "(sh /run/reading >/dev/null 2>&1; times)"
    return _used("\n".join([linked(node), script, reading]))


def _tunnels(node: Node) -> str:
    """Links between `server` and `client`, each with the addresses of a tunnel."""
    lines: dict[str, list[str]] = {"server": [], "client": []}
    first, *rest = node.ends
    for end in rest:
        # One card's address at both ends, so that none need be asked for: nor is any in a tunnel.
        card = f"address 02:00:{end.remote.packed.hex(':')}"
        lines["server"].append(
            f"link add {end.interface} {card} type veth peer name {end.interface} {card} netns "
            "client"
        )
    for host, address, network in (("server", "address", "destinations"), ("client", "peer", "")):
        for end in node.ends:
            if end is not first:
                lines[host].append(f"link set {end.interface} mtu {end.mtu} arp off up")
                own = getattr(end, address)
                lines[host].append(f"address add {own}/127 dev {end.interface} nodad")
            routed = getattr(end, network) if network else ()
            lines[host] += [f"route add {each} via {end.peer}" for each in routed]
            if host == "server":
                proxied = (end.address, end.peer) if end is not first else ()
                lines[host] += [f"neighbour add proxy {each} dev eth1" for each in proxied]
    batch = "ip -n {} -6 -batch - <<'END'\n{}\nEND\n"
    return "".join(batch.format(host, "\n".join(each)) for host, each in lines.items())


def _proving() -> Cost:
    """Of the server's end, whose clients prove theirs at the same time."""
    inventory = many(PROVEN, is_routed=True)
    nodes = declaration.read(inventory, managers.NAMES).nodes
    node = server(PROVEN, is_routed=True)
    wanted = {
        "server": proof.checks(Site(node, "eth1")),
        # With what they have of their servers alone: the Internet behind these is one host.
        "client": [
            check
            for each in nodes.values()
            for check in proof.checks(Site(each, "eth0"))
            if check.partner == node.host
        ],
    }
    script = [proving.HOSTS, proving.HELD, _tunnels(node)]
    for host, checks in wanted.items():
        path = f"/run/proof-{host}"
        script.append(f"cat >{path} <<'END_OF_SCRIPT'\n{proof.script(checks)}END_OF_SCRIPT")
    script += [
        "ip netns exec client sh /run/proof-client >/run/told-client & client=$!",
        "(ip netns exec server sh /run/proof-server >/run/told-server; times >/run/times)",
        "wait $client; kill %1 %2 2>/dev/null || true",
        # Nothing is measured where something isn't met.
        "! grep -v '^@@ check [0-9]* 0' /run/told-server >&2 -m 5 || exit 1",
        "cat /run/times",
    ]
    return _used("\n".join(script))


def proofs() -> Iterable[bool]:
    found = _proving()
    each = Cost(found.least / PROVEN * 1000, found.most / PROVEN * 1000)
    what = f"the proof of {PROVEN:,} tunnels on their server, milliseconds a tunnel"
    yield told(what, each, PROOF, is_met=each.least <= PROOF)


# --- Whole runs ------------------------------------------------------------------------------


def runs(folder: Path) -> Iterable[bool]:
    """Of both sides together: pyinfra on the workstation, and the script that reads the host."""
    read = {tunnels: _reading(tunnels) for tunnels in (1, PROVEN)}
    for name, arguments in (
        ("a dry run", ("deploy.py", "--dry")),
        ("drift", ("tasks.drift.drift", "-y")),
    ):
        taken = {}
        for tunnels in read:
            data, said = hosts.broker(tunnels, "@fake/")
            program = hosts.program(said, folder)
            limit = ("--limit", data[0][0])
            found = [cost(program, data, folder, *arguments, *limit).cpu for _ in range(TURNS)]
            taken[tunnels] = min(found)
        one, much = (taken[tunnels] + read[tunnels].least for tunnels in read)
        what = (
            f"{name} of a server of {PROVEN:,} tunnels / of one "
            f"({taken[PROVEN]:.2f} s and {read[PROVEN].least:.2f} s on the host / "
            f"{taken[1]:.2f} s and {read[1].least:.2f} s)"
        )
        yield told(what, f"{much / one:.2f}", RUN, is_met=much / one <= RUN)


def main() -> int:
    """The status is 1 where a bar isn't met."""
    here.tell()
    met = [*plans(), *growth(), *proofs()]
    with TemporaryDirectory() as folder:
        met += runs(Path(folder))
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
