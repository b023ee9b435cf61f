"""Pure: from what a host is to carry, and what it is now, to the changes that lie between.

The plan is the one source of both the diff that a dry run prints and the script that a run applies.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from netaddr import IPAddress

from tasks import kernel, managers, obstacles
from tasks.changes import Changes, FileChange, Step
from tasks.managers.manager import Manager, Site
from tasks.model import Node
from tasks.obstacles import ObstacleError
from tasks.render import render
from tasks.state import OWNED, File, HostState, sysctl_key

SYSCTL_FILE = f"/etc/sysctl.d/{OWNED}.conf"


@dataclass(frozen=True)
class Plan:
    """What a run would do to one host, and on what grounds."""

    site: Site
    manager: Manager
    evidence: str
    changes: Changes


def plan(node: Node, state: HostState) -> Plan:
    """The plan for a host that declares something.

    Raises ObstacleError where something on the host stands in the way.
    """
    _stop(obstacles.of_kernel(state))
    _stop(obstacles.of_ends(node, state))
    site = Site(node, _external_interface(node, state))
    manager, evidence = _manager(site, state)
    sysctls = _sysctls(site, state)
    _stop(manager.obstacles(state, site))
    _stop(obstacles.of_sysctls(state, sysctls))
    files = manager.files(site, state)
    if sysctls:
        files[SYSCTL_FILE] = File(
            render(
                "sysctl.d/60-culvert.conf",
                sysctls={sysctl_key(path): value for path, value in sysctls.items()},
            )
        )
    return Plan(site, manager, evidence, _changes(site, manager, state, files, sysctls))


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


# --- What the kernel should be set to --------------------------------------------------------


def _sysctls(site: Site, state: HostState) -> dict[str, str]:
    """The settings that a server needs, in the order in which they must be written."""
    if site.node.server is None:
        return {}
    external = site.external_interface
    wanted = {}
    # First: with forwarding on, the kernel drops the default route that it learned by router
    # advertisement wherever accept_ra is 1 (addrconf_forward_change), and asks for no other.
    learned = {route.device for route in state.default_routes() if route.protocol == "ra"}
    for interface in sorted({external, *learned}):
        path = f"net/ipv6/conf/{interface}/accept_ra"
        if state.sysctls.get(path, "0") != "0":
            wanted[path] = "2"
    # ip6_forward() reads this one; the tunnel's own `forwarding` lets nothing pass.
    wanted["net/ipv6/conf/all/forwarding"] = "1"
    if site.proxied:
        wanted[f"net/ipv6/conf/{external}/proxy_ndp"] = "1"
        # Else each answer waits a random 0 to 0.8 s (pneigh_enqueue).
        wanted[f"net/ipv6/neigh/{external}/proxy_delay"] = "0"
    return wanted


# --- What lies between -----------------------------------------------------------------------


def _changes(
    site: Site, manager: Manager, state: HostState, files: dict[str, File], sysctls: dict[str, str]
) -> Changes:
    file_changes = tuple(
        FileChange(path, state.files.get(path), files.get(path))
        for path in sorted({*state.files, *files})
        if state.files.get(path) != files.get(path)
    )
    checks = tuple(manager.checks({c.path: c.staged for c in file_changes if c.after is not None}))
    removals = tuple(_removals(site, state))
    changed_paths = [change.path for change in file_changes]
    steps = (
        *_sysctl_steps(sysctls, state),
        *_manager_steps(site, manager, state, changed_paths),
        *(
            step
            for end in site.ends
            if end.interface in state.links
            for step in kernel.mending(end, state)
        ),
        *_proxy_steps(site, state),
    )
    return Changes(site.node.host, file_changes, checks, removals, steps)


def _removals(site: Site, state: HostState) -> Iterable[Step]:
    """Tunnels that Culvert made and that are no longer declared, or change their manager."""
    declared = {end.interface for end in site.ends}
    for path in state.files:
        for manager in managers.MANAGERS:
            interface = manager.defines(path)
            if interface is None or interface in declared or interface not in state.links:
                continue
            gone = f"[ ! -e /sys/class/net/{interface} ]"
            yield Step(
                shown=(f"-{kernel.link_line(state.links[interface])}",),
                commands=(
                    *manager.remove(interface),
                    f"{gone} || ip link delete {interface}",
                ),
            )


def _sysctl_steps(wanted: dict[str, str], state: HostState) -> Iterable[Step]:
    forwarding = "net/ipv6/conf/all/forwarding"
    for path, value in wanted.items():
        if state.sysctls.get(path) == value:
            continue
        changed = [path]
        if path == forwarding:
            # The kernel writes it to every interface (addrconf_forward_change).
            changed += [other for other in _forwarding_off(state) if other != path]
        yield Step(
            shown=tuple(
                line
                for changed_path in changed
                for line in _sysctl_lines(changed_path, state.sysctls.get(changed_path), value)
            ),
            commands=(f"sysctl {path} {value}",),
        )
    if state.sysctls.get(forwarding) == wanted.get(forwarding) == "1":
        # Somebody turned it off on an interface since. Elsewhere than on Culvert's way that may
        # be meant.
        mine = {path.split("/")[3] for path in wanted} | set(_tunnels_of(wanted, state))
        for path in _forwarding_off(state):
            if path.split("/")[3] in mine:
                yield Step(tuple(_sysctl_lines(path, "0", "1")), (f"sysctl {path} 1",))


def _tunnels_of(wanted: dict[str, str], state: HostState) -> Iterable[str]:
    return obstacles.owned_interfaces(state) if wanted else ()


def _forwarding_off(state: HostState) -> list[str]:
    return [
        path
        for path, value in sorted(state.sysctls.items())
        if path.endswith("/forwarding") and value == "0"
    ]


def _sysctl_lines(path: str, before: str | None, after: str) -> Iterable[str]:
    if before is not None:
        yield f"-sysctl {sysctl_key(path)} = {before}"
    yield f"+sysctl {sysctl_key(path)} = {after}"


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


def _proxy_steps(site: Site, state: HostState) -> Iterable[Step]:
    wanted = {(address, site.external_interface) for address in site.proxied}
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
