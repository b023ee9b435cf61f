"""Pure: firewalld, told by policies of Culvert's own, which come before its zones.

It takes a new policy in when it is reloaded, and what else changes at once, by its command. From
its version 2 on, what is forwarded meets a policy only where a zone names an interface on its way
(_ingress_egress_zone() in fw_policy.py): then the tunnel is put into the zone in which it is
anyway, the default one.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from tasks.host.changes import Step, once_back
from tasks.host.render import render
from tasks.host.ruleset import PROTOCOL_41, Chain, Drop, Flow, Rule
from tasks.host.state import OWNED, File, HostState, Question
from tasks.parts.firewalls.firewall import Firewall

_UNIT = "firewalld.service"
_SETTINGS = "/etc/firewalld"
_SHIPPED = "/usr/lib/firewalld"
_POLICIES = f"{_SETTINGS}/policies"
_ZONES = {"input": ("ANY", "HOST"), "output": ("HOST", "ANY"), "forward": ("ANY", "ANY")}
_NAMES = {"input": f"{OWNED}-in", "output": f"{OWNED}-out", "forward": f"{OWNED}-forward"}
_CHAINS = {"input": "IN", "output": "OUT", "forward": "FWD"}
_FORWARD = f"{_POLICIES}/{_NAMES['forward']}.xml"
# Before the zones, which those of 0 and more come after.
_PRIORITY = -1
_OPPOSITE = {"add": "remove", "remove": "add"}
_RELOAD = "firewall-cmd --reload"
# The command waits for an answer for a minute, which a host that is busy may take longer for.
RELOADED = (
    f'said=$({_RELOAD} 2>&1) || case $said in *" receive a reply"*) '
    'timeout 300 sh -c "until firewall-cmd --state; do sleep 2; done" >/dev/null 2>&1 ;; '
    '*) echo "$said" >&2; false ;; esac'
)
# In firewalld's own language: one process asks all, where its command would need one for each.
_ASKING = """\
from firewall.client import FirewallClient

running = FirewallClient()
kept = running.config()
print("zone", running.getDefaultZone())


def settings(found):
    told = {str(key): value for key, value in found.getSettingsDict().items() if value}
    # NetworkManager puts interfaces into zones anew after each reload.
    for key in ("version", "short", "description", "interfaces"):
        told.pop(key, None)
    return {
        key: sorted(map(str, value)) if isinstance(value, list) else str(value)
        for key, value in told.items()
    }


def compare(kind, names, there, here):
    for name in names:
        if name.startswith("@OWNED@-"):
            continue
        now = settings(there(name))
        try:
            then = settings(here(name).getSettings())
        except Exception:
            then = None
        if now != then:
            print("differs", kind, name)
        if kind == "policy":
            print("policy", name, now.get("priority", 0))


compare("zone", running.getZones(), running.getZoneSettings, kept.getZoneByName)
compare("policy", running.getPolicies(), running.getPolicySettings, kept.getPolicyByName)
if sorted(map(str, running.getAllRules())) != sorted(map(str, kept.direct().getAllRules())):
    print("differs direct rules")
