"""Pure: ifupdown, Debian's own (ifup(8), interfaces(5)), and what its two heirs share with it."""

import re
from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatch

from tasks.declared.model import End
from tasks.host.changes import Step
from tasks.host.render import render
from tasks.host.state import FALLBACK, OWNED, File, HostState, Question
from tasks.parts import sit
from tasks.parts.managers.manager import not_starting, raising
from tasks.parts.part import UNREACHABLE_METRIC, Site

FOLDER = "/etc/network/interfaces.d"
# Longer than interface names can be, so that no tunnel's file is called the same.
_EXTERNAL_INTERFACE = f"{FOLDER}/{OWNED}-external-interface"
_LOCAL_AREA_NETWORKS = f"{FOLDER}/{OWNED}-local-area-networks"

_MAIN = "/etc/network/interfaces"
_SERVICE = "networking.service"
_RECORD = "record:"
# Of three files, one for each of them and one for all, the settings that decide what is brought up
# at boot.
_SETTING_IS = "setting: "
_DEFAULTS = "/etc/default/networking"
_FILES = f"{_DEFAULTS} /etc/network/ifupdown2/ifupdown2.conf /etc/network/ifupdown-ng.conf"
_SETTINGS = (
    "CONFIGURE_INTERFACES | EXCLUDE_INTERFACES | "
    "addon_scripts_support | default_interfaces_configfile | auto_executor_selection"
)
# Where Debian's images for clouds have a stanza made for each interface that appears, unless
# `ifup --no-act` finds one in any other file (cloud-ifupdown-helper).
_MADE_AT_BOOT = "/run/network/interfaces.d"
_STANZA_IS = "made at boot: "
STAGED = "$scratch/interfaces"
_RAISING = re.compile(rf"\s*(?:auto|allow-(?:auto|hotplug))\s(?:.*\s)?{FALLBACK}(?:\s|$)")


