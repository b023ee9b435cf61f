"""Pure: which settings of the kernel the next boot would make, and which line makes each.

In the order in which a host does it: systemd-sysctl for all of sysctl.d(5), then once more for
each network device that appears (udev's 99-systemd.rules), then ufw with `sysctl -p` for a file of
its own (ufw-init-functions). Without systemd, `sysctl --system`, which reads /etc/sysctl.conf too.
Source: sysctl.c of systemd 252, sysctl.c of procps 4, addrconf.c of Linux.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from heapq import merge

from tasks.host.state import HostState, Line, sysctl_path

# Of files with one name, the one in the first of them counts.
_FOLDERS = tuple(f"{above}/sysctl.d" for above in ("/etc", "/run", "/usr/local/lib", "/usr/lib"))
_FOLDERS = (*_FOLDERS, "/lib/sysctl.d")
_PROCPS = "/etc/sysctl.conf"
_UFW_UNIT = "ufw.service"

# Writing `all` writes every interface's, and what new ones get (addrconf_fixup_forwarding(),
# addrconf_disable_ipv6()); of no other key. Both are 0 at first.
_OF_ALL = {f"net/ipv6/conf/all/{key}" for key in ("forwarding", "disable_ipv6")}


@dataclass(frozen=True)
class Setting:
    """A line that sets a path below /proc/sys, or all that fit a pattern.

    One without a value, `-KEY`, keeps patterns off that key, and takes back what was set before it.
    """

    line: Line
    key: str
    value: str | None

    @cached_property
    def is_pattern(self) -> bool:
        return any(mark in self.key for mark in "*?[")

    @cached_property
    def number(self) -> int | None:
        """What the kernel makes of the value; None where it refuses it."""
        found = re.match(r"\s*(-?\d+|0[xX][\da-fA-F]+)(?=\s|$)", self.value or "")
        return int(found.group(1), 16 if "x" in found.group(1).lower() else 10) if found else None


def foreseen(
    state: HostState, own: Mapping[str, str | None], late: Collection[str]
) -> dict[str, Setting]:
    """What would be set by the end of the next boot, by path.

    `own` are Culvert's files as they are to be, None where there is to be none; the interfaces
    `late` are made by their manager once everything else is set.
    """
    files = {path: lines for path, lines in state.sysctl_files.items() if path not in own}
    files |= {path: _lines(path, text) for path, text in own.items() if text is not None}
    has_systemd = bool(state.units)
    ordered = _in_order(files, procps=not has_systemd)
    settings = _Indexed(_merged(ordered) if has_systemd else ordered)
    to_come = {*late}
    kernel = _Kernel(path for path in state.sysctls if _interface(path) not in to_come)
    kernel.apply(settings, again=not has_systemd)
    if has_systemd:
        for interface in sorted(kernel.interfaces - {"all", "default", "lo"}):
            kernel.apply(settings, of=interface)
    ufw = state.units.get(_UFW_UNIT)
    if state.ufw_sysctls and (ufw is None or ufw.is_enabled):
        kernel.apply(_Indexed(_settings(files.get(state.ufw_sysctls, ()))), again=True)
    for interface in late:
        kernel.appear(interface)
        if has_systemd:
            kernel.apply(settings, of=interface)
    taken_back = {s.key: s for s in settings.all if s.value is None and s.key in state.sysctls}
    return taken_back | kernel.settings


class _Indexed:
    """Settings in their order, and those that are for one interface: there may be thousands."""

    def __init__(self, ordered: Iterable[Setting]) -> None:
        self.all = [*ordered]
        self.explicit = {setting.key for setting in self.all}
        self._named: dict[str, list[int]] = defaultdict(list)
        self._patterns = []
        for place, setting in enumerate(self.all):
            if setting.is_pattern:
                self._patterns.append(place)
            elif setting.key.count("/") > 2:
                self._named[_interface(setting.key)].append(place)

    def of(self, interface: str) -> Iterator[Setting]:
        """Those that may be for it."""
        return (self.all[place] for place in merge(self._named.get(interface, ()), self._patterns))


class _Kernel:
    """The settings below /proc/sys/net/ipv6: which line made each."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths: dict[str, set[str]] = defaultdict(set)
        for path in paths:
            self._paths[_interface(path)].add(path)
        self.settings: dict[str, Setting] = {}

    @property
    def interfaces(self) -> set[str]:
        return {*self._paths}

    def apply(self, settings: _Indexed, *, of: str | None = None, again: bool = False) -> None:
        """Write settings in their order: all, or those of one interface.

        `again`: also what is so already, which systemd-sysctl leaves alone.
        """
        paths = {*self._all()} if of is None else self._paths[of]
        for setting in settings.all if of is None else settings.of(of):
            if setting.number is None:
                continue
            if setting.is_pattern:
                # What is named, also without a value, is for no pattern to set.
                fitting = {path for path in paths - settings.explicit if _fits(path, setting.key)}
            else:
                fitting = {setting.key} if setting.key in paths else set()
            for path in sorted(fitting):
                is_new = again or setting.value != self._value(path)
                self.settings[path] = setting
                if path in _OF_ALL and is_new:
                    self._spread(path, setting)

    def appear(self, interface: str) -> None:
        """A new interface gets what `default` has."""
        for path in self._paths["default"]:
            new = path.replace("/default/", f"/{interface}/")
            self._paths[interface].add(new)
            if path in self.settings:
                self.settings[new] = self.settings[path]

    def _all(self) -> Iterator[str]:
        return (path for paths in self._paths.values() for path in paths)

    def _value(self, path: str) -> str | None:
        """What the path has, as it would be read."""
        if path in self.settings:
            return str(self.settings[path].number)
        return "0" if path in _OF_ALL else None

    def _spread(self, path: str, setting: Setting) -> None:
        *_, key = path.split("/")
        conf = (each for each in self._all() if each.startswith("net/ipv6/conf/"))
        self.settings |= {each: setting for each in conf if each.endswith(f"/{key}")}