""".replace("@OWNED@", OWNED)


class Firewalld(Firewall):
    """The one that comes from Fedora."""

    name = "firewalld"
    folders = (_POLICIES,)
    questions = (
        Question(
            "firewalld",
            f"if has python3 && is_active {_UNIT}; then\n"
            f'for file in {_SETTINGS}/zones/*.xml; do echo "file $file"; done\n'
            f"python3 - 2>/dev/null <<'PYTHON'\n{_ASKING}PYTHON\n"
            "fi; true",
        ),
    )

    def holds(self, chain: Chain, state: HostState) -> bool:
        """It runs, and the chain leads to its zones: with a table of its own, or by iptables."""
        is_active = _UNIT in state.units and state.units[_UNIT].is_active
        prefix = "filter_" if chain.table == "firewalld" else ""
        firsts = (f"{prefix}{chain.hook.upper()}_{each}" for each in ("ZONES", "POLICIES"))
        place = (chain.backend, chain.family, chain.table)
        return is_active and any(state.ruleset.has_chain(*place, first) for first in firsts)

    def is_own(self, rule: Rule, state: HostState) -> bool:
        """All in a policy's chains, and what a zone lets into an interface that it was given."""
        if f"_{OWNED}-" in rule.chain:
            return True
        is_zones = "FWD_" in rule.chain and rule.chain.endswith("_allow")
        return is_zones and any(f'"{name}"' in rule.text for name in _put(state).names)

    def unfit(self, state: HostState) -> str:
        if not _is_running(state):
            return "firewalld runs and doesn't answer (python3-firewall asks it)"
        if _are_loaded(state) or not _differs(state):
            return ""
        return (
            f"firewalld runs with settings that `{_RELOAD}`, which a new policy needs, would lose "
            "(`firewall-cmd --runtime-to-permanent` keeps them, the reload drops them)"
        )

    def precedes(self, drop: Drop, state: HostState) -> bool:
        """What it refuses of itself, before its zones, and policies that come first."""
        if drop.rule is None:
            return False
        place = (drop.chain.backend, drop.chain.family, drop.chain.table)
        if drop.rule.chain == drop.chain.name:
            return drop.rule != state.ruleset.rules[place, drop.chain.name][-1]
        policy = re.search(r"policy_(.+?)(?:_(?:pre|log|deny|allow|post))?$", drop.rule.chain)
        return policy is not None and _priority(policy[1], state) <= _PRIORITY

    def opening(self, drop: Drop, state: HostState) -> Iterable[str]:
        """Into a policy of one's own, which is made where it isn't there."""
        name = f"tunnels-{_CHAINS[drop.flow.hook].lower()}"
        ingress, egress = _ZONES[drop.flow.hook]
        firewall = f"firewall-cmd --permanent --policy={name}"
        yield (
            f"{firewall} --list-rich-rules >/dev/null 2>&1 || {{ "
            f"firewall-cmd --permanent --new-policy={name} && {firewall} "
            f"--add-ingress-zone={ingress} && {firewall} --add-egress-zone={egress} && {firewall} "
            f"--set-priority={_PRIORITY}; }}"
        )
        for each in _unnamed([drop], state):
            yield f"firewall-cmd --permanent --zone={_zone(state)} --add-interface={each}"
        # Each by itself, since what comes of several flows may be pasted in one go.
        yield f"{firewall} --add-rich-rule='{_rich(drop.flow)}' && {_RELOAD}"

    def files(self, drops: Collection[Drop], state: HostState) -> dict[str, File]:
        found = {}
        for hook, (ingress, egress) in _ZONES.items():
            rules = [*dict.fromkeys(_xml(each.flow) for each in drops if each.flow.hook == hook)]
            if rules:
                text = render(
                    "firewalld/policy.xml",
                    priority=_PRIORITY,
                    description=str(_to_put(drops, state)) if hook == "forward" else "",
                    ingress=ingress,
                    egress=egress,
                    rules=rules,
                )
                found[_path(hook)] = File(text)
        return found

    def stopping(
        self, drops: Collection[Drop], state: HostState, changed: Collection[str]
    ) -> Iterable[Step]:
        """Nothing, and where it reads the new files, it reads the old ones again."""
        del changed
        if self._is_reloaded(drops, state):
            yield once_back(RELOADED)

    def starting(
        self, drops: Collection[Drop], state: HostState, changed: Collection[str]
    ) -> Iterable[Step]:
        del changed
        old, new = _put(state), _to_put(drops, state)
        yield from _moved(old, new)
        if not _is_running(state):
            return
        if self._is_reloaded(drops, state):
            yield Step((f" run: {_RELOAD}",), (RELOADED,))
            return
        for sign, action, more, less in (("-", "remove", old, new), ("+", "add", new, old)):
            for name in more.names:
                if name not in less.names:
                    line = f"{sign}firewalld zone {more.zone} as it runs: interface {name}"
                    command, undo = (
                        f"firewall-cmd --zone={more.zone} --{each}-interface={name}"
                        for each in (action, _OPPOSITE[action])
                    )
                    yield Step((line,), (command,), (undo,))
        files = self.files(drops, state)
        for hook in sorted(hook for hook in _ZONES if _is_loaded(hook, state)):
            yield from _updated(hook, drops, state, files)

    def _is_reloaded(self, drops: Collection[Drop], state: HostState) -> bool:
        """Whether it reads its files: not where all that changes can be told to it as it runs."""
        files = self.files(drops, state)
        loaded = {hook for hook in _ZONES if _is_loaded(hook, state)}
        wanted = {hook for hook in _ZONES if _path(hook) in files}
        is_needed = wanted - loaded or (loaded - wanted and not _differs(state))
        return _is_running(state) and bool(is_needed)


