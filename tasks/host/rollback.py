"""Pure: what a host keeps to itself of a run: who is at work, and how to go back by itself.

Before its first change a run leaves on the host, whole and synced, the script that takes it back
(`PENDING`), has a process wait there for a word that all is well, and a unit that runs it early at
the next boot. Whoever first renames the folder has it: who confirms, or who goes back. While that
lasts, a folder in /run (`HOLD`) says who is at work, and until when.
"""

import shlex
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tasks.host import edits, perl
from tasks.host.state import FOLDER, OWNED

STORE = f"/var/lib/{FOLDER}"
PENDING = f"{STORE}/pending"
"""What puts the host back to before a run that isn't confirmed yet."""
UNDOING = f"{STORE}/undoing"
"""The same, once it is at it."""
CONFIRMED = f"{STORE}/confirmed"
"""What the last confirmed run changed, and how to take it back."""
_STAYS = f"{STORE}/confirmed.new"
REPORT = f"{STORE}/report"
"""What became of a run that was undone."""
HOLD = "/run/culvert-hold"
STAMP = "/run/culvert-stamp"
"""Another one with each run that changes the host, and each that is undone."""

BOOT_UNIT = f"{OWNED}-undo.service"
WAITING_UNIT = f"{OWNED}-waiting.service"
_UNITS = "/etc/systemd/system"
UNIT_FILE = f"{_UNITS}/{BOOT_UNIT}"
_WANTED_BY = f"{_UNITS}/sysinit.target.wants/{BOOT_UNIT}"

RECORD = f"{CONFIRMED}/record"
COPIES = f"{CONFIRMED}/files"
RECORDED_BY = f"{CONFIRMED}/holder"
JOURNAL = (f"{STORE}/*/*", REPORT, f"{REPORT}.new", UNIT_FILE)
"""Patterns, as of find(1)'s -path, of what is no part of what a host carries."""

_PROGRAMS = Path(__file__).parent
FUNCTIONS = (_PROGRAMS / "hold.sh").read_text()
_WAITING = (_PROGRAMS / "wait.sh").read_text()
_RECALLING = (_PROGRAMS / "recall.pl").read_text()
FILES = (_PROGRAMS / "files.pl").read_text()
"""What does to files what its input says."""
_HOLDS = (_PROGRAMS / "hold.pl").read_text().replace("@OWNED@", OWNED).replace("@FOLDER@", FOLDER)
_HOLDING_PL = _HOLDS + (_PROGRAMS / "remember.pl").read_text()
# Where the same system runs, whose links have the same numbers. What is there, is left as it is:
# also a route that somebody gave another gateway since, which `ip route restore` would add one to.
_RECALL = f"""[ "$mode" = boot ] || [ "$(cat "$undoing/system")" != "$(running_system)" ] || {{
    {perl.command(_RECALLING, '"$undoing/addresses"')}
    for version in 4 6; do
        # Some lead by way of others.
        for again in 1 2; do ip -$version -force -batch "$undoing/routes-$version"; done
    done
}}"""

CUT_OFF = "cut off"
HOLDING = f"""if [ -d "$hold" ] && {{ lives "$hold/pid" || lives "$hold/waiter"; }}; then
    echo "$(cat "$hold/holder"), is at work on this host, and that ends by itself in $(left) s"
elif [ -e "$pending" ] || [ -e "$undoing" ]; then
    echo '{CUT_OFF}'
fi"""
"""Prints who is at work on a host, or that a run was cut off there and nobody takes it back.

Of the FUNCTIONS.
"""

# Before anything brings up a network, or reads what a run has changed; whatever mounts /var.
_BOOT = f"""# Written by Culvert, for as long as a run isn't confirmed: undoes it after a crash.
[Unit]
Description=Undo a run of Culvert's that was not confirmed
DefaultDependencies=no
RequiresMountsFor={STORE} /etc
After=systemd-remount-fs.service zfs-mount.service
Before=systemd-sysctl.service network-pre.target systemd-networkd.service NetworkManager.service \\
    networking.service {OWNED}-filter.service nftables.service netfilter-persistent.service \\
    ufw.service firewalld.service docker.service sysinit.target shutdown.target
Wants=network-pre.target
Conflicts=shutdown.target
# There from the first run after a boot on: who starts sysinit.target by hand asks for no undoing.
ConditionPathExists=!{STAMP}

[Service]
Type=oneshot
TimeoutStartSec=5min
ExecStart=/bin/sh -c 'mv -T {PENDING} {UNDOING} 2>/dev/null; \\
    [ ! -e {UNDOING}/undo ] || \\
        sh {UNDOING}/undo boot "the host was started anew before the run was confirmed"; \\
    [ ! -e {_STAYS}/program ] || perl {_STAYS}/program <{_STAYS}/stay; \\
    rm -rf {STORE}/*.new {STORE}/gone; rmdir {STORE} 2>/dev/null; \\
    [ -e {UNDOING} ] || rm -f {_WANTED_BY} {UNIT_FILE}'
"""

