"""Pure: what a run does to one host: the diff that a person reads, the script that does it."""

import difflib
import hashlib
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from io import StringIO
from itertools import groupby
from pathlib import PurePosixPath

from pydantic import TypeAdapter

from tasks.host import edits, perl, rollback
from tasks.host.rollback import UNGUARDED, Guard
from tasks.host.state import WARNINGS, File, HostState, sysctl_key


@dataclass(frozen=True)
class FileChange:
    """One file before and after; None where there is none."""

    path: str
    before: File | None
    after: File | None

    def diff(self, host: str) -> str:
        """A unified diff with `host:/path` in its headers, and the mode where that changes."""
        lines = difflib.unified_diff(
            # Not splitlines(), for which a line has more ends than for those who read the file.
            [*StringIO(self.before.text)] if self.before else [],
            [*StringIO(self.after.text)] if self.after else [],
            fromfile=f"{host}:{self.path}" if self.before else "/dev/null",
            tofile=f"{host}:{self.path}" if self.after else "/dev/null",
            n=3,
        )
        text = "".join(
            line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
            for line in lines
        )
        if self.after and (self.before is None or self.before.mode != self.after.mode):
            before = f"{self.before.mode:04o} -> " if self.before else ""
            text += f"mode {host}:{self.path} {before}{self.after.mode:04o}\n"
        return text

    @property
    def staged(self) -> str:
        """Where the new text waits, below the script's $root, which is a folder in a rehearsal.

        That is beside the file: a rename puts it in its place at once.
        """
        return f"$root{self._beside('new')}"

    @property
    def kept(self) -> str:
        """A second name of the old file, until all is done."""
        return self._beside("old")

    def _beside(self, suffix: str) -> str:
        path = PurePosixPath(self.path)
        # The dot hides it from `source interfaces.d/*`, and the suffix from `*.yaml`.
        return str(path.with_name(f".{path.name}.{suffix}"))


@dataclass(frozen=True)
class Step:
    """One change of the running system: lines to read, with `-` and `+`, and what does it.

    `undo` takes all of it back, also where the commands came no further than half way, and where
    somebody else has taken some of it back. `reason` is a few words on the last line, where that
    doesn't speak for itself. What `outlasts` a boot isn't undone by one, with the old files back.
    Commands of iproute2 that follow one another, also those of several steps, are one process's.
    """

    shown: tuple[str, ...]
    commands: tuple[str, ...]
    undo: tuple[str, ...] = ()
    reason: str = ""
    outlasts: bool = False

    @property
    def told(self) -> tuple[str, ...]:
        """The lines as a person reads them, with the reason in parentheses."""
        if not self.reason:
            return self.shown
        return (*self.shown[:-1], f"{self.shown[-1]} ({self.reason})")

    def reversed(self) -> "Step":
        """What takes it back, as a step of its own."""
        shown: list[str] = []
        for line in reversed(self.shown):
            if line.startswith(RUN):
                shown += (f"{RUN}{command}" for command in self.undo)
            else:
                shown.append(f"{_SIGNS.get(line[0], line[0])}{line[1:]}")
        return Step(tuple(dict.fromkeys(shown)), self.undo, self.commands, outlasts=self.outlasts)


def once_back(*commands: str, outlasts: bool = False) -> Step:
    """Nothing on the way; on the way back, what is done once the old files are there.

    As a removal: those are taken back after the files are.
    """
    return Step((), (":",), commands, outlasts=outlasts)


RUN = " run: "
"""How the line begins of a step that says no more than its command."""
_SIGNS = {"+": "-", "-": "+"}


