"""Pure: from what a host is to carry, and what it is now, to the changes that lie between.

The plan is the one source of both the diff that a dry run prints and the script that a run applies.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from netaddr import IPAddress

from tasks.declared.model import End, Node
from tasks.host.changes import Changes, FileChange, Step
from tasks.host.state import File, HostState, Link
from tasks.parts import additions, advertisements, managers, sit, sysctls
from tasks.parts.managers.manager import Manager, Site
from tasks.planning import by_hand, obstacles
from tasks.planning.obstacles import ObstacleError


@dataclass(frozen=True)
class Plan:
    """What a run would do to one host, and on what grounds; `site` is None where it removes all."""

    node: Node
    site: Site | None
    grounds: str
    changes: Changes


def plan(node: Node, state: HostState) -> Plan:
    """The plan for a host: to be as declared, or rid of Culvert where it is to carry nothing.

    Raises ObstacleError where something on the host stands in the way.
    """
    if not node.is_declared:
        return _removal(node, state)
    _stop(obstacles.of_user(state))
    _stop(obstacles.of_kernel(state))
    _stop(
        [
            *by_hand.obstacles(node, state),
            *obstacles.of_ends(node, state),
            *obstacles.of_lans(node, state),
            *advertisements.obstacles(node, state),
        ]
    )
    site = Site(node, _external_interface(node, state))
    manager, evidence = _manager(site, state)
    settings = sysctls.wanted(site, state)
    added = additions.wanted(site)
    _stop([*_unheld_lans(site, manager, state), *manager.obstacles(state, site)])
    _stop(obstacles.of_sysctls(state, settings))
    files = _file_changes(
        state,
        manager.files(site, state)
        | sysctls.files(settings, state)
        | additions.files(added)
        | advertisements.files(node),
    )
    changed = [change.path for change in files]
    staged = {change.path: change.staged for change in files if change.after is not None}
    leaving = _leaving(node, manager, state)
    new = [end for end in site.ends if end.interface not in state.links or end.interface in leaving]
    kept = [end for end in site.ends if end not in new]
    changes = Changes(
        host=node.host,
        folders=managers.FOLDERS,
        own_folders=managers.OWN_FOLDERS,
        files=files,
        checks=(*manager.checks(staged), *advertisements.checks(staged)),
        removals=(
            *advertisements.stopping(node, state, changed),
            *additions.taking_back(added, state),
            *_removals(leaving, state),
        ),
        steps=(
            *sysctls.steps(settings, node, state),
            *(step for end in kept for step in sit.stale_routes(end, state)),
            *_creations(new, manager, state),
            *manager.refresh(site, state, changed),
            *(step for end in kept for step in sit.mending(end, state)),
            *additions.making(added, state),
            *advertisements.starting(node, state, changed),
        ),
    )
    return Plan(node, site, f"{manager.name} holds {site.external_interface}: {evidence}", changes)


def _removal(node: Node, state: HostState) -> Plan:
    if state.files or state.unreadable:
        _stop(obstacles.of_user(state))
    files = _file_changes(state, {})
    leaving = _leaving(node, None, state)
    changes = Changes(
        host=node.host,
        folders=managers.FOLDERS,
        own_folders=managers.OWN_FOLDERS,
        files=files,
        removals=(
            *advertisements.stopping(node, state, ()),
            *additions.taking_back((), state),
            *_removals(leaving, state),
        ),
        steps=(
            *sysctls.steps({}, node, state),
            *advertisements.starting(node, state, [change.path for change in files]),
            *sit.unloading(leaving, state),
        ),
    )
    return Plan(node, None, "it is to carry nothing", changes)


def _stop(sentences: Iterable[str]) -> None:
    if found := tuple(sentences):
        raise ObstacleError(found)


# --- Where the host's Internet is, and who manages it ----------------------------------------


def _external_interface(node: Node, state: HostState) -> str:
    # One of Culvert's that is about to go is none either.
    tunnels = {end.interface for end in node.ends} | obstacles.owned_interfaces(state)
    if node.server is not None:
        declared = node.server.external_interface
        if declared is not None:
            if declared not in state.links:
                raise ObstacleError(
                    [f"tunnel_server.external_interface: there is no interface {declared}"]
                )
            return declared
        for route in state.default_routes():
            if route.device in state.links and route.device not in tunnels:
                return route.device
        if not any(end.default_route for end in node.ends):
            raise ObstacleError(
                [
                    "it has no IPv6 default route, so it can't serve tunnels; if it has native "
                    "IPv6 all the same, name its interface in `tunnel_server.external_interface`"
                ]
            )
        if node.proxied:
            raise ObstacleError(
                [
                    f"it has no IPv6 of its own, so nobody on its link looks for "
                    f"{node.server.prefix}: have that routed to it, and set "
                    "`tunnel_server.on_link` to False"
                ]
            )
        # IPv6 comes through a tunnel here, and IPv4 leads to that.
    remote = node.upstreams[0].remote
    if remote not in state.ipv4_devices:
        raise ObstacleError([f"it has no route to its tunnel server's {remote}"])
    return state.ipv4_devices[remote]


def _manager(site: Site, state: HostState) -> tuple[Manager, str]:
    if site.node.manager is not None:
        return managers.by_name(site.node.manager), "named in the inventory"
    for manager in managers.MANAGERS:
        if evidence := manager.evidence(state, site.external_interface):
            return manager, evidence
    looked_for = "; ".join(manager.looked_for for manager in managers.MANAGERS)
    raise ObstacleError(
        [
            f"no known network manager holds {site.external_interface}; looked for: {looked_for}. "
            "`manager` in the inventory names one all the same"
        ]
    )


def _unheld_lans(site: Site, manager: Manager, state: HostState) -> Iterable[str]:
    for lan in site.lans:
        if manager.evidence(state, lan.interface) is None:
            yield (
                f"`lan` {lan.interface}: {manager.name} doesn't hold it, so nothing would keep "
                f"{lan.address} there; looked for: {manager.looked_for}"
            )


# --- What lies between -----------------------------------------------------------------------


def _file_changes(state: HostState, files: dict[str, File]) -> tuple[FileChange, ...]:
    return tuple(
        FileChange(path, state.files.get(path), files.get(path))
        for path in sorted({*state.files, *files})
        if state.files.get(path) != files.get(path)
    )


def _leaving(node: Node, manager: Manager | None, state: HostState) -> Mapping[str, Manager]:
    """The tunnels of Culvert's that must go, each with the manager that has it.

    What is no longer declared, what another manager is to have, and what has the two IPv4
    addresses that another tunnel is to have: the kernel allows one tunnel for each pair.
    """
    declared = {end.interface for end in node.ends}
    wanted: dict[tuple[IPAddress | None, IPAddress | None], str] = {
        (end.local, end.remote): end.interface for end in node.ends
    }
    leaving = {}
    for path in state.files:
        # Managers of one family write to the same path.
        holder = next((m for m in (manager, *managers.MANAGERS) if m and m.defines(path)), None)
        interface = holder.defines(path) if holder else None
        if holder is None or interface is None:
            continue
        link = state.links.get(interface, _NO_LINK)
        stays = interface in declared and holder is manager
        if not stays or wanted.get((link.local, link.remote), interface) != interface:
            leaving[interface] = holder
    return leaving


_NO_LINK = Link(name="", kind=None, is_up=False, mtu=0)


def _removals(leaving: Mapping[str, Manager], state: HostState) -> Iterable[Step]:
    for interface, holder in leaving.items():
        link = state.links.get(interface)
        if link is None:
            yield Step((), tuple(holder.remove(interface)))
        elif link.kind == "sit":
            # Whatever else has the name by now is none of Culvert's.
            gone = f"[ ! -e /sys/class/net/{interface} ]"
            yield Step(
                shown=(f"-{sit.link_line(link)}",),
                commands=(*holder.remove(interface), f"{gone} || ip link delete {interface}"),
            )


def _creations(new: Iterable[End], manager: Manager, state: HostState) -> Iterable[Step]:
    for index, end in enumerate(new):
        shown = list(sit.creation_lines(end))
        if index == 0 and "sit0" not in state.links:
            shown.append("+link sit0: the kernel's own, down, comes with its sit module")
        yield Step(tuple(shown), tuple(manager.create(end)))
