"""Pure: the network managers that Culvert speaks to, one module each, and the table of them.

`manager` is what one must be able to say, `unmanaged` what NetworkManager is told to leave alone.
"""

from collections.abc import Mapping
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
    return frozenset(name for path in state.files for name in definers(path).values())


@cache
def definers(path: str) -> Mapping[Manager, str]:
    """The managers of which a tunnel's file may be called so, each with the tunnel's interface.

    Those of one family write to the same path.
    """
    found = ((manager, manager.defines(path)) for manager in MANAGERS)
    return {manager: interface for manager, interface in found if interface is not None}
