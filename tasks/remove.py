"""Task: `pyinfra INVENTORY tasks.remove.remove` takes Culvert off every host of the run."""

from pyinfra.context import host, inventory

from tasks.running import operations
from tasks.running.inventory import declared
from tasks.running.survey import say_absent, survey


def remove() -> None:
    """Leave this host as it was before its first run, clients before the servers they use."""
    broker = declared(inventory)
    survey(broker.emptied())
    say_absent(host, broker.nodes[host.name])
    operations.change("Remove Culvert", after=broker.nodes[host.name].client_hosts)