class Ifupdown:
    """Tunnels as stanzas of their own, proxy entries as `post-up` lines of the external interface.

    Entries in a tunnel's stanza would be lost whenever the external interface goes down and up.
    """

    name = "ifupdown"
    ignoring_routers = "`accept_ra 0` in its `inet6` stanza"
    # The line of /etc/network/interfaces that this one understands in all its versions.
    source = f"source {FOLDER}/*"
    folders: tuple[str, ...] = (FOLDER,)
    own_folders: tuple[str, ...] = ()
    seconds_each: tuple[float, float] | None = (0.04, 1.15)
    """What a tunnel takes at boot, natively and on an emulated processor; None if not measured."""
    places = ("/etc/network/interfaces", FOLDER, "/etc/network/if-up.d")
    # A stanza `manual` makes no tunnel, it only hangs something on one.
    hand_made = (
        r"^\s*(?:auto|allow-\S+)\s+(?:\S+\s+)*NAMES(?:\s|$)"
        r"|^\s*iface\s+NAMES\s*(?:$|inet6?\s+(?!manual\b))"
    )
    # All three read the same file; the program that `ifup` is in the end tells which one it is.
    question = Question(
        "ifupdown",
        f"""if has ifup; then
    IFS=:
    for folder in $PATH; do [ ! -x "$folder/ifup" ] || break; done
    unset IFS
    ifup=$(readlink -f "$folder/ifup"); echo "ifup: $ifup"
    main= record=
    for file in {_FILES}; do
        [ ! -r "$file" ] || while read -r line || [ -n "$line" ]; do
            name=${{line%%[=[:space:]]*}} value=${{line#*=}}
            [ "$line" != "$value" ] || continue
            case $name in
            state_dir) record=$value ;;
            {_SETTINGS})
                echo "{_SETTING_IS}$name=$value"
                [ "$name" != default_interfaces_configfile ] || main=$value
                ;;
            esac
        done <"$file"
    done
    case $ifup in */ifupdown2/*) ;; *) main= ;; esac
    main=${{main:-{_MAIN}}}
    [ ! -r "$main" ] || while read -r line || [ -n "$line" ]; do
        case $line in source*) echo "$line" ;; esac
    done <"$main"
    for file in {_MADE_AT_BOOT}/*; do [ ! -e "$file" ] || echo "{_STANZA_IS}${{file##*/}}"; done
    echo {_RECORD}
    case $ifup in
    */ifupdown2/*)
        # A second of Python for each question, where its record is there to be read.
        base64 "${{record:-/var/tmp/network}}/ifstatenew"
        ;;
    *) ifquery --state ;;
    esac
fi 2>/dev/null""",
    )

    @property
    def looked_for(self) -> str:
        return f"{self._record} lists it ({self.name})"

    @property
    def _record(self) -> str:
        return "`ifquery --state`"

    def evidence(self, state: HostState, interface: str) -> str | None:
        if _flavour(state) != self.name or interface not in self._stanzas(_record(state)):
            return None
        return f"{self._record} lists it"

    def obstacles(self, site: Site, state: HostState) -> Iterable[str]:
        del site
        flavour = _flavour(state)
        if flavour != self.name:
            found = f"`ifup` is {flavour}'s" if flavour else "there is no `ifup`"
            yield f"`manager` is {self.name} in the inventory, and {found}"

    def lost_at_boot(self, site: Site, state: HostState) -> Iterable[str]:
        if _flavour(state) != self.name:
            return
        settings = _settings(state)
        yield from not_starting(_SERVICE, state)
        if settings.get("CONFIGURE_INTERFACES") == "no":
            yield (
                f"{_DEFAULTS} has CONFIGURE_INTERFACES=no, so nothing would bring the tunnels up "
                "at the next boot: take that line out"
            )
        if not any(self._includes(line) for line in _sources(state)):
            yield (
                f"{self._main(settings)} doesn't read {FOLDER}, where Culvert's files go: "
                f"add the line `{self.source}`"
            )
        yield from self._switched_off(site, settings)
        for interface in site.added_to:
            if f"{_STANZA_IS}{interface}" in _answer(state)[0].splitlines():
                made = f"{_MADE_AT_BOOT}/{interface}"
                yield (
                    f"the stanza of {interface} is made at each boot, as {made}, and would not be "
                    f"made any more once a file of Culvert's names {interface}: keep it, with "
                    f"`mv {made} {FOLDER}/`"
                )
        stanzas = self._stanzas(_record(state))
        for interface in site.added_to:
            stanza = stanzas.get(interface, interface)
            if stanza != interface:
                yield (
                    f"{interface} is up by the stanza `iface {stanza}` (a logical interface), "
                    f"which would not bring back what Culvert adds to {interface}: call the "
                    "stanza so"
                )

    def late_at_boot(self, site: Site, state: HostState) -> Iterable[str]:
        unit, count = state.units.get(_SERVICE), len(site.ends)
        limit = unit.start_limit if unit else None
        if self.seconds_each is None or limit is None:
            return
        least, most = (each * count for each in self.seconds_each)
        if most > limit:
            yield (
                f"{self.name} brings up its {count:,} tunnels one after the other at boot, in "
                f"{least:.0f} s on a fast machine and {most:.0f} s on a very slow one, and "
                f"{_SERVICE} is ended after {limit:.0f} s, with those left down that it hasn't "
                f"come to: give it more (`systemctl edit {_SERVICE}`: TimeoutStartSec under "
                "[Service]), or share them among several servers; see docs/hosts.md"
            )

    def raising_fallback(self, state: HostState) -> Iterable[str]:
        if _flavour(state) != self.name:
            return
        for line in state.lines:
            if line.path.startswith("/etc/network/interfaces") and _RAISING.match(line.text):
                place = f"{line.path}, line {line.number},"
                yield raising(place, self.name, f"take {FALLBACK} out of `{line.text.strip()}`")

    def _main(self, settings: Mapping[str, str]) -> str:
        """The file with which it starts to read."""
        del settings
        return _MAIN

    def _switched_off(self, site: Site, settings: Mapping[str, str]) -> Iterable[str]:
        """Sentences on settings that keep it from bringing up all of the site."""
        patterns = settings.get("EXCLUDE_INTERFACES", "").split()
        for end in site.ends:
            for pattern in patterns:
                if fnmatch(end.interface, pattern):
                    yield (
                        f"{_DEFAULTS} has {pattern} in EXCLUDE_INTERFACES, so {end.interface} "
                        "would stay down at the next boot: take it out"
                    )

    def files(self, site: Site, state: HostState) -> dict[str, File]:
        del state
        tunnels = {
            f"{FOLDER}/{OWNED}-{end.interface}": File(
                render(f"{self.name}/tunnel", end=end, unheard=sit.UNHEARD)
            )
            for end in site.ends
        }
        return tunnels | self._additions(site)

    def _additions(self, site: Site) -> dict[str, File]:
        """The files that add to interfaces which are not Culvert's."""
        files = {}
        if site.adds_to_external:
            files[_EXTERNAL_INTERFACE] = File(
                render(
                    "ifupdown/external-interface",
                    interface=site.external_interface,
                    proxied=site.proxied,
                    routed_here=site.node.routed_here,
                    metric=UNREACHABLE_METRIC,
                )
            )
        if site.lans:
            lans = render("ifupdown/local-area-networks", lans=site.lans)
            files[_LOCAL_AREA_NETWORKS] = File(lans)
        return files

    def defines(self, path: str) -> str | None:
        prefix = f"{FOLDER}/{OWNED}-"
        if not path.startswith(prefix) or path in {_EXTERNAL_INTERFACE, _LOCAL_AREA_NETWORKS}:
            return None
        return path.removeprefix(prefix)

    def checks(self, staged: Mapping[str, str]) -> Iterable[str]:
        tunnels = {name: staged[path] for path in staged if (name := self.defines(path))}
        if tunnels:
            yield f'cat {" ".join(tunnels.values())} >"{STAGED}"'
            yield self._check(tunnels)

    def _check(self, interfaces: Collection[str]) -> str:
        """What looks at these tunnels, whose stanzas are in one file."""
        return f'ifup --no-act --force --interfaces="{STAGED}" {" ".join(interfaces)} 2>&1'

    def create(self, ends: Collection[End]) -> Iterable[str]:
        return _bringing_up([end.interface for end in ends])

    def remove(self, interfaces: Collection[str]) -> Iterable[str]:
        # Without their stanzas, ifupdown would not know the interfaces any more.
        down = f"ifdown --force {' '.join(interfaces)}"
        if len(interfaces) == 1:
            yield f"{down} || true"
        else:
            # See _bringing_up(); and ifupdown2 takes down none where it knows one of them for down.
            left = "[ ! -e /sys/class/net/$each ] || ifdown --force $each || true"
            yield f"{down} || for each in {' '.join(interfaces)}; do {left}; done"

    def restore(self, interfaces: Collection[str], state: HostState) -> Iterable[str]:
        if there := [name for name in interfaces if name in state.links]:
            # So that ifupdown has them for up. What comes by a stanza need not be what was there.
            yield from _bringing_up(there)
            yield sit.deletion(there)
            yield from sit.making_again(there, state)

    def reread(self, interfaces: Collection[str]) -> Iterable[str]:
        # It reads its files whenever it is called.
        del interfaces
        return ()

    def forget(self, interfaces: Collection[str]) -> Iterable[str]:
        # It keeps nothing of its files.
        del interfaces
        return ()

    def refresh(self, site: Site, state: HostState, changed: Collection[str]) -> Iterable[Step]:
        del site, state, changed
        return ()

    def _stanzas(self, record: str) -> Mapping[str, str]:
        """By which stanza each interface is up: by its own, or by that of a logical interface.

        The record has lines of `INTERFACE=STANZA`, to which ifupdown-ng adds more words.
        """
        lines = (line.partition("=") for line in record.splitlines())
        return {name: (words.split() or [name])[0] for name, _, words in lines}

    def _includes(self, line: str) -> bool:
        """Whether a `source` or `source-directory` line of interfaces(5) reads Culvert's files."""
        keyword, *patterns = line.split()
        sample = f"{FOLDER}/{OWNED}-sit-ipv6"
        relative = [p if p.startswith("/") else f"/etc/network/{p}" for p in patterns]
        if keyword == "source-directory":
            return any(fnmatch(FOLDER, pattern.rstrip("/")) for pattern in relative)
        return any(fnmatch(sample, pattern) for pattern in relative)