@dataclass(frozen=True)
class Changes:
    """Everything that a run does to one host, in its order.

    New files are staged, `checks` look at them, `removals` run while the old files are still
    there, the staged files take their places, then come `steps`. Where something fails, what was
    made so far is taken back. `folders` are all those where a run that was killed may have left
    something, `own_folders` patterns of those that go with the last file in them. What is
    `from_nothing` finds nothing of Culvert's on the host, and what is `to_nothing` leaves nothing.
    What `goes_back` is done by commands that may find less to do than they say.
    """

    host: str
    folders: tuple[str, ...] = ()
    own_folders: tuple[str, ...] = ()
    files: tuple[FileChange, ...] = ()
    checks: tuple[str, ...] = ()
    removals: tuple[Step, ...] = ()
    steps: tuple[Step, ...] = ()
    from_nothing: bool = False
    to_nothing: bool = False
    goes_back: bool = False

    def __bool__(self) -> bool:
        return bool(self.files or self.removals or self.steps)

    @property
    def summary(self) -> str:
        """How much changes, in a few words."""
        lines = sum(len(step.shown) for step in (*self.removals, *self.steps))
        files = _count(len(self.files), "file")
        return f"{files}, {_count(lines, 'line')} of the running system"

    def reversed(self) -> "Changes":
        """What makes a host that has been changed what it was before.

        There are no checks: the files that come back were there.
        """
        return replace(
            self,
            files=tuple(FileChange(each.path, each.after, each.before) for each in self.files),
            checks=(),
            removals=tuple(step.reversed() for step in reversed(self.steps)),
            steps=tuple(step.reversed() for step in reversed(self.removals)),
            from_nothing=self.to_nothing,
            to_nothing=self.from_nothing,
            goes_back=not self.goes_back,
        )

    def diff(self) -> str:
        """What changes, for a person: files first, then the running system."""
        text = "".join(change.diff(self.host) for change in self.files)
        lines = [line for step in (*self.removals, *self.steps) for line in step.told]
        if lines:
            text += f"--- {self.host} (running)\n+++ {self.host} (running)\n"
            text += "".join(f"{line}\n" for line in lines)
        return text

    def script(self, guard: Guard = UNGUARDED) -> str:
        """A POSIX shell script, for root, that makes the changes and stops at the first failure.

        Up to the first removal or rename a failure leaves the host as it was; after it, what was
        changed is taken back: there and then, by what waits beside it, or at the next boot.
        """
        return "\n".join(
            [
                _HEAD,
                _TOOLS,
                f"run={shlex.quote(guard.run)} within={guard.within}",
                rollback.FUNCTIONS,
                rollback.FILING,
                _OWN_FOLDER,
                rollback.BEGINNING,
                _FINISH,
                *self._beginning(guard),
                *_run(self.checks),
                *(line for n, act in enumerate(self.actions, 1) for line in _act(n, act)),
                "step='having the change stay'",
                *self._ending(guard),
                _EPILOGUE,
            ]
        )

    def _beginning(self, guard: Guard) -> Iterable[str]:
        """Lines that take the host, and have it keep what puts it back, and what is to be new."""
        kept = self.kept()
        lines = [*rollback.taking(guard), *_sweeping(self.folders)]
        lines += (f"lack {folder}" for folder in _folders(_written(self.files)))
        lines += _appeared(self.files)
        lines += rollback.preparing(guard)
        if kept.replaced:
            yield _begin(lines)
            yield from rollback.copying(kept)
            yield from _unchanged(self.files, f"{rollback.PENDING}.new/files")
            yield f"step='{rollback.KEEPING}'"
            lines = []
        lines += rollback.arming(guard, kept)
        lines += _staging(self.files)
        yield f"copies={rollback.PENDING}/files"
        yield _begin(lines)
        yield "armed=1"

    def _ending(self, guard: Guard) -> Iterable[str]:
        """Lines after which nothing is taken back, unless nobody says that all is well."""
        lines = [f"sync {folder}" for folder in _folders(self.files)]
        if guard.within:
            yield "uptime"
            lines += (f"put {rollback.HOLD}/deadline $((up + within))", "clean")
        yield "\n".join(["files <<END", *lines, rollback.ENDING])
        if not guard.within:
            yield rollback.DISARMING

    @property
    def actions(self) -> list[Step]:
        """All of it as the script does it, by as few processes as may be; `begun` counts these."""
        batched = _tolerant if self.goes_back else _batched
        return [
            *map(batched, _joined(self.removals)),
            *_put(self.files),
            *map(batched, _joined(self.steps)),
        ]

    def kept(self) -> rollback.Kept:
        """What the host keeps of it until it is confirmed."""
        replaced = [change for change in self.files if change.before]
        leftovers = [change.kept for change in replaced]
        # No second name of a file is left in folders that go.
        folders = _left(self.files, self.own_folders)
        stay = rollback.staying(leftovers, folders, forgets=self.to_nothing)
        paths = [change.path for change in replaced]
        return rollback.Kept(self.way_back(), [*stay], self.record(), paths)

    def way_back(self) -> str:
        """The script that takes back as much of it as had begun, kept on the host meanwhile.

        Its arguments are `now`, or `boot` where the machine has started anew since and its network
        is still to come up; and why. What can't be taken back is told in its report.
        """
        back = [*enumerate(self.actions, 1)][::-1]
        # Tunnels go and come back all in one, by their manager.
        most = max((len(action.shown) for _, action in back), default=0)
        beginning = rollback.BACK.replace("@BEGUN@", str(len(back)))
        leftovers = [each for c in self.files for each in (c.kept, c.staged.removeprefix("$root"))]
        return "\n".join(
            [
                _HEAD.replace("set -eu", "set -u"),
                "scratch=$(mktemp -d /run/culvert.XXXXXX)",
                _TOOLS,
                beginning.replace("@PATIENCE@", str(_PATIENCE + most // 4)),
                *(line for number, action in back for line in _undo(number, action)),
                f"rm -f {' '.join(leftovers)}",
                'for folder in $(cat "$undoing/made"); do rmdir "$folder" 2>/dev/null; done',
                *(_tidy(each) for each in _left(self.reversed().files, self.own_folders)),
                f"sync {' '.join(_folders(self.files))} 2>/dev/null",
                rollback.BACK_AGAIN,
                "}",
                'main "$@" </dev/null',
                "",
            ]
        )

    def record(self) -> str:
        """As JSON, which `recorded` reads: of files it has no text."""
        files = tuple(
            FileRecord(
                each.path,
                each.before.mode if each.before else None,
                Left.of(each.after) if each.after else None,
            )
            for each in self.files
        )
        record = Record(replace(self, files=()), files)
        return _records().dump_json(record, exclude_defaults=True).decode()

    def rehearsal(self) -> str:
        """A script that has the checks look at the new files in a folder of its own in /run.

        It changes nothing else; `refusals` tells what its output means.
        """
        lines = ["scratch", *_staging(self.files)]
        return "\n".join(
            [
                _HEAD,
                _TOOLS,
                rollback.FILING,
                _OWN_FOLDER,
                _ENDING,
                'root="$scratch/root"',
                *_unchanged(_written(self.files)),
                "step='writing the new files'",
                _input("files", lines),
                *_run(self.checks),
                _REHEARSED,
            ]
        )


_PATIENCE = 60
"""Seconds."""


def sysctl_lines(path: str, after: str, state: HostState) -> Iterable[str]:
    """What a step says that writes a setting: as it is, where it is there, and as it will be."""
    if path in state.sysctls:
        yield f"-sysctl {sysctl_key(path)} = {state.sysctls[path]}"
    yield f"+sysctl {sysctl_key(path)} = {after}"


def sysctl_command(path: str, value: str) -> str:
    """What writes a setting: a function of the script."""
    return f"sysctl {shlex.quote(path)} {shlex.quote(value)}"


def sysctl_again(path: str, value: str) -> str:
    """The same, where it isn't so already."""
    return f"sysctl_again {shlex.quote(path)} {shlex.quote(value)}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


# One function, called on the last line: of a script that is cut off on its way nothing runs, and
# no command in it reads the rest of the script from standard input.
# Names of folders and files of Culvert hold nothing that means something to a shell, so $staged may
# be split at spaces; what is called like one of them, and holds any, has its host refused.
_HEAD = rf"""main() {{
set -eu
umask 022
export LC_ALL=C {perl.ENVIRONMENT}
export PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""
_OWN_FOLDER = "scratch=/run/culvert.$$"
# Hooks of the host's own speak in how it ends, too: what the kernel then has is what counts.
_TOOLS = r"""lenient() {
    said=
    has_room && said=$("$@" 2>&1) || echo "$* ended with status $?:" $said >>@WARNINGS@
}
# Where /run is full, ifup and ifdown lose their record of what is up, with the interface that the
# host is reached by. $scratch is there, unless not even that had room.
has_room() {
    [ "$scratch" != "${store-}/scratch" ] || return 1
    printf %65536s '' 2>/dev/null >"$scratch/room"
    set -- $?
    : >"$scratch/room"
    return "$1"
}
ifdown() { has_room && command ifdown "$@"; }
sysctl() { echo "$2" >"/proc/sys/$1"; }
sysctl_again() { [ "$(cat "/proc/sys/$1")" = "$2" ] || sysctl "$1" "$2"; }
# What follows does for many at once what would be a process for each; $step then tells what failed.
# Commands of iproute2: what each begins with, and in lines the rest of each. By itself it stops at
# the first that fails, with -force it tries them all.
batch() {
    said=$($1 ${3-} -batch - 2>&1 <<END
$2
END
    ) && return
    # Some ways to fail end it without a word on the line.
    lines=$(echo "$said" | sed -n 's/^Command failed -:\([0-9]*\)$/\1p/p')
    step=$(echo $(echo "$2" | sed -n "${lines:-p}" | sed "s/^/$1 /; \$!s/\$/;/"))
    echo "$said" >&2
    return 1
}
# Whoever made them may take them away meanwhile.
delete_links() {
    for each; do [ ! -e "/sys/class/net/$each" ] || echo "link delete $each"; done |
        ip -force -batch - 2>/dev/null || true
    for each; do [ ! -e "/sys/class/net/$each" ] || { step="ip link delete $each"; return 1; }; done
}
# Of interfaces and their addresses, one after the other.
are_up() {
    down=$(perl -MSocket=:DEFAULT,inet_pton -e '
        use constant { SIOCGIFFLAGS => 0x8913, IFF_UP => 1 };
        open my $addresses, "<", "/proc/net/if_inet6" or die "/proc/net/if_inet6: $!\n";
        my %there = map { ($_->[5] . " $_->[0] " . hex $_->[2] => 1) } map { [split] } <$addresses>;
        socket my $any, AF_INET, SOCK_DGRAM, 0 or die "socket: $!\n";
        my @down;
        while (my ($name, $network) = splice @ARGV, 0, 2) {
            my ($address, $length) = split "/", $network;
            my $ip = unpack "H*", inet_pton(AF_INET6, $address);
            my $link = pack "a16 x24", $name;
            my $is_up = ioctl($any, SIOCGIFFLAGS, $link) && unpack("x16 S", $link) & IFF_UP;
            push @down, "$name with $network" if !$is_up || !$there{"$name $ip $length"};
        }
        print join ", ", @down;
' "$@") || return 1
    [ -n "$down" ] || return 0
    step="bringing up $down"
    return 1
}
# Copies what is in some folders below another one, the first, where it finds it by the same names;
# then, by lines of both names, files. It reads links as links, and no folders in those.
gather() {
    perl -e '
        use strict;
        sub copy {
            my ($from, $to) = @_;
            my $folder = "";
            mkdir $folder .= "/$_" for (split "/", $to)[1 .. ($to =~ tr,/,,) - 1];
            unlink $to;
            if (-l $from) {
                symlink readlink($from), $to or die "$to: $!\n";
                return;
            }
            open my $source, "<", $from or die "$from: $!\n";
            open my $copy, ">", $to or die "$to: $!\n";
            chmod +(stat $source)[2] & 07777, $copy;
            print $copy readline $source;
            close $copy or die "$to: $!\n";
        }
        my $root = shift;
        for my $folder (@ARGV) {
            opendir my $names, $folder or next;
            for (map { "$folder/$_" } grep { !/^\.\.?$/ } readdir $names) {
                copy($_, "$root$_") if -l or -f;
            }
        }
        copy(split) while <STDIN>;
' "$@"
}
# Lines of what a file is called, and what it is to be.
rename() { perl -lane 'rename $F[0], $F[1] or die "$F[1]: $!\n"'; }""".replace(
    "@WARNINGS@", WARNINGS
)
_FINISH = r"""step=start armed= begun=0
finish() {
    status=$?
    set +e
    trap '' HUP INT TERM
    # Where it stays already, and this is at clearing up, only the script itself knows of it.
    if [ "$status" -ne 0 ] && { [ -n "$armed" ] || is_kept; }; then
        why=
        [ "$begun" -eq 0 ] || why="it stopped at: $step" undone="; what it made is taken back"
        # Unless what waits beside it is at it already.
        if mv -T "$pending" "$undoing" 2>/dev/null; then
            undo "$why"
        elif [ ! -d "$undoing" ]; then
            # It stays already, and something is left of what it was kept by.
            undone="; what it made stays"
            settle
            release
        fi
    elif [ "$status" -ne 0 ] && is_own; then
        # Nothing was made that could be taken back, nor stays.
        @DISMISSED@
        release
    fi
    [ ! -e "$scratch" ] || rm -rf "$scratch"
    [ "$status" -eq 0 ] || echo "Culvert stopped at: $step${undone-}" >&2
    exit "$status"
}
trap finish EXIT
trap 'exit 129' HUP INT TERM""".replace("@DISMISSED@", rollback.DISMISSED)
# Of a rehearsal, that makes nothing else.
_ENDING = r"""step=start
finish() {
    status=$?
    rm -rf "$scratch"
    [ "$status" -eq 0 ] || echo "Culvert stopped at: $step" >&2
    exit "$status"
}
trap finish EXIT"""
_EPILOGUE = """}
main </dev/null
"""
_ENDED = "@@ rehearsed: "
_REHEARSED = f"""}}
(main </dev/null) 2>&1
echo "{_ENDED}$?"
"""


def refusals(output: str) -> tuple[str, ...]:
    """What the checks of a rehearsal found wrong, by the output of its script."""
    said, _, status = output.strip().rpartition(_ENDED)
    if status == "0":
        return ()
    lines = [line for line in said.splitlines() if line.strip()]
    return (
        "the files as they would be were tried in a folder of their own, and are refused:",
        *(f"    {line}" for line in lines[-_SAID_LINES:]),
    )


_SAID_LINES = 6


def _sweeping(folders: Iterable[str]) -> Iterable[str]:
    """What takes away what a run left behind that was killed."""
    yield f"remove {WARNINGS}"
    yield from (f"sweep {folder}" for folder in folders)


def _begin(lines: Iterable[str]) -> str:
    return _input("begin", lines)


def _input(function: str, lines: Iterable[str]) -> str:
    """A function of the script's that reads these lines."""
    return "\n".join([f"{function} <<'END'", *lines, rollback.ENDING])


