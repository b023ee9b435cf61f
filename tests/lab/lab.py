"""The machines together: up, reset, down; and one machine as a test uses it."""

import hashlib
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.lab import accelerator
from tests.lab.access import SSH_ANSWERS, port, write_known_hosts
from tests.lab.errors import LabError
from tests.lab.flavours import Recipe, recipe, recipes
from tests.lab.images import Image, build_images, image
from tests.lab.machines import FAR_ADDRESS, Machine
from tests.lab.places import PORT_VARIABLE, PORTS, Place, cache, locked
from tests.lab.progress import say, step
from tests.lab.qemu import QUIT_SECONDS, Qemu, version
from tests.lab.seed import seed
from tests.lab.session import Background, Result, Session
from tests.lab.topologies import BROKER, TOPOLOGIES, Topology
from tests.lab.waiting import ask_until

BOOTED = "booted"
"""The snapshot from which every test starts: all machines up, nothing deployed."""

BOOT_SECONDS = 600.0
"""For the slowest computer: emulated machines share its cores while they boot."""

GOODBYE_SECONDS = 3.0

LAST_WORDS = 2000
"""In characters: a kernel's panic and what comes before it."""


class LabMachine:
    """A running machine."""

    def __init__(self, machine: Machine, topology: Topology, place: Place) -> None:
        self.machine = machine
        self.qemu = Qemu(machine, topology, place)
        self.ssh_port = port(place, machine)
        self._place = place
        self._sessions: dict[str, Session] = {}

    def session(self, user: str = "root") -> Session:
        """The connection of a user."""
        return self._sessions.setdefault(user, Session(self.machine, self._place, user))

    def run(self, command: str, *, check: bool = True, timeout: float = 60) -> Result:
        """Run a shell command as root to its end."""
        return self.session().run(command, check=check, timeout=timeout)

    def start(self, command: str) -> Background:
        """Start a shell command as root and leave it running."""
        return self.session().start(command)

    def wait_for(self, command: str, seconds: float) -> Result:
        """Run a command again and again until it succeeds, for so many seconds."""
        result = ask_until(
            lambda result: result.status == 0, lambda: self.run(command, check=False), seconds
        )
        if result.status != 0:
            raise LabError(
                f"{self.machine.name}: after {seconds:.0f} s still status {result.status} "
                f"from: {command}\n{result.stdout}{result.stderr}"
            )
        return result

    def reboot(self, timeout: float = BOOT_SECONDS) -> None:
        """Restart the machine and wait until it has booted to the end."""
        boots = self._boots()
        with self.qemu.reset_on_reboot(timeout):
            self.run("systemctl reboot", check=False)
        self.wait_until_settled(timeout, boots)

    def cut_power(self, timeout: float = BOOT_SECONDS) -> None:
        """Have it lose its power and get it back, and wait until it has booted to the end."""
        boots = self._boots()
        self.qemu.cut_power()
        self.wait_until_settled(timeout, boots)

    def wait_until_settled(self, timeout: float = BOOT_SECONDS, boots: int = 0) -> None:
        """Wait until the machine has booted once more than so often, and its addresses are its own.

        A connection that comes too early is kept by QEMU, and costs a machine that has just booted
        a process and its time.
        """
        booted = ask_until(
            lambda found: found > boots or not self.qemu.runs(), self._boots, timeout
        )
        if booted <= boots:
            raise LabError(
                f"{self.machine.name} has not booted in {timeout:.0f} s, or was ended. The last "
                f"that it says in {self.qemu.console}:\n{self.qemu.said()[-LAST_WORDS:]}"
            )
        self.session().connect()
        self.run("systemctl is-system-running --wait", check=False, timeout=timeout)
        self.wait_for_addresses()

    def _boots(self) -> int:
        return self.qemu.said().count(SSH_ANSWERS)

    def wait_for_addresses(self) -> None:
        """Wait until no address is being looked for on its link any more."""
        self.wait_for("! ip -o address show tentative | grep .", 30)

    def close(self) -> None:
        """Drop the connections, which are opened again when they are needed."""
        for session in self._sessions.values():
            session.close()


