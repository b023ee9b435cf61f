"""Pure: what Culvert adds to a running host beside its own interfaces, and takes back.

Proxy entries, unreachable routes, addresses on networks behind a client: nothing in the kernel
tells whose they are, so a file remembers which are Culvert's.
"""

import shlex
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache

from netaddr import IPAddress

from tasks.host.changes import Step
from tasks.host.render import render
from tasks.host.state import FOLDER, File, HostState, Question, Search
from tasks.parts.part import UNREACHABLE_METRIC, Site

FILE = f"/var/lib/{FOLDER}/added"

FOLDERS = (f"/var/lib/{FOLDER}",)
OWN_FOLDERS = (FOLDER,)
QUESTIONS: tuple[Question | Search, ...] = ()


@dataclass(frozen=True)
class Addition:
    """One thing: the line that tells of it, and the commands that make it and take it back.

    `line` identifies it, in dry runs and in the file.
    """

    line: str

    @property
    def add(self) -> str:
        return self._command("add")

    @property
    def delete(self) -> str:
        return self._command("delete")

    @property
    def taking_back(self) -> tuple[str, ...]:
        """Commands that take it back, each of them one among others'."""
        if self.line.startswith("proxy "):
            # To delete one that isn't there ends even `ip -force -batch`, which else goes on.
            return self.add, self.delete
        return (self.delete,)

    def _command(self, verb: str) -> str:
        # A device may be called by anything that is no space.
        kind, _, rest = " ".join(map(shlex.quote, self.line.split())).partition(" ")
        if kind == "proxy":
            # Adding one that is there returns 0: networkd may have been quicker.
            return f"ip -6 neighbour {verb} proxy {rest.removeprefix('entry ')}"
        return f"ip -6 {kind} {verb} {rest}"


@cache
def proxy(address: IPAddress, device: str) -> Addition:
    return Addition(f"proxy entry {address} dev {device}")


def unreachable(prefix: str) -> Addition:
    # On `lo`, where the kernel puts it whatever was said.
    return Addition(f"route unreachable {prefix} dev lo metric {UNREACHABLE_METRIC}")


def address(network: str, device: str) -> Addition:
    return Addition(f"address {network} dev {device}")


def wanted(site: Site) -> tuple[Addition, ...]:
    """What a site needs, in the order in which it is made."""
    return (
        *(unreachable(str(prefix)) for prefix in site.node.routed_here),
        *(address(str(lan.address), lan.interface) for lan in site.node.lans),
        *(proxy(each, site.external_interface) for each in site.proxied),
    )


def obstacles(site: Site, state: HostState) -> Iterable[str]:
    """What is to be added, is there, and isn't Culvert's: it would be taken back as if it were.

    Addresses and proxy entries are looked at with all that the host uses already.
    """
    there = _rejections(state) - recorded(state).keys()
    for prefix in site.node.routed_here:
        if (route := unreachable(str(prefix))) in there:
            yield (
                f"{route.line} is there already, and {FILE} doesn't say that Culvert added it: "
                f"remove it (`{route.delete}`), and the next run adds it"
            )


def lost_at_boot(site: Site, state: HostState) -> Iterable[str]:
    """None of its own: what brings them back are files of the manager's."""
    del site, state
    return ()


def files(site: Site, state: HostState) -> dict[str, File]:
    """What remembers them."""
    del state
    lines = [addition.line for addition in wanted(site)]
    return {FILE: File(render("culvert/added", lines=lines))} if lines else {}


def recorded(state: HostState) -> Mapping[Addition, None]:
    """What is Culvert's where it is there, by its own record: in the order of that."""
    return _told(state.files[FILE].text if FILE in state.files else "")


# Of a host it is asked for several times in a row.
@lru_cache(maxsize=1)
def _told(text: str) -> Mapping[Addition, None]:
    return {Addition(line): None for line in text.splitlines() if not line.startswith("#")}


def held(state: HostState) -> set[Addition]:
    """All that is there, whoever made it."""
    return {
        *(proxy(each, device) for each, device in state.proxies),
        *_rejections(state),
        *(
            address(network, link.name)
            for link in state.links.values()
            for network in link.addresses
        ),
    }


def _rejections(state: HostState) -> set[Addition]:
    return {
        unreachable(route.destination)
        for route in state.routes
        if route.type == "unreachable" and route.metric == UNREACHABLE_METRIC
    }


def checks(site: Site, staged: Mapping[str, str]) -> Iterable[str]:
    """None: nobody but Culvert reads the record."""
    del site, staged
    return ()


def stopping(site: Site, state: HostState, changed: Collection[str]) -> Iterable[Step]:
    """What is no longer needed goes, while the old record is still there to tell of it."""
    del changed
    kept = {*wanted(site)}
    leaving = [old for old in recorded(state) if old not in kept]
    there = held(state) if leaving else ()
    for old in leaving:
        if old in there:
            yield Step((f"-{old.line}",), old.taking_back, undo=(old.add,))


def starting(site: Site, state: HostState, changed: Collection[str]) -> Iterable[Step]:
    """What is needed and not there."""
    del changed
    there = held(state)
    missing = [new for new in wanted(site) if new not in there]
    reasons = _reasons(site) if missing else {}
    for new in missing:
        # Whoever has taken it back before has done no harm.
        undo = tuple(f"{command} || true" for command in new.taking_back)
        yield Step((f"+{new.line}",), (new.add,), undo, reasons.get(new, ""))


def _reasons(site: Site) -> dict[Addition, str]:
    """Why each is added, for a person: no part of the line, which identifies it."""
    found = {
        unreachable(str(prefix)): "the worst metric: only for what nobody uses"
        for prefix in site.node.routed_here
    }
    for end in site.ends:
        found |= {
            proxy(end.peer, site.external_interface): (
                f"answers the router there for {end.peer_host}"
            ),
            proxy(end.address, site.external_interface): (
                f"answers the router there for this end of {end.interface}"
            ),
        }
    return found
