"""Task: `pyinfra INVENTORY tasks.drift.drift` fails where a host isn't as declared."""

from pyinfra.context import state

from tasks.running.survey import survey


def drift() -> None:
    """Show what a run would change, change nothing, and fail every host that differs."""
    state.config.DIFF = True
    found = survey()
    found.only_looks = True
    differing = {name for name in found.plans if found.changes(name)}
    state.fail_hosts({host for host in state.active_hosts if host.name in differing})
