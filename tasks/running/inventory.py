"""pyinfra: what an inventory declares."""

from weakref import WeakKeyDictionary

from pyinfra.api.exceptions import DeployError
from pyinfra.api.inventory import Inventory

from tasks.declared import declaration
from tasks.declared.mistakes import DeclarationError
from tasks.declared.model import Broker
from tasks.parts import managers
from tasks.running import terminal

_read: WeakKeyDictionary[Inventory, Broker] = WeakKeyDictionary()


def declared(inventory: Inventory) -> Broker:
    """The tunnels that an inventory declares. Raises DeployError with every mistake."""
    if inventory not in _read:
        data = {host.name: host.data.dict() for host in inventory}
        try:
            _read[inventory] = declaration.read(data, managers=managers.NAMES)
        except DeclarationError as error:
            raise DeployError(terminal.lines(str(error))) from error
    return _read[inventory]