def _in_order(files: Mapping[str, tuple[Line, ...]], *, procps: bool) -> list[Setting]:
    """All settings of sysctl.d(5), by the names of the files over all folders."""
    by_name: dict[str, str] = {}
    for folder in reversed(_FOLDERS):
        by_name |= {p.rpartition("/")[2]: p for p in files if p.rpartition("/")[0] == folder}
    paths = [by_name[name] for name in sorted(by_name)]
    if procps and _PROCPS in files:
        paths.append(_PROCPS)
    return [setting for path in paths for setting in _settings(files[path])]


def _merged(settings: Iterable[Setting]) -> list[Setting]:
    """As systemd-sysctl keeps them: the last for each key, in the place of the first like it."""
    kept: dict[str, Setting] = {}
    for setting in settings:
        if setting.key in kept and kept[setting.key].value == setting.value:
            continue
        kept.pop(setting.key, None)
        kept[setting.key] = setting
    return [*kept.values()]


def _lines(path: str, text: str) -> tuple[Line, ...]:
    return tuple(Line(path, number, line) for number, line in enumerate(text.splitlines(), 1))


def _settings(lines: Iterable[Line]) -> list[Setting]:
    return [*_parsed(lines)]


def _parsed(lines: Iterable[Line]) -> Iterator[Setting]:
    for line in lines:
        text = line.text.strip()
        key, equals, value = text.partition("=")
        # Before a setting, the dash asks for no complaints; alone, it makes it none.
        if text and text[0] not in "#;" and (equals or text[0] == "-"):
            path = sysctl_path(key.removeprefix("-").strip())
            yield Setting(line, path, value.strip() if equals else None)


def _interface(path: str) -> str:
    return path.split("/")[3]


def _fits(path: str, pattern: str) -> bool:
    """As of glob(7): nothing but a slash matches a slash."""
    names, patterns = path.split("/"), pattern.replace("[^", "[!").split("/")
    return len(names) == len(patterns) and all(map(fnmatchcase, names, patterns))