# --- Rules -----------------------------------------------------------------------------------


def _parts(flow: Flow) -> Iterator[tuple[str, str, str]]:
    """What a rich rule says of a flow: elements of a file, their attributes and the values."""
    # From one host to another they are all named, of a network each that is one.
    for word, network in (("source", flow.source), ("destination", flow.destination)):
        if network.prefixlen:
            is_host = network.size == 1
            yield word, "address", str(network.ip if is_host else network.cidr)
    if flow.protocol == PROTOCOL_41:
        yield "protocol", "value", str(PROTOCOL_41)


def _rich(flow: Flow) -> str:
    words = (f'{element} {attribute}="{value}"' for element, attribute, value in _parts(flow))
    return f'rule family="ipv{flow.version}" {" ".join(words)} accept'


def _xml(flow: Flow) -> str:
    elements = (f'<{element} {attribute}="{value}"/>' for element, attribute, value in _parts(flow))
    return f'<rule family="ipv{flow.version}">{"".join(elements)}<accept/></rule>'


def _kept(hook: str, files: dict[str, File]) -> set[str]:
    """The rich rules of a policy's file, as the command has them."""
    text = files[_path(hook)].text if _path(hook) in files else ""
    found = set()
    for family, elements in re.findall(r'<rule family="(ipv\d)">(.*)<accept/></rule>', text):
        words = " ".join(re.findall(r"<(\S+ [^/]*\"[^\"]*\")/>", elements))
        found.add(f'rule family="{family}" {words} accept')
    return found


def _updated(
    hook: str, drops: Collection[Drop], state: HostState, files: dict[str, File]
) -> Iterable[Step]:
    """What a policy has as it runs, changed to what its new file has."""
    old, new = _kept(hook, dict(state.files)), _kept(hook, files)
    missing = new - old
    for drop in drops:
        if drop.flow.hook == hook and drop in state.ruleset.drops(drop.flow):
            missing.add(_rich(drop.flow))
    for sign, action, rules in (("-", "remove", old - new), ("+", "add", missing)):
        if rules:
            command, undo = (
                " ".join(
                    [
                        f"firewall-cmd --policy={_NAMES[hook]}",
                        *(f"--{each}-rich-rule='{rule}'" for rule in sorted(rules)),
                    ]
                )
                for each in (action, _OPPOSITE[action])
            )
            yield Step(
                tuple(f"{sign}firewalld {_NAMES[hook]}: {rule}" for rule in sorted(rules)),
                (command,),
                (undo,),
            )


def _path(hook: str) -> str:
    return f"{_POLICIES}/{_NAMES[hook]}.xml"


# --- Interfaces ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Put:
    """Tunnels that Culvert put into a zone, and whether the zone's file was made for it."""

    zone: str = ""
    names: tuple[str, ...] = ()
    is_made: bool = False

    def __str__(self) -> str:
        if not self.names:
            return ""
        whose = ", whose file it made" if self.is_made else ""
        return f"Culvert put into the zone {self.zone}{whose}: {' '.join(self.names)}"


_TOLD = re.compile(r"Culvert put into the zone ([\w-]+)(, whose file it made)?: ([\w. @-]*)<")


def _put(state: HostState) -> _Put:
    """What the policy's file tells of the last run."""
    file = state.files.get(_FORWARD)
    told = _TOLD.search(file.text) if file else None
    return _Put(told[1], tuple(told[3].split()), bool(told[2])) if told else _Put()


def _to_put(drops: Collection[Drop], state: HostState) -> _Put:
    names = tuple(_unnamed(drops, state))
    if not names:
        return _Put()
    old = _put(state)
    return _Put(
        old.zone or _zone(state),
        names,
        old.is_made if old.zone else f"file {_zone_file(_zone(state))}" not in _answer(state),
    )