BACK = f"""mode=$1 why=$2 number=0 unwritten=
{FUNCTIONS}
troubles=$(cat "$undoing/again" 2>/dev/null)
# /run may be full, or empty after a boot: all of it had begun, for all that is known.
[ -n "$scratch" ] || {{ scratch=$store/scratch; mkdir -p "$scratch"; }}
begun=
[ "$mode" = boot ] || begun=$(cat "$undoing/begun" "$hold/begun" 2>/dev/null | head -n 1)
begun=${{begun:-@BEGUN@}}
has_begun() {{
    number=$1 kind=$2
    echo "$1" >"$scratch/at"
    [ "$begun" -ge "$1" ] && {{ [ "$mode" = now ] || [ "$2" != running ]; }}
}}
# Of the change that was under way, and of those that a boot took back, some was never made; and
# what was taken back before isn't there to be taken back again.
trouble() {{
    if [ "$kind" = file ]; then
        unwritten="$unwritten $1;"
    elif [ "$mode" = now ] && [ "$number" -lt "$begun" ] && [ ! -e "$undoing/again" ]; then
        troubles="$troubles $1;"
    fi
}}
# A file is what it was by its second name, without room on the disk, too; else by its copy.
bring_back() {{
    old=${{1%/*}}/.${{1##*/}}.old new=${{1%/*}}/.${{1##*/}}.new
    mv -f "$old" "$1" 2>/dev/null || cmp -s "$undoing/files$1" "$1" || {{
        mkdir -p "${{1%/*}}" && cp -p "$undoing/files$1" "$new" && sync "$new" && mv -f "$new" "$1"
    }}
}}
# What hangs, like somebody's hook, doesn't keep the rest from being taken back.
patience=@PATIENCE@
watch() {{
    last=
    while sleep "$patience" && lives "$scratch/pid"; do
        at=$(cat "$scratch/at")
        spared=$(cat "$scratch/watch")
        if [ -n "$at" ] && [ "$at" = "$last" ]; then kill -KILL $(family $$); fi
        last=$at
    done
}}
born $$
echo "$$ $began" >"$scratch/pid"
watch >/dev/null 2>&1 &
watching=$!
echo "$watching" >"$scratch/watch"
"""
"""What a script that goes back begins with.

@BEGUN@ stands for the number of all changes, @PATIENCE@ for the seconds that one of them may take.
"""
BACK_AGAIN = f"""kill "$watching" 2>/dev/null
{_RECALL} >/dev/null 2>&1
now=$(date -u '+%Y-%m-%d %H:%M:%S')
left="$troubles$unwritten"
ran="the run of $(cat "$undoing/holder")${{left:+, of which this was left:$left}}"
[ -z "$why" ] || put {REPORT} "$now UTC: undone, because $why: $ran"
if [ "$mode" = boot ]; then
    # Units and what generators make were read as the run had them.
    systemctl daemon-reload
    systemctl --no-block start default.target
fi
# Without any, where there is no room: the old one would say that the run stays.
put {STAMP} "$(cat /proc/sys/kernel/random/uuid)" || rm -f {STAMP}
sync "$store"
rm -rf "$store/gone" "$scratch"
if [ -n "$unwritten" ] && [ ! -e "$undoing/again" ]; then
    # Once more, when whoever runs next, or a boot, comes by: a disk may have room by then.
    echo "$begun" >"$undoing/begun"
    printf '%s' "$troubles" >"$undoing/again"
else
    mv -T "$undoing" "$store/gone"
    sync "$store"
    rm -rf "$store/gone"
    rm -f {_WANTED_BY} {UNIT_FILE}
fi
release"""
"""What it ends with."""


@dataclass(frozen=True)
class Guard:
    """Who changes a host, and how long it waits for a word from there before it goes back.

    `within` are seconds from the end of the change, 0 for ever; `limit` those that the change
    itself may take. `run` is a name that no other run has, and `stamp` is that of the last one when
    the host was read.
    """

    by: str = "somebody"
    within: int = 60
    limit: int = 50
    run: str = ""
    stamp: str = ""


