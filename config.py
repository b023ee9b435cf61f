"""Settings of a run, which pyinfra reads before it connects to any host."""

import sys
from pathlib import Path

import click

HERE = Path(__file__).resolve().parent
# pyinfra looks for modules where it is started, which may be elsewhere.
sys.path.insert(0, str(HERE))

first, *_ = operations = click.get_current_context().params["operations"]
is_deploy = first.endswith(".py") and any(
    Path(o).resolve() == HERE / "deploy.py" for o in operations
)
# Of anything else, `exec -- uptime` or a deploy of the user's own, nothing is asked.
if is_deploy or first.startswith("tasks."):
    from tasks.running import before

    before.connecting()
