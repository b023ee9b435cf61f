"""Deploys every tunnel of the inventory: servers first, then clients, then proof from both ends."""

from pyinfra.context import host

from tasks.running import operations
from tasks.running.survey import survey
from tasks.verify import verify

found = survey()

for stage, names in enumerate(host.loop(found.broker.stages)):
    who = "clients" if stage else "servers"
    if host.name in names and host.name in found.plans:
        operations.converge(name=f"Converge tunnel {who}")
    operations.barrier(name=f"Wait for tunnel {who}")
verify()
