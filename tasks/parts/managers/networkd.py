"""Pure: systemd-networkd alone, told by files of its own (systemd.network(5))."""

import re
from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache

from tasks.declared.model import End
from tasks.host.changes import Step
from tasks.host.render import render
from tasks.host.state import FALLBACK, OWNED, PLAIN, File, HostState, Question
from tasks.parts import sit
from tasks.parts.managers.manager import not_running, not_starting, raising
from tasks.parts.part import UNREACHABLE_METRIC, Site

_FOLDER = "/etc/systemd/network"
# A mode other than 0755 is skipped without a word.
_DISPATCHER_FILE = f"/etc/networkd-dispatcher/routable.d/{OWNED}"
_DISPATCHER = "networkd-dispatcher.service"
# Where netplan puts what it makes of its files, and how it calls the file of an interface.
GENERATED = "/run/systemd/network/10-netplan-"
_WILD = re.compile(r"[*?\[]")
# What the question puts before a setting that isn't of the [Match] section.
_OF_LINK = "[Link] "
# Debian 13's, the first that is known to come to all that 1,000 tunnels ask of it. An older one has
# so many seconds for an answer of the kernel's, behind all else that it makes; each tunnel took
# Debian 12's so many, on a fast machine and on a very slow one.
_FAST = 257
_PATIENCE = 25
_SECONDS_EACH = (0.017, 0.08)
_VERSION = re.compile(r"^\S+/libsystemd-shared-(\d+)", re.MULTILINE)
_SERVICE = "systemd-networkd.service"