def _written(changes: Iterable[FileChange]) -> list[FileChange]:
    return [change for change in changes if change.after]


def _unchanged(changes: Iterable[FileChange], copies: str = "") -> Iterable[str]:
    """Stops where a file has become another since it was read, by the copies below a folder."""
    sums = [
        f"{digest(change.before.text)}  {copies}{change.path}"
        for change in changes
        # What is no text was not read as it is.
        if change.before and _UNKNOWN not in change.before.text
    ]
    if sums:
        yield "\n".join(["changed=$(sha256sum --check --quiet 2>/dev/null <<END", *sums, "END"])
        yield ") || {"
        yield "    changed=${changed%%: FAILED*}"
        yield f'    step="${{changed#"{copies}"}} {_CHANGED}"'
        yield "    false"
        yield "}"


def _staging(changes: Iterable[FileChange]) -> Iterable[str]:
    """What writes new files where they wait."""
    written = _written(changes)
    yield "at writing the new files"
    yield from (f"folder 0755 {folder}" for folder in _folders(written))
    for change in written:
        assert change.after
        yield f"> {change.after.mode:04o} {change.staged.removeprefix('$root')}"
        whole, edited = edits.whole(change.after.text), _edited(change)
        is_shorter = 0 < sum(map(len, edited)) < sum(map(len, whole))
        yield from edited if is_shorter else whole


