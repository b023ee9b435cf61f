"""Pure: what a network manager must be able to say, for Culvert to put a tunnel on its hosts."""

from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from tasks.declared.model import End
from tasks.host.changes import Step
from tasks.host.state import File, HostState, Question
from tasks.parts.part import Site


def not_running(service: str) -> str:
    """The sentence that refuses a manager that is named and isn't there."""
    return (
        f"{service} doesn't run, so nothing would bring the tunnels up at boot: start it, or name "
        "another `manager`"
    )


def not_starting(service: str, state: HostState, *, is_generated: bool = False) -> Iterable[str]:
    """What keeps a manager that runs from starting at boot.

    `is_generated`: whether something outside systemd's own settings has it started.
    """
    unit = state.units.get(service)
    socket = state.units.get(service.replace(".service", ".socket"))
    is_started = is_generated or (socket is not None and socket.is_enabled)
    if unit is None or not (unit.is_masked or (unit.is_off_at_boot and not is_started)):
        return
    word, command = ("masked", "unmask") if unit.is_masked else ("disabled", "enable")
    yield (
        f"{service} is {word}, so nothing would bring the tunnels up at the next boot: run "
        f"`systemctl {command} {service}`"
    )


def raising(place: str, manager: str, way_out: str) -> str:
    """The sentence on a file of the host's that brings up the kernel's sit0."""
    return (
        f"{place} has {manager} bring up sit0 at the next boot, which takes protocol 41 from "
        f"anybody, and which no tunnel needs: {way_out}"
    )


class Manager(Protocol):
    """One network manager: what shows that it owns an interface, and how it is told of a tunnel."""

    @property
    def name(self) -> str:
        """As a person writes it under `manager`."""

    @property
    def looked_for(self) -> str:
        """What `evidence` looks for, for the sentence that refuses a host."""

    @property
    def ignoring_routers(self) -> str:
        """What people write for an interface that is to learn no default route on its link."""

    @property
    def question(self) -> Question:
        """What to ask on a host, for `evidence`; managers that ask the same share one."""

    @property
    def folders(self) -> tuple[str, ...]:
        """Where files of Culvert may lie when this manager is in charge."""

    @property
    def own_folders(self) -> tuple[str, ...]:
        """Patterns of folders that come with Culvert's file, and go with it unless others use them.

        As of Path.match(): from the right.
        """

    @property
    def places(self) -> tuple[str, ...]:
        """The files, or folders of them, in which people set up a tunnel by hand."""

    @property
    def hand_made(self) -> str:
        """A regular expression for a line there that makes a tunnel; `NAMES` is its interface."""

    def evidence(self, state: HostState, interface: str) -> str | None:
        """What shows that this manager holds the interface now; None where nothing does."""

    def obstacles(self, site: Site, state: HostState) -> Iterable[str]:
        """Sentences on what would keep this manager from carrying the site."""

    def lost_at_boot(self, site: Site, state: HostState) -> Iterable[str]:
        """Sentences on what would keep it from bringing all of that back after a boot."""

    def late_at_boot(self, site: Site, state: HostState) -> Iterable[str]:
        """Sentences on tunnels that it may not come to before its own start is ended."""

    def raising_fallback(self, state: HostState) -> Iterable[str]:
        """Sentences on what has it bring up the kernel's sit0 at boot, which nothing needs."""

    def files(self, site: Site, state: HostState) -> dict[str, File]:
        """Every file that the site needs of this manager, by its path."""

    def defines(self, path: str) -> str | None:
        """The tunnel interface that an owned file of this path defines, if it does."""

    def checks(self, staged: Mapping[str, str]) -> Iterable[str]:
        """Shell commands that fail where this manager can't read a new file.

        `staged` has where each new file waits, by the path that it will have. $scratch is a folder
        for the script's own use.
        """

    def create(self, ends: Collection[End]) -> Iterable[str]:
        """Shell commands, run once the files are there, that bring up tunnels that aren't there."""

    def remove(self, interfaces: Collection[str]) -> Iterable[str]:
        """Shell commands, run while the files are there, before the tunnels' links are deleted."""

    def restore(self, interfaces: Collection[str], state: HostState) -> Iterable[str]:
        """Shell commands that undo `remove`, run once the old files are back.

        Those that were there are what they were; of the others the manager knows as it did.
        """

    def reread(self, interfaces: Collection[str]) -> Iterable[str]:
        """Shell commands by which it knows the files of running tunnels, once those are back."""

    def forget(self, interfaces: Collection[str]) -> Iterable[str]:
        """Shell commands that take away what others made of new tunnels' files, once they're gone.

        Their links are gone by then.
        """

    def refresh(self, site: Site, state: HostState, changed: Collection[str]) -> Iterable[Step]:
        """What else the manager needs, given the paths of the files that changed."""
