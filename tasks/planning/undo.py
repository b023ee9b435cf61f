"""Pure: back to before the last confirmed run, where nothing that it touched has changed since."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from tasks.declared.model import Node
from tasks.host.changes import Changes, FileChange, Left, Record, Step, recorded
from tasks.host.state import FALLBACK, File, HostState, Link, sysctl_key
from tasks.parts import FOLDERS, OWN_FOLDERS, additions, sit
from tasks.parts.part import Site
from tasks.planning import confirming, obstacles
from tasks.planning.obstacles import ObstacleError
from tasks.planning.plan import Plan


def plan(node: Node, state: HostState) -> Plan:
    """What takes back all that the host remembers of its last confirmed run.

    Raises ObstacleError where it remembers none, or something else has changed since what that
    touched.
    """
    obstacles.stop(obstacles.of_names(state))
    obstacles.stop(obstacles.of_user(state))
    if state.is_cut_off:
        raise ObstacleError([_CUT_OFF])
    if not state.record:
        raise ObstacleError([_NOTHING])
    try:
        found = recorded(state.record)
        if differing := [*_sentences(found, state)]:
            raise ObstacleError([*differing, _WAY_OUT])
        done = found.changes(state.copies, state.files)
    except ValueError:
        raise ObstacleError([_UNREADABLE]) from None
    changes = replace(done.reversed(), host=node.host, folders=FOLDERS, own_folders=OWN_FOLDERS)
    obstacles.stop(obstacles.of_room(changes, state))
    return Plan(Site(node), _grounds(state.recorded_by), changes, _tunnels(changes, state))


def rest(applied: Plan, state: HostState) -> Plan:
    """What isn't as it should be once the plan has been applied."""
    files = tuple(
        FileChange(change.path, now, change.after)
        for change in applied.changes.files
        if (now := state.files.get(change.path)) != change.after
    )
    shown = tuple(line for differing in _lines(applied.changes, state) for line in differing.shown)
    changes = replace(
        applied.changes,
        files=files,
        removals=(),
        steps=(Step(shown, ()),) if shown else (),
    )
    return replace(applied, changes=changes)


_CUT_OFF = (
    "a run was cut off there before it was confirmed, and nobody has taken it back: `deploy.py` "
    "does, before anything else"
)
_NOTHING = (
    "it remembers no confirmed run: it was never changed, Culvert was taken off it, or its last "
    "run was undone already"
)
_UNREADABLE = (
    "what it remembers of its last run can't be read, as after a run of another version of "
    "Culvert's: declare what it is to be, and run deploy.py"
)
_WAY_OUT = (
    "taking that run back would take this along: have it as that run left it, or declare what the "
    "host is to be, and run deploy.py"
)


def _grounds(recorded_by: str) -> str:
    who, _, when = recorded_by.partition(", since ")
    return f"takes back the run of {who} at {when}" if when else "takes back the last confirmed run"


@dataclass(frozen=True)
class _Line:
    """One thing of the running system, by the line that tells of it: as it is, as it should be.

    None where it isn't there.
    """

    now: str | None
    left: str | None

    @property
    def shown(self) -> Iterable[str]:
        if self.now is not None:
            yield f"-{self.now}"
        if self.left is not None:
            yield f"+{self.left}"

    @property
    def sentence(self) -> str:
        if self.now is None:
            return f"`{self.left}` was made by that run, and isn't there any more"
        if self.left is None:
            return f"`{self.now}` was taken away by that run, and is there again"
        return f"`{self.now}` was changed since: that run left `{self.left}`"


def _sentences(record: Record, state: HostState) -> Iterable[str]:
    """What isn't as the run left it."""
    for file in record.files:
        now = state.files.get(file.path)
        if (now and Left.of(now)) != file.after:
            yield f"{file.path} {_of_file(now, file.after)}"
    for line in _lines(record.rest, state):
        yield line.sentence


def _of_file(now: File | None, left: Left | None) -> str:
    if now is None:
        return "was written by that run, and isn't there any more"
    if left is None:
        return "was taken away by that run, and is there again"
    if Left.of(now).digest == left.digest:
        return f"has mode {now.mode:04o}, and that run left {left.mode:04o}"
    return "was edited since that run wrote it"


def _lines(changes: Changes, state: HostState) -> list[_Line]:
    """Those of the running system that aren't as the changes leave it."""
    there = _there(state)
    return [
        _Line(there.get(thing), line)
        for thing, line in _left(changes).items()
        if there.get(thing) != line
    ]


def _left(changes: Changes) -> dict[str, str | None]:
    """By each thing that changes touch, the line that tells of it after them, or None.

    What goes and comes in one run has its last line.
    """
    found: dict[str, str | None] = {}
    for step in (*changes.removals, *changes.steps):
        for sign, line in ((line[:1], line[1:]) for line in step.shown):
            thing = _thing(line)
            if thing and sign in {"+", "-"}:
                found[thing] = line if sign == "+" else None
    return found


def _thing(line: str) -> str | None:
    """What a line is about, of those that a state is asked for; None of others, and of sit0.

    That comes and goes with the kernel's module, which tunnels of others may keep.
    """
    match line.split():
        case ["link", name, *_] if name != f"{FALLBACK}:":
            return f"link {name.removesuffix(':')}"
        case ["sysctl", key, *_]:
            return f"sysctl {key}"
        case ["address" | "route", *_] | ["proxy", "entry", *_]:
            return line
    return None


def _there(state: HostState) -> dict[str, str]:
    """By each thing that is there, the line that tells of it."""
    lines = {addition.line for addition in additions.held(state)}
    for route in state.routes:
        lines |= {f"route {route}", f"route {route} metric {route.metric}"}
    return {
        **{line: line for line in lines},
        **{f"link {link.name}": _link_line(link) for link in state.links.values()},
        **{
            f"sysctl {sysctl_key(path)}": f"sysctl {sysctl_key(path)} = {value}"
            for path, value in state.sysctls.items()
        },
    }


def _link_line(link: Link) -> str:
    if link.kind == "sit":
        return sit.link_line(link)
    return f"link {link.name}: {link.kind or 'no tunnel'}"


def _tunnels(changes: Changes, state: HostState) -> Mapping[str, str]:
    """The other end of each tunnel once these changes are made."""
    found, left = confirming.tunnels(state), _left(changes)
    for thing, line in left.items():
        match thing.split():
            case ["link", name] if line is None:
                found.pop(name, None)
            case ["address", network, "dev", name] if line is not None:
                is_tunnel = name in found or f"link {name}" in left
                if is_tunnel and (peer := confirming.peer(network)):
                    found[name] = peer
    return found