def _unnamed(drops: Collection[Drop], state: HostState) -> list[str]:
    """The tunnels that a policy wouldn't see, because no zone names an interface on the way."""
    ours = {*_put(state).names}
    found: dict[str, None] = {}
    for drop in drops:
        chain = drop.chain
        key = (chain.backend, chain.family, chain.table), "filter_FORWARD_POLICIES"
        if chain.hook != "forward" or key not in state.ruleset.rules:
            continue
        texts = (rule.text for rule in state.ruleset.rules[key])
        named = {each for text in texts for each in re.findall(r'[io]ifname "([^"]+)"', text)}
        ways = [name for name in (drop.flow.came_in, drop.flow.goes_out) if name]
        if not {*ways} & (named - ours):
            found |= {name: None for name in ways if _is_tunnel(name, state)}
    return sorted(found)


def _is_tunnel(name: str, state: HostState) -> bool:
    return name not in state.links or state.links[name].kind == "sit"


def _moved(old: _Put, new: _Put) -> Iterable[Step]:
    """The file of a zone, with other tunnels in it; all else stays as it is written."""
    for name in old.names:
        if name not in new.names:
            yield _taken_out(name, old)
    for name in new.names:
        if name not in old.names:
            yield _put_in(name, new)
    if old.is_made and not new.names:
        file, shipped = _zone_file(old.zone), f"{_SHIPPED}/zones/{old.zone}.xml"
        command = f"if cmp -s {file} {shipped}; then rm {file}; fi"
        made = f"[ -e {file} ] || cp {shipped} {file}"
        yield Step((f"-firewalld zone {old.zone}: its file",), (command,), (made,))


def _put_in(name: str, put: _Put) -> Step:
    file = _zone_file(put.zone)
    shipped = f"{_SHIPPED}/zones/{put.zone}.xml"
    undo = [_line_out(name, file)]
    if put.is_made:
        undo.append(f"if cmp -s {file} {shipped}; then rm {file}; fi")
    return Step(
        (f"+firewalld zone {put.zone}: interface {name}",),
        (
            f"[ -e {file} ] || cp {shipped} {file}",
            _line_in(name, file),
            f"grep -qF '{_line(name)}' {file}",
        ),
        undo=tuple(undo),
        reason="where it is anyway; else a policy for what is forwarded wouldn't see it",
    )


def _taken_out(name: str, put: _Put) -> Step:
    file = _zone_file(put.zone)
    return Step(
        (f"-firewalld zone {put.zone}: interface {name}",),
        (_line_out(name, file),),
        (f"grep -qF '{_line(name)}' {file} || {_line_in(name, file)}",),
    )


def _line(name: str) -> str:
    return f'<interface name="{name}"/>'


def _line_in(name: str, file: str) -> str:
    return f"sed -i 's|^[[:space:]]*</zone>|  {_line(name)}\\n&|' {file}"


def _line_out(name: str, file: str) -> str:
    pattern = f'<interface name="{re.escape(name)}"/>'
    return f"sed -i '\\|^[[:space:]]*{pattern}$|d' {file}"


def _zone_file(zone: str) -> str:
    return f"{_SETTINGS}/zones/{zone}.xml"


# --- What it answers -------------------------------------------------------------------------


def _answer(state: HostState) -> list[str]:
    return state.answers.get("firewalld", "").splitlines()


def _is_running(state: HostState) -> bool:
    return bool(_zone(state))


def _zone(state: HostState) -> str:
    """The default one."""
    found = (re.fullmatch(r"zone ([\w-]+)", each) for each in _answer(state))
    return next((each[1] for each in found if each), "")


def _is_loaded(hook: str, state: HostState) -> bool:
    suffix = f"_{_NAMES[hook]}_allow"
    return any(chain.endswith(suffix) for _, chain in state.ruleset.rules)


def _are_loaded(state: HostState) -> bool:
    return any(_is_loaded(hook, state) for hook in _ZONES)


def _differs(state: HostState) -> bool:
    """Whether it runs with something that it would forget."""
    return any(each.startswith("differs ") for each in _answer(state))


def _priority(policy: str, state: HostState) -> int:
    """Of a policy as it runs; the last of all where that isn't told."""
    found = (re.fullmatch(r"policy (\S+) (-?\d+)", each) for each in _answer(state))
    return next((int(each[2]) for each in found if each and each[1] == policy), 32767)
