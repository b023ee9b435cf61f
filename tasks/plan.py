"""Pure: from what a host is to carry, and what it is now, to the changes that lie between.

The plan is the one source of both the diff that a dry run prints and the script that a run applies.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from netaddr import IPAddress

from tasks import kernel, managers, obstacles, sysctls
from tasks.changes import Changes, FileChange, Step
from tasks.managers.manager import Manager, Site
from tasks.model import Node
from tasks.obstacles import ObstacleError
from tasks.state import File, HostState


@dataclass(frozen=True)
class Plan:
    """What a run would do to one host, and on what grounds; `site` is None where it removes all."""

    node: Node
    site: Site | None
    grounds: str
    changes: Changes


def plan(node: Node, state: HostState) -> Plan:
    """The plan for a host: to be as declared, or rid of Culvert where nothing is declared.

    Raises ObstacleError where something on the host stands in the way.
    """
    if not node.is_declared:
        return _removal(node, state)
    _stop(obstacles.of_user(state))
    _stop(obstacles.of_kernel(state))
    _stop(obstacles.of_ends(node, state))
    site = Site(node, _external_interface(node, state))
    manager, evidence = _manager(site, state)
    settings = sysctls.wanted(site, state)
    _stop(manager.obstacles(state, site))
    _stop(obstacles.of_sysctls(state, settings))
    files = _file_changes(state, manager.files(site, state) | sysctls.files(settings, state))
    changes = Changes(
        host=node.host,
        files=files,
        checks=tuple(manager.checks({c.path: c.staged for c in files if c.after is not None})),
        removals=tuple(_removals(node, state)),
        steps=(
            *sysctls.steps(settings, node, state),
            *_manager_steps(site, manager, state, [change.path for change in files]),
            *(
                step
                for end in site.ends
                if end.interface in state.links
                for step in kernel.mending(end, state)
            ),
            *_proxy_steps({(address, site.external_interface) for address in site.proxied}, state),
        ),
    )
    return Plan(node, site, f"{manager.name} holds {site.external_interface}: {evidence}", changes)


def _removal(node: Node, state: HostState) -> Plan:
    if state.files:
        _stop(obstacles.of_user(state))
    changes = Changes(
        host=node.host,
        files=_file_changes(state, {}),
        removals=tuple(_removals(node, state)),
        steps=(
            *sysctls.steps({}, node, state),
            *_proxy_steps(set(), state),
            *kernel.unloading(obstacles.owned_interfaces(state), state),
        ),
    )
    return Plan(node, None, "nothing is declared for it", changes)


def _stop(sentences: Iterable[str]) -> None:
    if found := tuple(sentences):
        raise ObstacleError(found)


# --- Where the host's Internet is, and who manages it ----------------------------------------


def _external_interface(node: Node, state: HostState) -> str:
    tunnels = {end.interface for end in node.ends}
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
        raise ObstacleError(
            [
                "it has no IPv6 default route, so it can't serve tunnels; if it has native IPv6 "
                "all the same, name its interface in `tunnel_server.external_interface`"
            ]
        )
    remote = node.ends[0].remote
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


# --- What lies between -----------------------------------------------------------------------


def _file_changes(state: HostState, files: dict[str, File]) -> tuple[FileChange, ...]:
    return tuple(
        FileChange(path, state.files.get(path), files.get(path))
        for path in sorted({*state.files, *files})
        if state.files.get(path) != files.get(path)
    )


def _removals(node: Node, state: HostState) -> Iterable[Step]:
    """Tunnels that Culvert made and that are no longer declared."""
    declared = {end.interface for end in node.ends}
    for path in state.files:
        for manager in managers.MANAGERS:
            interface = manager.defines(path)
            link = state.links.get(interface) if interface else None
            # Whatever else has the name by now is none of Culvert's.
            if link is None or link.kind != "sit" or interface in declared:
                continue
            gone = f"[ ! -e /sys/class/net/{link.name} ]"
            yield Step(
                shown=(f"-{kernel.link_line(link)}",),
                commands=(
                    *manager.remove(link.name),
                    f"{gone} || ip link delete {link.name}",
                ),
            )


def _manager_steps(
    site: Site, manager: Manager, state: HostState, changed_paths: list[str]
) -> Iterable[Step]:
    absent = site.absent(state)
    for index, end in enumerate(absent):
        shown = list(kernel.creation_lines(end))
        if index == 0 and "sit0" not in state.links:
            shown.append("+link sit0: the kernel's own, down, comes with its sit module")
        yield Step(tuple(shown), tuple(manager.create(end)))
    yield from manager.refresh(site, state, changed_paths)


def _proxy_steps(wanted: set[tuple[IPAddress, str]], state: HostState) -> Iterable[Step]:
    for address, device in sorted(_owned_proxies(state) & state.proxies - wanted):
        yield Step(
            (f"-proxy entry {address} dev {device}",),
            (f"ip -6 neighbour delete proxy {address} dev {device}",),
        )
    for address, device in sorted(wanted - state.proxies):
        yield Step(
            (f"+proxy entry {address} dev {device}",),
            # Adding one that is there returns 0: networkd may have been quicker.
            (f"ip -6 neighbour add proxy {address} dev {device}",),
        )


def _owned_proxies(state: HostState) -> set[tuple[IPAddress, str]]:
    """The entries that files of Culvert on the host bring back, so the ones that it made."""
    return {
        (IPAddress(address), device)
        for file in state.files.values()
        for address, device in re.findall(r"proxy (\S+) dev (\S+)", file.text)
    }
