"""One machine's QEMU process: its command line, its monitor, its snapshots, its end."""

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile

from qemu.qmp import ConnectError, QMPClient, QMPError
from qemu.qmp.qmp_client import GreetingError, NegotiationError

from tests.lab.access import port
from tests.lab.cpio import File, archive
from tests.lab.errors import LabError
from tests.lab.images import Image
from tests.lab.machines import FIRST_SLOT, Machine
from tests.lab.places import Place
from tests.lab.ties import has_ended, tied
from tests.lab.topologies import Topology
from tests.lab.waiting import ask_until

PROGRAM = "qemu-system-x86_64"
MEMORY = 320
"""In MiB."""

# tsc=unstable: QEMU never turns an emulated TSC back (cpu_get_ticks()), so a machine that is put
# back to a snapshot would see its clock leap ahead by all that it has forgotten, and systemd would
# kill and restart networkd for having been silent.
# norandmaps: QEMU keeps what it has translated by address. Where every process has its libraries
# elsewhere, it translates them anew for each: /bin/true takes 27 ms then, and 9 ms without.
# no_timer_check: a kernel that counts no ticks while its processor waits for a core takes the timer
# for broken, and panics ("IO-APIC + timer doesn't work!").
KERNEL_ARGUMENTS = (
    "console=ttyS0 quiet mitigations=off nokaslr norandmaps audit=0 lsm=capability "
    "random.trust_cpu=on init_on_alloc=0 systemd.show_status=no tsc=unstable no_timer_check"
)

MONITOR_SECONDS = 60.0
QUIT_SECONDS = 10.0
_RESET = "reset"


def version() -> str:
    """The version of QEMU, on which the form of a snapshot depends."""
    try:
        done = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise LabError("The lab needs QEMU: install the package qemu-system-x86.") from None
    return done.stdout.splitlines()[0]


