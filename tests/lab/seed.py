"""The files that make an image into one machine, copied onto its disk at its first boot."""

from collections.abc import Mapping

from tests.lab.access import authorized_key, host_key
from tests.lab.cpio import File
from tests.lab.flavours import FLAVOURS
from tests.lab.internet import internet_files
from tests.lab.machines import Machine

MANAGEMENT_UNIT = """\
[Unit]
Description=Address of the card that carries the lab's SSH
BindsTo=sys-subsystem-net-devices-mgmt.device
After=sys-subsystem-net-devices-mgmt.device

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/sbin/ip address replace 10.0.2.15/24 dev mgmt
ExecStart=/sbin/ip link set mgmt up
"""

SSHD_CONFIG = """\
HostKey /etc/ssh/lab_host_key
AuthorizedKeysFile /etc/ssh/lab_authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
UseDNS no
UsePAM no
PrintMotd no
MaxStartups 100
MaxSessions 100
"""

# Six machines that boot on two busy cores take longer than the 90 s after which systemd gives up
# waiting for the card that carries SSH.
PATIENCE = "[Manager]\nDefaultTimeoutStartSec=600s\nDefaultDeviceTimeoutSec=600s\n"


def seed(machine: Machine) -> Mapping[str, File]:
    """The files of a machine by path, without a leading slash."""
    return {
        "etc/hostname": File.of(f"{machine.name}\n"),
        "etc/hosts": File.of(f"127.0.0.1 localhost\n127.0.1.1 {machine.name}\n::1 localhost\n"),
        "etc/resolv.conf": File.of(""),
        "etc/fstab": File.of("/dev/vda / ext4 noatime 0 0\n"),
        "etc/sudoers.d/admin": File.of("admin ALL=(ALL) NOPASSWD: ALL\n", 0o440),
        "etc/ssh/lab_host_key": File(host_key(), 0o600),
        "etc/ssh/lab_authorized_keys": File.of(f"{authorized_key()}\n"),
        "etc/ssh/sshd_config.d/lab.conf": File.of(SSHD_CONFIG),
        # Its own name keeps the card apart from those that the manager under test may touch.
        "etc/systemd/network/10-management.link": File.of(
            f"[Match]\nMACAddress={machine.management_mac}\n\n[Link]\nName=mgmt\n"
        ),
        "etc/systemd/system.conf.d/lab.conf": File.of(PATIENCE),
        "etc/systemd/system/lab-management.service": File.of(MANAGEMENT_UNIT),
        "etc/systemd/system/multi-user.target.d/lab.conf": File.of(
            "[Unit]\nWants=lab-management.service\n"
        ),
        **FLAVOURS[machine.flavour].network_files(machine),
        **(internet_files(machine) if machine.name == "internet" else {}),
    }
