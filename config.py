"""Settings of a run, which pyinfra reads before it connects to any host."""

import gc
import sys
from pathlib import Path

import click

HERE = Path(__file__).resolve().parent
# pyinfra looks for modules where it is started, which may be elsewhere.
sys.path.insert(0, str(HERE))

operations = click.get_current_context().params["operations"]
files = [Path(name).resolve() for name in operations if operations[0].endswith(".py")]
is_deploy = any(file == HERE / "deploy.py" or file.parent == HERE / "tasks" for file in files)
# Of anything else, `exec -- uptime` or a deploy of the user's own, nothing is asked.
if is_deploy or operations[0].startswith("tasks."):
    # All that is read here stays: a look through it for what may go, and through all of pyinfra's,
    # takes a fifth of the time that reading it does.
    gc.disable()
    from tasks.running import before

    gc.freeze()
    # Of what a run makes, most stays until its end as well: only what is new is looked through.
    gc.set_threshold(*gc.get_threshold()[:2], 1_000_000)
    gc.enable()
    before.connecting()
