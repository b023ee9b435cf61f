"""What Culvert's table must let pass, and what else goes on a host: none of it is lost."""

import re
from pathlib import Path

from tests import runs
from tests.lab.lab import Lab, LabMachine
from tests.lab.machines import FAR_ADDRESS
from tests.lab.topologies import BROKER
from tests.scenarios.cases import Neighbours, ipv4_of
from tests.scenarios.observation import Pings, assert_lan
from tests.scenarios.packets import echo_request, in_ipv4, sending
from tests.scenarios.test_attacks import NOBODY, taken_out

TUNNEL_MTU = 1480
FULL = 1500 - 48
"""Of an echo request's data, what fills a packet of 1500 bytes."""


def test_too_big_is_told_both_ways(running_lab: Lab, among: Neighbours) -> None:
    internet, lan_host = running_lab.machine("internet"), running_lab.machine("lan-host")
    assert_lan(running_lab, among.lan)
    # Without what is advertised there, as of a host with an MTU of its own.
    card, gateway = among.lan.card, among.lan.address.partition("/")[0]
    lan_host.run(
        f"sysctl -w net.ipv6.conf.{card}.accept_ra_mtu=0 net.ipv6.conf.{card}.mtu=1500 && "
        f"ip -6 route add {FAR_ADDRESS} via {gateway} dev {card}"
    )
    told = f"mtu[ =:]*{TUNNEL_MTU}"
    for machine, source, aim in (
        (internet, FAR_ADDRESS, among.network[5]),
        (internet, FAR_ADDRESS, among.lan.host_ipv6),
        (lan_host, among.lan.card, FAR_ADDRESS),
    ):
        ping = f"ping -6 -n -M do -c 2 -W 2 -s {FULL} -I {source} {aim}"
        assert re.search(told, machine.run(ping, check=False).stdout), aim


def test_each_hop_of_a_traceroute_answers(running_lab: Lab, among: Neighbours) -> None:
    internet, lan_host = running_lab.machine("internet"), running_lab.machine("lan-host")
    plain = running_lab.machine(among.plain)
    network = among.network
    inside = among.lan.address.partition("/")[0]
    for machine, source, aim, hops in (
        (plain, network[5], FAR_ADDRESS, [network[4]]),
        (lan_host, among.lan.card, FAR_ADDRESS, [inside, network[2]]),
        (internet, FAR_ADDRESS, network[5], [network[1]]),
        (internet, FAR_ADDRESS, among.lan.host_ipv6, [network[1], network[3]]),
    ):
        for hop_limit, hop in enumerate(hops, 1):
            ping = f"ping -6 -n -t {hop_limit} -c 2 -W 2 -I {source} {aim}"
            said = machine.run(ping, check=False).stdout
            assert f"From {hop} icmp_seq" in said.replace(": icmp", " icmp"), said


def test_errors_come_back(running_lab: Lab, among: Neighbours) -> None:
    internet, plain = running_lab.machine("internet"), running_lab.machine(among.plain)
    for sender, source, aim in (
        (internet, FAR_ADDRESS, among.network[5]),
        (plain, among.network[5], FAR_ADDRESS),
    ):
        probe = f"echo | socat -T 3 - UDP6-CONNECT:[{aim}]:9,bind=[{source}]"
        assert "refused" in sender.run(f"{probe}; sleep 1; {probe}", check=False).stderr
    unused = internet.run(
        f"ping -6 -n -c 2 -W 2 -I {FAR_ADDRESS} {among.routed[0x123456]}", check=False
    )
    assert f"From {among.network[3]}" in unused.stdout


def reaches(machine: LabMachine, words: str, seconds: float = 15) -> None:
    """A ping that is answered, the first one or a later one."""
    machine.wait_for(f"ping -6 -n -c 1 -W 2 {words}", seconds)


