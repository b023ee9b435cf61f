"""Pure: ifupdown, Debian's own (ifup(8), interfaces(5))."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatch

from tasks.changes import Step
from tasks.managers.manager import UNREACHABLE_METRIC, Site
from tasks.model import PREFIX_LENGTH, End
from tasks.render import render
from tasks.state import OWNED, File, HostState, Question

_FOLDER = "/etc/network/interfaces.d"
# Longer than interface names can be, so that no tunnel's file is called the same.
_EXTERNAL_INTERFACE = f"{_FOLDER}/{OWNED}-external-interface"
_LOCAL_AREA_NETWORKS = f"{_FOLDER}/{OWNED}-local-area-networks"


class Ifupdown:
    """Tunnels as stanzas of their own, proxy entries as `post-up` lines of the external interface.

    Entries in a tunnel's stanza would be lost whenever the external interface goes down and up.
    """

    name = "ifupdown"
    folders = (_FOLDER,)
    question = Question(
        "ifupdown",
        "if has ifquery; then ifquery --state; fi 2>/dev/null\n"
        "grep -E '^[[:space:]]*source' /etc/network/interfaces 2>/dev/null",
    )
    looked_for = "`ifquery --state` lists it (ifupdown)"

    def evidence(self, state: HostState, interface: str) -> str | None:
        lines = self._answer(state)
        held = any(line.partition("=")[0] == interface for line in lines if "=" in line)
        return "`ifquery --state` lists it" if held else None

    def obstacles(self, state: HostState, site: Site) -> Iterable[str]:
        del site
        if not any(_includes(line) for line in self._answer(state)):
            yield (
                f"/etc/network/interfaces doesn't read {_FOLDER}, where Culvert's files go: "
                f"add the line `source {_FOLDER}/*`"
            )

    def files(self, site: Site, state: HostState) -> dict[str, File]:
        del state
        files = {
            f"{_FOLDER}/{OWNED}-{end.interface}": File(
                render("ifupdown/tunnel", end=end, prefix_length=PREFIX_LENGTH)
            )
            for end in site.ends
        }
        if site.proxied or site.node.routed_here:
            files[_EXTERNAL_INTERFACE] = File(
                render(
                    "ifupdown/external-interface",
                    interface=site.external_interface,
                    proxied=site.proxied,
                    routed_here=site.node.routed_here,
                    metric=UNREACHABLE_METRIC,
                )
            )
        if site.lans:
            lans = render("ifupdown/local-area-networks", lans=site.lans)
            files[_LOCAL_AREA_NETWORKS] = File(lans)
        return files

    def defines(self, path: str) -> str | None:
        prefix = f"{_FOLDER}/{OWNED}-"
        if not path.startswith(prefix) or path in {_EXTERNAL_INTERFACE, _LOCAL_AREA_NETWORKS}:
            return None
        return path.removeprefix(prefix)

    def checks(self, staged: Mapping[str, str]) -> Iterable[str]:
        for path, waiting in staged.items():
            if interface := self.defines(path):
                yield f"ifup --no-act --force --interfaces={waiting} {interface} 2>&1"

    def create(self, end: End) -> Iterable[str]:
        # A tunnel that vanished by hand is still up in ifupdown's records, hence --force.
        yield f"ifup --force {end.interface}"

    def remove(self, interface: str) -> Iterable[str]:
        # Without its stanza, ifupdown would not know the interface any more.
        yield f"ifdown --force {interface} || true"

    def refresh(self, site: Site, state: HostState, changed: Iterable[str]) -> Iterable[Step]:
        del site, state, changed
        return ()

    def _answer(self, state: HostState) -> list[str]:
        """Lines of `INTERFACE=STANZA` for what is up, and the lines by which others are read."""
        return state.answers.get(self.question.name, "").splitlines()


def _includes(line: str) -> bool:
    """Whether a `source` or `source-directory` line of interfaces(5) reads Culvert's files."""
    keyword, *patterns = line.split()
    if keyword not in {"source", "source-directory"}:
        return False
    sample = f"{_FOLDER}/{OWNED}-sit-ipv6"
    relative = [p if p.startswith("/") else f"/etc/network/{p}" for p in patterns]
    if keyword == "source-directory":
        return any(fnmatch(_FOLDER, pattern.rstrip("/")) for pattern in relative)
    return any(fnmatch(sample, pattern) for pattern in relative)
