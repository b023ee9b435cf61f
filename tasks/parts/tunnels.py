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
    for interface, holder in leaving.items():
        link = state.links.get(interface)
        if link is None:
            removing = tuple(holder.remove(interface))
            yield Step((), removing, tuple(holder.restore(interface, (), state)))
        elif link.kind == "sit":
            # Whatever else has the name by now is none of Culvert's.
            gone = f"[ ! -e /sys/class/net/{interface} ]"
            made = tuple(sit.making_again(interface, state))
            yield Step(
                shown=(f"-{sit.link_line(link)}",),
                commands=(*holder.remove(interface), f"{gone} || ip link delete {interface}"),
                undo=tuple(holder.restore(interface, made, state)),
            )
    manager = _manager(site)
    for interface in sorted(
        {end.interface for end in site.ends} - managers.owned_interfaces(state)
    ):
        if manager and (undo := tuple(manager.forget(interface))):
            yield once_back(*undo, outlasts=True)
    for path in state.files:
        if undo := tuple(_read_again(path, site, state, changed, leaving)):
            yield once_back(*undo)


def starting(site: Site, state: HostState, changed: Collection[str]) -> Iterable[Step]:
    """New tunnels are made, running ones mended in place."""
    leaving = _leaving(site, state)
    staying = state.links.keys() - leaving.keys()
    new = [end for end in site.ends if end.interface not in staying]
    kept = [end for end in site.ends if end.interface in staying]
    manager = _manager(site)
    if manager is None:
        yield from sit.unloading(leaving, state)
        return
    for end in kept:
        yield from sit.wrong_settings(end, state)
        yield from sit.stale_routes(end, state)
    yield from _creations(new, manager, state)
    yield from manager.refresh(site, state, changed)
    for end in kept:
        yield from sit.mending(end, state)


def _read_again(
    path: str,
    site: Site,
    state: HostState,
    changed: Collection[str],
    leaving: Collection[str],
) -> Iterable[str]:
    """What has the manager know the old file of a tunnel that stays, or is made anew."""
    manager = _manager(site)
    interface = manager.defines(path) if manager else None
    if manager is None or interface is None or interface in leaving:
        return ()
    if interface not in state.links:
        return manager.restore(interface, (), state)
    return manager.reread(interface) if path in changed else ()


def _manager(site: Site) -> Manager | None:
    return managers.by_name(site.manager) if site.manager else None


def _leaving(site: Site, state: HostState) -> Mapping[str, Manager]:
    """The tunnels of Culvert's that must go, each with the manager that has it.

    What is no longer declared, what another manager is to have, and what has the two IPv4
    addresses that another tunnel is to have: the kernel allows one tunnel for each pair.
    """
    manager = _manager(site)
    declared = {end.interface for end in site.ends}
    wanted: dict[tuple[IPAddress | None, IPAddress | None], str] = {
        (end.local, end.remote): end.interface for end in site.ends
    }
    leaving = {}
    for path in state.files:
        # Managers of one family write to the same path.
        candidates = (manager, *managers.MANAGERS)
        holder = next((each for each in candidates if each and each.defines(path)), None)
        interface = holder.defines(path) if holder else None
        if holder is None or interface is None:
            continue
        link = state.links.get(interface, _NO_LINK)
        stays = interface in declared and holder is manager
        if not stays or wanted.get((link.local, link.remote), interface) != interface:
            leaving[interface] = holder
    return leaving


_NO_LINK = Link(name="", kind=None, is_up=False, mtu=0)


def _creations(new: Iterable[End], manager: Manager, state: HostState) -> Iterable[Step]:
    for index, end in enumerate(new):
        shown = list(sit.creation_lines(end))
        # Most managers take the link along.
        gone = f"[ ! -e /sys/class/net/{end.interface} ]"
        undo = [*manager.remove(end.interface), f"{gone} || ip link delete {end.interface}"]
        reason = ""
        if index == 0 and "sit0" not in state.links:
            shown.append("+link sit0: down")
            reason = "the kernel's fallback device: comes with its sit module, and stays down"
            undo.append(sit.UNLOAD)
        yield Step(tuple(shown), (*manager.create(end), sit.is_made(end)), tuple(undo), reason)