def _appeared(changes: Iterable[FileChange]) -> Iterable[str]:
    """What stops where a file is there by now that is to be new: it would be lost."""
    return (f"absent {change.path}" for change in changes if not change.before)


def _edited(change: FileChange) -> list[str]:
    """What makes the new file out of the old one, if that is there as it was read: as UTF-8."""
    if not change.before or not change.after or _UNKNOWN in change.before.text:
        return []
    return [f"< {change.path}", *edits.of(change.before.text, change.after.text)]


_CHANGED = "has been changed since this run looked at it: run again"
_UNKNOWN = "\N{REPLACEMENT CHARACTER}"


class _Put(Step):
    """Files that take their places, or go."""


def _put(changes: Iterable[FileChange]) -> Iterable[Step]:
    """Those that are new as one: of these nothing was there that would have to come back."""
    if new := [change for change in changes if not change.before]:
        paths = tuple(change.path for change in new)
        names = " ".join(paths)
        lines = "\n".join(f"{change.staged} {change.path}" for change in new)
        undo = f"rm -f {names} || {{ step=$(echo $(ls -d {names} 2>/dev/null)); false; }}"
        yield _Put(paths, (f"rename <<END\n{lines}\nEND",), (undo,), outlasts=True)
    for change in changes:
        if change.before:
            yield _replaced(change)


