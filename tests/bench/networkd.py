"""What networkd takes for very many tunnels at boot: `python -m tests.bench.networkd`, as root.

This machine's own, in namespaces of it, with files alone, an uplink, and a VXLAN device for each
tunnel. No bar: what is there is systemd's, and docs/hosts.md says what follows from it.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.bench import here

TUNNELS = (100, 1_000, 2_000)
PATIENCE = 120

_PROGRAM = "/lib/systemd/systemd-networkd"
_FILES = Path("/etc/systemd/network")
# Without udev: networkd waits for it wherever /sys can be written.
_ALONE = """
mount -t tmpfs none /run
mount -t tmpfs none /etc/systemd/network
mount -t sysfs -o ro none /sys
mkdir -p /run/systemd/netif/links /run/systemd/netif/leases
chown -R systemd-network: /run/systemd/netif
ip link add eth0 type veth peer name router
ip link set router up
"""
_UPLINK = """[Match]
Name=eth0
[Network]
Address=198.51.100.10/24
Address=2001:db8:1::1/64
Gateway=198.51.100.1
"""


def _tunnel(number: int) -> None:
    name = f"sit-web{number}"
    remote = f"10.0.{number // 256}.{number % 256}"
    (_FILES / f"60-culvert-{name}.netdev").write_text(
        f"[NetDev]\nName={name}\nKind=vxlan\n[VXLAN]\nVNI={number}\nIndependent=yes\n"
        f"Local=198.51.100.10\nRemote={remote}\nDestinationPort=4789\n"
    )
    (_FILES / f"60-culvert-{name}.network").write_text(
        f"[Match]\nName={name}\n[Network]\nAddress=2001:db8:1:{number:x}::2/127\n"
    )


def _count(*words: str) -> int:
    told = subprocess.run(["ip", *words], capture_output=True, text=True, check=True).stdout
    return told.count("\n")


def _measure(count: int) -> None:
    """Within namespaces of its own."""
    subprocess.run(["sh", "-ec", _ALONE], check=True)
    (_FILES / "10-eth0.network").write_text(_UPLINK)
    for number in range(1, count + 1):
        _tunnel(number)
    began, uplink, made = time.monotonic(), None, 0
    with Path("/run/said").open("w") as said:
        networkd = subprocess.Popen([_PROGRAM], stdout=said, stderr=said)
    while made < count and time.monotonic() - began < PATIENCE:
        time.sleep(0.2)
        if uplink is None and _count("-oneline", "-4", "address", "show", "dev", "eth0"):
            uplink = time.monotonic() - began
        made = _count("-oneline", "-6", "address", "show", "to", "2001:db8:1::/48", "up")
        made -= _count("-oneline", "-6", "address", "show", "dev", "eth0", "scope", "global")
    took = time.monotonic() - began
    networkd.kill()
    _pid, _status, used = os.wait4(networkd.pid, 0)
    cpu = used.ru_utime + used.ru_stime
    print(
        f"{count:,} tunnels: {made:,} have addresses after {took:.1f} s, the uplink has its own "
        f"{'not yet' if uplink is None else f'after {uplink:.1f} s'}; {cpu:.1f} s of CPU",
        flush=True,
    )


def main() -> None:
    if sys.argv[1:2] == ["--inside"]:
        _measure(int(sys.argv[2]))
        return
    if not Path(_PROGRAM).exists():
        sys.exit(f"{_PROGRAM} isn't there: install the package `systemd`.")
    here.tell()
    subprocess.run([_PROGRAM, "--version"], check=True)
    for count in map(int, sys.argv[1:]) if sys.argv[1:] else TUNNELS:
        inside = [sys.executable, "-m", "tests.bench.networkd", "--inside", str(count)]
        alone = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
        subprocess.run([*alone, *inside], check=True)


if __name__ == "__main__":
    main()
