"""Deploys every tunnel of the inventory: clients after their servers, then proof from both ends."""

from pathlib import Path

from pyinfra.api.exceptions import DeployError
from pyinfra.context import host

try:
    from tasks.running import operations
    from tasks.running.survey import survey
    from tasks.verify import verify
except ImportError as error:
    here = Path(__file__).resolve().parent
    way_out = f"run it in {here}, or add `--config {here}/config.py`"
    raise DeployError(f"Culvert's settings were not read: {way_out}") from error

found = survey()

operations.change("Converge tunnels", after=found.broker.nodes[host.name].server_hosts)
verify()
