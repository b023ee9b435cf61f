"""A host where the article was followed by hand: it is recognised, and left alone."""

from pathlib import Path

from tests import runs
from tests.lab.lab import Lab
from tests.scenarios.cases import PAIRINGS, inventory, ipv4_of
from tests.scenarios.observation import differences, observe_all

IFUPDOWN, NETPLAN = PAIRINGS["straight"]

STANZA = f"""\
auto sit-ipv6
iface sit-ipv6 inet6 v4tunnel
    local {ipv4_of(IFUPDOWN.client)}
    endpoint {ipv4_of(IFUPDOWN.server)}
    ttl 255
    address {IFUPDOWN.client_ipv6}
    netmask 127
    post-up ip -6 route add default via {IFUPDOWN.server_ipv6} dev sit-ipv6
"""
YAML = f"""\
network:
  version: 2
  tunnels:
    {NETPLAN.server_interface}:
      mode: sit
      local: {ipv4_of(NETPLAN.server)}
      remote: {ipv4_of(NETPLAN.client)}
      addresses:
        - "{NETPLAN.server_ipv6}/127"
"""
PROXY = f"#!/bin/sh\nip -6 neigh add proxy {NETPLAN.client_ipv6} dev eth0\n"
SYSCTLS = f"net.ipv6.conf.{NETPLAN.server_interface}.forwarding=1\nnet.ipv6.conf.eth0.proxy_ndp=1\n"


def test_the_lines_of_a_hand_made_tunnel_are_named_and_nothing_is_changed(
    lab: Lab, tmp_path: Path
) -> None:
    lab.machine(IFUPDOWN.client).run(
        f"cat >>/etc/network/interfaces <<'END'\n{STANZA}END\nifup sit-ipv6"
    )
    script = "/etc/networkd-dispatcher/routable.d/50-proxy"
    lab.machine(NETPLAN.server).run(
        f"umask 077; cat >/etc/netplan/60-tunnel.yaml <<'END'\n{YAML}END\n"
        f"cat >>/etc/sysctl.conf <<'END'\n{SYSCTLS}END\n"
        f"cat >{script} <<'END'\n{PROXY}END\nchmod 0755 {script}\n"
        "netplan apply 2>&1; sysctl -p; true"
    )
    lab.machine(NETPLAN.server).wait_for("networkctl | grep 'eth0.*configured'", 30)
    lab.machine(NETPLAN.server).wait_for_addresses()
    written = lab.machine(IFUPDOWN.client).run("grep -n 'auto sit' /etc/network/interfaces").stdout
    first = int(written.partition(":")[0])
    refused = [IFUPDOWN.client, NETPLAN.server, NETPLAN.client]
    before = observe_all(lab, refused)

    done = runs.run(tmp_path, inventory("straight"), "deploy.py", "-y")

    assert done.status == 1
    for name, place, text in (
        (IFUPDOWN.client, f"/etc/network/interfaces, line {first}, is", "auto sit-ipv6"),
        (
            IFUPDOWN.client,
            f"/etc/network/interfaces, line {first + 1}, is",
            "iface sit-ipv6 inet6 v4tunnel",
        ),
        (
            IFUPDOWN.client,
            f"/etc/network/interfaces, line {first + 5}, is",
            f"address {IFUPDOWN.client_ipv6}",
        ),
        (NETPLAN.server, "/etc/netplan/60-tunnel.yaml, line 4, is", "sit-netplan:"),
        (
            NETPLAN.server,
            "/etc/netplan/60-tunnel.yaml, line 9, is",
            f'- "{NETPLAN.server_ipv6}/127"',
        ),
        (NETPLAN.server, f"{script}, line 2, is", PROXY.splitlines()[1]),
    ):
        assert f"{place} in the way: {text}" in done.stderr, name
    for line in SYSCTLS.splitlines():
        assert f"seems to go with it: {line}" in done.stderr
    assert f"left alone, because its tunnel server {NETPLAN.server} failed" in done.stderr
    assert differences(observe_all(lab, refused), before) == []
