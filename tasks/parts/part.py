"""Pure: what a part must be able to say, and where it is to be put."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from netaddr import IPAddress

from tasks.declared.model import End, Lan, Node
from tasks.host.changes import Step
from tasks.host.state import File, HostState, Question, Search

# The worst that there is: whatever else leads there is preferred.
UNREACHABLE_METRIC = 4294967295


@dataclass(frozen=True)
class Site:
    """A node on its own host: which interface leads to the Internet there, and who manages it.

    Both are empty where nothing is declared for the host.
    """

    node: Node
    external_interface: str = ""
    manager: str = ""

    @property
    def ends(self) -> tuple[End, ...]:
        return self.node.ends

    @property
    def proxied(self) -> tuple[IPAddress, ...]:
        return self.node.proxied

    @property
    def lans(self) -> tuple[Lan, ...]:
        return self.node.lans

    @property
    def adds_to_external(self) -> bool:
        """Whether proxy entries or unreachable routes come and go with the external interface."""
        return bool(self.proxied or self.node.routed_here)

    @property
    def added_to(self) -> list[str]:
        """The interfaces that aren't Culvert's, and get something of it."""
        external = {self.external_interface} if self.adds_to_external else set()
        return sorted({*external, *(lan.interface for lan in self.lans)})


class Part(Protocol):
    """Something that a host gets. Where a site carries nothing, all of it is taken back.

    New files wait while `checks` look at them, `stopping` runs while the old files are still there,
    the new ones take their places, then comes `starting`. `changed` are the paths of all files that
    do so, of every part.
    """

    @property
    def FOLDERS(self) -> tuple[str, ...]:  # noqa: N802
        """Where its files may lie."""

    @property
    def OWN_FOLDERS(self) -> tuple[str, ...]:  # noqa: N802
        """Patterns of those, as of Path.match(), that go with the last file in them."""

    @property
    def QUESTIONS(self) -> tuple[Question | Search, ...]:  # noqa: N802
        """What it asks on a host beyond what is read of every host."""

    def obstacles(self, site: Site, state: HostState) -> Iterable[str]:
        """Sentences on what stands in its way."""

    def lost_at_boot(self, site: Site, state: HostState) -> Iterable[str]:
        """Sentences on what would work until the next boot, and not after it."""

    def files(self, site: Site, state: HostState) -> dict[str, File]:
        """Every file that the site needs of it, by its path."""

    def checks(self, site: Site, staged: Mapping[str, str]) -> Iterable[str]:
        """Shell commands that fail where a new file can't be read by who is to read it.

        `staged` has where each new file waits, by the path that it will have. $scratch is a folder
        for the script's own use.
        """

    def stopping(self, site: Site, state: HostState, changed: Collection[str]) -> Iterable[Step]:
        """What must stop or go before the files change."""

    def starting(self, site: Site, state: HostState, changed: Collection[str]) -> Iterable[Step]:
        """What is to be made or mended once they have."""
