"""Task: `pyinfra INVENTORY tasks.remove.remove` takes Culvert off every host of the run."""

from pyinfra.context import host, inventory

from tasks.running import operations
from tasks.running.inventory import declared
from tasks.running.survey import say_absent, survey


def remove() -> None:
    """Leave this host as it was before its first run, clients before the servers they use."""
    broker = declared(inventory)
    found = survey(broker.emptied())
    say_absent(host, broker.nodes[host.name])
    for stage, names in enumerate(host.loop(reversed(broker.stages))):
        who = "servers" if stage == len(broker.stages) - 1 else "clients"
        if host.name in names and host.name in found.plans:
            operations.converge(name=f"Remove Culvert from {who}")
        operations.barrier(name=f"Wait for {who}")
    if host.name in found.plans:
        operations.confirm(name="Confirm what was changed")
