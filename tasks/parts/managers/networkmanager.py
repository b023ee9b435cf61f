"""Pure: NetworkManager (nm-settings-keyfile(5), NetworkManager-dispatcher(8))."""

import base64
import re
from collections.abc import Collection, Iterable, Mapping
from uuid import NAMESPACE_URL, uuid5

from tasks.declared.model import End
from tasks.host.changes import Step
from tasks.host.render import render
from tasks.host.state import FALLBACK, OWNED, File, HostState, Question
from tasks.parts import sit
from tasks.parts.managers import unmanaged
from tasks.parts.managers.manager import not_running, not_starting, raising
from tasks.parts.part import UNREACHABLE_METRIC, Site

_FOLDER = "/etc/NetworkManager/system-connections"
_SUFFIX = ".nmconnection"
_HOOKS = "/etc/NetworkManager/dispatcher.d"
_DISPATCHER = f"{_HOOKS}/{OWNED}"
_DISPATCHER_UNIT = "NetworkManager-dispatcher.service"
_DISPATCHER_IS = "dispatcher: "
_VERSION_IS = "version: "
_CONFIGURATION = "configuration:"
# Debian 12 has 1.42. Before this one `nmcli` can't look at a file that NetworkManager hasn't read.
_NEEDED = (1, 38)
# Seconds in which it deletes connections; by itself it has 10, for however many. With very many, on
# an emulated processor, it needs a tenth of a second for each.
_PATIENCE = 30
# Files that it reads in one call, of which it has 25 s: there it needs 7 for these.
_SEVERAL = 100
# As often it is asked, each time for up to 25 s.
_TIMES = 10
_OF_FALLBACK = re.compile(rf"\s*interface-name\s*=\s*{FALLBACK}\s*$")
_ASLEEP = re.compile(r"\s*autoconnect\s*=\s*(?:false|no|0)\s*$", re.IGNORECASE)