CONTAINER = """
set -e
ip netns add box
ip link add box0 type veth peer name eth0 netns box
ip link set box0 up
ip address add {prefix}::1/64 dev box0 nodad
ip netns exec box sh -c 'ip link set eth0 up; ip address add {prefix}::2/64 dev eth0 nodad;
    ip -6 route add default via {prefix}::1'
sysctl -q -w net.ipv6.conf.all.forwarding=1
"""
MASQUERADE = """
nft 'table ip6 docker { chain out { type nat hook postrouting priority srcnat;
    oifname "sit-ipv6" ip6 saddr fd00:1::/64 masquerade; }; }'
"""


def test_containers_of_the_hosts_go_on(running_lab: Lab, among: Neighbours) -> None:
    server, plain = running_lab.machine(among.server), running_lab.machine(among.plain)
    plain.run(CONTAINER.format(prefix="fd00:1") + MASQUERADE)
    reaches(plain, f"-I fd00:1::2 {FAR_ADDRESS}".replace("-I fd00:1::2 ", ""))
    plain.run(f"ip netns exec box ping -6 -n -c 3 -W 2 {FAR_ADDRESS}")
    # Of what is routed to the server, and nobody else's.
    ours = str(among.routed.next(5)[0]).removesuffix("::")
    server.run(CONTAINER.format(prefix=ours))
    server.run(f"ip netns exec box ping -6 -n -c 3 -W 2 {FAR_ADDRESS}")
    server.run(f"ip netns exec box ping -6 -n -c 3 -W 2 {among.network[5]}")
    reaches(plain, f"-I {among.network[5]} {ours}::2")


FOREIGN = """
set -e
ip link add he-ipv6 type sit local {local} remote {remote} ttl 64
ip link set he-ipv6 up
ip address add 2001:db8:77:{number}::{end}/64 dev he-ipv6
"""
WIREGUARD = """
set -e
ip link add wg0 type wireguard
umask 077; wg genkey >/tmp/key
wg set wg0 listen-port 51820 private-key /tmp/key
ip address add fd00:9:{number}::{end}/64 dev wg0
ip link set wg0 up
wg show wg0 public-key
"""


def test_tunnels_of_others_on_the_same_hosts_go_on(running_lab: Lab, among: Neighbours) -> None:
    internet = running_lab.machine("internet")
    for number, name in enumerate((among.server, among.plain), 1):
        host, local = running_lab.machine(name), ipv4_of(name)
        # From the very address that Culvert's tunnel is from.
        remote = internet.run(f"ip -4 route get {local}").stdout.split("src ")[1].split()[0]
        host.run(FOREIGN.format(local=local, remote=remote, number=number, end=1))
        internet.run(
            FOREIGN.format(local=remote, remote=local, number=number, end=2).replace(
                "he-ipv6", f"he-{number}"
            )
        )
        reaches(internet, f"2001:db8:77:{number}::1")
        reaches(host, f"2001:db8:77:{number}::2")
        keys = []
        for machine, end in ((host, 1), (internet, 2)):
            start = WIREGUARD.format(number=number, end=end)
            keys.append(machine.run(start).stdout.strip())
        for machine, other, address in ((host, 1, remote), (internet, 0, local)):
            peer = f"wg set wg0 peer {keys[other]} allowed-ips ::/0 endpoint {address}:51820"
            machine.run(f"{peer} persistent-keepalive 1")
        reaches(internet, f"-I wg0 fd00:9:{number}::1")
        reaches(host, f"-I wg0 fd00:9:{number}::2")
        internet.run("ip link delete wg0")


def test_what_ipsec_carries_passes(running_lab: Lab, among: Neighbours) -> None:
    """Netfilter sees it twice on the tunnel's interface, once with addresses of nobody's there."""
    internet, plain = running_lab.machine("internet"), running_lab.machine(among.plain)
    client, inside, beyond = str(among.network[5]), "fd00:10::1", "fd00:10::2"
    key = f"0x{'5a' * 20}"
    for machine, here, there, own, other, way in (
        (plain, client, FAR_ADDRESS, inside, beyond, "sit-ipv6"),
        (internet, FAR_ADDRESS, client, beyond, inside, BROKER.to_server(among.server)),
    ):
        mode = "mode tunnel reqid 1"
        for source, aim in ((here, there), (there, here)):
            machine.run(
                f"ip xfrm state add src {source} dst {aim} proto esp spi 1 {mode} "
                f"auth 'hmac(sha256)' {key} enc cipher_null ''"
            )
        for direction, source, aim, outer in (
            ("out", own, other, f"src {here} dst {there}"),
            ("in", other, own, f"src {there} dst {here}"),
        ):
            machine.run(
                f"ip xfrm policy add dir {direction} src {source} dst {aim} "
                f"tmpl {outer} proto esp {mode}"
            )
        machine.run(
            f"ip -6 address add {own}/128 dev lo && ip -6 route add {other} dev {way} src {own}"
        )
    reaches(plain, f"-I {inside} {beyond}")
    reaches(internet, f"-I {beyond} {inside}")


