"""Pure: what a host keeps to itself of a run: who is at work, and how to go back by itself.

Before its first change a run leaves on the host, whole and synced, the script that takes it back
(`PENDING`), has a process wait there for a word that all is well, and a unit that runs it early at
the next boot. Whoever first renames the folder has it: who confirms, or who goes back. While that
lasts, a folder in /run (`HOLD`) says who is at work, and until when.
"""

import shlex
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tasks.host import perl
from tasks.host.state import FOLDER, OWNED

STORE = f"/var/lib/{FOLDER}"
PENDING = f"{STORE}/pending"
"""What puts the host back to before a run that isn't confirmed yet."""
UNDOING = f"{STORE}/undoing"
"""The same, once it is at it."""
CONFIRMED = f"{STORE}/confirmed"
"""What the last confirmed run changed, and how to take it back."""
_STAYING = f"{STORE}/confirmed.new/stay"
REPORT = f"{STORE}/report"
"""What became of a run that was undone."""
HOLD = "/run/culvert-hold"
STAMP = "/run/culvert-stamp"
"""Another one with each run that changes the host, and each that is undone."""

BOOT_UNIT = f"{OWNED}-undo.service"
WAITING_UNIT = f"{OWNED}-waiting.service"
_UNITS = "/etc/systemd/system"
_UNIT_FILE = f"{_UNITS}/{BOOT_UNIT}"
_WANTED_BY = f"{_UNITS}/sysinit.target.wants/{BOOT_UNIT}"

RECORD = f"{CONFIRMED}/record"
COPIES = f"{CONFIRMED}/files"
RECORDED_BY = f"{CONFIRMED}/holder"
JOURNAL = (f"{STORE}/*/*", REPORT, f"{REPORT}.new", _UNIT_FILE)
"""Patterns, as of find(1)'s -path, of what is no part of what a host carries."""