UNGUARDED = Guard(within=0)


def taking(guard: Guard) -> Iterable[str]:
    """What keeps every other run off a host, as lines of files.pl's, or stops there."""
    yield _holding("take", guard)
    yield "at start"
    yield f"seen {guard.stamp}"
    yield f"stamp {guard.run}"
    yield "scratch"


def _holding(verb: str, guard: Guard) -> str:
    return f"{verb} {guard.limit} {' '.join(guard.by.split())}"


FILING = f"""files_pl={shlex.quote(FILES)}
root= copies= scratch=
files() {{ perl -e "$files_pl" "$root" "$copies" $$ "$scratch" >/dev/null; }}"""
"""A function of a script's, which does to files what its input says."""

BEGINNING = f"""hold_pl={shlex.quote(_HOLDING_PL)}
begin() {{
    told=$(perl -e "$hold_pl$files_pl" "$root" "$copies" $$ "$scratch") || {{
        step=${{told:-$step}}
        false
    }}
}}
is_own() {{ read -r pid _ 2>/dev/null <"$hold/pid" && [ "$pid" = $$ ]; }}
is_kept() {{
    for each in "$pending" "$undoing"; do
        [ ! -e "$each/run" ] || ! says "$each/run" "$run" || return 0
    done
    false
}}"""
"""Of the FUNCTIONS and FILING, what has files.pl do all that comes before the first change."""


@dataclass(frozen=True)
class Kept:
    """What a host keeps of a run until that is confirmed.

    `undo` is the script that takes it back, `stay` the lines of files.pl's by which it stays, and
    `record` what the next run is told of it. `replaced` are the files that change or go: it keeps a
    copy of each.
    """

    undo: str
    stay: Sequence[str]
    record: str
    replaced: Collection[str]


def preparing(guard: Guard) -> Iterable[str]:
    """What begins to keep what puts a host back, as lines of files.pl's.

    First what a boot looks after it by; then the folders that are lacking, to be taken away again.
    """
    yield f"at {KEEPING}"
    if guard.within:
        yield "early"
        yield f"folder 0755 {_UNITS}/sysinit.target.wants"
        yield f"> 0644 {UNIT_FILE}"
        yield from edits.whole(_BOOT)
        yield f"link {UNIT_FILE} {_WANTED_BY}"
        yield from (f"sync {folder}" for folder in (_UNITS, f"{_UNITS}/sysinit.target.wants"))
        yield "anyway"
    yield f"remove {_NEW}"
    yield f"folder 0700 {_NEW}"
    yield f"folder 0700 {_NEW}/files"
    yield f"made {_NEW}/made"


_NEW = f"{PENDING}.new"
KEEPING = "keeping what puts the host back"
"""What a run's script is at meanwhile, in its own words."""
ENDING = "end\nEND"
"""The last lines of what files.pl reads in a script: it does nothing by what was cut off."""


def copying(kept: Kept) -> Iterable[str]:
    """Lines of a run's script by which the host keeps what it replaces, if it replaces any."""
    yield f"step='{KEEPING}'"
    # Of absolute names coreutils 9.1 can't keep the modes of folders.
    yield f'(cd /; for each in {" ".join(kept.replaced)}; do set -- "$@" ".$each"; done'
    yield 'exec cp -p --parents "$@" "$pending.new/files")'


def arming(guard: Guard, kept: Kept) -> Iterable[str]:
    """What leaves on the host what puts it back, as lines of files.pl's, and has it wait there."""
    yield f"at {KEEPING}"
    for name in ("undo", "record"):
        yield f"> 0600 {_NEW}/{name}"
        yield from edits.whole(getattr(kept, name))
    yield f"> 0600 {_NEW}/stay"
    yield from (f"+{line}" for line in kept.stay)
    yield f"> 0600 {_NEW}/run"
    yield f"+{guard.run}"
    yield f"copy {HOLD}/holder {_NEW}/holder"
    yield f"program {_NEW}/program"
    yield f"remember {_NEW}"
    yield from (f"sync {_NEW}/files{path}" for path in _with_folders(kept.replaced))
    yield f"sync {_NEW}"
    # From here on, what waits may go back: by what has begun, which is nothing.
    yield f"> 0644 {HOLD}/begun"
    yield "+0"
    yield "mine"
    yield f"rename {_NEW} {PENDING}"
    yield f"sync {STORE}"
    if guard.within:
        yield "at having the host wait for a word that all is well"
        yield f"> 0644 {HOLD}/wait"
        yield from edits.whole(f"{FUNCTIONS}\n{_WAITING}")
        yield f"wait {WAITING_UNIT}"


