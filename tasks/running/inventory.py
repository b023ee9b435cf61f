"""pyinfra: what an inventory declares."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from pyinfra.api.exceptions import ConnectorDataTypeError, DeployError
from pyinfra.api.inventory import Inventory, extract_name_data
from pyinfra.connectors.base import host_to_connector_data

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


Names = Iterable[Any]
"""Of hosts: names, or names with data, as a person writes them."""


def repeated(names: Names, groups: Mapping[str, tuple[Names, object]]) -> Iterator[str]:
    """Sentences on hosts that are written twice, with different tunnels: pyinfra takes the last."""
    written: dict[tuple[str, str], Any] = {}
    for each in (*(found for found, _ in groups.values()), names):
        for name, data in extract_name_data([*each]):
            told = data if isinstance(data, Mapping) else {}
            for key in [each for each in ("tunnel", "tunnel_server") if each in told]:
                if written.setdefault((name, key), told[key]) != told[key]:
                    yield (
                        f"{name} is written twice in the inventory, with different `{key}`: write "
                        "it once" + (", with a list of tunnels" if key == "tunnel" else "")
                    )


def mistyped(inventory: Inventory) -> Iterator[str]:
    """Sentences on what pyinfra can't connect to a host by."""
    for host in inventory:
        connector = host.connector_cls
        try:
            host_to_connector_data(connector.data_cls, connector.data_meta, host.data)
        except ConnectorDataTypeError as error:
            said = str(error).removeprefix("Invalid connector data ").replace("`::", "`:")
            yield f"{host.name}: {said}"
