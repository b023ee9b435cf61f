"""pyinfra: what an inventory declares."""

from pyinfra.api.exceptions import DeployError
from pyinfra.api.inventory import Inventory

from tasks.declared import declaration
from tasks.declared.mistakes import DeclarationError
from tasks.declared.model import Broker
from tasks.parts import managers
from tasks.running import terminal


def declared(inventory: Inventory) -> Broker:
    """The tunnels that an inventory declares. Raises DeployError with every mistake."""
    try:
        return declaration.read(
            {host.name: host.data.dict() for host in inventory}, managers=managers.NAMES
        )
    except DeclarationError as error:
        raise DeployError(terminal.lines(str(error))) from error