def _replaced(change: FileChange) -> Step:
    commands = [f"ln -f {change.path} {change.kept}"]
    if change.after:
        commands.append(f"mv -f {change.staged} {change.path}")
    else:
        commands.append(f"rm -f {change.path}")
    return _Put((change.path,), tuple(commands), (f"bring_back {change.path}",), outlasts=True)


def _left(changes: Iterable[FileChange], own_folders: Iterable[str]) -> list[str]:
    """Folders of Culvert's that its last file may have left."""
    left = dict.fromkeys(PurePosixPath(each.path).parent for each in changes if not each.after)
    return [str(each) for each in left if any(each.match(pattern) for pattern in own_folders)]


def _tidy(folder: str) -> str:
    # All is done by then: that one stays is no reason to take anything back.
    return f"rmdir --ignore-fail-on-non-empty {folder} || true"


def _folders(files: Iterable[FileChange]) -> list[str]:
    return sorted({str(PurePosixPath(each.path).parent) for each in files})


_IPROUTE = re.compile(
    r"(?P<program>ip(?: -6)?) (?P<rest>[a-z][\w@%+=:,./ -]*?)(?P<or_true> \|\| true)?", re.ASCII
)
"""A command of iproute2's, of words that mean nothing else to a shell, nor in its batches."""


