"""Pure: what a host gets, a module or folder for each part, and the table of them.

part            what a part must be able to say, and where it is to be put
filtering       Culvert's own nftables table: who may send what through a tunnel
sysctls         the kernel's settings that forwarding needs, and what they were before
openings        what the host's own firewall must let pass
    firewalls/  one module for each firewall: its chains, files and commands
tunnels         the tunnels, by their network manager
    managers/   one module for each network manager: its evidence, files and commands
    sit         a tunnel as the kernel holds it: lines that tell of it, commands that make it so
fitted          the MTU that a path was found to have room for, remembered
additions       what is added beside Culvert's own interfaces, and the record of it
advertisements  the radvd of a network behind a client
"""

from collections.abc import Iterable
from itertools import chain
from typing import TypeVar

from tasks.declared.model import Node
from tasks.host import asking
from tasks.host.state import PLACES
from tasks.parts import additions, advertisements, filtering, fitted, openings, sysctls, tunnels
from tasks.parts.managers import MANAGERS
from tasks.parts.part import Part

# In the order in which they are made; they are stopped in the other one.
PARTS: tuple[Part, ...] = (
    filtering,
    sysctls,
    openings,
    tunnels,
    fitted,
    additions,
    advertisements,
)


_T = TypeVar("_T")


def _once(groups: Iterable[Iterable[_T]]) -> tuple[_T, ...]:
    """What is in any of the groups, in their order."""
    return tuple(dict.fromkeys(chain.from_iterable(groups)))


# All where files of Culvert may lie, whatever manager is in charge.
FOLDERS = _once(part.FOLDERS for part in PARTS)
# Of those, patterns of the ones that are Culvert's own.
OWN_FOLDERS = _once(part.OWN_FOLDERS for part in PARTS)
_QUESTIONS = _once(part.QUESTIONS for part in PARTS)
# All where people set up a tunnel by hand.
_PLACES = _once([*(manager.places for manager in MANAGERS), PLACES])


def script(node: Node, *, measures: bool = False, remembers: bool = False) -> str:
    """The shell script that reads a host that is to carry the node, and asks every manager.

    Before a change it also `measures`: the paths to the other ends, which takes seconds where they
    are narrow, the room for files, and who listens. Or it `remembers` the last confirmed run.
    """
    measuring = asking.measuring(node, fitted.FILE) if measures else None
    return asking.script(node, _QUESTIONS, FOLDERS, _PLACES, measuring, remembers=remembers)
