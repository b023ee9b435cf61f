"""A path with room for less than its hosts think, and a firewall that passes pings alone."""

from pathlib import Path

from tests import runs
from tests.lab.lab import Lab
from tests.lab.machines import FAR_ADDRESS
from tests.scenarios.cases import PAIRINGS, inventory, ipv4_of
from tests.scenarios.conftest import Deploy
from tests.scenarios.observation import assert_traffic, differences, observe_all

NARROW, WIDE = PAIRINGS["straight"]
ENDS = {NARROW.server: NARROW.server_interface, NARROW.client: "sit-ipv6"}
HOSTS = [NARROW.server, NARROW.client]

PATH_MTU = 1400
MTU = PATH_MTU - 20
BYTES = 10_000_000
PORT = 9000

# What a router does whose messages that a packet is too large come to nobody.
SILENCE = (
    "nft 'add table ip silent; add chain ip silent o { type filter hook output priority 0; }; "
    "add rule ip silent o icmp type destination-unreachable drop'"
)
TCP_DROPPED = (
    "nft 'add table ip6 pings; add chain ip6 pings f { type filter hook forward priority 0; }; "
    "add rule ip6 pings f meta l4proto icmpv6 accept; add rule ip6 pings f drop'"
)


def narrow(lab: Lab) -> None:
    """Have the router between the two pass no larger packets, and say nothing of it."""
    internet = lab.machine("internet")
    for host in HOSTS:
        internet.run(
            f"route=$(ip -4 route show match {ipv4_of(host)} | grep -m 1 'scope link'); "
            f"ip -4 route replace $route mtu lock {PATH_MTU}"
        )
    internet.run(SILENCE)


def assert_carries_much(lab: Lab) -> None:
    """As many bytes of TCP, from the Internet to the client and back, reach the other side."""
    internet, client = lab.machine("internet"), lab.machine(NARROW.client)
    listening = f"timeout 60 socat -u {{}} TCP6-LISTEN:{PORT},reuseaddr,bind=[{FAR_ADDRESS}]"
    zeros = f"head -c {BYTES} /dev/zero"
    down = internet.start(f"{zeros} | {listening.format('-')}")
    internet.wait_for(f"ss -tln | grep :{PORT}", 20)
    got = client.run(f"timeout 60 socat -u TCP6:[{FAR_ADDRESS}]:{PORT} - | wc -c", timeout=90)
    assert int(got.stdout) == BYTES
    down.wait()
    up = internet.start(
        f"timeout 60 socat -u TCP6-LISTEN:{PORT},reuseaddr,bind=[{FAR_ADDRESS}] "
        "CREATE:/run/received"
    )
    internet.wait_for(f"ss -tln | grep :{PORT}", 20)
    client.run(f"{zeros} | timeout 60 socat -u - TCP6:[{FAR_ADDRESS}]:{PORT}", timeout=90)
    internet.wait_for(f"[ $(stat -c %s /run/received) = {BYTES} ]", 30)
    up.wait()


def test_a_tunnel_gets_the_mtu_that_its_path_has_room_for(lab: Lab, tmp_path: Path) -> None:
    narrow(lab)
    hosts = inventory("straight")
    done = runs.run(tmp_path, hosts, "deploy.py", "-y")
    assert done.status == 0, done.output
    remark = f"so an MTU of {MTU} goes to the tunnel of {NARROW.client}, at both ends"
    assert done.stderr.count(remark) == len(ENDS)
    for host, interface in ENDS.items():
        assert f" mtu {MTU} " in lab.machine(host).run(f"ip link show {interface}").stdout
        proven = f"packets of full size ({MTU} bytes) pass through {interface} both ways"
        assert f"verified: {proven}" in done.stderr
    assert "verified: packets of full size (1480 bytes)" in done.stderr
    assert_traffic(lab, NARROW)
    assert_carries_much(lab)

    again = runs.run(tmp_path, hosts, "deploy.py", "-y")
    assert again.status == 0, again.output
    assert again.stderr.count("nothing to change (") == len(hosts)
    assert remark not in again.stderr

    before = observe_all(lab, HOSTS)
    dict(hosts)[NARROW.client]["tunnel"]["mtu"] = 1480
    refused = runs.run(tmp_path, hosts, "deploy.py", "-y")
    assert refused.status == 1
    assert refused.stderr.count(f'write `"mtu": {MTU}` there, or no `mtu`') == len(ENDS)
    assert differences(observe_all(lab, HOSTS), before) == []


def test_pings_alone_are_no_proof(running_lab: Lab, deployed: Deploy, tmp_path: Path) -> None:
    deployed("straight")
    running_lab.machine(NARROW.server).run(TCP_DROPPED)
    done = runs.run(tmp_path, inventory("straight"), "tasks.verify.verify", "-y")
    assert done.status == 1
    way = f"{NARROW.client_ipv6} and {FAR_ADDRESS}"
    assert f"verified: {FAR_ADDRESS} on the Internet answers {NARROW.client_ipv6}" in done.stderr
    assert f"TCP from {NARROW.client_ipv6} to {FAR_ADDRESS} is answered; seen: no" in done.stderr
    assert f"ping passes between {way}, and TCP doesn't" in done.stderr
    assert f"verified: TCP from {WIDE.client_ipv6} to {FAR_ADDRESS}" in done.stderr
