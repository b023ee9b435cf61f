"""The tables that are measured: a server's, of one tunnel that is used, or of very many."""

import re

from tasks.declared import declaration
from tasks.parts import filtering, managers
from tasks.planning import detection
from tests.samples import HOSTS, bare, many

INTERFACE = "sit-web1"
"""The server's end of the first tunnel, which has 2001:db8:1::3 at its other one."""


def switching(*, is_on: bool) -> str:
    """Words of nft's that have a table filter, or lie there without a hook, as if it were none."""
    return f"add table {filtering.TABLE}{'' if is_on else ' { flags dormant; }'}"


def table(tunnels: int, device: int | str = "sit") -> str:
    """A server's, of so many, each with a prefix routed to it; owned by nobody here.

    `device` is the kind of those that stand for the tunnels, in nft's words or as a number.
    """
    node = declaration.read(many(tunnels, is_routed=True), managers.NAMES).nodes[HOSTS["server"]]
    state = bare("ifupdown", "server")
    site, _ = detection.find(node, state)
    text = filtering.files(site, state)[filtering.FILE].text
    text = text.replace("{ flags owner; }", "").replace("    flags owner\n", "")
    return re.sub(r"(?<=meta [io]iftype )sit", str(device), text)
