"""What each manager must live through, as a server and as a client.

All hosts of a topology go through a scenario at once; each is then looked at in a test of its own.
From the first run on, somebody sends router advertisements into every tunnel, all the time. Servers
whose IPv6 default route is learned send pings meanwhile: forwarding must not cost them that route.
"""

import re
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tasks.planning.obstacles import ObstacleError
from tests import runs
from tests.lab.errors import LabError
from tests.lab.flavours import FLAVOURS
from tests.lab.internet import ADVERTISED_SECONDS
from tests.lab.lab import Lab
from tests.lab.machines import FAR_ADDRESS, Machine
from tests.lab.topologies import BROKER, MANAGED, Topology
from tests.runs import Hosts, Run
from tests.scenarios.advertisements import advertise
from tests.scenarios.cases import Case, connected, straight, tunnels
from tests.scenarios.conftest import Labs
from tests.scenarios.observation import (
    Observation,
    Pings,
    Solicitations,
    assert_as_by_hand,
    assert_both_ways,
    assert_unheard,
    differences,
    forget_neighbours,
    multicast_held_back,
    observe,
    pending,
)


@dataclass
class Stage:
    """A topology that went through a scenario: its lab, what is declared, the last run.

    `pings` come from the servers whose default route is learned; at the time `expired` no such
    route is left that isn't learned anew. Those by the names of clients come from the Internet
    host, and `solicitations`, by those of servers, are what its router asks for meanwhile.
    """

    lab: Lab
    folder: Path
    hosts: Hosts
    bare: dict[str, Observation]
    run: Run
    troubles: dict[str, Exception] = field(default_factory=dict)
    seconds: float = 0
    pings: dict[str, Pings] = field(default_factory=dict)
    expired: float = 0
    solicitations: dict[str, Solicitations] = field(default_factory=dict)

    @property
    def topology(self) -> Topology:
        return self.lab.topology

    def deploy(self, hosts: Hosts, task: str = "deploy.py") -> None:
        """Run a task on an inventory."""
        self.hosts = hosts
        self.run = runs.run(self.folder, hosts, task, "-y")

    def said_of(self, host: str) -> list[str]:
        """What the last run said of a host."""
        return re.findall(rf"^ *\[{host}\] +(.*)$", self.run.stderr, re.MULTILINE)

    def on_each(self, act: Callable[[Machine], None]) -> None:
        """Do something on all hosts at once; what fails is told by the host's own test."""

        def attempt(machine: Machine) -> None:
            try:
                act(machine)
            except (AssertionError, LabError, ObstacleError) as trouble:
                self.troubles.setdefault(machine.name, trouble)

        with ThreadPoolExecutor() as pool:
            list(pool.map(attempt, self.topology.hosts))

    def look_at_traffic(self) -> None:
        """Send packets through every tunnel, all at once."""

        def look(case: Case) -> None:
            try:
                assert_both_ways(self.lab, case, 60)
            except LabError as trouble:
                for host in (case.server, case.client):
                    self.troubles.setdefault(host, trouble)

        # Once: at the same time as another one it would lose a ping's answer.
        forget_neighbours(self.lab.machine("internet"))
        with ThreadPoolExecutor() as pool:
            list(pool.map(look, straight(self.topology)))

    def command(self, commands: Callable[[Machine], Iterable[str]]) -> None:
        """Have each host run some commands, one after the other, at the same time as the others."""

        def act(machine: Machine) -> None:
            interfaces = [machine.interface(number) for number in machine.uplinks]
            for command in commands(machine):
                for text in dict.fromkeys(command.format(interface=each) for each in interfaces):
                    self.lab.machine(machine.name).run(text)

        self.on_each(act)


def send_pings(lab: Lab, name: str) -> Pings:
    """From now on, from a machine to the Internet host."""
    return Pings(lab.machine(name), FAR_ADDRESS, every=0.2)


def expiry() -> float:
    """When no route is left that was learned before now, with some time to spare."""
    return time.monotonic() + PATIENCE


PATIENCE = 2 * ADVERTISED_SECONDS

VERIFIED_SECONDS = 30
"""In which a router that verifies a neighbour asks every two to four seconds."""


# --- What happens ----------------------------------------------------------------------------


def first_deploy(stage: Stage) -> None:
    """The state that the other scenarios start from."""
    del stage


def unchanged_run(stage: Stage) -> None:
    stage.deploy(stage.hosts)


