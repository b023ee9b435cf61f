"""Task: `pyinfra INVENTORY tasks.addresses.addresses` lists who has which tunnel addresses."""

import click
from pyinfra.context import host, inventory, state

from tasks.declared import numbering
from tasks.running.survey import declared


def addresses() -> None:
    """Print the plan of addresses, once for all hosts."""
    if host == next(each for each in inventory if each in state.active_hosts):
        click.echo(numbering.table(declared(inventory)))
