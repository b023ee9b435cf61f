"""Pure: router advertisements on the networks behind a client, by a radvd of Culvert's own.

One for each network, whatever manager holds the interface: networkd's own would need it to read all
its files anew, which takes the uplink's address away for a moment.
"""

from collections.abc import Collection, Iterable, Mapping

from tasks.declared.model import Lan, Node
from tasks.host.changes import RUN, Step, once_back
from tasks.host.render import render
from tasks.host.state import FOLDER, OWNED, File, HostState, Question, Search
from tasks.parts.part import Site

_UNITS = "/etc/systemd/system"

FOLDERS = (f"/etc/{FOLDER}", _UNITS)
OWN_FOLDERS = (FOLDER,)
QUESTIONS: tuple[Question | Search, ...] = ()

_PREFIX = f"{OWNED}-radvd-"
_SUFFIX = ".service"


def _name(interface: str) -> str:
    return f"{_PREFIX}{interface}"


def _configuration(interface: str) -> str:
    return f"/etc/{FOLDER}/radvd-{interface}.conf"


def _unit_file(interface: str) -> str:
    return f"{_UNITS}/{_service(interface)}"


def _service(interface: str) -> str:
    return f"{_name(interface)}{_SUFFIX}"


def _files(interface: str) -> set[str]:
    return {_configuration(interface), _unit_file(interface)}


def _advertised(node: Node) -> tuple[Lan, ...]:
    return tuple(lan for lan in node.lans if lan.advertise)


def obstacles(site: Site, state: HostState) -> Iterable[str]:
    """What keeps a radvd of Culvert's from running."""
    for lan in _advertised(site.node):
        if not state.has_radvd:
            yield (
                f"`lan` {lan.interface}: radvd, which advertises {lan.prefix} there, isn't "
                "installed: install it, or set `advertise` to False"
            )
        elif lan.interface in state.radvd_interfaces:
            yield (
                f"`lan` {lan.interface}: /etc/radvd.conf has advertisements for it already: take "
                "them out there, or set `advertise` to False"
            )


def lost_at_boot(site: Site, state: HostState) -> Iterable[str]:
    """None: a run enables the services."""
    del site, state
    return ()


def files(site: Site, state: HostState) -> dict[str, File]:
    """A configuration and a service for each network."""
    del state
    found = {}
    for end in site.node.upstreams:
        for lan in end.tunnel.lans:
            if lan.advertise:
                configuration = _configuration(lan.interface)
                found[configuration] = File(render("radvd/radvd.conf", lan=lan, mtu=end.mtu))
                found[_unit_file(lan.interface)] = File(
                    render(
                        "radvd/radvd.service",
                        interface=lan.interface,
                        configuration=configuration,
                        name=_name(lan.interface),
                    )
                )
    return found


def checks(site: Site, staged: Mapping[str, str]) -> Iterable[str]:
    """Radvd's own look at its configuration."""
    del site
    for path, waiting in staged.items():
        if path.startswith(f"/etc/{FOLDER}/radvd-"):
            yield f"radvd --configtest --config {waiting} --logmethod stderr_clean 2>&1"


def stopping(site: Site, state: HostState, changed: Collection[str]) -> Iterable[Step]:
    """Services that are no longer declared, or about to change.

    Their last word tells the network that what they advertised goes. One that is stopped while it
    changes is started by the next run where this one ends too early.
    """
    wanted = {_service(lan.interface): lan for lan in _advertised(site.node)}
    for path in state.files:
        service = path.rpartition("/")[2]
        if path.startswith(f"{_UNITS}/{_PREFIX}") and service not in wanted:
            forget = f"systemctl reset-failed {service} 2>/dev/null || true"
            yield _stop(service, state, forget)
            yield _disabling(service, state)
    for service, lan in wanted.items():
        if _is_active(service, state) and _files(lan.interface) & {*changed}:
            yield _stop(service, state)
    if any(path.startswith(f"{_UNITS}/{_PREFIX}") for path in changed):
        # Before all of the above is taken back.
        yield once_back("systemctl daemon-reload")


def starting(site: Site, state: HostState, changed: Collection[str]) -> Iterable[Step]:
    """Services that are new or changed, or that somebody stopped."""
    if any(path.startswith(f"{_UNITS}/{_PREFIX}") for path in changed):
        yield _step("systemctl daemon-reload")
    for lan in _advertised(site.node):
        service = _service(lan.interface)
        unit = state.units.get(service)
        if unit is None or not unit.is_enabled:
            disable = f"systemctl --quiet disable {service}"
            yield _step(f"systemctl --quiet enable {service}", undo=(disable,), outlasts=True)
        if not _is_active(service, state) or _files(lan.interface) & {*changed}:
            # Where it ran before, it is started again once its old files are back.
            yield _step(f"systemctl start {service}", undo=(f"systemctl stop {service}",))


def _is_active(service: str, state: HostState) -> bool:
    return service in state.units and state.units[service].is_active


def _stop(service: str, state: HostState, *unshown: str) -> Step:
    undo = (f"systemctl start {service}",) if _is_active(service, state) else ()
    return _step(f"systemctl stop {service}", *unshown, undo=undo)


def _disabling(service: str, state: HostState) -> Step:
    unit = state.units.get(service)
    undo = (f"systemctl --quiet enable {service}",) if unit and unit.is_enabled else ()
    return _step(f"systemctl --quiet disable {service}", undo=undo, outlasts=True)


def _step(command: str, *unshown: str, undo: tuple[str, ...] = (), outlasts: bool = False) -> Step:
    return Step((f"{RUN}{command}",), (command, *unshown), undo, outlasts=outlasts)
