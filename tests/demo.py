"""The end of `make demo`: what shows, on the lab's own machines, that packets flow."""

import sys

from tests.lab.errors import LabError
from tests.lab.lab import Lab
from tests.lab.machines import FAR_ADDRESS, ipv4_of
from tests.scenarios.cases import PAIRINGS, Case


def show(lab: Lab, name: str, command: str) -> None:
    """Run a command on a machine, and print it with its output; an error if it fails."""
    print(f"\n[{name}] $ {command}\n{lab.machine(name).run(command).stdout.rstrip()}", flush=True)


def show_tunnel(lab: Lab, case: Case) -> None:
    """The tunnel as the client has it, a ping each way, and one packet as the Internet sees it."""
    print(f"\n--- {case.client}, without IPv6 of its own, through {case.server} ---")
    show(lab, case.client, "ip -6 route show default")
    show(lab, case.client, f"ping -6 -n -c 3 -i 0.2 -W 5 {FAR_ADDRESS}")
    show(lab, "internet", f"ping -6 -n -c 3 -i 0.2 -W 5 -I {FAR_ADDRESS} {case.client_ipv6}")
    show(
        lab,
        "internet",
        # Between the client and the server it is a packet of IPv4, protocol 41.
        f"timeout 20 tcpdump -n -t -c 1 -i any ip proto 41 and src {ipv4_of(case.client)} "
        "2>/dev/null & sleep 2; "
        f"ping -6 -n -c 1 -W 5 -I {FAR_ADDRESS} {case.client_ipv6} >/dev/null; wait $!",
    )


def main() -> None:
    with Lab() as lab:
        for case in PAIRINGS["straight"]:
            show_tunnel(lab, case)
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