def _joined(steps: Iterable[Step]) -> Iterable[Step]:
    """Those that follow one another and are nothing but commands of iproute2's, as one."""

    def kind(step: Step) -> tuple[bool, bool]:
        return all(map(_IPROUTE.fullmatch, (*step.commands, *step.undo))), step.outlasts

    for (is_of_iproute, outlasts), found in groupby(steps, kind):
        several = [*found]
        if is_of_iproute:
            commands = tuple(command for step in several for command in step.commands)
            undo = tuple(command for step in several[::-1] for command in step.undo)
            yield Step((), commands, undo, outlasts=outlasts)
        else:
            yield from several


def _batched(step: Step, *, is_forced: bool = False) -> Step:
    """The step, whose commands of iproute2's that follow one another are one process's."""
    commands = tuple(_batches(step.commands, is_forced=is_forced))
    return replace(step, commands=commands, undo=tuple(_batches(step.undo, is_forced=True)))


def _batches(commands: Iterable[str], *, is_forced: bool) -> Iterable[str]:
    def kind(command: str) -> tuple[str, str]:
        found = _IPROUTE.fullmatch(command)
        return (found["program"], found["or_true"] or "") if found else ("", "")

    for (program, or_true), found in groupby(commands, kind):
        several = [*found]
        if program and len(several) > 1:
            lines = (each.removeprefix(f"{program} ").removesuffix(or_true) for each in several)
            force = " -force" if is_forced or or_true else ""
            yield "batch '{}' '{}'{}{}".format(program, "\n".join(lines), force, or_true)
        else:
            yield from several