_PROGRAMS = Path(__file__).parent
FUNCTIONS = (_PROGRAMS / "hold.sh").read_text()
_WAITING = (_PROGRAMS / "wait.sh").read_text()
_REMEMBERING = (_PROGRAMS / "remember.pl").read_text()
_RECALLING = (_PROGRAMS / "recall.pl").read_text()
_REMEMBER = perl.command(_REMEMBERING, '"$pending.new"')
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
    [ ! -e {_STAYING} ] || sh {_STAYING}; \\
    rm -rf {STORE}/*.new {STORE}/gone; rmdir {STORE} 2>/dev/null; \\
    [ -e {UNDOING} ] || rm -f {_WANTED_BY} {_UNIT_FILE}'
"""

# Where /var comes over the network, a unit that goes before the network would go round in a circle,
# which systemd cuts where it likes. Whoever runs next takes back what a boot left there.
_LATE = "systemctl show --property=After --value var.mount var-lib.mount var-lib-culvert.mount 2>&1"
_INSTALLING = f"""late=
for each in $({_LATE}); do
    [ "$each" != network.target ] || late=1
done
installed=
if [ -z "$late" ]; then
[ -d {_UNITS}/sysinit.target.wants ] || mkdir -p {_UNITS}/sysinit.target.wants
printf %s {shlex.quote(_BOOT)} >{_UNIT_FILE}
ln -sf {_UNIT_FILE} {_WANTED_BY}
installed='{_UNIT_FILE} {_UNITS} {_UNITS}/sysinit.target.wants'
fi"""

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
    rm -f {_WANTED_BY} {_UNIT_FILE}
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
    """Lines of a run's script that keep every other run off the host, or stop there."""
    yield f"within={guard.within}"
    yield f"run={shlex.quote(guard.run)} seen={shlex.quote(guard.stamp)}"
    yield _holding(guard)
    yield "take"


def _holding(guard: Guard) -> str:
    return f"by={shlex.quote(guard.by)} limit={guard.limit}\n{FUNCTIONS}"


@dataclass(frozen=True)
class Kept:
    """What a host keeps of a run until that is confirmed.

    `undo` is the script that takes it back, `stay` the one by which it stays, and `record` what the
    next run is told of it. `replaced` are the files that change or go: it keeps a copy of each.
    """

    undo: str
    stay: str
    record: str
    replaced: Collection[str]


def arming(guard: Guard, kept: Kept) -> Iterable[str]:
    """Lines that leave on the host what puts it back, and have it wait there.

    It remembers the folders that are $missing, to be taken away again.
    """
    replaced = kept.replaced
    yield "step='keeping what puts the host back'"
    yield '[ ! -e "$pending.new" ] || rm -rf "$pending.new"'
    yield 'mkdir -p -m 0700 "$pending.new" "$pending.new/files"'
    if replaced:
        # Of absolute names coreutils 9.1 can't keep the modes of folders.
        yield f'(cd /; for each in {" ".join(replaced)}; do set -- "$@" ".$each"; done'
        yield 'exec cp -p --parents "$@" "$pending.new/files")'
    copies = [f'"$pending.new/files{path}"' for path in _with_folders(replaced)]
    yield "umask 077"
    for name in ("undo", "stay", "record"):
        yield f'printf %s {shlex.quote(getattr(kept, name))} >"$pending.new/{name}"'
    yield "umask 022"
    yield 'read -r line <"$hold/holder"; printf \'%s\\n\' "$line" >"$pending.new/holder"'
    yield 'echo "$run" >"$pending.new/run"; echo "$missing" >"$pending.new/made"'
    yield f"{_REMEMBER} 2>/dev/null || true"
    yield "installed="
    if guard.within:
        yield _INSTALLING
    yield f'sync "$pending.new"/* "$pending.new" {" ".join(copies)} $installed'
    # From here on, what waits may go back: by what has begun, which is nothing.
    yield 'echo 0 >"$hold/begun"'
    yield 'mv -T "$pending.new" "$pending"; armed=1; sync "$store"'
    if guard.within:
        yield "step='having the host wait for a word that all is well'"
        waiting = shlex.quote(f"{FUNCTIONS}\n{_WAITING}")
        yield f'printf %s {waiting} >"$hold/wait"'
        yield f"await_word {WAITING_UNIT}"


def _with_folders(paths: Iterable[str]) -> list[str]:
    """All of them, after the folders that lead there, from / on."""
    above = {str(folder) for path in paths for folder in PurePosixPath(path).parents}
    return sorted({*above, *paths})


DISARMING = """born $$
echo "$$ $began" 2>/dev/null >"$hold/pid" || true
[ ! -e "$store/confirmed.new" ] || rm -rf "$store/confirmed.new"
mv -T "$pending" "$store/confirmed.new"
sync "$store"
. "$store/confirmed.new/stay"
release"""
"""Lines that make a change stay, or fail where the host is at going back.

Whoever does so has the host as long as it lives: a disk may take its time.
"""


def staying(leftovers: Collection[str], tidying: Iterable[str], *, forgets: bool) -> str:
    """The script that clears up after a run that stays.

    Where it is cut off, a boot or the next run goes through it once more. `leftovers` are second
    names of old files, `tidying` lines that take folders away; where it `forgets`, nothing of the
    run is remembered.
    """
    return "\n".join(
        [
            f"store={STORE}",
            *([f"rm -f {' '.join(leftovers)}"] if leftovers else []),
            *tidying,
            _FORGETTING if forgets else _KEEPING_RECORD,
            f"rm -f {CONFIRMED}/stay {_WANTED_BY} {_UNIT_FILE}",
            "",
        ]
    )


_FORGETTING = f"""rm -rf {CONFIRMED} {REPORT} "$store/gone"
[ ! -e "$store/confirmed.new" ] || mv -T "$store/confirmed.new" "$store/gone"
rm -rf "$store/gone" "$store"/*.new
rmdir "$store" 2>/dev/null || true
sync {STORE.rpartition("/")[0]}"""
_KEEPING_RECORD = f"""set --
for each in "$store/confirmed.new"/*; do
    case $each in */record | */files | */holder | */stay) ;; *) set -- "$@" "$each" ;; esac
done
rm -rf {CONFIRMED} {REPORT} "$@"
mv -T "$store/confirmed.new" {CONFIRMED}
sync {STORE}"""

DISMISSED = f"""if says {STAMP} "$run"; then
            put {STAMP} "$(cat /proc/sys/kernel/random/uuid)"
            rm -rf "$pending.new" "$pending" {_WANTED_BY} {_UNIT_FILE}
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
    return program(
        _holding(guard),
        "seize || return 0",
        "if is_cut_off; then take_back; else release; fi",
    )


def recalling(guard: Guard, why: str) -> str:
    """A script that has a host go back now.

    It prints `undone`, `undoing` if that lasts, or `kept` where the run was confirmed before.
    """
    return program(opening(guard), f"go_back {shlex.quote(why)}", "went_back")
