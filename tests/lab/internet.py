"""What makes a machine the Internet: it forwards, holds a far host, and tells of addresses."""

from collections.abc import Mapping

from tests.lab.cpio import File
from tests.lab.machines import FAR_ADDRESS, Machine

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
            files[path] = File.of(_leases(interface, card.addresses_of(4)[0].host, card.leased))
            start = f"/usr/bin/busybox udhcpd -f -S /{path}"
            files |= _service(f"lab-dhcp-{interface}", start)
        if card.advertised:
            path = f"etc/radvd-{interface}.conf"
            files[path] = File.of(_advertisements(interface))
            pid = f"/run/radvd-{interface}.pid"
            start = f"/usr/sbin/radvd --nodaemon --config /{path} --pidfile {pid}"
            files |= _service(f"lab-radvd-{interface}", start)
    return files


def _leases(interface: str, router: str, leased: str) -> str:
    return (
        f"interface {interface}\nstart {leased}\nend {leased}\nmax_leases 1\n"
        f"lease_file /run/udhcpd-{interface}.leases\npidfile /run/udhcpd-{interface}.pid\n"
        f"option subnet 255.255.255.128\noption router {router}\noption lease 3600\n"
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
