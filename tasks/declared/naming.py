"""Pure: what a server calls the tunnel interface of a client that names none.

The client's name alone decides, so no other host's coming or going renames a tunnel.
"""

import hashlib
import re
from base64 import b32encode
from ipaddress import AddressValueError, IPv4Address

from tasks.declared.written import tunnel_interface

_PREFIX = "sit-"
# With the prefix and a hyphen, what an interface name has room for. Of a thousand such names, two
# have the same digest once in sixty inventories.
_SHORTENED, _DIGEST = 5, 5


def server_interface(host: str) -> str:
    """`sit-` and the first label of the host's name, or what tells it from its neighbours.

    That is an IPv4 address in hexadecimal, and otherwise the label's beginning with a digest of the
    whole name.
    """
    name = _without_connector(host)
    label = name.partition(".")[0]
    try:
        return f"{_PREFIX}{int(IPv4Address(name)):08x}"
    except AddressValueError:
        pass
    try:
        return tunnel_interface(_PREFIX + label)
    except ValueError:
        start = re.sub("[^A-Za-z0-9_-]", "", label)[:_SHORTENED]
        digest = b32encode(hashlib.sha256(name.encode()).digest()).decode().lower()
        return f"{_PREFIX}{start}-{digest[:_DIGEST]}"


def _without_connector(host: str) -> str:
    """`web1` of `@ssh/web1`, `local` of `@local`."""
    if not host.startswith("@"):
        return host
    connector, _, name = host[1:].partition("/")
    return name or connector
