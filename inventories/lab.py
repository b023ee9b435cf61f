"""The lab's machines, up after `make lab`: a server, two clients, a network behind one of them."""

import os

# pyinfra takes every public list or tuple of an inventory for a group of hosts.
from tests.scenarios.cases import inventory

hosts = inventory("demo", user=os.environ.get("CULVERT_LAB_USER", "root"))