class Lab:
    """All machines of one lab; `with Lab() as lab:` ends them if it started them.

    The machines that a tied lab starts end with the program, however that ends; others stay up.
    """

    def __init__(
        self, topology: Topology = BROKER, place: Place | None = None, *, is_tied: bool = False
    ) -> None:
        self.topology = topology
        self.place = place or Place.from_environment()
        self._is_tied = is_tied
        self.machines = {
            machine.name: LabMachine(machine, topology, self.place) for machine in topology.machines
        }
        self._is_mine = False

    @classmethod
    def that_runs(cls) -> "Lab":
        """The lab that was brought up last at this place; the default one where none was."""
        lab = cls()
        name = lab._running_key.read_text().rpartition("-")[0] if lab._running_key.exists() else ""
        return cls(TOPOLOGIES[name]) if name in TOPOLOGIES else lab

    def __enter__(self) -> "Lab":
        self._is_mine = self.up()
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_mine:
            self.down()
        self.close()

    def machine(self, name: str) -> LabMachine:
        """The machine of that name."""
        return self.machines[self.topology.machine(name).name]

    def up(self) -> bool:
        """Bring the machines up in the state `booted`; False if they ran already."""
        with self._lock():
            if all(each.qemu.runs() for each in self._each()) and self._runs_what_is_wanted():
                say(f"The lab {self.topology.name} is up.")
                return False
            self._quit_all()
            self._running_key.unlink(missing_ok=True)
            self._require_ports()
            write_known_hosts(self.place)
            with locked(cache() / "lock"), self._all_or_none():
                build_images(recipes(self.topology.machines), _all_recipes())
                chosen = accelerator.choose(image_of(self.topology.internet))
                booted = cache() / "booted" / _key(self.topology, chosen)
                if not booted.exists():
                    with step(f"Booting the machines of {self.topology.name} for the first time"):
                        self._boot(chosen, booted)
                with step(f"Starting the machines of {self.topology.name}"):
                    self._start(chosen, booted)
            return True

    def reset(self) -> None:
        """Put all machines back to the state `booted`."""
        self.restore(BOOTED)

    def save(self, name: str) -> None:
        """Keep the state of all machines under a name until the lab goes down."""
        self._require_running()
        with self._lock(), self._paused():
            self._all(lambda each: each.qemu.save(name))

    def restore(self, name: str) -> None:
        """Put all machines back to the state of that name, at the same moment."""
        self._require_running()
        with self._lock():
            self.close()
            with self._paused():
                self._all(lambda each: each.qemu.load(name))

    def reboot(self, names: Iterable[str]) -> None:
        """Restart several machines at once."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda name: self.machine(name).reboot(), names))

    def down(self) -> None:
        """End all machines and forget what happened in them."""
        self.close()
        with self._lock():
            self._quit_all()
            for path in self.place.disks.iterdir():
                if path != self._lock_file and path.suffix != ".log":
                    path.unlink()
            shutil.rmtree(self.place.sockets)

    def close(self) -> None:
        """Drop all connections; the machines run on."""
        for each in self._each():
            each.close()

    def _runs_what_is_wanted(self) -> bool:
        folders = {image_of(machine).folder for machine in self.topology.machines}
        if not all(path.exists() for path in (self._running_key, *folders)):
            return False
        chosen = accelerator.choose(image_of(self.topology.internet))
        return self._running_key.read_text() == _key(self.topology, chosen)

    def _boot(self, chosen: str, booted: Path) -> None:
        """Boot every machine from its image and keep what they have become."""
        for each in self._each():
            each.qemu.prepare(image_of(each.machine), seed(each.machine))
            each.qemu.start(chosen, is_tied=self._is_tied)
        self._all(LabMachine.wait_until_settled)
        self._all(lambda each: _wait_for_neighbours(each, self.topology))
        self.close()
        # So that no SSH server of a dropped connection is left in the snapshot.
        time.sleep(GOODBYE_SECONDS)
        with self._paused():
            self._all(lambda each: each.qemu.save(BOOTED))
        self._quit_all()
        draft = booted.with_name(f"{booted.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        for each in self._each():
            for file in each.qemu.files:
                file.rename(draft / file.name)
        kept = {draft.name, *(_key(topology, chosen) for topology in TOPOLOGIES.values())}
        for stale in booted.parent.iterdir():
            if stale.name not in kept:
                shutil.rmtree(stale)
        draft.rename(booted)

    def _start(self, chosen: str, booted: Path) -> None:
        """Start every machine where its first boot ended, on a copy of what was kept."""
        for each in self._each():
            for file in each.qemu.files:
                shutil.copyfile(booted / file.name, file)
            each.qemu.start(chosen, BOOTED, is_tied=self._is_tied)
        self._running_key.write_text(booted.name)

    @property
    def _lock_file(self) -> Path:
        return self.place.disks / "lock"

    @property
    def _running_key(self) -> Path:
        return self.place.disks / "key"

    def _each(self) -> list[LabMachine]:
        return list(self.machines.values())

    def _all(self, act: Callable[[LabMachine], None]) -> None:
        with ThreadPoolExecutor(len(self.machines)) as pool:
            list(pool.map(act, self._each()))

    @contextmanager
    def _paused(self) -> Iterator[None]:
        # Together, so that no machine sees another one's past or future.
        self._all(lambda each: each.qemu.pause())
        try:
            yield
        finally:
            self._all(lambda each: each.qemu.resume())

    @contextmanager
    def _all_or_none(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._quit_all()
            raise

    def _quit_all(self) -> None:
        """End what runs at this place, of whichever topology."""
        for topology in TOPOLOGIES.values():
            for machine in topology.machines:
                Qemu(machine, topology, self.place).quit()

    @contextmanager
    def _lock(self) -> Iterator[None]:
        self.place.create()
        with locked(self._lock_file):
            yield

    def _require_running(self) -> None:
        if not all(each.qemu.runs() for each in self._each()):
            raise LabError("The lab is not up: run `python -m tests.lab up`.")

    def _require_ports(self) -> None:
        for each in self._each():
            if not ask_until(bool, partial(_is_free, each.ssh_port), QUIT_SECONDS):
                raise LabError(
                    f"Port {each.ssh_port} of 127.0.0.1, for {each.machine.name}, is taken: "
                    f"set {PORT_VARIABLE} to the first of {PORTS} free ports, or of "
                    f"{2 * PORTS} for two labs at once."
                )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def image_of(machine: Machine) -> Image:
    """The image that a machine starts from."""
    return image(recipe(machine))


def _all_recipes() -> list[Recipe]:
    return recipes(machine for each in TOPOLOGIES.values() for machine in each.machines)


def _key(topology: Topology, chosen: str) -> str:
    """Changes with all that a booted machine depends on, but not with where its lab runs."""
    nowhere = Place(0)
    parts = [
        (
            Qemu(machine, topology, nowhere).command(chosen),
            image_of(machine).folder.name,
            seed(machine),
        )
        for machine in topology.machines
    ]
    digest = hashlib.sha256(repr([version(), parts]).encode()).hexdigest()[:16]
    return f"{topology.name}-{digest}"


def _wait_for_neighbours(each: LabMachine, topology: Topology) -> None:
    """Prove that a host reaches every other one over IPv4 and, if it can, the far IPv6 host."""
    if each.machine not in topology.hosts:
        return
    for name in topology.names:
        each.wait_for(f"ping -4 -c 1 -W 2 {topology.ipv4_of(name).public}", 120)
    if any(address.version == 6 for card in each.machine.cards for address in card.addresses):
        each.wait_for(f"ping -6 -c 1 -W 2 {FAR_ADDRESS}", 60)