class Networkd:
    """Tunnels as files of networkd's, proxy entries held by it and, if there, its dispatcher.

    They vanish when the interface goes down. Networkd brings them back as soon as it has read its
    drop-in, at the next boot at the latest; until then the dispatcher's script does.
    """

    name = "networkd"
    ignoring_routers = "`IPv6AcceptRA=no` in the [Network] section of its file"
    folders: tuple[str, ...] = (_FOLDER, "/etc/networkd-dispatcher")
    own_folders = ("network/*.network.d",)
    places: tuple[str, ...] = folders
    hand_made = r"^\s*Name\s*=\s*NAMES\s*$"
    # What `networkctl list` reads, too: networkd itself answers only where it has reached D-Bus.
    # And what the host's own files are for.
    question = Question(
        "networkd",
        r"""if has networkctl && is_active systemd-networkd.service; then
    for file in /sys/class/net/*/ifindex; do
        [ ! -r "$file" ] || { read -r line <"$file"; echo "$file:$line"; }
    done
    for file in /run/systemd/netif/links/*; do
        [ ! -r "$file" ] || while read -r line; do
            case $line in ADMIN_STATE=* | NETWORK_FILE=*) echo "$file:$line" ;; esac
        done <"$file"
    done
    for folder in /etc /run /usr/lib; do
        for file in $folder/systemd/network/*.network; do
            section=
            [ ! -r "$file" ] || while IFS= read -r line || [ -n "$line" ]; do
                case $line in \[*) section=${line%%]*}] line= ;; esac
                case $section$line in
                "[Match]"[A-Za-z]*=*) printf '%s\n' "$file:$line" ;;
                "[Link]"Unmanaged*=* | "[Link]"ActivationPolicy*=*)
                    printf '%s\n' "$file:[Link] $line"
                    ;;
                esac
            done <"$file"
        done
    done
    for file in /usr/lib/systemd/libsystemd-shared-* /usr/lib/*/systemd/libsystemd-shared-*; do
        [ ! -e "$file" ] || echo "$file:"
    done
fi 2>/dev/null""",
    )
    looked_for = "`networkctl` shows it configured from any other file (networkd)"
    # Whether somebody else has networkd started at boot, enabled or not.
    _is_generated = False

    def evidence(self, state: HostState, interface: str) -> str | None:
        file = self._network_file(interface, state)
        status = self._links(state).get(interface, {}).get("ADMIN_STATE")
        if file is None or status not in {"configured", "configuring"}:
            return None
        return f"networkd has it {status} from {file}"

    def lost_at_boot(self, site: Site, state: HostState) -> Iterable[str]:
        yield from not_starting(_SERVICE, state, is_generated=self._is_generated)
        names = {end.interface: self._network_name(end) for end in site.ends}
        # Each of its own is for one tunnel alone.
        own = {*names.values()}
        others = [
            (name, file, criteria)
            for file, criteria in self._criteria(state).items()
            if not (name := file.rpartition("/")[2]).startswith(OWNED) and name not in own
        ]
        for interface, read_from in names.items():
            for name, file, criteria in others:
                if name < read_from and _matches(criteria, interface):
                    yield (
                        f"{file} is for {interface} too, and networkd reads it before {read_from}: "
                        "have its [Match] leave that interface out, or rename it"
                    )

    def late_at_boot(self, site: Site, state: HostState) -> Iterable[str]:
        version = _VERSION.search(state.answers.get(self.question.name, ""))
        count = len(site.ends)
        least, most = (each * count for each in _SECONDS_EACH)
        if version and int(version[1]) < _FAST and most > _PATIENCE:
            yield (
                f"at boot, networkd {version[1]} needs {least:.0f} s for its {count:,} tunnels on "
                f"a fast machine and {most:.0f} s on a very slow one, and gives up on every "
                "interface of which it comes to an answer of the kernel's only after "
                f"{_PATIENCE} s: the uplink, too, would stay down. Debian 13's comes to all: "
                "upgrade, or share them among several servers; see docs/hosts.md"
            )

    def raising_fallback(self, state: HostState) -> Iterable[str]:
        # Of files with one name, /etc has the one that is read, then /run: as they are asked for.
        read: dict[str, str] = {}
        criteria = self._criteria(state)
        for file in criteria:
            read.setdefault(file.rpartition("/")[2], file)
        matching = (file for _, file in sorted(read.items()) if _matches(criteria[file], FALLBACK))
        first = next(matching, None)
        if first and self._brings_up(first, state):
            yield raising(first, "networkd", f"have its [Match] leave {FALLBACK} out")

    def _brings_up(self, file: str, state: HostState) -> bool:
        """Whether it brings up what is its file's, as it does by default."""
        settings = {}
        for line in state.answers.get(self.question.name, "").splitlines():
            if line.startswith(f"{file}:{_OF_LINK}"):
                key, _, value = line.removeprefix(f"{file}:{_OF_LINK}").partition("=")
                settings[key.strip()] = value.strip()
        if settings.get("Unmanaged", "no").lower() in {"yes", "true", "on", "1"}:
            return False
        return settings.get("ActivationPolicy") not in {"manual", "down", "always-down"}

    def obstacles(self, site: Site, state: HostState) -> Iterable[str]:
        if not self._links(state):
            yield not_running("systemd-networkd")
            return
        # That nobody holds a network behind a client is told by the plan.
        external = site.external_interface
        if site.adds_to_external and self._network_file(external, state) is None:
            yield (
                f"{self.name} has no file for {external}, so nothing would keep there what Culvert "
                "adds to it"
            )
        for interface in site.added_to:
            held_by = self._network_file(interface, state)
            if held_by and not PLAIN.fullmatch(held_by):
                yield f"{held_by} is for {interface}: rename it, without spaces or such marks"
        for interface in sorted({lan.interface for lan in site.lans}):
            yield from self._sharing(interface, state)

    def _sharing(self, interface: str, state: HostState) -> Iterable[str]:
        """Who else would get the address that one interface is to get."""
        file = self._network_file(interface, state)
        links = self._links(state).items()
        others = [n for n, kept in links if kept.get("NETWORK_FILE") == file and n != interface]
        if file and others:
            yield (
                f"`lan` {interface}: {file} is for {' and '.join(sorted(others))} too, which would "
                f"get its address as well: give {interface} a file, or in netplan an entry, of its "
                "own"
            )

    def files(self, site: Site, state: HostState) -> dict[str, File]:
        files = {path: file for end in site.ends for path, file in self._tunnel(end).items()}
        for interface in site.added_to:
            is_external = interface == site.external_interface
            text = render(
                "networkd/drop-in.network",
                addresses=[lan.address for lan in site.lans if lan.interface == interface],
                proxied=site.proxied if is_external else (),
                routed_here=site.node.routed_here if is_external else (),
                metric=UNREACHABLE_METRIC,
            )
            files[self._drop_in(interface, state)] = File(text)
        if site.proxied and _has_dispatcher(state):
            values = {"interface": site.external_interface, "proxied": site.proxied}
            script = render("networkd/networkd-dispatcher", **values)
            files[_DISPATCHER_FILE] = File(script, mode=0o755)
        return files

    def defines(self, path: str) -> str | None:
        prefix, suffix = f"{_FOLDER}/{OWNED}-", ".netdev"
        if not path.startswith(prefix) or not path.endswith(suffix):
            return None
        return path.removeprefix(prefix).removesuffix(suffix)

    def checks(self, staged: Mapping[str, str]) -> Iterable[str]:
        # Networkd has nothing that reads a file and does no more.
        del staged
        return ()

    def create(self, ends: Collection[End]) -> Iterable[str]:
        # Not by networkd: whenever it reloads its files, it takes the uplink's IPv4 address away
        # for a moment (252: link_reconfigure() drops what it is to configure again).
        return sit.creation(ends)

    def remove(self, interfaces: Collection[str]) -> Iterable[str]:
        del interfaces
        return ()

    def restore(self, interfaces: Collection[str], state: HostState) -> Iterable[str]:
        yield from sit.making_again(interfaces, state)
        yield from self.reread(interfaces)

    def reread(self, interfaces: Collection[str]) -> Iterable[str]:
        # See create().
        del interfaces
        return ()

    def forget(self, interfaces: Collection[str]) -> Iterable[str]:
        # It keeps nothing of its files.
        del interfaces
        return ()

    def refresh(self, site: Site, state: HostState, changed: Collection[str]) -> Iterable[Step]:
        del changed
        if site.proxied and _has_dispatcher(state) and not state.units[_DISPATCHER].is_active:
            # Its unit starts only where there is a script.
            start = f"systemctl start {_DISPATCHER}"
            yield Step((f" run: {start}",), (start,), (f"systemctl stop {_DISPATCHER}",))

    def _tunnel(self, end: End) -> dict[str, File]:
        return {
            f"{_FOLDER}/{OWNED}-{end.interface}.{kind}": File(
                render(f"networkd/tunnel.{kind}", end=end)
            )
            for kind in ("netdev", "network")
        }

    def _network_name(self, end: End) -> str:
        """How the file is called from which networkd has a tunnel's addresses."""
        return f"{OWNED}-{end.interface}.network"

    def _is_mine(self, network_file: str) -> bool:
        return not network_file.startswith(GENERATED)

    def _network_file(self, interface: str, state: HostState) -> str | None:
        """Networkd's file of an interface, if it is this manager's."""
        file = self._links(state).get(interface, {}).get("NETWORK_FILE")
        return file if file and self._is_mine(file) else None

    def _links(self, state: HostState) -> Mapping[str, Mapping[str, str]]:
        """What networkd keeps of each interface: ADMIN_STATE, and NETWORK_FILE where it has one."""
        return _kept(state.answers.get(self.question.name, ""))

    def _criteria(self, state: HostState) -> dict[str, dict[str, str]]:
        """The [Match] section of each of the host's files, by its path."""
        found: dict[str, dict[str, str]] = {}
        for line in state.answers.get(self.question.name, "").splitlines():
            path, _, setting = line.partition(":")
            if path.endswith(".network") and not setting.startswith(_OF_LINK):
                key, _, value = setting.partition("=")
                found.setdefault(path, {})[key.strip()] = value.strip()
        return found

    def _drop_in(self, interface: str, state: HostState) -> str:
        # Called after the file, which need not be called after the interface: netplan's is called
        # after an id that `set-name:` and `match:` make another one.
        file = self._network_file(interface, state)
        assert file is not None, interface
        return f"{_FOLDER}/{file.rpartition('/')[2]}.d/{OWNED}.conf"


