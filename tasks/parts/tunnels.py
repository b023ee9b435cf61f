"""Pure: the tunnels of a host, by the network manager that is to have them."""

from collections.abc import Collection, Iterable, Mapping

from netaddr import IPAddress

from tasks.declared.model import End
from tasks.host.changes import Step, once_back
from tasks.host.state import File, HostState, Link
from tasks.parts import managers, sit
from tasks.parts.managers.manager import Manager
from tasks.parts.part import Site

FOLDERS = tuple(folder for manager in managers.MANAGERS for folder in manager.folders)
OWN_FOLDERS = tuple(folder for manager in managers.MANAGERS for folder in manager.own_folders)
QUESTIONS = tuple(manager.question for manager in managers.MANAGERS)


def obstacles(site: Site, state: HostState) -> Iterable[str]:
    """What keeps the host's manager from carrying them, and what is added to its interfaces."""
    manager = _manager(site)
    if manager is None:
        return
    for lan in site.lans:
        if manager.evidence(state, lan.interface) is None:
            yield (
                f"`lan` {lan.interface}: {manager.name} doesn't hold it, so nothing would keep "
                f"{lan.address} there; looked for: {manager.looked_for}"
            )
    yield from manager.obstacles(site, state)


def lost_at_boot(site: Site, state: HostState) -> Iterable[str]:
    """What would keep the manager from bringing back what it is told of."""
    manager = _manager(site)
    return manager.lost_at_boot(site, state) if manager else ()


def files(site: Site, state: HostState) -> dict[str, File]:
    """What the manager reads."""
    manager = _manager(site)
    return manager.files(site, state) if manager else {}


def checks(site: Site, staged: Mapping[str, str]) -> Iterable[str]:
    """The manager's own look at them."""
    manager = _manager(site)
    return manager.checks(staged) if manager else ()


def stopping(site: Site, state: HostState, changed: Collection[str]) -> Iterable[Step]:
    """Tunnels go while their manager still has the files that tell of them."""
    leaving = _leaving(site, state)
    for holder, interfaces in leaving.items():
        # Whatever else has the name by now is none of Culvert's.
        going = [name for name in interfaces if state.links.get(name, _NO_LINK).kind == "sit"]
        known = [name for name in interfaces if name in going or name not in state.links]
        if known:
            yield Step(
                shown=tuple(f"-{sit.link_line(state.links[name])}" for name in going),
                commands=(*holder.remove(known), *([sit.deletion(going)] if going else [])),
                undo=tuple(holder.restore(known, state)),
            )
    manager = _manager(site)
    new = {end.interface for end in site.ends} - managers.owned_interfaces(state)
    if manager and new and (undo := tuple(manager.forget(sorted(new)))):
        yield once_back(*undo, outlasts=True)
    if undo := tuple(_read_again(site, state, changed)):
        yield once_back(*undo)


def starting(site: Site, state: HostState, changed: Collection[str]) -> Iterable[Step]:
    """New tunnels are made, running ones mended in place."""
    leaving = {name for names in _leaving(site, state).values() for name in names}
    staying = state.links.keys() - leaving
    new = [end for end in site.ends if end.interface not in staying]
    kept = [end for end in site.ends if end.interface in staying]
    manager = _manager(site)
    if manager is None:
        yield from sit.unloading(leaving, state)
        return
    for end in kept:
        yield from sit.wrong_settings(end, state)
        yield from sit.stale_routes(end, state)
    if new:
        yield _creation(new, manager, state)
    yield from manager.refresh(site, state, changed)
    for end in kept:
        yield from sit.mending(end, state)


def _read_again(site: Site, state: HostState, changed: Collection[str]) -> Iterable[str]:
    """What has the manager know the old files of tunnels that stay, or are made anew."""
    manager = _manager(site)
    if manager is None:
        return
    leaving = {name for names in _leaving(site, state).values() for name in names}
    known = {name: path for path in state.files if (name := manager.defines(path))}
    staying = [name for name in known if name not in leaving]
    if absent := [name for name in staying if name not in state.links]:
        yield from manager.restore(absent, state)
    if running := [n for n in staying if n in state.links and known[n] in changed]:
        yield from manager.reread(running)


def _manager(site: Site) -> Manager | None:
    return managers.by_name(site.manager) if site.manager else None


def _leaving(site: Site, state: HostState) -> Mapping[Manager, Collection[str]]:
    """The tunnels of Culvert's that must go, by the manager that has them.

    What is no longer declared, what another manager is to have, and what has the two IPv4
    addresses that another tunnel is to have: the kernel allows one tunnel for each pair.
    """
    manager = _manager(site)
    declared = {end.interface for end in site.ends}
    wanted: dict[tuple[IPAddress | None, IPAddress | None], str] = {
        (end.local, end.remote): end.interface for end in site.ends
    }
    leaving: dict[Manager, list[str]] = {}
    for path in state.files:
        definers = managers.definers(path)
        holder = manager if manager in definers else next(iter(definers), None)
        if holder is None:
            continue
        interface = definers[holder]
        link = state.links.get(interface, _NO_LINK)
        stays = interface in declared and holder is manager
        if not stays or wanted.get((link.local, link.remote), interface) != interface:
            leaving.setdefault(holder, []).append(interface)
    return leaving


_NO_LINK = Link(name="", kind=None, is_up=False, mtu=0)


def _creation(new: Collection[End], manager: Manager, state: HostState) -> Step:
    """All in one: a process for each tunnel would be most of what a run takes."""
    interfaces = [end.interface for end in new]
    shown = [line for end in new for line in sit.creation_lines(end)]
    # Most managers take the links along.
    undo = [*manager.remove(interfaces), sit.deletion(interfaces)]
    reason = ""
    if "sit0" not in state.links:
        shown.append("+link sit0: down")
        reason = "the kernel's fallback device: comes with its sit module, and stays down"
        undo.append(sit.UNLOAD)
    return Step(tuple(shown), (*manager.create(new), sit.are_made(new)), tuple(undo), reason)