def reboot(stage: Stage) -> None:
    stage.lab.reboot(stage.topology.names)

    def listen(machine: Machine) -> None:
        if machine.name in stage.topology.learners:
            # Until the next advertisement there is no route.
            stage.lab.machine(machine.name).wait_for(f"ping -6 -n -c 1 -W 1 {FAR_ADDRESS}", 60)
            stage.pings[machine.name] = send_pings(stage.lab, machine.name)

    stage.pings = {}
    stage.on_each(listen)
    stage.expired = expiry()


def cable_pulled(stage: Stage) -> None:
    def pull(machine: Machine) -> None:
        each = stage.lab.machine(machine.name)
        for number in machine.uplinks:
            each.qemu.plug(number, is_plugged=False)
        for number in machine.uplinks:
            each.wait_for(f"ip link show {machine.card_name(number)} | grep NO-CARRIER", 10)
        for number in machine.uplinks:
            each.qemu.plug(number, is_plugged=True)

    stage.on_each(pull)


def applied(stage: Stage) -> None:
    stage.command(lambda machine: FLAVOURS[machine.flavour].apply)


def restarted(stage: Stage) -> None:
    stage.command(lambda machine: [FLAVOURS[machine.flavour].restart])


def verified(stage: Stage) -> None:
    """Traffic from the Internet to every client, while their router verifies that it is there."""
    internet = stage.lab.machine("internet")
    stage.look_at_traffic()
    with multicast_held_back(internet):
        for case in straight(stage.topology):
            link = stage.topology.to_server(case.server)
            stage.solicitations[case.server] = Solicitations(internet, link, case.client_ipv6)
            stage.pings[case.client] = Pings(
                internet, case.client_ipv6, every=0.2, interface=FAR_ADDRESS, confirms=False
            )
        time.sleep(VERIFIED_SECONDS)


def moved(stage: Stage) -> None:
    """Both ends get other IPv4 addresses, and the managers then go over what they have."""
    hosts = connected(stage.topology, tunnels(straight(stage.topology), index=1))
    stage.deploy(hosts)
    applied(stage)


def undone(stage: Stage) -> None:
    stage.deploy(stage.hosts, "tasks.undo.undo")


def removed(stage: Stage) -> None:
    stage.deploy(stage.hosts, "tasks.remove.remove")


# --- What must then be so --------------------------------------------------------------------


def is_deployed(stage: Stage, host: str) -> None:
    """A run would find nothing to change, and nothing that came out of the tunnel was heard."""
    assert pending(stage.lab, stage.hosts, host) == ""
    for name, tunnel in _ends(stage.topology):
        if name == host:
            assert_unheard(stage.lab.machine(host), tunnel)


def _ends(topology: Topology) -> Iterable[tuple[str, str]]:
    """Each host with the interface of its tunnel."""
    for case in straight(topology):
        yield from ((case.server, case.server_interface), (case.client, "sit-ipv6"))


def is_proven(stage: Stage, host: str) -> None:
    """The run ended with its proof."""
    lines = stage.said_of(host)
    assert any(line.startswith("verified: ") for line in lines), stage.run.output
    assert not any(line.startswith("expected: ") for line in lines)
    is_deployed(stage, host)
    is_as_by_hand(stage, host)


def is_as_by_hand(stage: Stage, host: str) -> None:
    """No setting of the tunnel itself costs it throughput."""
    for name, tunnel in _ends(stage.topology):
        if name == host:
            assert_as_by_hand(stage.lab.machine(host), tunnel)


def is_unchanged(stage: Stage, host: str) -> None:
    """The run said so, and which manager it found."""
    manager = FLAVOURS[stage.topology.machine(host).flavour].manager
    expected = f"nothing to change ({manager} holds "
    assert any(line.startswith(expected) for line in stage.said_of(host)), stage.run.output
    is_proven(stage, host)
    keeps_its_learned_route(stage, host)


def is_back(stage: Stage, host: str) -> None:
    is_deployed(stage, host)
    is_as_by_hand(stage, host)
    keeps_its_learned_route(stage, host)


def keeps_its_learned_route(stage: Stage, host: str) -> None:
    """No packet was lost until the route was learned anew, while the host forwards."""
    if host in stage.topology.learners:
        pings = stage.pings.get(host)
        assert pings, "no pings were sent: play it after the scenario before it"
        time.sleep(max(0, stage.expired - time.monotonic()))
        # Five in a second; an emulated machine may not keep time.
        pings.assert_answered(PATIENCE)
        look = "ip -6 route show default; cat /proc/sys/net/ipv6/conf/all/forwarding"
        found = stage.lab.machine(host).run(look).stdout
        assert " proto ra " in found
        assert found.endswith("\n1\n")


