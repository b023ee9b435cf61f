"""Pure: rules of Culvert's in chains of iptables', by files that whoever keeps the chains runs.

All of one table go in and out by one `iptables-restore`, whatever there was before: no process for
each, and no moment without.
"""

import shlex
from collections.abc import Collection, Iterable

from tasks.host import iptables_listing
from tasks.host.changes import Step
from tasks.host.render import render
from tasks.host.ruleset import LEGACY, MARK, Drop, Rule
from tasks.host.state import File, HostState
from tasks.parts.firewalls.firewall import compared, iptables_words

# From rules to be, `+TABLE -I CHAIN …`, and a listing, to the words that make it so.
_REPLACING = (
    'awk \'/^[+]/ { table = substr($1, 2); sub(/^[^ ]+ /, ""); '
    'new[table] = new[table] $0 "\\n"; next } '
    '/^[*]/ { table = substr($1, 2); old = "" } '
    "/^-A .*--comment {mark} -j ACCEPT$/ && $2 {chain} "
    '{ sub(/^-A/, "-D"); old = old $0 "\\n" } '
    '/^COMMIT/ { if (old new[table]) printf "*%s\\n%s%sCOMMIT\\n", table, old, new[table]; '
    "delete new[table] } "
    'END { for (table in new) printf "*%s\\n%sCOMMIT\\n", table, new[table] }\''
)


class Insertions:
    """What one firewall keeps: at the top of the base chains, or in `chain`, one for all such.

    `script` is a file that puts them in place, run by others than Culvert as `who` says.
    """

    DOCKERS = "DOCKER-USER"

    def __init__(self, script: str, who: str, chain: str = "") -> None:
        self.script = script
        self._who = who
        self._chain = chain
        test = f'{"==" if chain else "!="} "{self.DOCKERS}"'
        self._replacing = _REPLACING.replace("{mark}", MARK).replace("{chain}", test)

    def is_own(self, rule: Rule, state: HostState) -> bool:
        is_place = (rule.chain == self.DOCKERS) == bool(self._chain)
        return rule.comment == MARK and rule.place in state.ruleset.of_iptables and is_place

    def file(self, drops: Iterable[Drop]) -> File:
        """What puts all of them in place."""
        programs: dict[str, list[str]] = {}
        for rule in self._rules(drops):
            programs.setdefault(_program(rule), []).append(_insertion(rule))
        values = {"who": self._who, "replacing": self._replacing, "programs": programs}
        return File(render("iptables/open", **values))

    def steps(
        self, drops: Collection[Drop], state: HostState, is_own: Iterable[Rule]
    ) -> Iterable[Step]:
        """What makes it so that they are there, first of all, and no others."""
        there = [*is_own]
        missing, stale = compared(self._rules(drops), there, drops, state)
        if missing or stale:
            wanted = {_program(rule) for rule in self._rules(drops)}
            leaving = {_program(rule) for rule in stale} - wanted
            commands = [self._replacement(program, []) for program in sorted(leaving)]
            undo = [
                self._replacement(program, [rule for rule in there if _program(rule) == program])
                for program in sorted(wanted | leaving)
            ]
            yield Step(
                shown=(*_lines("-", stale), *_lines("+", missing)),
                commands=(*commands, *([f"sh {self.script}"] if drops else [])),
                undo=tuple(undo),
            )

    def _rules(self, drops: Iterable[Drop]) -> list[Rule]:
        found = []
        for drop in drops:
            _, *words = iptables_words(drop)
            chain, *matches = words[words.index("-I") + 1 :]
            marked = [*matches, "-m", "comment", "--comment", MARK, "-j", "ACCEPT"]
            line = shlex.join(["-A", self._chain or chain, *marked])
            place = drop.chain.backend, drop.chain.family, drop.chain.table
            found.append(iptables_listing.parse_rule(line, *place))
        return [*dict.fromkeys(rule for rule in found if rule is not None)]

    def _replacement(self, program: str, rules: Iterable[Rule]) -> str:
        """What has a program's chains hold these rules of Culvert's, and no other."""
        new = "".join(f"echo {shlex.quote(_insertion(rule))}; " for rule in rules)
        return f"{{ {new}{program}-save; }} | {self._replacing} | {program}-restore --noflush"


def _program(rule: Rule) -> str:
    program = "ip6tables" if rule.family == "ip6" else "iptables"
    return program.replace("tables", "tables-legacy") if rule.backend == LEGACY else program


def _insertion(rule: Rule) -> str:
    return f"+{rule.table} -I {rule.text.removeprefix('-A ')}"


def _lines(sign: str, rules: Iterable[Rule]) -> Iterable[str]:
    for rule in rules:
        table = "" if rule.table == "filter" else f"-t {rule.table} "
        yield f"{sign}{_program(rule)} {table}{rule.text.removeprefix('-A ')}"