class NetworkManager:
    """Tunnels as connections of NetworkManager's, all else by a script of its dispatcher's.

    NetworkManager has no setting for proxy entries, nor for forwarding of IPv6, which it turns off
    on every interface that it brings up.
    """

    name = "networkmanager"
    ignoring_routers = "`ipv6.never-default yes` in its connection"
    folders = (_FOLDER, _HOOKS)
    own_folders = ()
    places = folders
    hand_made = r"^\s*interface-name\s*=\s*NAMES\s*$"
    question = Question(
        "networkmanager",
        f"""if has nmcli && is_active NetworkManager.service; then
    nmcli --terse --fields DEVICE,STATE,CONNECTION device
    printf '{_VERSION_IS}'; nmcli --version
    ! is_enabled {_DISPATCHER_UNIT} || echo '{_DISPATCHER_IS}enabled'
    echo {_CONFIGURATION}; NetworkManager --print-config
fi 2>/dev/null""",
    )
    looked_for = "`nmcli device` shows it connected (NetworkManager)"

    def evidence(self, state: HostState, interface: str) -> str | None:
        status, connection = _devices(state).get(interface, ("", ""))
        # What it found there and leaves alone is `connected (externally)`.
        is_held = status == "connected" or status.startswith("connecting (")
        if not is_held or status.endswith("(externally)"):
            return None
        return f"NetworkManager has it {status} by its connection {connection!r}"

    def obstacles(self, site: Site, state: HostState) -> Iterable[str]:
        answer = state.answers.get(self.question.name)
        if not answer:
            yield not_running("NetworkManager")
            return
        version = re.search(rf"^{_VERSION_IS}.* (\d+)\.(\d+)", answer, re.MULTILINE)
        if version and (found := tuple(map(int, version.groups()))) < _NEEDED:
            yield (
                f"NetworkManager {_dotted(found)} is too old, since nothing could look at a new "
                f"connection before it is in its place: {_dotted(_NEEDED)} or later is needed"
            )
        external = site.external_interface
        if site.node.forwards and _is_learned_by_kernel(external, state):
            # Where netplan stops NetworkManager for a while, the kernel gives the interface an
            # address; NetworkManager then takes it for somebody else's, and leaves out its IPv4.
            yield (
                f"NetworkManager leaves the IPv6 of {external} to the kernel, which it must not "
                "where the host forwards: have it learn that itself (`ipv6.method` auto, with "
                "netplan `dhcp6: true`)"
            )

    def lost_at_boot(self, site: Site, state: HostState) -> Iterable[str]:
        answer = state.answers.get(self.question.name)
        if not answer:
            return
        yield from not_starting("NetworkManager.service", state)
        text = answer.partition(f"\n{_CONFIGURATION}\n")[2]
        configuration = unmanaged.sections(text)
        # Its first line lists them.
        files = text.partition("\n")[0].partition("configuration: ")[2] or "its files"
        folder = configuration.get("keyfile", {}).get("path", _FOLDER)
        if folder.rstrip("/") != _FOLDER:
            yield (
                f"NetworkManager reads {folder} ([keyfile] path) and not {_FOLDER}, where "
                f"Culvert's files go: take that setting out of {files}"
            )
        for end in site.ends:
            if setting := unmanaged.setting_for(end.interface, configuration):
                yield (
                    f"NetworkManager is told to leave {end.interface} alone, so nothing would "
                    f"bring it up at the next boot: take it out of `{setting}`, which is in one of "
                    f"{files}"
                )
        if _in_script(site) and f"{_DISPATCHER_IS}enabled" not in answer.splitlines():
            yield (
                f"{_DISPATCHER_UNIT} is not enabled, so nothing would keep forwarding on: run "
                f"`systemctl enable {_DISPATCHER_UNIT}`"
            )

    def late_at_boot(self, site: Site, state: HostState) -> Iterable[str]:
        # Its start has ended by then: nothing ends it for what it still makes.
        del site, state
        return ()

    def raising_fallback(self, state: HostState) -> Iterable[str]:
        if not state.answers.get(self.question.name):
            return
        profiles = [line for line in state.lines if line.path.startswith(f"{_FOLDER}/")]
        asleep = {line.path for line in profiles if _ASLEEP.match(line.text)}
        for line in profiles:
            if _OF_FALLBACK.match(line.text) and line.path not in asleep:
                yield raising(
                    line.path, "NetworkManager", "set `autoconnect=false` there, or delete it"
                )

    def files(self, site: Site, state: HostState) -> dict[str, File]:
        del state
        files = {
            _profile(end.interface): File(
                render("networkmanager/tunnel.nmconnection", end=end, uuid=_uuid(end.interface)),
                # It doesn't read files that others may read.
                mode=0o600,
            )
            for end in site.ends
        }
        if interfaces := _in_script(site):
            script = render(
                "networkmanager/dispatcher",
                interfaces=interfaces,
                external=site.external_interface,
                lans=site.lans,
                proxied=site.proxied,
                routed_here=site.node.routed_here,
                metric=UNREACHABLE_METRIC,
            )
            files[_DISPATCHER] = File(script, mode=0o755)
        return files

    def defines(self, path: str) -> str | None:
        prefix = f"{_FOLDER}/{OWNED}-"
        if not path.startswith(prefix):
            return None
        return path.removeprefix(prefix).removesuffix(_SUFFIX)

    def checks(self, staged: Mapping[str, str]) -> Iterable[str]:
        # It reads one at a time, and they differ in names and numbers alone: one stands for all.
        # What NetworkManager itself makes of each is seen once they are there.
        waiting = next((waiting for path, waiting in staged.items() if self.defines(path)), None)
        if waiting:
            yield f"nmcli --offline connection modify <{waiting} >/dev/null"

    def create(self, ends: Collection[End]) -> Iterable[str]:
        # With a link of that name there, NetworkManager leaves it alone until the next boot, even
        # when it is restarted. It would make the link as soon as it reads the file, and again when
        # it is told to bring the connection up.
        yield from sit.creation(ends)
        loads = _loads(end.interface for end in ends)
        yield from (_reading(load, _TIMES) for load in loads)

    def remove(self, interfaces: Collection[str]) -> Iterable[str]:
        # While it knows the connections, it makes the links again as soon as they are gone. The
        # files go with the connections, and it is not for this step to decide whether they stay.
        profiles = [_profile(name) for name in interfaces]
        kept = [f'"$scratch/{profile.rpartition("/")[2]}"' for profile in profiles]
        yield f'cp -p {" ".join(profiles)} "$scratch/"'
        known = " ".join(f"uuid {_uuid(name)}" for name in interfaces)
        # Those that it doesn't know keep none of the others.
        patience = max(_PATIENCE, len(interfaces))
        yield f"nmcli --wait {patience} connection delete {known} >/dev/null 2>&1 || true"
        yield f"cp -p {' '.join(kept)} {_FOLDER}/"

    def restore(self, interfaces: Collection[str], state: HostState) -> Iterable[str]:
        for profile in map(_profile, interfaces):
            if file := state.files.get(profile):
                # Where a run ended while the connection was deleted, and its file with it.
                content = base64.b64encode(file.text.encode()).decode()
                written = f"(umask 077; echo {content} | base64 -d >{profile})"
                yield f"[ -e {profile} ] || {written}"
        yield from sit.making_again(interfaces, state)
        # Without a link it would make one.
        if there := [name for name in interfaces if name in state.links]:
            yield from self.reread(there)

    def reread(self, interfaces: Collection[str]) -> Iterable[str]:
        # A host that goes back has more to take back, which waits for it.
        yield from (_reading(load, 2) for load in _loads(interfaces))

    def forget(self, interfaces: Collection[str]) -> Iterable[str]:
        # See remove().
        del interfaces
        return ()

    def refresh(self, site: Site, state: HostState, changed: Collection[str]) -> Iterable[Step]:
        kept = {end.interface for end in site.ends} & state.links.keys()
        if interfaces := [name for name in map(self.defines, changed) if name in kept]:
            for load in _loads(interfaces):
                yield Step((f" run: {load}",), (_reading(load, _TIMES),))


