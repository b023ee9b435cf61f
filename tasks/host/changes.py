"""Pure: what a run does to one host: the diff that a person reads, the script that does it."""

import base64
import difflib
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from tasks.host.state import FOLDER, OWNED, File


@dataclass(frozen=True)
class FileChange:
    """One file before and after; None where there is none."""

    path: str
    before: File | None
    after: File | None

    def diff(self, host: str) -> str:
        """A unified diff with `host:/path` in its headers, and the mode where that changes."""
        lines = difflib.unified_diff(
            self.before.text.splitlines(keepends=True) if self.before else [],
            self.after.text.splitlines(keepends=True) if self.after else [],
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
        """Where the new text waits, beside the file: a rename puts it in its place at once."""
        path = PurePosixPath(self.path)
        # The dot hides it from `source interfaces.d/*`, and the suffix from `*.yaml`.
        return str(path.with_name(f".{path.name}.new"))


@dataclass(frozen=True)
class Step:
    """One change of the running system: lines to read, with `-` and `+`, and what does it."""

    shown: tuple[str, ...]
    commands: tuple[str, ...]


@dataclass(frozen=True)
class Changes:
    """Everything that a run does to one host, in its order.

    New files are staged, `checks` look at them, `removals` run while the old files are still
    there, the staged files take their places, then come `steps`. `folders` are all those where
    a run that was killed may have left something, `own_folders` patterns of those that go with the
    last file in them.
    """

    host: str
    folders: tuple[str, ...] = ()
    own_folders: tuple[str, ...] = ()
    files: tuple[FileChange, ...] = ()
    checks: tuple[str, ...] = ()
    removals: tuple[Step, ...] = ()
    steps: tuple[Step, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.files or self.removals or self.steps)

    @property
    def summary(self) -> str:
        """How much changes, in a few words."""
        lines = sum(len(step.shown) for step in (*self.removals, *self.steps))
        files = _count(len(self.files), "file")
        return f"to change: {files}, {_count(lines, 'line')} of the running system"

    def diff(self) -> str:
        """What changes, for a person: files first, then the running system."""
        text = "".join(change.diff(self.host) for change in self.files)
        lines = [line for step in (*self.removals, *self.steps) for line in step.shown]
        if lines:
            text += f"--- {self.host} (running)\n+++ {self.host} (running)\n"
            text += "".join(f"{line}\n" for line in lines)
        return text

    def script(self) -> str:
        """A POSIX shell script, for root, that makes the changes and stops at the first failure.

        Up to the first removal or rename a failure leaves the host as it was.
        """
        written = [change for change in self.files if change.after]
        return "\n".join(
            [
                _PROLOGUE,
                _sweep(self.folders),
                f"staged={shlex.quote(' '.join(change.staged for change in written))}",
                *(line for change in written for line in _stage(change)),
                *_run(self.checks),
                *_commands(self.removals),
                *(line for change in self.files for line in _put(change, self.own_folders)),
                *_commands(self.steps),
                _EPILOGUE,
            ]
        )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


# One function, called on the last line: of a script that is cut off on its way nothing runs, and
# no command in it reads the rest of the script from standard input.
# Folder names and file names of Culvert hold no spaces, so $staged may be split at them; a host's
# own file whose name is part of one is refused where it holds any.
_PROLOGUE = r"""main() {
set -eu
umask 022
export LC_ALL=C PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
step=start staged= made= scratch=
finish() {
    status=$?
    rm -rf $staged $scratch
    if [ "$status" -ne 0 ]; then
        for folder in $made; do rmdir "$folder" 2>/dev/null || true; done
        echo "Culvert stopped at: $step" >&2
    fi
    exit "$status"
}
trap finish EXIT
trap 'exit 129' HUP INT TERM
scratch=$(mktemp -d /run/culvert.XXXXXX)
folder() {
    [ -d "$1" ] || { folder "${1%/*}"; mkdir -m 0755 "$1"; made="$1 $made"; }
}
sysctl() { echo "$2" >"/proc/sys/$1"; }"""
_EPILOGUE = """}
main </dev/null
"""


def _sweep(folders: Iterable[str]) -> str:
    """What a run left behind that was killed between staging and putting."""
    ours = f"\\( -name '.{OWNED}*' -o -path '*/{FOLDER}/*' \\)"
    return f"find {' '.join(folders)} -name '.*.new' {ours} -delete 2>/dev/null || true"


def _stage(change: FileChange) -> Iterable[str]:
    assert change.after is not None
    content = base64.b64encode(change.after.text.encode()).decode()
    yield f"step={shlex.quote(f'writing {change.path}')}"
    yield f"folder {PurePosixPath(change.path).parent}"
    yield f"echo {content} | base64 -d >{change.staged}"
    yield f"chmod {change.after.mode:04o} {change.staged}"
    # Also finds a disk that is full only when the data gets there.
    yield f"sync {change.staged}"


def _put(change: FileChange, own_folders: Iterable[str]) -> Iterable[str]:
    yield f"step={shlex.quote(f'putting {change.path} in its place')}"
    if change.after:
        yield f"mv -f {change.staged} {change.path}"
        return
    yield f"rm -f {change.path}"
    folder = PurePosixPath(change.path).parent
    if any(folder.match(pattern) for pattern in own_folders):
        yield f"rmdir --ignore-fail-on-non-empty {folder}"


def _commands(steps: Sequence[Step]) -> Iterable[str]:
    return _run(command for step in steps for command in step.commands)


def _run(commands: Iterable[str]) -> Iterable[str]:
    for command in commands:
        yield f"step={shlex.quote(command)}"
        yield command
