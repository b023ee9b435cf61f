"""Task: `pyinfra INVENTORY tasks.remove.remove` takes Culvert off every host of the run."""

from pyinfra.context import host, inventory

from tasks import operations
from tasks.survey import declared, survey


def remove() -> None:
    """Leave this host as it was before its first run, clients before the servers they use."""
    broker = declared(inventory)
    found = survey(broker.emptied()).plans.get(host.name)
    is_server = broker.nodes[host.name].server is not None
    if found and not is_server:
        operations.converge(name="Remove Culvert from clients")
    operations.barrier(name="Wait for all clients")
    if found and is_server:
        operations.converge(name="Remove Culvert from servers")
