"""Pure: Docker, which drops whatever else is forwarded, told by the chain that it leaves to users.

Source: Docker's manual, "Packet filtering and firewalls"; as of Docker 27, also for IPv6.
"""

from collections.abc import Collection, Iterable

from tasks.host.changes import Step, once_back
from tasks.host.render import render
from tasks.host.ruleset import Chain, Drop, Rule
from tasks.host.state import FOLDER, OWNED, File, HostState
from tasks.parts.firewalls.firewall import Firewall, pasted
from tasks.parts.firewalls.insertions import Insertions

_UNIT = "docker.service"
_UNITS = "/etc/systemd/system"
_DROP_IN = f"{_UNITS}/{_UNIT}.d/{OWNED}-open.conf"
_USERS = Insertions.DOCKERS


class Docker(Firewall):
    """The chain FORWARD, where Docker has made its own beside it."""

    name = "Docker"
    folders = (f"/etc/{FOLDER}", _UNITS)
    own_folders = (FOLDER, f"{_UNIT}.d")
    _insertions = Insertions(
        f"/etc/{FOLDER}/open-docker", f"{_UNIT} runs this when it has started.", _USERS
    )

    def holds(self, chain: Chain, state: HostState) -> bool:
        is_there = _UNIT in state.units and state.units[_UNIT].is_loaded
        is_forward = (chain.table, chain.name) == ("filter", "FORWARD")
        return is_there and is_forward and _jump(chain, state) is not None

    def is_own(self, rule: Rule, state: HostState) -> bool:
        return self._insertions.is_own(rule, state)

    def returning(self, state: HostState) -> Iterable[Chain]:
        # As of Docker 28 it drops what is forwarded only where it was the one to turn forwarding
        # on, and so no longer after a boot at which Culvert's settings came first.
        told = {rule.place for rule in state.ruleset.all_rules() if self.is_own(rule, state)}
        for chain in state.ruleset.policies:
            place = (chain.backend, chain.family, chain.table)
            if place in told and self.holds(chain, state):
                yield chain

    def precedes(self, drop: Drop, state: HostState) -> bool:
        place = (drop.chain.backend, drop.chain.family, drop.chain.table)
        chain = state.ruleset.rules[place, drop.chain.name]
        before = chain[: _jump(drop.chain, state)]
        leading = {v.target for rule in before for _, v in rule.verdicts} | {""}
        return drop.rule is not None and (drop.rule in before or drop.rule.chain in leading)

    def opening(self, drop: Drop, state: HostState) -> Iterable[str]:
        del state
        yield pasted(drop, is_of_iptables=True)

    def files(self, drops: Collection[Drop], state: HostState) -> dict[str, File]:
        del state
        if not drops:
            return {}
        script = self._insertions.script
        drop_in = File(render("iptables/docker.conf", script=script))
        return {script: self._insertions.file(drops), _DROP_IN: drop_in}

    def stopping(
        self, drops: Collection[Drop], state: HostState, changed: Collection[str]
    ) -> Iterable[Step]:
        """Nothing, and once the old files are back, they are read again."""
        del drops, state
        if _DROP_IN in changed:
            yield once_back("systemctl daemon-reload")

    def starting(
        self, drops: Collection[Drop], state: HostState, changed: Collection[str]
    ) -> Iterable[Step]:
        if _DROP_IN in changed:
            reload = "systemctl daemon-reload"
            yield Step((f" run: {reload}",), (reload,))
        own = (rule for rule in state.ruleset.all_rules() if self.is_own(rule, state))
        yield from self._insertions.steps(drops, state, own)


def _jump(chain: Chain, state: HostState) -> int | None:
    """The place of the rule that leads to the users' own."""
    rules = state.ruleset.rules.get(((chain.backend, chain.family, chain.table), chain.name), ())
    for place, rule in enumerate(rules):
        if any(verdict.target == _USERS for _, verdict in rule.verdicts) and not rule.conditions:
            return place
    return None
