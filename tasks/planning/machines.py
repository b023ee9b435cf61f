"""Pure: which names of an inventory lead to one machine, and which hosts are none of Culvert's."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tasks.declared.model import Node
from tasks.host.state import HostState
from tasks.parts.managers import owned_interfaces


@dataclass(frozen=True)
class Judgement:
    """What is said of the hosts that are not planned for, by name.

    `mistaken` may not be touched. The others are left alone: `unasked` carry something of
    Culvert's that nobody speaks of, `idle` don't.
    """

    mistaken: dict[str, str] = field(default_factory=dict)
    unasked: dict[str, str] = field(default_factory=dict)
    idle: dict[str, str] = field(default_factory=dict)


def judge(nodes: Mapping[str, Node], states: Mapping[str, HostState]) -> Judgement:
    """Every machine under one name at most, and no host that nothing is said of."""
    found = Judgement()
    for names in _by_machine(states):
        told = [name for name in names if nodes[name].is_told]
        silent = [name for name in names if name not in told]
        if told:
            same = f"the same machine as {told[0]}"
            found.idle.update(dict.fromkeys(silent, f"{same}, and declares nothing itself"))
            if not any(nodes[name].is_declared for name in told):
                found.idle.update(dict.fromkeys(told[1:], same))
            elif len(told) > 1:
                found.mistaken.update(dict.fromkeys(told, _one_machine(told, states[told[0]])))
        elif states[silent[0]].files or states[silent[0]].unreadable:
            found.unasked.update(dict.fromkeys(silent, _unasked(states[silent[0]])))
        else:
            found.idle.update(dict.fromkeys(silent, "nothing is declared for it"))
    return found


def _by_machine(states: Mapping[str, HostState]) -> Iterable[list[str]]:
    names: dict[str, list[str]] = defaultdict(list)
    for name, state in states.items():
        # Of one that doesn't tell, nothing can be said.
        names[state.machine or f"of {name}"].append(name)
    return names.values()


def _one_machine(names: Iterable[str], state: HostState) -> str:
    return (
        f"{' and '.join(names)} are one machine (boot ID and network namespace {state.machine}): "
        "declare it under one of these names, and take the others out; should they be several, "
        "one runs from a copy of another's memory: reboot it"
    )


def _unasked(state: HostState) -> str:
    interfaces = ", ".join(sorted(owned_interfaces(state)))
    count = len(state.files) + len(state.unreadable)
    return (
        f"CULVERT IS ON THIS HOST ({interfaces or 'no tunnel'}; files: {count}), and nothing is "
        'declared for it: left alone; `"tunnel": []` in its data has it cleaned'
    )
