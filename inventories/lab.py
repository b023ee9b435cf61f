"""The lab's machines, up after `make lab`: a server and a client for each network manager."""

import os

# pyinfra takes every public list or tuple of an inventory for a group of hosts.
from tests.scenarios.cases import inventory

hosts = inventory("straight", user=os.environ.get("CULVERT_LAB_USER", "root"))
