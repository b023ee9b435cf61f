"""Pure: what shows that packets flow on a host: a script to run there, and sentences to read."""

from collections.abc import Iterable
from dataclasses import dataclass

from tasks.managers.manager import Site
from tasks.model import End

# Pings a second apart from the first to the last: a route, a neighbour and the tunnel may all be
# new, and the provider's router may have given up on an address a moment ago.
ATTEMPTS = 10


@dataclass(frozen=True)
class Check:
    """One expectation, and a shell command that prints what is seen and fails if it isn't met."""

    expected: str
    command: str


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


def checks(site: Site) -> list[Check]:
    """Everything to be proven on one host."""
    found = [check for end in site.ends for check in _of_end(end)]
    if site.node.server is not None:
        found += _of_server(site)
    return found


def _of_end(end: End) -> Iterable[Check]:
    yield Check(
        f"{end.peer_host} answers at {end.peer} through {end.interface}",
        _ping(end, str(end.peer)),
    )
    probe = end.tunnel.server.probe_address
    if end.default_route:
        yield Check(
            f"{probe} on the Internet is routed into {end.interface}",
            f"ip -6 route get {probe} from {end.address} 2>&1 | grep -w {end.interface}",
        )
    if end.default_route or not end.is_client:
        yield Check(f"{probe} on the Internet answers {end.address}", _ping(end, str(probe)))


def _ping(end: End, target: str) -> str:
    return f"reach {end.address} {target}"


def _of_server(site: Site) -> Iterable[Check]:
    external = site.external_interface
    settings = {"conf/all/forwarding": "1", f"conf/{external}/forwarding": "1"}
    if site.proxied:
        settings[f"conf/{external}/proxy_ndp"] = "1"
    for path, value in settings.items():
        yield Check(
            f"net/ipv6/{path} is {value}",
            f"cat /proc/sys/net/ipv6/{path} | grep -x {value} || ! cat /proc/sys/net/ipv6/{path}",
        )
    for address in site.proxied:
        yield Check(
            f"neighbour solicitations for {address} are answered on {external}",
            f"ip -6 neighbour show proxy dev {external} | grep -w {address} || "
            f"{{ echo no proxy entry; false; }}",
        )


_PROLOGUE = f"""export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"
reach() {{
    for attempt in $(seq {ATTEMPTS}); do
        # -W bounds the wait for an answer; an address without a route fails at once.
        answer=$(ping -6 -n -c 1 -W 1 -I "$1" "$2" 2>&1) && break
        sleep 0.2
    done
    printf '%s\\n' "$answer" | grep -E 'bytes from|transmitted|rror|unreachable|ping:' | tail -n 1
    case $answer in *' 0% packet loss'*) return 0 ;; *) return 1 ;; esac
}}"""


def script(wanted: list[Check]) -> str:
    """A shell script that makes all checks at once and prints a line for each: index, status, seen.

    The lines come in any order.
    """
    lines = [_PROLOGUE]
    for index, check in enumerate(wanted):
        lines.append(
            f"{{ seen=$({{ {check.command}; }} 2>&1); status=$?; "
            f"printf '@@ check %s %s %s\\n' {index} $status "
            '"$(printf %s "$seen" | tail -n 1)"; } &'
        )
    lines += ["wait", ""]
    return "\n".join(lines)


def results(wanted: list[Check], output: str) -> list[Result]:
    """What the script's output says of each check; one that it doesn't speak of isn't met."""
    told = {}
    for line in output.splitlines():
        if line.startswith("@@ check "):
            _, _, index, status, *seen = line.split(" ", 4)
            told[int(index)] = status == "0", "".join(seen)
    return [Result(check, *told.get(index, (False, ""))) for index, check in enumerate(wanted)]