def test_a_change_of_one_tunnel_is_no_moment_of_another(
    running_lab: Lab, among: Neighbours, tmp_path: Path
) -> None:
    """Neither a packet of its is lost, nor is one let through that was spoofed."""
    internet = running_lab.machine("internet")
    sign = "<all-the-time>"
    spoofed = in_ipv4(
        ipv4_of(among.forwarding),
        ipv4_of(among.server),
        echo_request(NOBODY, FAR_ADDRESS, sign.encode()),
    )
    look = f"exec tcpdump -l -n -A -i {BROKER.to_server(among.server)} -Q in ip6 and host {NOBODY}"
    internet.run(f"systemd-run --quiet --unit=spoofing {sending([spoofed], 0.02)}")
    looking = internet.start(look)
    pings = Pings(internet, among.network[3], every=0.1, interface=FAR_ADDRESS)
    # Another element, and another rule.
    for server in ({}, {"between_tunnels": True}):
        done = runs.run(tmp_path, among.hosts(server, number=7), "deploy.py", "-y")
        assert done.status == 0, done.output
    pings.assert_answered(more_than=50)
    assert sign not in looking.stop("INT").stdout
    with taken_out(running_lab, [among.server]):
        looking = internet.start(look)
        internet.run("sleep 2")
        assert sign in looking.stop("INT").stdout


def test_groups_and_open_servers_let_pass_what_they_say(
    running_lab: Lab, among: Neighbours, tmp_path: Path
) -> None:
    plain = running_lab.machine(among.plain)
    ping = f"ping -6 -n -c 2 -W 2 -I {among.network[5]} {among.network[3]}"
    assert "Administratively prohibited" in plain.run(ping, check=False).stdout
    for server, of_plain, passes in (
        ({"between_tunnels": True}, {}, True),
        ({"between_tunnels": "groups"}, {"group": "office"}, False),
    ):
        done = runs.run(tmp_path, among.hosts(server, **of_plain), "deploy.py", "-y")
        assert done.status == 0, done.output
        assert (plain.run(ping, check=False).status == 0) == passes


def test_a_closed_client_lets_in_what_it_allows(
    running_lab: Lab, among: Neighbours, tmp_path: Path
) -> None:
    internet, plain = running_lab.machine("internet"), running_lab.machine(among.plain)
    for port in (8080, 8081):
        plain.run(f"systemd-run --quiet socat TCP6-LISTEN:{port},fork,reuseaddr SYSTEM:date")
    internet.run("systemd-run --quiet socat TCP6-LISTEN:8082,fork,reuseaddr SYSTEM:date")

    def connects(machine: LabMachine, source: object, aim: object, port: int) -> bool:
        words = f"TCP6:[{aim}]:{port},bind=[{source}],connect-timeout=4"
        return machine.run(f"socat -u {words} - </dev/null", check=False).stdout != ""

    client = among.network[5]
    assert connects(internet, FAR_ADDRESS, client, 8081)
    closed = among.hosts(inbound="established", allow=["tcp/8080"])
    done = runs.run(tmp_path, closed, "deploy.py", "-y")
    assert done.status == 0, done.output
    assert connects(internet, FAR_ADDRESS, client, 8080)
    assert not connects(internet, FAR_ADDRESS, client, 8081)
    assert connects(plain, client, FAR_ADDRESS, 8082)
    internet.run(f"ping -6 -n -c 2 -W 2 -I {FAR_ADDRESS} {client}")
