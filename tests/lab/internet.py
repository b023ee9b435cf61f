"""What makes a machine the Internet: it forwards, holds a far host, and tells of addresses."""

from collections.abc import Mapping, Sequence

from netaddr import IPNetwork

from tests.lab.cpio import File
from tests.lab.machines import FAR_ADDRESS, Address, Machine

FORWARDING = "net.ipv4.ip_forward = 1\nnet.ipv6.conf.all.forwarding = 1\n"

# As providers' routers do: a second after traffic meets a neighbour that was last heard of two
# seconds ago, it is asked by unicast whether it is still there (RFC 4861, 7.3.3), three times, and
# never again by multicast.
VERIFYING = """\
net.ipv6.neigh.eth*.base_reachable_time_ms = 2000
net.ipv6.neigh.eth*.delay_first_probe_time = 1
net.ipv6.neigh.eth*.gc_stale_time = 5
net.ipv6.neigh.eth*.ucast_solicit = 3
net.ipv6.neigh.eth*.mcast_resolicit = 0
"""

FAR = f"""\
auto far
iface far inet6 static
    address {FAR_ADDRESS}/128
    pre-up ip link add far type dummy
"""

# Without connection tracking, as providers do it: no packet depends on one that came before, and
# protocol 41 passes as everything does. What is private is nobody else's to send to.
TRANSLATION = """\
table ip translation {{
    chain arriving {{
        type filter hook prerouting priority raw;
        ip daddr {{ {private} }} drop
        ip daddr set ip daddr map {{ {arriving} }}
    }}
    chain leaving {{
        type filter hook postrouting priority srcnat;
        ip saddr set ip saddr map {{ {leaving} }}
    }}
}}
"""

ADVERTISED_SECONDS = 15
"""The lifetime of a default route that is learned from here, which tests outlive."""


def internet_files(machine: Machine) -> Mapping[str, File]:
    """The files that only `internet` has, by path."""
    files = {
        "etc/sysctl.d/60-internet.conf": File.of(FORWARDING + VERIFYING),
        "etc/network/interfaces.d/far": File.of(FAR),
    }
    for number, card in enumerate(machine.cards):
        interface = machine.interface(number)
        if card.leased:
            path = f"etc/udhcpd-{interface}.conf"
            files[path] = File.of(_leases(interface, card.addresses_of(4)[0], card.leased))
            start = f"/usr/bin/busybox udhcpd -f -S /{path}"
            files |= _service(f"lab-dhcp-{interface}", start)
        if card.advertised:
            path = f"etc/radvd-{interface}.conf"
            files[path] = File.of(_advertisements(interface))
            pid = f"/run/radvd-{interface}.pid"
            start = f"/usr/sbin/radvd --nodaemon --config /{path} --pidfile {pid}"
            files |= _service(f"lab-radvd-{interface}", start)
    translated = [address for card in machine.cards for address in card.translated]
    if translated:
        files["etc/nftables.conf"] = File.of(_translation(translated))
        # As `systemctl enable` does.
        files["etc/systemd/system/sysinit.target.wants/nftables.service"] = File.link(
            "/lib/systemd/system/nftables.service"
        )
    return files


def _translation(addresses: Sequence[Address]) -> str:
    """One to one, both ways, between each host's own address and what others know it by."""
    return TRANSLATION.format(
        private=", ".join(each.host for each in addresses),
        arriving=", ".join(f"{each.public} : {each.host}" for each in addresses),
        leaving=", ".join(f"{each.host} : {each.public}" for each in addresses),
    )


def _leases(interface: str, router: Address, leased: str) -> str:
    netmask = IPNetwork(router.address).netmask
    return (
        f"interface {interface}\nstart {leased}\nend {leased}\nmax_leases 1\n"
        f"lease_file /run/udhcpd-{interface}.leases\npidfile /run/udhcpd-{interface}.pid\n"
        f"option subnet {netmask}\noption router {router.host}\noption lease 3600\n"
    )


def _advertisements(interface: str) -> str:
    return (
        f"interface {interface} {{\n    AdvSendAdvert on;\n    MinRtrAdvInterval 3;\n"
        f"    MaxRtrAdvInterval 4;\n    AdvDefaultLifetime {ADVERTISED_SECONDS};\n"
        "    prefix ::/64 {};\n};\n"
    )


def _service(name: str, start: str) -> Mapping[str, File]:
    unit = f"[Unit]\nAfter=networking.service\n\n[Service]\nRestart=on-failure\nExecStart={start}\n"
    return {
        f"etc/systemd/system/{name}.service": File.of(unit),
        f"etc/systemd/system/multi-user.target.wants/{name}.service": File.link(
            f"/etc/systemd/system/{name}.service"
        ),
    }
