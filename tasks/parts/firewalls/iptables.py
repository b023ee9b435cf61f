"""Pure: netfilter-persistent, told by a plugin of its own.

Its `save` writes all that is loaded at that moment, others' rules too, so Culvert never calls it.
"""

from collections.abc import Collection, Iterable

from tasks.host.changes import Step
from tasks.host.render import render
from tasks.host.ruleset import Chain, Drop, Rule
from tasks.host.state import FOLDER, OWNED, File, HostState, Search
from tasks.parts.firewalls import nftables
from tasks.parts.firewalls.firewall import Firewall, not_enabled, pasted
from tasks.parts.firewalls.insertions import Insertions

_UNIT = "netfilter-persistent.service"
_PLUGINS = "/usr/share/netfilter-persistent/plugins.d"
_PLUGIN = f"{_PLUGINS}/{OWNED}"
_SAVED = {"ip": "/etc/iptables/rules.v4", "ip6": "/etc/iptables/rules.v6"}


class Iptables(Firewall):
    """Chains of tables that netfilter-persistent restores from its files."""

    name = "netfilter-persistent"
    folders = (f"/etc/{FOLDER}", _PLUGINS)
    own_folders = (FOLDER,)
    questions = (Search("iptables", r'^[*]|--comment "?culvert"? ', tuple(_SAVED.values())),)
    _insertions = Insertions(
        f"/etc/{FOLDER}/open-iptables", f"{_PLUGIN} runs this, which netfilter-persistent runs."
    )

    def holds(self, chain: Chain, state: HostState) -> bool:
        is_loaded = _UNIT in state.units and state.units[_UNIT].is_loaded
        is_saved = (chain.family, f"*{chain.table}") in {(f, t) for f, _, t in _saved(state)}
        return is_loaded and is_saved and state.ruleset.is_of_iptables(chain)

    def is_own(self, rule: Rule, state: HostState) -> bool:
        is_nfts = (rule.family, rule.table) in nftables.tables(state)
        return self._insertions.is_own(rule, state) and not is_nfts

    def unfit(self, state: HostState) -> str:
        return not_enabled(_UNIT, state)

    def opening(self, drop: Drop, state: HostState) -> Iterable[str]:
        del state
        yield pasted(drop, is_of_iptables=True)

    def files(self, drops: Collection[Drop], state: HostState) -> dict[str, File]:
        del state
        if not drops:
            return {}
        script = self._insertions.script
        plugin = File(render("iptables/plugin", script=script), mode=0o755)
        return {script: self._insertions.file(drops), _PLUGIN: plugin}

    def starting(
        self, drops: Collection[Drop], state: HostState, changed: Collection[str]
    ) -> Iterable[Step]:
        del changed
        own = (rule for rule in state.ruleset.all_rules() if self.is_own(rule, state))
        yield from self._insertions.steps(drops, state, own)

    def warnings(self, drops: Collection[Drop], state: HostState) -> Iterable[str]:
        """What was saved with the host's own, and nobody needs any more."""
        if drops:
            return
        for family, number, text in _saved(state):
            if text.startswith("-A "):
                yield (
                    f"{_SAVED[family]}, line {number}, is a rule of Culvert's that was saved with "
                    f"the host's own, and comes back at the next boot: take it out: {text}"
                )


def _saved(state: HostState) -> list[tuple[str, str, str]]:
    """The tables of each file, and Culvert's rules in it: family, line number, text."""
    found = []
    for line in state.answers.get("iptables", "").splitlines():
        path, number, text = line.split(":", 2)
        families = (family for family, each in _SAVED.items() if each == path)
        found += [(family, number, text.strip()) for family in families]
    return found
