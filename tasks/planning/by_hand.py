"""Pure: what somebody set up by hand on a host, in files of theirs, that Culvert is to make."""

import re
from collections.abc import Iterable, Iterator

from netaddr import AddrFormatError, IPAddress

from tasks.declared.model import Node
from tasks.host.state import HostState, Line
from tasks.parts.managers import MANAGERS

# What could be an IPv6 address: a word with two colons in it.
_ADDRESS = re.compile(r"[0-9A-Fa-f:]*:[0-9A-Fa-f.:]*:[0-9A-Fa-f.:]*")
# A line of a script that makes a tunnel.
_COMMAND = r"\b(?:tunnel|link)\s+add\s+(?:dev\s+|name\s+)?NAMES(?:\s|$)"
# A line that gives an address to an interface, or answers for it; netplan's lists have a dash.
_GIVES_ADDRESS = re.compile(r"addr|neigh|^\s*-\s", re.IGNORECASE)


def obstacles(node: Node, state: HostState) -> Iterable[str]:
    """Each line that makes one of the node's tunnels or proxy entries, and what goes with it.

    A line that only speaks of a tunnel, a hook of the user's own for one, stands in nobody's way.
    """
    interfaces = [end.interface for end in node.ends]
    lines = [line for line in state.lines if _is_read(line)]
    if not interfaces or not lines:
        return
    names = f"(?:{'|'.join(map(re.escape, interfaces))})"
    speaks = re.compile(rf"(?<![\w-]){names}(?![\w-])|proxy_ndp")
    patterns = dict.fromkeys((*(manager.hand_made for manager in MANAGERS), _COMMAND))
    makes = re.compile("|".join(patterns).replace("NAMES", names))
    addresses = {end.address for end in node.ends} | {*node.proxied}
    making = [
        line
        for line in lines
        if makes.search(line.text)
        or (_GIVES_ADDRESS.search(line.text) and addresses & {*_addresses(line.text)})
    ]
    if not making:
        return
    yield (
        "a tunnel was set up by hand here; take these lines out, and what they made "
        "(`ip link delete`, `ip -6 neighbour delete proxy`), or leave the host out:"
    )
    for line in making:
        yield f"    {_place(line)} is in the way: {line.text.strip()}"
    for line in lines:
        if line not in making and speaks.search(line.text):
            yield f"    {_place(line)} seems to go with it: {line.text.strip()}"


def _is_read(line: Line) -> bool:
    is_file = not line.path.startswith("/etc/netplan/") or line.path.endswith(".yaml")
    return is_file and not line.text.lstrip().startswith("#")


def _place(line: Line) -> str:
    return f"{line.path}, line {line.number},"


def _addresses(text: str) -> Iterator[IPAddress]:
    for word in _ADDRESS.findall(text):
        try:
            yield IPAddress(word, version=6)
        except AddrFormatError:
            continue