# Of a host it is asked for several times in a row.
@lru_cache(maxsize=1)
def _kept(answer: str) -> Mapping[str, Mapping[str, str]]:
    names: dict[str, str] = {}
    kept: dict[str, dict[str, str]] = {}
    for line in answer.splitlines():
        path, _, value = line.partition(":")
        folder, _, last = path.rpartition("/")
        if last == "ifindex":
            names[value] = folder.rpartition("/")[2]
        elif last.isdecimal():
            key, _, text = value.partition("=")
            kept.setdefault(last, {})[key] = text
    return {names[index]: keys for index, keys in kept.items() if index in names}


def _matches(criteria: dict[str, str], interface: str) -> bool:
    """Whether a [Match] section holds for a tunnel; of other keys than these, none does."""
    values = {"Name": interface, "Type": "sit", "Kind": "sit"}
    return all(key in values and _fits(values[key], text) for key, text in criteria.items())


def _fits(value: str, patterns: str) -> bool:
    """systemd.network(5): patterns with spaces between; a `!` before them all inverts them."""
    is_inverted = patterns.startswith("!")
    words = patterns.removeprefix("!").split()
    # Of thousands of names, each would be made a regular expression.
    found = (fnmatchcase(value, w) if _WILD.search(w) else value == w for w in words)
    return any(found) != is_inverted


def _has_dispatcher(state: HostState) -> bool:
    return _DISPATCHER in state.units and state.units[_DISPATCHER].is_loaded