def _dotted(version: Iterable[int]) -> str:
    return ".".join(map(str, version))


def _devices(state: HostState) -> dict[str, tuple[str, str]]:
    """What NetworkManager says of each interface: its state, and by which connection."""
    found = {}
    answer = state.answers.get(NetworkManager.question.name, "")
    for line in answer.partition(f"\n{_CONFIGURATION}")[0].splitlines():
        # A backslash goes before colons and backslashes in a value, such as a connection's name.
        values = re.findall(r"((?:[^:\\]|\\.)*)(?::|$)", line)[:3]
        if len(values) == 3:
            device, status, connection = (re.sub(r"\\(.)", r"\1", value) for value in values)
            found[device] = (status, connection)
    return found


# Of a default route that the kernel learned (IP6_RT_PRIO_USER); NetworkManager's own are preferred.
_LEARNED_METRIC = 1024


def _is_learned_by_kernel(interface: str, state: HostState) -> bool:
    return any(
        (route.device, route.protocol, route.metric) == (interface, "ra", _LEARNED_METRIC)
        for route in state.default_routes()
    )


def _profile(interface: str) -> str:
    return f"{_FOLDER}/{OWNED}-{interface}{_SUFFIX}"


def _uuid(interface: str) -> str:
    """How NetworkManager knows the connection, the same on all hosts and in all runs."""
    return str(uuid5(NAMESPACE_URL, f"file://{_profile(interface)}"))


def _loads(interfaces: Iterable[str]) -> Iterable[str]:
    # Reads those files alone, and touches no link.
    profiles = [_profile(name) for name in interfaces]
    for first in range(0, len(profiles), _SEVERAL):
        yield f"nmcli connection load {' '.join(profiles[first : first + _SEVERAL])}"


def _reading(load: str, times: int) -> str:
    # Where very many links have just come, it sees to these first, and answers too late; nmcli even
    # takes it for one that isn't running. And that ends well, whatever can't be read.
    again = f"[ $((tries += 1)) -lt {times} ] && sleep 1 || break"
    return (
        f"tries=0; until failed=1; refused=$({load} 2>&1) && failed=; do case $refused in "
        f"*'Timeout was reached'* | *'is not running'*) {again} ;; *) break ;; esac; done; "
        "case $failed:$refused in 1:*|*'Could not load'*) "
        "step=$(echo nmcli connection load: $refused); false ;; esac"
    )


def _in_script(site: Site) -> tuple[str, ...]:
    """The interfaces for which the dispatcher has something to do."""
    if not site.node.forwards:
        return ()
    inside = (lan.interface for lan in site.lans)
    tunnels = (end.interface for end in site.ends)
    return tuple(dict.fromkeys([site.external_interface, *inside, *tunnels]))
