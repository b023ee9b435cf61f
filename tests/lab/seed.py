"""The files that make an image into one machine, copied onto its disk at its first boot."""

from collections.abc import Mapping

from tests.lab.access import SSH_ANSWERS, SUDO, authorized_key, host_key
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

ANSWERING_UNIT = f"""\
[Unit]
Description=Word on the serial line that SSH answers
After=lab-management.service ssh.service ssh.socket

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'echo {SSH_ANSWERS} >/dev/ttyS0'
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
# OpenSSH 9.8 and later refuse whoever hung up before the login, for a quarter of a minute and
# longer each time: where a busy machine's first connection times out, so would all that follow.
PATIENT_SSHD_CONFIG = f"{SSHD_CONFIG}PerSourcePenalties no\n"

# Six machines that boot on two busy cores take longer than the 90 s after which systemd gives up
# waiting for the card that carries SSH.
PATIENCE = "[Manager]\nDefaultTimeoutStartSec=600s\nDefaultDeviceTimeoutSec=600s\n"


# What bash reads where SSH starts it, too.
GREETINGS = """\
echo 'Willkommen, Greta! @@ culvert'
echo 'Der Rechner ist nur für Befugte.' >&2
export LANG=de_DE.UTF-8 LC_ALL=de_DE.UTF-8 LANGUAGE=de
"""


def _of_users() -> Mapping[str, File]:
    rights = "".join(f"{user} ALL=(ALL) {how}ALL\n" for user, how in SUDO.items())
    return {
        "etc/sudoers.d/lab": File.of(rights, 0o440),
        "home/greta/.bashrc": File.of(GREETINGS),
    }


def seed(machine: Machine) -> Mapping[str, File]:
    """The files of a machine by path, without a leading slash."""
    return {
        "etc/hostname": File.of(f"{machine.name}\n"),
        "etc/hosts": File.of(f"127.0.0.1 localhost\n127.0.1.1 {machine.name}\n::1 localhost\n"),
        "etc/resolv.conf": File.of(""),
        # Empty: the root is mounted, and would be waited for.
        "etc/fstab": File.of(""),
        **_of_users(),
        "etc/ssh/lab_host_key": File(host_key(), 0o600),
        "etc/ssh/lab_authorized_keys": File.of(f"{authorized_key()}\n"),
        "etc/ssh/sshd_config.d/lab.conf": File.of(
            SSHD_CONFIG if machine.suite == "bookworm" else PATIENT_SSHD_CONFIG
        ),
        # Its own name keeps the card apart from those that the manager under test may touch.
        "etc/systemd/network/10-management.link": File.of(
            f"[Match]\nMACAddress={machine.management_mac}\n\n[Link]\nName=mgmt\n"
        ),
        "etc/systemd/system.conf.d/lab.conf": File.of(PATIENCE),
        "etc/systemd/system/lab-management.service": File.of(MANAGEMENT_UNIT),
        "etc/systemd/system/lab-answering.service": File.of(ANSWERING_UNIT),
        "etc/systemd/system/multi-user.target.d/lab.conf": File.of(
            "[Unit]\nWants=lab-management.service lab-answering.service\n"
        ),
        **FLAVOURS[machine.flavour].network_files(machine),
        **(internet_files(machine) if machine.name == "internet" else {}),
    }
