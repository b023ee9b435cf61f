"""The end of `make demo`: what shows, on the lab's own machines, that packets flow."""

import sys

from tasks.declared import declaration
from tasks.declared.model import Tunnel
from tasks.parts import managers
from tests.lab.errors import LabError
from tests.lab.lab import Lab
from tests.lab.machines import FAR_ADDRESS
from tests.scenarios.cases import DEMO_LAN, Lan, inventory


def show(lab: Lab, name: str, command: str) -> None:
    """Run a command on a machine, and print it with its output; an error if it fails."""
    print(f"\n[{name}] $ {command}\n{lab.machine(name).run(command).stdout.rstrip()}", flush=True)


def show_tunnel(lab: Lab, tunnel: Tunnel) -> None:
    """The tunnel as the client has it, a ping each way, and one packet as the Internet sees it."""
    print(f"\n--- {tunnel.client}, without IPv6 of its own, through {tunnel.server.host} ---")
    show(lab, tunnel.client, "ip -6 route show default")
    show(lab, tunnel.client, f"ping -6 -n -c 3 -i 0.2 -W 5 {FAR_ADDRESS}")
    show(lab, "internet", f"ping -6 -n -c 3 -i 0.2 -W 5 -I {FAR_ADDRESS} {tunnel.client_ipv6}")
    show(
        lab,
        "internet",
        # Between the client and the server it is a packet of IPv4, protocol 41.
        f"timeout 20 tcpdump -n -t -c 1 -i any ip proto 41 and src {tunnel.client_ipv4} "
        "2>/dev/null & sleep 2; "
        f"ping -6 -n -c 1 -W 5 -I {FAR_ADDRESS} {tunnel.client_ipv6} >/dev/null; wait $!",
    )


def show_lan(lab: Lab, lan: Lan) -> None:
    """What a host behind the client has learned, a ping each way, and an address of nobody's."""
    print(f"\n--- lan-host, in the network behind {lan.client}, which told it all it knows ---")
    show(lab, "lan-host", f"ip -6 -br address show dev {lan.card} scope global")
    show(lab, "lan-host", f"ip -6 route show default dev {lan.card}")
    show(lab, "lan-host", f"ping -6 -n -c 3 -i 0.2 -W 5 -I {lan.card} {FAR_ADDRESS}")
    show(lab, "internet", f"ping -6 -n -c 3 -i 0.2 -W 5 -I {FAR_ADDRESS} {lan.host_ipv6}")
    print(
        "\n--- an address of the routed prefix that nobody uses: the packet goes round for nobody"
    )
    unused = declaration.read(dict(inventory("demo")), managers.NAMES).tunnels[-1].routed_prefixes
    show(lab, "internet", f"ping -6 -n -c 1 -W 5 -I {FAR_ADDRESS} {unused[0][-1]} || true")


def main() -> None:
    with Lab() as lab:
        for tunnel in declaration.read(dict(inventory("demo")), managers.NAMES).tunnels:
            show_tunnel(lab, tunnel)
        show_lan(lab, DEMO_LAN)
    print(
        "\nPackets flow, both ways. The machines are still up:\n"
        f"    {sys.executable} -m tests.lab ssh client-netplan   # look around\n"
        f"    {sys.executable} -m tests.lab down                 # end them"
    )


if __name__ == "__main__":
    try:
        main()
    except LabError as error:
        sys.exit(f"The demo failed: {error}")
