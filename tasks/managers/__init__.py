"""Pure: the network managers that Culvert speaks to, one module each, and the table of them."""

from tasks.managers.ifupdown import Ifupdown
from tasks.managers.manager import Manager
from tasks.managers.netplan import Netplan

# In the order in which they are looked for: netplan's evidence is the more specific.
MANAGERS: tuple[Manager, ...] = (Netplan(), Ifupdown())

NAMES = tuple(manager.name for manager in MANAGERS)


def by_name(name: str) -> Manager:
    return next(manager for manager in MANAGERS if manager.name == name)
