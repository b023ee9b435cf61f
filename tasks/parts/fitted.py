"""Pure: the MTU that a path was found to have room for, remembered.

Where the inventory has no `mtu`, a tunnel keeps what was found once: a path that has room for more
later on, or that can't be measured, changes nothing.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache

from netaddr import IPAddress

from tasks.declared.written import DEFAULT_MTU
from tasks.host.changes import Step
from tasks.host.render import render
from tasks.host.state import FOLDER, File, HostState, Question, Search
from tasks.parts.part import Site

FILE = f"/var/lib/{FOLDER}/mtus"

FOLDERS = (f"/var/lib/{FOLDER}",)
OWN_FOLDERS = (FOLDER,)
QUESTIONS: tuple[Question | Search, ...] = ()

# As the program that measures reads it, too.
_LINE = re.compile(r"tunnel local (\S+) remote (\S+) mtu (\d+)")


def recorded(state: HostState) -> Mapping[tuple[IPAddress, IPAddress], int]:
    """What was found, by the two IPv4 addresses that a tunnel has: with others it is forgotten."""
    return _told(state.files[FILE].text if FILE in state.files else "")


# Of a server it is asked for each tunnel, and of that tunnel's client in between.
@lru_cache(maxsize=64)
def _told(text: str) -> Mapping[tuple[IPAddress, IPAddress], int]:
    found = (_LINE.fullmatch(line) for line in text.splitlines())
    return {(IPAddress(m[1]), IPAddress(m[2])): int(m[3]) for m in found if m}


def obstacles(site: Site, state: HostState) -> Iterable[str]:
    """None: a path that is too narrow is told of where the MTU is decided, for both ends."""
    del site, state
    return ()


def lost_at_boot(site: Site, state: HostState) -> Iterable[str]:
    """None: nothing reads it at boot."""
    del site, state
    return ()


def files(site: Site, state: HostState) -> dict[str, File]:
    """The record, where it says anything that the inventory doesn't."""
    del state
    lines = [
        f"tunnel local {end.local} remote {end.remote} mtu {end.mtu}"
        for end in site.ends
        if not end.tunnel.is_mtu_written and end.mtu != DEFAULT_MTU
    ]
    return {FILE: File(render("culvert/mtus", lines=lines))} if lines else {}


def checks(site: Site, staged: Mapping[str, str]) -> Iterable[str]:
    """None: nobody but Culvert reads the record."""
    del site, staged
    return ()


def stopping(site: Site, state: HostState, changed: Collection[str]) -> Iterable[Step]:
    """Nothing runs."""
    del site, state, changed
    return ()


def starting(site: Site, state: HostState, changed: Collection[str]) -> Iterable[Step]:
    """Nothing runs."""
    del site, state, changed
    return ()
