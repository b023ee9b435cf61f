"""Pure: the kernel's settings that forwarding and tunnels need, and what they were before."""

from collections.abc import Collection, Iterable, Mapping

from tasks.declared.model import Node
from tasks.host import boot
from tasks.host.boot import Setting
from tasks.host.changes import Step, once_back, sysctl_again, sysctl_command, sysctl_lines
from tasks.host.render import render
from tasks.host.state import (
    FOLDER,
    OWNED,
    File,
    HostState,
    Question,
    Search,
    sysctl_key,
    sysctl_path,
)
from tasks.parts import sit
from tasks.parts.managers import owned_interfaces
from tasks.parts.part import Site

FILE = f"/etc/sysctl.d/{OWNED}.conf"
BEFORE = f"/var/lib/{FOLDER}/sysctls"

FOLDERS = ("/etc/sysctl.d", f"/var/lib/{FOLDER}")
OWN_FOLDERS = (FOLDER,)
QUESTIONS: tuple[Question | Search, ...] = ()

# ip6_forward() reads this one; a tunnel's own `forwarding` lets nothing pass. Writing it writes
# every interface's (addrconf_forward_change).
_FORWARDING = "net/ipv6/conf/all/forwarding"

# An interface's own has solicitations answered that come by multicast, and no others: of those by
# unicast, with which a router verifies a neighbour that it knows (RFC 4861, 7.3), ip6_forward()
# takes care, and reads this one. Entries are of one device, so that it proxies nothing else.
_PROXYING = "net/ipv6/conf/all/proxy_ndp"


def wanted(site: Site, state: HostState) -> dict[str, str]:
    """The settings that a host needs, in the order in which they must be written."""
    if not site.node.forwards:
        return {}
    external = site.external_interface
    settings = {}
    # First: with forwarding on, the kernel drops the default route that it learned by router
    # advertisement wherever accept_ra is 1, asks for no other, and lets the addresses expire.
    for interface in sorted({external, *_learners(state)} - owned_interfaces(state)):
        path = f"net/ipv6/conf/{interface}/accept_ra"
        if state.sysctls.get(path, "0") != "0":
            settings[path] = "2"
    settings[_FORWARDING] = "1"
    if site.proxied:
        settings[_PROXYING] = "1"
        # Else each answer waits a random 0 to 0.8 s (pneigh_enqueue).
        settings[f"net/ipv6/neigh/{external}/proxy_delay"] = "0"
    return settings


def _of_tunnels(site: Site) -> dict[str, str]:
    """What udev sets as soon as there is a tunnel (99-systemd.rules).

    A tunnel's settings come with it and go with it: none was there before.
    """
    return {path: value for end in site.ends for path, value in sit.settings(end).items()}


def obstacles(site: Site, state: HostState) -> Iterable[str]:
    """None of its own: what a run sets, it can set."""
    del site, state
    return ()


def lost_at_boot(site: Site, state: HostState) -> Iterable[str]:
    """Each line of the host's that would undo one of them at the next boot, or IPv6 itself."""
    own = files(site, state).get(FILE)
    tunnels = [end.interface for end in site.ends]
    foreseen = boot.foreseen(state, {FILE: own.text if own else None}, tunnels)
    told = set()
    for path, value in _kept(site, state).items():
        setting = foreseen.get(path)
        if setting is None or setting.number == int(value) or setting.line in told:
            continue
        told.add(setting.line)
        yield _loss(path, value, setting)


def _kept(site: Site, state: HostState) -> dict[str, str]:
    """What a run sees to now, and the next boot must bring too."""
    tunnels = [end.interface for end in site.ends]
    lans = [lan.interface for lan in site.lans]
    used = [*tunnels, *lans]
    # A client's own IPv6 is its own affair.
    if site.node.server is not None and not any(end.default_route for end in site.ends):
        used.insert(0, site.external_interface)
    kept = wanted(site, state) | _of_tunnels(site)
    if _FORWARDING in kept:
        kept |= {f"net/ipv6/conf/{each}/forwarding": "1" for each in used}
    return kept | {f"net/ipv6/conf/{s}/disable_ipv6": "0" for s in ("all", "default", *used)}


