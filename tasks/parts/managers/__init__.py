"""Pure: the network managers that Culvert speaks to, one module each, and the table of them."""

from collections.abc import Iterable
from itertools import chain

from tasks.declared.model import Node
from tasks.host import state
from tasks.parts.managers.ifupdown import Ifupdown
from tasks.parts.managers.ifupdown2 import Ifupdown2
from tasks.parts.managers.ifupdown_ng import IfupdownNg
from tasks.parts.managers.manager import Manager
from tasks.parts.managers.netplan import Netplan
from tasks.parts.managers.networkd import Networkd
from tasks.parts.managers.networkmanager import NetworkManager

# In the order in which they are looked for.
MANAGERS: tuple[Manager, ...] = (
    Netplan(),
    Networkd(),
    NetworkManager(),
    Ifupdown(),
    Ifupdown2(),
    IfupdownNg(),
)


def _once(*groups: Iterable[str]) -> tuple[str, ...]:
    """What is in any of the groups, in their order."""
    return tuple(dict.fromkeys(chain.from_iterable(groups)))


NAMES = tuple(manager.name for manager in MANAGERS)
# All where files of Culvert may lie, whatever manager is in charge.
FOLDERS = _once(state.FOLDERS, *(manager.folders for manager in MANAGERS))
# Of those, patterns of the ones that are Culvert's own.
OWN_FOLDERS = _once([state.FOLDER], *(manager.own_folders for manager in MANAGERS))
# All where people set up a tunnel by hand.
PLACES = _once(*(manager.places for manager in MANAGERS), state.PLACES)


def by_name(name: str) -> Manager:
    return next(manager for manager in MANAGERS if manager.name == name)


def script(node: Node) -> str:
    """The shell script that reads a host that is to carry the node, and asks every manager."""
    questions = dict.fromkeys(manager.question for manager in MANAGERS)
    return state.script(node, questions, FOLDERS, PLACES)
