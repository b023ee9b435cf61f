"""Whether KVM can be trusted on this computer, which only a machine that boots can tell."""

import os
import subprocess
from pathlib import Path

from tests.lab.errors import LabError
from tests.lab.images import Image
from tests.lab.places import cache
from tests.lab.progress import step
from tests.lab.ties import tied

ACCELERATORS = ("kvm", "tcg")
ANSWER = b"lab.probe.answer"
PROBE_SECONDS = 10
KVM = Path("/dev/kvm")


def choose(image: Image) -> str:
    """`kvm` where it boots that image's kernel, otherwise `tcg`: emulation, some 20 times slower.

    `CULVERT_LAB_ACCELERATOR` overrules; a probe's outcome holds until the computer restarts.
    """
    forced = os.environ.get("CULVERT_LAB_ACCELERATOR")
    if forced:
        if forced not in ACCELERATORS:
            raise LabError(f"CULVERT_LAB_ACCELERATOR is {forced!r}: use kvm or tcg.")
        return forced
    if not os.access(KVM, os.R_OK | os.W_OK):
        return "tcg"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    memory = cache() / f"accelerator-{boot}"
    if not memory.exists():
        for stale in cache().glob("accelerator-*"):
            stale.unlink()
        with step("Asking whether KVM boots a machine"):
            memory.write_text("kvm" if _boots(image) else "tcg")
    return memory.read_text()


def _boots(image: Image) -> bool:
    command = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none"]
    command += ["-accel", "kvm", "-cpu", "host", "-m", "256", "-serial", "stdio"]
    command += ["-kernel", str(image.kernel), "-initrd", str(image.initrd)]
    command += ["-append", "console=ttyS0 quiet lab.probe"]
    try:
        done = subprocess.run(
            tied(command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as slow:
        return ANSWER in (slow.stdout or b"")
    return ANSWER in done.stdout