def _loss(path: str, needed: str, setting: Setting) -> str:
    line = setting.line
    key = sysctl_key(path)
    sets = f"sets {key} = {setting.value}" if setting.value is not None else f"keeps {key} unset"
    # A line that is for more than this key, or for another one.
    through = f" (by `{line.text.strip()}`)" if setting.key != path or setting.value is None else ""
    name = line.path.rpartition("/")[2]
    way_out = "take that line out"
    if line.path.startswith(("/usr/lib/", "/lib/")):
        way_out = f"have a file /etc/sysctl.d/{name} without that line, which is read instead"
    return (
        f"{line.path}, line {line.number}, {sets} at the next boot{through}, where Culvert needs "
        f"{needed}: {way_out}"
    )


def checks(site: Site, staged: Mapping[str, str]) -> Iterable[str]:
    """None: systemd-sysctl and sysctl pass over a line that they can't read."""
    del site, staged
    return ()


def stopping(site: Site, state: HostState, changed: Collection[str]) -> Iterable[Step]:
    """None but on the way back: what is set goes back when nothing needs it any more.

    At a boot, a device may appear while the old file isn't back yet, and gets what the new says.
    """
    if FILE in changed:
        lasting = (step for step in starting(site, state, changed) if step.outlasts)
        undone = dict.fromkeys(command for step in lasting for command in step.undo)
        if undone:
            yield once_back(*undone, outlasts=True)


def _learners(state: HostState) -> Iterable[str]:
    """The interfaces on which the host listens to routers.

    One that did before the first run still does, though its router may be silent at this moment.
    """
    yield from (route.device for route in state.default_routes() if route.protocol == "ra")
    yield from (link.name for link in state.links.values() if link.is_advertised_to)
    yield from (p.split("/")[3] for p in _remembered(state) if p.endswith("/accept_ra"))


def files(site: Site, state: HostState) -> dict[str, File]:
    """What sets them at boot, and what remembers the host's own."""
    settings, tunnels = wanted(site, state), _of_tunnels(site)
    files = {}
    if settings or tunnels:
        text = render("sysctl.d/60-culvert.conf", sysctls=_keys(settings), tunnels=_keys(tunnels))
        files[FILE] = File(text)
    if settings:
        remembered = _to_remember([*settings, *_beside(site)], state)
        files[BEFORE] = File(render("culvert/sysctls", sysctls=_keys(remembered)))
    return files


def _keys(settings: Mapping[str, str]) -> dict[str, str]:
    return {sysctl_key(path): value for path, value in settings.items()}


def _remembered(state: HostState) -> dict[str, str]:
    if BEFORE not in state.files:
        return {}
    lines = (line.partition(" = ") for line in state.files[BEFORE].text.splitlines())
    return {sysctl_path(key): value for key, equals, value in lines if equals}


def _to_remember(paths: Iterable[str], state: HostState) -> dict[str, str]:
    before = _remembered(state)
    # Interfaces that appear later had no setting before.
    forwarding = _each_forwarding(before if _FORWARDING in before else state.sysctls)
    current = {**state.sysctls, **before}
    return {path: current[path] for path in (*paths, *forwarding) if path in current}


def _beside(site: Site) -> Iterable[str]:
    """What others set because of Culvert: networkd, where its entries are, the interface's own."""
    return [f"net/ipv6/conf/{site.external_interface}/proxy_ndp"] if site.proxied else []


def _each_forwarding(settings: Mapping[str, str]) -> list[str]:
    return sorted(path for path in settings if path.endswith("/forwarding") and path != _FORWARDING)


def starting(site: Site, state: HostState, changed: Collection[str]) -> Iterable[Step]:
    """What sets what is needed, and sets back what is needed no more."""
    del changed
    settings = wanted(site, state)
    yield from _setting(settings, site.node, state)
    leaving = owned_interfaces(state) - {end.interface for end in site.ends}
    yield from _setting_back({*settings, *_beside(site)}, leaving, state)


