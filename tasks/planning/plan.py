"""Pure: from what a host is to carry, and what it is now, to the changes that lie between.

The plan is the one source of both the diff that a dry run prints and the script that a run applies.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tasks.declared.model import Node
from tasks.host.changes import Changes, FileChange
from tasks.host.state import File, HostState
from tasks.parts import FOLDERS, OWN_FOLDERS, PARTS, openings
from tasks.parts.part import Site
from tasks.planning import by_hand, detection, obstacles, policy, taken, warnings
from tasks.planning.obstacles import ObstacleError


@dataclass(frozen=True)
class Plan:
    """What a run would do to one host, and on what grounds."""

    site: Site
    grounds: str
    changes: Changes
    # The other end of each tunnel that is there once it is done, by interface.
    tunnels: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    # What works, or would, and not after the next boot: sentences.
    lost_at_boot: tuple[str, ...] = ()
    # What the host's firewall would drop now, though no ping tells: sentences.
    dropped: tuple[str, ...] = ()


def plan(node: Node, state: HostState, *, only_to_prove: bool = False) -> Plan:
    """The plan for a host: to be as declared, or rid of Culvert where it is to carry nothing.

    Raises ObstacleError where something on the host stands in the way. What would be lost at the
    next boot does too, and what the host's firewall drops and can't be told to let pass, unless it
    is `only_to_prove` what is there.
    """
    lost: tuple[str, ...] = ()
    obstacles.stop(obstacles.of_names(state))
    if node.is_declared:
        obstacles.stop(obstacles.of_user(state))
        obstacles.stop(obstacles.of_programs(state))
        obstacles.stop([*obstacles.of_kernel(state), *obstacles.of_module(node, state)])
        hand_made = [*by_hand.obstacles(node, state)]
        found = [*hand_made, *obstacles.of_node(node, state)]
        try:
            site, grounds = detection.find(node, state)
        except ObstacleError as error:
            # That no way to the Internet is found may follow from what was.
            raise ObstacleError(found or error.sentences) from error
        found += taken.obstacles(site, state, entries_are_told=bool(hand_made))
        found += policy.obstacles(site, state)
        obstacles.stop(found)
        lost = tuple(sentence for part in PARTS for sentence in part.lost_at_boot(site, state))
        found = [sentence for part in PARTS for sentence in part.obstacles(site, state)]
        if not only_to_prove:
            found += [*openings.refusals(site, state), *lost]
        obstacles.stop(found)
    else:
        if state.files or state.unreadable:
            obstacles.stop(obstacles.of_user(state))
        site, grounds = Site(node), "it is to carry nothing"
    changes = _changes(site, state)
    obstacles.stop(obstacles.of_room(changes, state))
    return Plan(
        site,
        grounds,
        changes,
        tunnels={end.interface: str(end.peer) for end in site.ends},
        warnings=tuple(warnings.warnings(site, state)),
        lost_at_boot=lost,
        dropped=tuple(openings.dropped(site, state)),
    )


def _changes(site: Site, state: HostState) -> Changes:
    """All that the parts want: each is stopped after those that stand on it, and made before."""
    wanted = _wanted_files(state, site)
    files = _file_changes(state, wanted)
    changed = [change.path for change in files]
    staged = {change.path: change.staged for change in files if change.after is not None}
    return Changes(
        host=site.node.host,
        folders=FOLDERS,
        own_folders=OWN_FOLDERS,
        files=files,
        checks=tuple(command for part in PARTS for command in part.checks(site, staged)),
        removals=tuple(
            step for part in reversed(PARTS) for step in part.stopping(site, state, changed)
        ),
        steps=tuple(step for part in PARTS for step in part.starting(site, state, changed)),
        from_nothing=not state.files,
        to_nothing=not wanted,
    )


def _wanted_files(state: HostState, site: Site) -> dict[str, File]:
    wanted: dict[str, File] = {}
    for part in PARTS:
        wanted |= part.files(site, state)
    return wanted


def _file_changes(state: HostState, wanted: Mapping[str, File]) -> tuple[FileChange, ...]:
    return tuple(
        FileChange(path, state.files.get(path), wanted.get(path))
        for path in sorted({*state.files, *wanted})
        if state.files.get(path) != wanted.get(path)
    )
