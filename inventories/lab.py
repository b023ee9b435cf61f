"""The lab's machines, up after `make lab`: a server and a client for each network manager."""

import os

# Modules alone: pyinfra takes every public list or tuple of an inventory for a group of hosts.
from tests.lab import machines
from tests.lab.access import ssh_data
from tests.lab.places import Place

_PLACE = Place.from_environment()
_USER = os.environ.get("CULVERT_LAB_USER", "root")
_SSH = {machine.name: ssh_data(machine, _PLACE, _USER) for machine in machines.MACHINES}


def _server(name: str, prefix: str) -> tuple[str, dict[str, object]]:
    server = {
        "ipv4": machines.ipv4_of(name),
        "prefix": prefix,
        "probe_address": machines.FAR_ADDRESS,
    }
    return name, {**_SSH[name], "tunnel_server": server}


def _client(name: str, server: str, server_interface: str) -> tuple[str, dict[str, object]]:
    tunnel = {
        "server": server,
        "ipv4": machines.ipv4_of(name),
        "number": 1,
        # The default, sit-<client>, would be longer than the kernel's 15 characters.
        "server_interface": server_interface,
    }
    return name, {**_SSH[name], "tunnel": tunnel}


hosts = [
    _server("server-ifupdown", prefix="2001:db8:1::/64"),
    _server("server-netplan", prefix="2001:db8:2::/64"),
    _client("client-ifupdown", server="server-ifupdown", server_interface="sit-ifupdown"),
    _client("client-netplan", server="server-netplan", server_interface="sit-netplan"),
]
