"""Deploys every tunnel of the inventory: servers first, then clients, then proof from both ends."""

from pyinfra.context import host

from tasks import operations
from tasks.survey import survey
from tasks.verify import verify

plan = survey().plans.get(host.name)

if plan and plan.node.server:
    operations.converge(name="Converge tunnel servers")
operations.barrier(name="Wait for all servers")
if plan and not plan.node.server:
    operations.converge(name="Converge tunnel clients")
operations.barrier(name="Wait for all clients")
verify()