def _bringing_up(interfaces: Collection[str]) -> Iterable[str]:
    # A tunnel that vanished by hand is still up in ifupdown's records, hence --force. The host's
    # own hooks in if-up.d decide how it ends.
    yield f"lenient ifup --force {' '.join(interfaces)}"
    if len(interfaces) > 1:
        # ifupdown-ng stops at the first that fails.
        left = "[ -e /sys/class/net/$each ] || lenient ifup --force $each"
        yield f"for each in {' '.join(interfaces)}; do {left}; done"


def _answer(state: HostState) -> tuple[str, str]:
    """What comes before the record, and the record."""
    before, _, record = state.answers.get(Ifupdown.question.name, "").partition(f"\n{_RECORD}")
    return before, record.strip()


def _record(state: HostState) -> str:
    return _answer(state)[1]


def _sources(state: HostState) -> list[str]:
    lines = _answer(state)[0].splitlines()
    return [line for line in lines if line.lstrip().startswith("source")]


def _settings(state: HostState) -> dict[str, str]:
    """By name, of all three; which of them one of the three reads is its own affair."""
    lines = (line for line in _answer(state)[0].splitlines() if line.startswith(_SETTING_IS))
    pairs = (line.removeprefix(_SETTING_IS).partition("=") for line in lines)
    return {name: value.strip(" \t\"'") for name, _, value in pairs}


def _flavour(state: HostState) -> str | None:
    """Which of the three `ifup` is, by the file that it is in the end; None where there is none."""
    program = _answer(state)[0].partition("\n")[0].removeprefix("ifup: ")
    if not program:
        return None
    if "/ifupdown2/" in program:
        return "ifupdown2"
    # One program under all names, called ifupdown in Debian 12 and ifupdown-ng after that.
    is_ng = program.rpartition("/")[2] in {"ifupdown", "ifupdown-ng", "ifup-ng"}
    return "ifupdown-ng" if is_ng else "ifupdown"