def is_verified(stage: Stage, host: str) -> None:
    """The router had every answer, though it asked by unicast alone, and no packet was lost."""
    if host in stage.solicitations:
        stage.solicitations[host].assert_answered(more_than=VERIFIED_SECONDS // 6)
    else:
        stage.pings[host].assert_answered(more_than=2 * VERIFIED_SECONDS)


def is_as_before(stage: Stage, host: str) -> None:
    """Nothing of Culvert is left, and nothing else is gone."""
    after = {host: observe(stage.lab.machine(host))}
    assert differences(after, {host: stage.bare[host]}) == []


@dataclass(frozen=True)
class Scenario:
    """Something that happens to deployed hosts, and what must be so on each of them then.

    It happens to hosts that have just been deployed to, or that went through the scenario `after`.
    """

    title: str
    act: Callable[[Stage], None]
    check: Callable[[Stage, str], None]
    after: "Scenario | None" = None
    is_quick: bool = False
    flows: bool = True
    # Whether all topologies but one have it in the campaign.
    is_sampled: bool = False

    def play(self, stage: Stage) -> None:
        """Have it happen, and look at all hosts."""
        self.act(stage)
        if self.flows:
            stage.look_at_traffic()
        stage.on_each(lambda machine: self.check(stage, machine.name))


DEPLOYED = Scenario("first deploy", first_deploy, is_proven, is_quick=True)
PULLED = Scenario("cable pulled", cable_pulled, is_deployed, is_quick=True)
APPLIED = Scenario("manager applies", applied, is_deployed, after=PULLED)
RESTARTED = Scenario("manager restarts", restarted, is_deployed, after=APPLIED)
SCENARIOS = (
    DEPLOYED,
    Scenario("unchanged re-run", unchanged_run, is_unchanged, after=DEPLOYED, is_quick=True),
    Scenario("reboot", reboot, is_back),
    PULLED,
    APPLIED,
    RESTARTED,
    Scenario("router verifies", verified, is_verified, after=RESTARTED, flows=False),
    Scenario("ends move", moved, is_proven),
    Scenario("undone", undone, is_as_before, flows=False, is_sampled=True),
    Scenario("removed", removed, is_as_before, is_quick=True, flows=False),
)


@pytest.fixture(scope="session")
def stages(labs: Labs, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Stage]:
    """Puts a topology through a scenario, unless it is the last one that was asked for."""
    last: dict[tuple[str, str], Stage] = {}

    def deployed(lab: Lab) -> Stage:
        hosts = connected(lab.topology, tunnels(straight(lab.topology)))
        bare, folder = labs.bare(), tmp_path_factory.mktemp("inventory")
        pings: dict[str, Pings] = {}

        def beforehand() -> None:
            pings.update({name: send_pings(lab, name) for name in lab.topology.learners})
            advertise(lab.machine("internet"), straight(lab.topology))

        run = labs.deployed("advertised", hosts, folder, beforehand)
        return Stage(lab, folder, hosts, bare, run, pings=pings, expired=expiry())

    def stage(topology: Topology, scenario: Scenario) -> Stage:
        key = (topology.name, scenario.title)
        if key not in last:
            earlier = stage(topology, scenario.after) if scenario.after else None
            lab = labs.up(topology)
            start = time.monotonic()
            found = replace(earlier, troubles={}) if earlier else deployed(lab)
            scenario.play(found)
            found.seconds = time.monotonic() - start
            last.clear()
            last[key] = found
        return last[key]

    return stage


def _marks(topology: Topology, scenario: Scenario) -> list[pytest.MarkDecorator]:
    if topology is BROKER:
        return [pytest.mark.quick] if scenario.is_quick else []
    return [pytest.mark.campaign] if scenario.is_sampled else []


@pytest.mark.parametrize(
    ("topology", "scenario", "host"),
    [
        pytest.param(
            *(topology, scenario, host),
            id=f"{host}-{scenario.title.replace(' ', '-')}",
            marks=_marks(topology, scenario),
        )
        for topology in MANAGED.values()
        for scenario in SCENARIOS
        for host in topology.names
    ],
)
def test_a_host_lives_through(
    stages: Callable[..., Stage],
    topology: Topology,
    scenario: Scenario,
    host: str,
    record_property: Callable[[str, object], None],
) -> None:
    record_property("host", host)
    record_property("scenario", scenario.title)
    stage = stages(topology, scenario)
    record_property("seconds", stage.seconds)
    if host in stage.troubles:
        raise stage.troubles[host]
