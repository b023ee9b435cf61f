"""Pure: the network managers that Culvert speaks to, one module each, and the table of them.

`manager` is what one must be able to say, `unmanaged` what NetworkManager is told to leave alone.
"""

from functools import cache

from tasks.host.state import HostState
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

NAMES = tuple(manager.name for manager in MANAGERS)


def by_name(name: str) -> Manager:
    return next(manager for manager in MANAGERS if manager.name == name)


def owned_interfaces(state: HostState) -> frozenset[str]:
    """The tunnel interfaces that a file of Culvert defines, whether they are up or not."""
    return frozenset().union(*map(_defined, state.files))


@cache
def _defined(path: str) -> frozenset[str]:
    interfaces = (manager.defines(path) for manager in MANAGERS)
    return frozenset(interface for interface in interfaces if interface is not None)
