"""Which server with which client, and the inventories for them."""

from dataclasses import dataclass

from netaddr import IPAddress, IPNetwork

from tests.lab.access import ssh_data
from tests.lab.machines import FAR_ADDRESS, HOSTS, ipv4_of
from tests.lab.places import Place
from tests.runs import Hosts

PREFIXES = {"server-ifupdown": "2001:db8:1::/64", "server-netplan": "2001:db8:2::/64"}


@dataclass(frozen=True)
class Case:
    """One tunnel between two machines of the lab."""

    server: str
    client: str

    @property
    def server_ipv6(self) -> IPAddress:
        return IPNetwork(PREFIXES[self.server])[2]

    @property
    def client_ipv6(self) -> IPAddress:
        return IPNetwork(PREFIXES[self.server])[3]

    @property
    def server_interface(self) -> str:
        return f"sit-{self.client.removeprefix('client-')}"


# Two tunnels at once for each, so that two deployments cover all four cases.
PAIRINGS = {
    "straight": (
        Case("server-ifupdown", "client-ifupdown"),
        Case("server-netplan", "client-netplan"),
    ),
    "crossed": (
        Case("server-ifupdown", "client-netplan"),
        Case("server-netplan", "client-ifupdown"),
    ),
}
NAMES = tuple(machine.name for machine in HOSTS)


def inventory(pairing: str, user: str = "root") -> Hosts:
    """The hosts of a pairing, as they would stand in an inventory file."""
    place = Place.from_environment()
    ssh = {machine.name: ssh_data(machine, place, user) for machine in HOSTS}
    hosts: Hosts = []
    for case in PAIRINGS[pairing]:
        server = {
            "ipv4": ipv4_of(case.server),
            "prefix": PREFIXES[case.server],
            "probe_address": FAR_ADDRESS,
        }
        tunnel = {
            "server": case.server,
            "ipv4": ipv4_of(case.client),
            "number": 1,
            "server_interface": case.server_interface,
        }
        hosts.append((case.server, {**ssh[case.server], "tunnel_server": server}))
        hosts.append((case.client, {**ssh[case.client], "tunnel": tunnel}))
    return hosts
