"""Whatever an inventory or a host says: a refusal in sentences, or words that stay words.

What reaches a shell is run by one, with a stub for every program; what would be carried out of a
value leaves a mark.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks import parts
from tasks.declared import declaration
from tasks.declared.mistakes import DeclarationError
from tasks.declared.model import Node
from tasks.declared.written import WrittenLan, WrittenServer, WrittenTunnel
from tasks.host import answer, changes, rollback
from tasks.host.rollback import Guard
from tasks.host.state import HostState, UnreadableStateError
from tasks.parts import managers
from tasks.planning import confirming, machines, proof
from tasks.planning.obstacles import ObstacleError
from tasks.planning.plan import Plan, plan
from tasks.running import terminal
from tests import answers
from tests.host.test_answer import ANSWER
from tests.samples import HOSTS, LAN, ROLES, ROUTED, bare, deployed, node

MARK = "touched"
CARRIED_OUT = (
    *(f"$({MARK})", f"`{MARK}`", f";{MARK};", f"|{MARK}", f"&{MARK}&", f"\n{MARK}\n"),
    *(f"';{MARK};'", f'";{MARK};"', f"$(\t{MARK}\n)", f"\\\n{MARK}\n", f"x'\n{MARK}\n'"),
    *(f"x;{MARK}", f"}}\n{MARK}\nx() {{", f"END\n{MARK}\n", f"#\r{MARK}\r"),
)
ODD = (
    *("\x1b[2J", "\x1b]0;title\x07", "\r\x08", "\x9b1m", "\u202e", "\u2066", "\u2028", "\x00"),
    *("Größe", "日本", "\U0001f600", "\ud800", "x" * 10_000, "*", "-rf", "..", "/", "//", ""),
    *(" ", "{{ 1 }}", "{% raw %}", "%n", "\\", "default", "all", "0", "-1", "9" * 5000, "1e9"),
    *("::", "::1", "fe80::1%eth0", "2001:db8::/129", "1.2.3.4/33", "[" * 10_000, "null", "٣"),
)
TEXTS = st.sampled_from([*CARRIED_OUT, *ODD]) | st.text(max_size=20)
VALUES = (
    TEXTS
    | st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.lists(TEXTS, max_size=2)
    | st.dictionaries(TEXTS, TEXTS, max_size=2)
)

# Every key that there is.
SERVER, CLIENT = HOSTS["server"], HOSTS["client"]
INVENTORY: dict[str, dict[str, Any]] = {
    SERVER: {
        "tunnel_server": {
            **ROUTED[SERVER]["tunnel_server"],
            "local_ipv4": "198.51.100.10",
            "on_link": True,
            "between_tunnels": "groups",
            "external_interface": "eth0",
            "probe_address": "2001:db8:ffff::8888",
            "manager": "ifupdown",
        }
    },
    CLIENT: {
        "tunnel": {
            **ROUTED[CLIENT]["tunnel"],
            "local_ipv4": "203.0.113.20",
            "interface": "sit-ipv6",
            "server_interface": "sit-web1",
            "mtu": 1480,
            "ttl": 255,
            "default_route": True,
            "group": "office",
            "inbound": "established",
            "allow": ["tcp/22"],
            "lan": {**LAN, "advertise": True},
            "manager": "ifupdown",
        },
        "firewall": "open",
    },
}


# What scripts start on a host. Nothing else is in reach of what is run here.
PROGRAMS = (
    *("awk", "base64", "cat", "chmod", "cmp", "cp", "cut", "date", "df", "env", "flock"),
    *("grep", "head", "id", "ifdown", "ifquery", "ifup", "ip", "ip6tables"),
    *("ip6tables-nft-save",),
    *("ip6tables-save", "iptables", "iptables-nft-save", "iptables-save", "ln", "ls", "lsns"),
    *("mkfifo", "modprobe", "mv", "netplan", "nft", "nmcli", "nsenter", "paste", "perl", "ping"),
    *("radvd", "readlink", "rm", "rmdir", "sed", "setsid", "sh", "sha256sum", "sleep", "sort"),
    *("ss", "stat", "sync", "systemctl", "systemd-run"),
    *("tail", "tee", "timeout", "tr", "ufw", "wc"),
)
# By which new files come there, without their texts, and the folder of a script's own.
WRITING = r"""
sub make { my ($path) = @_; make($path =~ s{/[^/]*$}{}r), mkdir $path if !-d $path }
while (<STDIN>) {
    make($ARGV[3]) if /^scratch/;
    make("$ARGV[0]$1") if /^folder \d+ (.*)/;
    open my $file, ">", "$ARGV[0]$1" if /^> \d+ (.*)/;
}
"""
STUBS = {
    "perl": f"""case $2 in *'# Does to files '*)
    shift 2; {shutil.which("perl")} -e '{WRITING}' "$@" ;; esac"""
}


class Shell:
    """A shell whose programs do nothing, but for one that leaves a mark and those that it needs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs = folder / "programs"
        self.root = folder / "root"
        self.mark = folder / "mark"
        for inner in (self.programs, self.root, folder / "scratch"):
            inner.mkdir()
        # A process for each would take its time.
        named = (each for each in PROGRAMS if "-" not in each)
        self.functions = "".join(f"{each}() {{ {STUBS.get(each, ':')}; }}\n" for each in named)
        for each in PROGRAMS:
            self._write(each, ":")
        self._write(MARK, f"echo >>{self.mark}")
        self._write("unshare", "echo 'table inet culvert {'")
        self._write("mktemp", f"echo {folder}/scratch")
        self._write(
            "mkdir",
            f'for path; do :; done; case "$path" in {folder}/*) exec /bin/mkdir -p "$@" ;; esac',
        )
        # Nothing is renamed or started here: what a run takes is there, and so is what waits.
        (folder / "culvert-hold").mkdir()
        (folder / "culvert-hold/waiter").write_text("1\n")
        (folder / "culvert-hold/holder").write_text("alice@laptop\n")
        (self.root / "etc/systemd/system").mkdir(parents=True)
        (self.root / "var/lib/culvert").mkdir(parents=True)

    def _write(self, name: str, command: str) -> None:
        program = self.programs / name
        program.write_text(f"#!/bin/sh\n{command}\n")
        program.chmod(0o755)

    def run(self, script: str, *arguments: str) -> int:
        """How a script ends that has nothing but these programs, and files below a folder."""
        here = re.sub(r'(?<= )PATH="[^"]*"', f'PATH="{self.programs}"', script)
        assert here != script and not re.search(r"s?bin:", here), "real programs are in reach"
        here = here.replace("\nroot= copies=", f"\nroot={self.root} copies=")
        here = here.replace(' >"/proc/sys/$1"; }', " >/dev/null; }")
        # Culvert's own programs on a host.
        here = re.sub(r"^/(etc|usr|run)/\S+", "cat", here, flags=re.MULTILINE)
        here = here.replace("/run/culvert", f"{self.folder}/culvert")
        here = here.replace("store=/var/lib/culvert", f"store={self.folder}/store")
        here = here.replace(f"put {rollback.REPORT}", f"put {self.root}{rollback.REPORT}")
        here = self.functions + here.replace(">/etc/", f">{self.root}/etc/")
        done = subprocess.run(
            ["/bin/sh", "-s", *arguments],
            input=here.encode(),
            env={"PATH": str(self.programs)},
            cwd=self.folder,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert not self.mark.exists(), f"{done.stderr!r} of:\n{here}"
        said = done.stderr.decode(errors="replace")
        assert "yntax error" not in said, said
        missing = re.findall(r".*: not found", said)
        assert not missing, f"no stub of these stands in PROGRAMS: {missing}"
        return done.returncode

    def go_back(self, found: changes.Changes) -> int:
        """The same of what takes all changes back: how many were made is in no file here."""
        script = found.way_back().replace('[ "$mode" = boot ] ||', "true ||")
        return self.run(script, "now", "nobody confirmed it in time")


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    return Shell(tmp_path_factory.mktemp("shell"))


def sentences(found: Plan) -> Iterator[str]:
    yield from (found.grounds, found.changes.summary, *found.warnings, *found.lost_at_boot)
    yield found.changes.diff()
    yield from (check.expected for check in proof.checks(found.site))


def show(printed: Iterable[str]) -> None:
    for text in printed:
        assert all(line.isprintable() for line in terminal.lines(text).split("\n"))


WORKED = ("IPv4 default route via 192.0.2.1 dev eth0", "tunnel sit-web1 answers")


def carry_out(found: Plan, state: HostState, shell: Shell) -> None:
    """All scripts that a run would send to this host."""
    show(sentences(found))
    guard = Guard(by="alice@laptop", run="run-1")
    probes = confirming.after(found.site.node, state, found.tunnels)
    for script in (
        confirming.looking(confirming.before(found.site.node, state)) + found.changes.rehearsal(),
        found.changes.script(guard),
        found.changes.reversed().script(),
        confirming.script(guard, probes, WORKED),
    ):
        shell.run(script)
    shell.go_back(found.changes)
    if found.site.node.is_declared:
        shell.run(proof.script(proof.checks(found.site)))


def places(data: object, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in nested mappings and lists, from the whole to the last value."""
    yield place
    if isinstance(data, Mapping):
        for key, value in data.items():
            yield from places(value, (*place, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from places(value, (*place, index))


def put(data: Any, place: tuple[Any, ...], value: object) -> Any:
    """The same, with another value at this place."""
    if not place:
        return value
    first, *rest = place
    inner = put(data[first], tuple(rest), value)
    if isinstance(data, Mapping):
        return {**data, first: inner}
    return [*data[:first], inner, *data[first + 1 :]]


def test_the_mark_shows_what_is_carried_out(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    with pytest.raises(AssertionError):
        shell.run(f'export LC_ALL=C PATH="/usr/bin:/bin"\necho $({MARK})\n')


# pyinfra takes mappings alone for a host's data.
PLACES = [place for place in places(INVENTORY) if len(place) > 1]


@settings(max_examples=200)
@given(st.sampled_from(PLACES), VALUES)
def test_any_value_of_an_inventory_is_refused_or_stays_a_value(
    shell: Shell, place: tuple[Any, ...], value: object
) -> None:
    look_at_inventory(put(INVENTORY, place, value), shell)


@settings(max_examples=100)
@given(st.sampled_from(PLACES), TEXTS)
def test_any_key_of_an_inventory_is_refused_or_left_alone(
    shell: Shell, place: tuple[Any, ...], key: str
) -> None:
    found: Any = INVENTORY
    for each in place[:-1]:
        found = found[each]
    inventory = put(
        INVENTORY, place[:-1], {**found, key: found[place[-1]]} if isinstance(found, dict) else key
    )
    look_at_inventory(inventory, shell)


@settings(max_examples=60)
@given(TEXTS, TEXTS)
def test_any_name_of_a_host_is_refused_or_stays_a_name(
    shell: Shell, server: str, client: str
) -> None:
    tunnel = {**INVENTORY[CLIENT]["tunnel"], "server": server}
    del tunnel["server_interface"]
    look_at_inventory({server: INVENTORY[SERVER], client: {"tunnel": tunnel}}, shell)


def look_at_inventory(inventory: Any, shell: Shell) -> None:
    try:
        broker = declaration.read(inventory, managers.NAMES)
    except DeclarationError as error:
        show(error.mistakes)
        return
    for each in broker.nodes.values():
        shell.run(parts.script(each))
        role = "delegating-server" if each.server else "routing-client"
        try:
            state = bare(each.manager or "ifupdown", role)
            carry_out(plan(each, state), state, shell)
        except ObstacleError as error:
            show(error.sentences)


HOSTS_ANSWERING = [
    (manager, role, when)
    for manager in managers.NAMES
    for role in ROLES
    for when in ("bare", "deployed")
]


def answered(manager: str, role: str, when: str) -> dict[str, str]:
    state = {"bare": bare, "deployed": deployed}[when](manager, role)
    told = dict.fromkeys(answers.sections(ANSWER), "")
    told = {name: said for name, said in told.items() if not name.startswith("answer of ")}
    del told["end"]
    return {**told, **answers.of(state)}


# Of a host with a firewall: whatever is said there of that.
FIREWALL = {
    name: said
    for name, said in answers.sections(ANSWER.format(files="")).items()
    if name == "ruleset" or name.endswith((" tables", " tables of nft"))
}


@pytest.mark.parametrize("manager", managers.NAMES)
def test_all_of_a_script_is_run(manager: str, shell: Shell) -> None:
    found = plan(node("routing-client"), bare(manager, "routing-client")).changes
    assert shell.run(found.script(Guard(run="run-1"))) == 0
    assert shell.go_back(found) == 0
    assert shell.run(found.rehearsal()) == 0
    assert shell.run(parts.script(node("server"))) == 0


@pytest.mark.parametrize(("manager", "role", "when"), HOSTS_ANSWERING)
def test_a_good_answer_is_understood(manager: str, role: str, when: str) -> None:
    state = answer.parse(answers.text(answered(manager, role, when)))
    assert bool(plan(node(role), state).changes) == (when == "bare")


@st.composite
def mutated(draw: st.DrawFn) -> tuple[Node, str]:
    """A host that answers with something else in one place, and what it is to carry."""
    manager, role, when = draw(st.sampled_from(HOSTS_ANSWERING))
    told = answered(manager, role, when) | (FIREWALL if draw(st.booleans()) else {})
    name = draw(st.sampled_from([*told]))
    text = draw(TEXTS.filter(lambda each: each.isascii() or each.isprintable()))
    said = told[name]
    how = draw(st.sampled_from(["word", "line", "place", "all"]))
    if said.startswith("[") and how != "all":
        # A document on each line.
        documents = [json.loads(line) for line in said.splitlines() if line]
        place = draw(st.sampled_from([*places(documents)]))
        said = "\n".join(map(json.dumps, put(documents, place or (0,), draw(VALUES))))
    elif how == "all" or not said:
        said = text
    elif how == "line":
        lines = said.split("\n")
        lines.insert(draw(st.integers(0, len(lines))), text)
        said = "\n".join(lines)
    elif how == "word":
        words = re.split(r"([^\w.-]+)", said)
        words[draw(st.integers(0, len(words) - 1))] = text
        said = "".join(words)
    else:
        at = draw(st.integers(0, len(said)))
        said = said[:at] + text + said[at:]
    wanted = node(role)
    if draw(st.booleans()):
        wanted = Node(wanted.host, None, None, (), is_cleared=True)
    return wanted, answers.text({**told, name: said})


@settings(max_examples=400)
@given(mutated())
def test_any_answer_of_a_host_is_refused_or_carries_nothing_out(
    shell: Shell, found: tuple[Node, str]
) -> None:
    wanted, text = found
    try:
        state = answer.parse(text)
    except UnreadableStateError as error:
        show([str(error)])
        return
    look_at_host(wanted, state, shell)


def look_at_host(wanted: Node, state: HostState, shell: Shell) -> None:
    judged = machines.judge({wanted.host: wanted}, {wanted.host: state})
    show([*judged.mistaken.values(), *judged.idle.values(), *judged.unasked.values()])
    try:
        found = plan(wanted, state)
    except ObstacleError as error:
        show(error.sentences)
        return
    except UnreadableStateError as error:
        show([str(error)])
        return
    carry_out(found, state, shell)


@settings(max_examples=200)
@given(st.sampled_from([proof, changes]), st.lists(TEXTS, max_size=5).map("\n".join))
def test_any_output_of_a_script_is_understood(module: Any, output: str) -> None:
    if module is changes:
        show(changes.refusals(output))
    else:
        checks = proof.checks(plan(node("client"), bare("ifupdown", "client")).site)
        show(result.sentence for result in proof.results(checks, output))


@given(st.text())
def test_what_is_printed_holds_no_control_character(text: str) -> None:
    assert terminal.line(text).isprintable()
    assert "".join(terminal.coloured(text).split("\n")).replace("\x1b", "").isprintable()


def test_what_is_printed_stays_readable() -> None:
    assert terminal.line("Größe → 日本: ok") == "Größe → 日本: ok"
    assert terminal.line("a\tb\x1b[2J\u202e\n") == "a\\tb\\x1b[2J\\u202e\\n"
    assert terminal.coloured("\x1b[31mred\x1b[0m \x1b[8m") == "\x1b[31mred\x1b[0m \\x1b[8m"


def test_no_key_is_left_out() -> None:
    server, tunnel = INVENTORY[SERVER]["tunnel_server"], INVENTORY[CLIENT]["tunnel"]
    addresses = {"server_ipv6", "client_ipv6"}
    assert server.keys() == WrittenServer.model_fields.keys()
    assert tunnel.keys() | addresses == WrittenTunnel.model_fields.keys()
    assert tunnel["lan"].keys() == WrittenLan.model_fields.keys()
