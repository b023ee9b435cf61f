"""Deploys every tunnel of the inventory: servers first, then clients, then proof from both ends."""

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

for stage, names in enumerate(host.loop(found.broker.stages)):
    who = "clients" if stage else "servers"
    if host.name in names and host.name in found.plans:
        operations.converge(name=f"Converge tunnel {who}")
    operations.barrier(name=f"Wait for tunnel {who}")
if host.name in found.plans:
    operations.confirm(name="Confirm what was changed")
verify()