class Qemu:
    """The process of one machine in one lab, whether it runs or not."""

    def __init__(self, machine: Machine, topology: Topology, place: Place) -> None:
        self.machine = machine
        self._topology = topology
        self._place = place
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def disk(self) -> Path:
        """What the machine has written, in qcow2 format over its image's disk."""
        return self._place.disks / f"{self.machine.name}.qcow2"

    @property
    def console(self) -> Path:
        """What the machine says on its serial line: the place to look when it does not boot."""
        return self._place.disks / f"{self.machine.name}.log"

    @property
    def initrd(self) -> Path:
        """The initrd of its image with the machine's own files behind it."""
        return self._place.disks / f"{self.machine.name}.initrd"

    @property
    def kernel(self) -> Path:
        """The kernel of its image."""
        return self._place.disks / f"{self.machine.name}.kernel"

    @property
    def files(self) -> tuple[Path, ...]:
        """All that the process needs to start."""
        return (self.disk, self.kernel, self.initrd)

    def prepare(self, image: Image, seed: Mapping[str, File]) -> None:
        """Write the files of a machine that has never been started."""
        shutil.copyfile(image.kernel, self.kernel)
        self.initrd.write_bytes(image.initrd.read_bytes() + archive(_under("seed", seed)))
        options = ["-q", "-f", "qcow2", "-F", "qcow2", "-b", str(image.disk)]
        subprocess.run(["qemu-img", "create", *options, str(self.disk)], check=True)

    def command(self, accelerator: str) -> list[str]:
        """The command line, which a snapshot must fit."""
        # An older processor, for whose features the machines load fewer modules at boot, with a
        # source of randomness, so that they needn't work for it.
        cpu = "host" if accelerator == "kvm" else "Nehalem,+rdrand"
        return [
            *(PROGRAM, "-name", self.machine.name, "-nodefaults", "-no-user-config"),
            *("-display", "none", "-pidfile", str(self._pid_file)),
            *("-machine", "pc", "-accel", accelerator, "-cpu", cpu, "-m", str(MEMORY)),
            *("-kernel", str(self.kernel), "-initrd", str(self.initrd)),
            *("-append", self._kernel_arguments),
            *("-drive", f"file={self.disk},if=virtio,format=qcow2,cache=unsafe,discard=unmap"),
            *("-serial", f"file:{self.console}"),
            *("-qmp", f"unix:{self._monitor},server=on,wait=off"),
            *self._cards(),
        ]

    @property
    def _kernel_arguments(self) -> str:
        return KERNEL_ARGUMENTS + ("" if self.machine.predictable_names else " net.ifnames=0")

    def _cards(self) -> Iterator[str]:
        for number, card in enumerate(self.machine.cards):
            path = self._place.sockets / f"{card.link}.link"
            yield "-netdev"
            # A card that connects to nothing would stay alone.
            server = "on" if self._topology.listens(self.machine, card.link) else "off"
            yield f"stream,id=eth{number},server={server},addr.type=unix,addr.path={path}"
            yield from self._device(f"eth{number}", self.machine.mac(number), FIRST_SLOT + number)
        forward = f"tcp:127.0.0.1:{port(self._place, self.machine)}-:22"
        # Without ipv6=off the machine would learn an IPv6 default route from this card.
        yield from ("-netdev", f"user,id=mgmt,restrict=on,ipv6=off,hostfwd={forward}")
        last = FIRST_SLOT + len(self.machine.cards)
        yield from self._device("mgmt", self.machine.management_mac, last)

    @staticmethod
    def _device(name: str, mac: str, slot: int) -> Iterator[str]:
        # A card that sorts VLANs out itself forgets which it takes when a snapshot is loaded.
        options = f"mac={mac},addr={slot:#x},romfile=,ctrl_vlan=off"
        yield from ("-device", f"virtio-net-pci,netdev={name},{options}")

    def start(self, accelerator: str, snapshot: str | None = None, *, is_tied: bool) -> None:
        """Start the process, from a snapshot or from power-on.

        It outlives this program, also where Ctrl-C or a terminal's end ends that, unless it is tied
        to it.
        """
        command = self.command(accelerator) + (["-loadvm", snapshot] if snapshot else [])
        for stale in (self._monitor, self._pid_file):
            stale.unlink(missing_ok=True)
        with TemporaryFile("w+") as errors:
            self._process = subprocess.Popen(
                tied(command) if is_tied else command,
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                start_new_session=True,
            )
            if not ask_until(lambda it: it or self._has_ended(), self._answers, MONITOR_SECONDS):
                self._process.kill()
                errors.seek(0)
                raise LabError(f"{self.machine.name} does not start: {errors.read().strip()}")

    def _has_ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def _answers(self) -> bool:
        """Whether it is there for good: its monitor answers once a snapshot is loaded."""
        if not self._monitor.exists():
            return False
        with suppress(LabError):
            self._ask("query-status")
            return True
        return False

    def runs(self) -> bool:
        """Whether the process is there."""
        return self.pid() is not None

    def pause(self) -> None:
        """Let time stand still in the machine."""
        self._ask("stop")

    def resume(self) -> None:
        """Let time go on in the machine."""
        self._ask("cont")

    def plug(self, card: int, *, is_plugged: bool) -> None:
        """Plug the cable of the card of that number in, or pull it."""
        self._ask("set_link", name=f"eth{card}", up=is_plugged)

    def plug_management(self, *, is_plugged: bool) -> None:
        """The same of the card by which it is spoken with."""
        self._ask("set_link", name="mgmt", up=is_plugged)

    def save(self, snapshot: str) -> None:
        """Keep the whole machine, memory and disk, under a name; replaces an older one."""
        self._ask_human(f"savevm {snapshot}")

    def load(self, snapshot: str) -> None:
        """Put the whole machine back to what it was; a machine that was paused stays so."""
        self._ask_human(f"loadvm {snapshot}")

    @contextmanager
    def reset_on_reboot(self, timeout: float) -> Iterator[None]:
        """Have the machine reboot in this block, and be reset at its end, within `timeout` seconds.

        For every write to a page QEMU goes through all that it has translated of that page, so over
        the memory of a system that ran, a kernel copies itself for minutes. It forgets its
        translations where a snapshot is loaded.
        """
        self._ask("set-action", reboot="shutdown", shutdown="pause")
        try:
            yield
            self._wait_for_status("shutdown", timeout)
            self._forget_translations()
        finally:
            self._ask("set-action", reboot="reset", shutdown="poweroff")
        self._power_on()

    def cut_power(self) -> None:
        """Start it anew from what is on its disk, as when its power comes back."""
        self.pause()
        self._forget_translations()
        self._power_on()

    def _forget_translations(self) -> None:
        self.save(_RESET)
        self.load(_RESET)
        self._ask_human(f"delvm {_RESET}")

    def _power_on(self) -> None:
        self._ask("system_reset")
        self._wait_for_status("prelaunch", MONITOR_SECONDS)
        self.resume()

    def said(self) -> str:
        """What the machine has said on its serial line since the process started."""
        return self.console.read_text(errors="replace")

    def _wait_for_status(self, status: str, timeout: float) -> None:
        def found() -> object:
            answer = self._ask("query-status")
            return answer["status"] if isinstance(answer, dict) else answer

        if (last := ask_until(lambda it: it == status, found, timeout)) != status:
            raise LabError(f"{self.machine.name}: {last}, not {status} after {timeout:.0f} s.")

    def quit(self) -> None:
        """End the process."""
        pid = self.pid()
        if pid is None:
            return
        with suppress(LabError):
            self._ask("quit")
        if not ask_until(bool, lambda: has_ended(pid), QUIT_SECONDS):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            ask_until(bool, lambda: has_ended(pid), QUIT_SECONDS)

    @property
    def _monitor(self) -> Path:
        return self._place.sockets / f"{self.machine.name}.qmp"

    @property
    def _pid_file(self) -> Path:
        return self._place.sockets / f"{self.machine.name}.pid"

    def pid(self) -> int | None:
        """The process's id, unless the number has passed to a process that is not ours."""
        try:
            pid = int(self._pid_file.read_text())
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return pid if str(self._pid_file).encode() in words else None

    def _ask_human(self, line: str) -> None:
        """Ask what has no command for programs; an answer is an error."""
        answer = self._ask("human-monitor-command", **{"command-line": line})
        if answer:
            raise LabError(f"{self.machine.name}: {line}: {str(answer).strip()}")

    def _ask(self, command: str, **arguments: object) -> object:
        try:
            return asyncio.run(asyncio.wait_for(self._execute(command, arguments), MONITOR_SECONDS))
        except (OSError, EOFError, QMPError) as error:
            raise LabError(f"{self.machine.name}: its monitor does not answer: {error}") from error

    async def _execute(self, command: str, arguments: dict[str, object]) -> object:
        # Not kept open: the monitor serves one client, and `reset` may come from another program.
        monitor = await _open(self._monitor)
        try:
            return await monitor.execute(command, arguments)
        finally:
            await monitor.disconnect()


async def _open(path: Path) -> QMPClient:
    """A talk with the monitor at a socket; nothing was asked of the machine yet.

    An event can reach a client before QEMU greets it, where the client before it has just gone; the
    library takes it for the greeting, or for what answers its own.
    """
    while True:
        monitor = QMPClient(path.stem)
        try:
            await monitor.connect(str(path))
        except ConnectError as error:
            if not isinstance(error.exc, GreetingError | NegotiationError):
                raise
        else:
            return monitor


def _under(folder: str, files: Mapping[str, File]) -> Mapping[str, File]:
    return {f"{folder}/{path}": file for path, file in files.items()}