def _tolerant(step: Step) -> Step:
    """Whatever becomes of each command: what the host is after all of them is what counts."""
    batched = _batched(step, is_forced=True)
    commands = (f"{{\n{command}\n}} 2>/dev/null || true" for command in batched.commands)
    return replace(batched, commands=tuple(commands))


def _act(number: int, action: Step) -> Iterable[str]:
    """One change; how far it is stands where what takes it back looks."""
    yield f'begun={number}; echo {number} >"$hold/begun"'
    yield from _run(action.commands)


def _undo(number: int, action: Step) -> Iterable[str]:
    """Takes one change back, if it had begun, whatever becomes of each command."""
    if not action.undo:
        return
    kind = "file" if isinstance(action, _Put) else "setting" if action.outlasts else "running"
    yield f"if has_begun {number} {kind}; then"
    for command in action.undo:
        # Of a file its name says enough.
        yield _step(action.shown[0] if isinstance(action, _Put) else command)
        yield f'{{\n{command}\n}} 2>/dev/null || trouble "$step"'
    yield "fi"


def _run(commands: Iterable[str]) -> Iterable[str]:
    for command in commands:
        yield _step(command)
        yield command


def _step(command: str) -> str:
    """Has the script say that it is at this, or how it begins where nobody would read its end."""
    told = command if len(command) < _TOLD else f"{command[:_TOLD]} …"
    return f"step={shlex.quote(told)}"


_TOLD = 1000
"""Characters."""


@dataclass(frozen=True)
class Left:
    """What a file that a run has written is known by."""

    mode: int
    digest: str

    @staticmethod
    def of(file: File) -> "Left":
        return Left(file.mode, digest(file.text))


def digest(text: str) -> str:
    """As sha256sum(1) has it."""
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class FileRecord:
    """One file of a run: the mode that it had, and what was left of it; None where there was none.

    A copy of what it was stays on the host.
    """

    path: str
    before: int | None
    after: Left | None


@dataclass(frozen=True)
class Record:
    """What a host remembers of a run: its changes, without their files, and these."""

    rest: Changes
    files: tuple[FileRecord, ...]

    def changes(self, copies: Mapping[str, File], there: Mapping[str, File]) -> Changes:
        """All of them, with the texts of files out of their copies, and of those that were left.

        Raises ValueError where one of the copies is missing.
        """
        if lost := [e.path for e in self.files if e.before is not None and e.path not in copies]:
            raise ValueError(f"there are no copies of {', '.join(lost)}")
        files = (
            FileChange(
                each.path,
                None if each.before is None else File(copies[each.path].text, each.before),
                there[each.path] if each.after else None,
            )
            for each in self.files
        )
        return replace(self.rest, files=tuple(files))


@cache
def _records() -> TypeAdapter[Record]:
    # What most runs don't need takes as long to make as the rest of this module.
    return TypeAdapter(Record)


def recorded(record: str) -> Record:
    """What `Changes.record` wrote. Raises ValueError, as where another version wrote it."""
    return _records().validate_json(record)