def _setting(settings: Mapping[str, str], node: Node, state: HostState) -> Iterable[Step]:
    for path, value in settings.items():
        if state.sysctls.get(path) == value:
            continue
        yield _written(path, value, state, _reason(path, value, state))
    if state.sysctls.get(_FORWARDING) == settings.get(_FORWARDING) == "1":
        # Somebody turned it off on an interface since. Elsewhere than on Culvert's way that may
        # be meant.
        mine = {path.split("/")[3] for path in settings} | owned_interfaces(state)
        # Where it doesn't, hosts are told that this is no router.
        mine |= {lan.interface for lan in node.lans}
        for path in _each_forwarding(state.sysctls):
            if state.sysctls[path] == "0" and path.split("/")[3] in mine:
                yield _written(path, "1", state)


def _written(
    path: str, value: str, state: HostState, reason: str = "", *, is_shown: bool = True
) -> Step:
    """What writes a setting, and all as it was that this changes.

    Nobody sets anew what is kept of an interface that isn't Culvert's.
    """
    return Step(
        shown=tuple(sysctl_lines(path, value, state)) if is_shown else (),
        commands=(sysctl_command(path, value),),
        undo=tuple(sysctl_again(each, state.sysctls[each]) for each in _written_by(path, state)),
        reason=reason,
        outlasts=path.split("/")[3] not in owned_interfaces(state),
    )


def _reason(path: str, value: str, state: HostState) -> str:
    """Why it is written, or what else that writes, for a person."""
    if path == _FORWARDING:
        return _reach(
            value, [p for p in _each_forwarding(state.sysctls) if state.sysctls[p] != value]
        )
    for end, reason in _REASONS.items():
        if f"{path} {value}".endswith(end):
            return reason
    return ""


_REASONS = {
    "/accept_ra 2": "goes on listening to routers, though it forwards",
    "/all/proxy_ndp 1": "also where the router asks by unicast",
    "/proxy_delay 0": "answers at once",
}


def _reach(value: str, others: Iterable[str]) -> str:
    """Which other interfaces a write of `all` turns on or off as well."""
    names = [path.split("/")[3] for path in others]
    if not names:
        return ""
    return f"which turns it {'off' if value == '0' else 'on'} for {', '.join(names)} too"


def _written_by(path: str, state: HostState) -> list[str]:
    """The settings that a write of this one changes, itself first."""
    if path not in state.sysctls:
        return []
    return [path, *(_each_forwarding(state.sysctls) if path == _FORWARDING else ())]


def _setting_back(
    needed: Collection[str], leaving: Iterable[str], state: HostState
) -> Iterable[Step]:
    before = {path: value for path, value in _remembered(state).items() if path in state.sysctls}
    if _FORWARDING in before and _FORWARDING not in needed:
        yield from _forwarding_back(before, leaving, state)
    for path, value in before.items():
        if path in needed or path.endswith("/forwarding"):
            continue
        if state.sysctls[path] != value:
            yield _written(path, value, state)


def _forwarding_back(
    before: Mapping[str, str], leaving: Iterable[str], state: HostState
) -> Iterable[Step]:
    """Forwarding as it was, in all; interfaces that appeared since get what the kernel gives."""
    common = before[_FORWARDING]
    gone = {f"net/ipv6/conf/{interface}/forwarding" for interface in leaving}
    staying = [path for path in _each_forwarding(state.sysctls) if path not in gone]
    after = {path: before.get(path, common) for path in [_FORWARDING, *staying]}
    changed = written = {p: v for p, v in after.items() if state.sysctls[p] != v}
    if _FORWARDING in changed:
        # That writes every interface's: what differs is written after it.
        reach = _reach(common, [p for p in changed if after[p] == common and p in staying])
        yield _written(_FORWARDING, common, state, reach)
        written = {p: v for p, v in after.items() if v != common}
    for path, value in written.items():
        yield _written(path, value, state, is_shown=path in changed)
