"""Task: `pyinfra INVENTORY tasks.undo.undo` takes back the last run of every host of the run."""

from pyinfra.context import host, inventory

from tasks.planning import aims
from tasks.running import operations
from tasks.running.inventory import declared
from tasks.running.survey import say_absent, survey


def undo() -> None:
    """Put this host back to before its last confirmed run, clients before the servers they use."""
    broker = declared(inventory)
    survey(broker.emptied(), aims.UNDO)
    say_absent(host, broker.nodes[host.name])
    operations.change("Undo the last run", after=broker.nodes[host.name].client_hosts)