def _with_folders(paths: Iterable[str]) -> list[str]:
    """All of them, after the folders that lead there, from / on."""
    above = {str(folder) for path in paths for folder in PurePosixPath(path).parents}
    return sorted({*above, *paths})


DISARMING = f"""born $$
echo "$$ $began" 2>/dev/null >"$hold/pid" || true
files <<'END'
remove {_STAYS}
rename {PENDING} {_STAYS}
sync {STORE}
do {_STAYS}/stay
remove {HOLD}.left
away {HOLD} {HOLD}.left
remove {HOLD}.left
{ENDING}"""
"""Lines that make a change stay, or fail where the host is at going back.

Whoever does so has the host as long as it lives: a disk may take its time.
"""


def staying(leftovers: Iterable[str], folders: Iterable[str], *, forgets: bool) -> Iterable[str]:
    """What clears up after a run that stays, as lines of files.pl's.

    Where it is cut off, a boot or the next run goes through it once more. `leftovers` are second
    names of old files, `folders` go where they are empty; where it `forgets`, nothing of the run is
    remembered.
    """
    yield from (f"remove {path}" for path in leftovers)
    yield from (f"rmdir {folder}" for folder in folders)
    if forgets:
        yield from (f"remove {path}" for path in (CONFIRMED, REPORT, f"{STORE}/gone"))
        yield f"away {_STAYS} {STORE}/gone"
        yield from (f"remove {path}" for path in (f"{STORE}/gone", f"{STORE}/*.new"))
        yield f"rmdir {STORE}"
        yield f"sync {STORE.rpartition('/')[0]}"
    else:
        yield f"only {_STAYS} record files holder stay program"
        yield from (f"remove {path}" for path in (CONFIRMED, REPORT))
        yield f"rename {_STAYS} {CONFIRMED}"
        yield f"sync {STORE}"
    left = (f"{CONFIRMED}/stay", f"{CONFIRMED}/program", _WANTED_BY, UNIT_FILE)
    yield from (f"remove {path}" for path in left)
    yield "end"


DISMISSED = f"""if says {STAMP} "$run"; then
            put {STAMP} "$(cat /proc/sys/kernel/random/uuid)"
            rm -rf "$pending.new" "$pending" {_WANTED_BY} {UNIT_FILE}
        fi"""
"""Has a host forget a run that changed nothing."""


def opening(guard: Guard) -> str:
    """Lines with which a script begins that speaks with what waits on a host."""
    within = max(guard.within, 1)
    return f"""run={shlex.quote(guard.run)}
{FUNCTIONS}
mine() {{ says {STAMP} "$run" && [ -e "$pending" ]; }}
go_back() {{ ! mine || put "$hold/request" "$1"; }}
is_waited_for() {{
    says "$pending/run" "$run" || says "$undoing/run" "$run" ||
        {{ says {STAMP} "$run" && [ -d "$hold" ] && [ ! -e "$hold/deadline" ]; }}
}}
went_back() {{
    tries=0
    while is_waited_for; do
        tries=$((tries + 1))
        [ "$tries" -lt {_GOING_BACK} ] && [ ! -e "$undoing/again" ] || {{ echo undoing; return; }}
        sleep 1
    done
    # The host keeps the name of a run that was confirmed.
    if says {STAMP} "$run"; then echo kept; else echo undone; fi
}}
# From now on, as long as the script may take, and more.
uptime
! mine || [ ! -e "$hold/deadline" ] || put "$hold/deadline" $((up + {within}))"""


_GOING_BACK = 30
"""Seconds in which a host goes back, or is left at it."""


def program(*lines: str) -> str:
    """A script of which nothing is run unless all of it has arrived, and which reads no input."""
    return "\n".join(["main() {", *lines, "}", "main </dev/null", ""])


def extending(guard: Guard) -> str:
    """A script that has a host wait as long again."""
    return program(opening(guard))


def clearing(guard: Guard) -> str:
    """A script that takes back what was cut off on a host, where nobody is at it."""
    arguments = ("''", "''", "$$", "''")
    clear = perl.command(_HOLDING_PL + FILES, *arguments, lines=[_holding("clear", guard), "end"])
    return program(f"export LC_ALL=C {perl.ENVIRONMENT}", clear)


def recalling(guard: Guard, why: str) -> str:
    """A script that has a host go back now.

    It prints `undone`, `undoing` if that lasts, or `kept` where the run was confirmed before.
    """
    return program(opening(guard), f"go_back {shlex.quote(why)}", "went_back")
