"""Task: `pyinfra INVENTORY tasks.undo.undo` takes back the last run of every host of the run."""

from pyinfra.context import host, inventory

from tasks.planning import aims
from tasks.running import operations
from tasks.running.inventory import declared
from tasks.running.survey import say_absent, survey


def undo() -> None:
    """Put this host back to before its last confirmed run, clients before the servers they use."""
    broker = declared(inventory)
    found = survey(broker.emptied(), aims.UNDO)
    say_absent(host, broker.nodes[host.name])
    for stage, names in enumerate(host.loop(reversed(broker.stages))):
        who = "servers" if stage == len(broker.stages) - 1 else "clients"
        if host.name in names and host.name in found.plans:
            operations.converge(name=f"Undo the last run of {who}")
        operations.barrier(name=f"Wait for {who}")
    if host.name in found.plans:
        operations.confirm(name="Confirm what was changed")
