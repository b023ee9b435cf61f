"""Culvert, from what a person declares to packets that flow.

What a person can call, each a function of the same name, `pyinfra INVENTORY tasks.NAME.NAME`:

verify     proves that packets flow, and changes nothing
drift      shows what a run would change, and fails where that is anything
addresses  lists who has which tunnel addresses, and what is free
remove     takes Culvert off a host
undo       takes back what the last run changed

The rooms behind, along the way of the data; each knows those above it alone:

declared/  pure: what a person wrote, checked, as tunnels, ends and nodes
host/      pure: what a host is now, and what is done to one
parts/     pure: what a host gets, a module or folder for each part
planning/  pure: the parts put together: obstacles, the plan, the proof
running/   pyinfra, which carries and decides nothing
"""

import sys
from importlib.util import find_spec

# A pyinfra that was installed elsewhere brings its own interpreter, and only what it needs itself.
if missing := [name for name in ("jinja2", "netaddr", "pydantic") if find_spec(name) is None]:
    way_out = f"`make setup && . .venv/bin/activate`, or `pipx inject pyinfra {' '.join(missing)}`"
    sys.exit(f"{sys.executable}, which runs pyinfra, lacks {' and '.join(missing)}: {way_out}")
