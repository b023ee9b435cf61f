"""Strategies of hypothesis: inventories without mistakes, and with one anywhere."""

import copy
from typing import Any

from hypothesis import strategies as st
from netaddr import IPAddress, IPNetwork

Inventory = dict[str, dict[str, Any]]

# Of each server; the tunnel addresses of the second come out of what is routed to it.
_POOLS = ("2001:db8:100::/40", "2001:db8:200::/40", "2001:db8:300::/46")
_PREFIXES = ("2001:db8:1::/64", "2001:db8:200::/60", "2001:db8:3::/120")


@st.composite
def inventories(draw: st.DrawFn) -> Inventory:
    """Up to three servers and six clients, each with tunnels to some of the servers."""
    servers = draw(st.integers(1, len(_POOLS)))
    hosts: Inventory = {
        f"fra{n}": {
            "tunnel_server": {
                "ipv4": f"198.51.100.{n + 1}",
                "prefix": _PREFIXES[n],
                "on_link": n != 1 and draw(st.booleans()),
                "routed_prefixes": [_POOLS[n]],
                # Behind a NAT of its own each may have the address that others have, too.
                **draw(st.sampled_from([{}, {"local_ipv4": "192.0.2.1"}])),
            }
        }
        for n in range(servers)
    }
    numbers = {n: draw(st.permutations(range(1, 20))) for n in range(servers)}
    for client in range(draw(st.integers(0, 6))):
        of = draw(st.lists(st.integers(0, servers - 1), unique=True, max_size=servers))
        tunnels = [
            {
                **_tunnel(draw, client, server, numbers[server][client]),
                "default_route": index == 0 and draw(st.booleans()),
            }
            for index, server in enumerate(of)
        ]
        hosts[f"web{client}"] = {"tunnel": tunnels[0] if len(tunnels) == 1 else tunnels}
    return dict(draw(st.permutations(list(hosts.items()))))


def _tunnel(draw: st.DrawFn, client: int, server: int, number: int) -> dict[str, Any]:
    tunnel: dict[str, Any] = {
        "server": f"fra{server}",
        "ipv4": f"203.0.113.{client + 1}",
        "interface": f"six{server}",
        "mtu": draw(st.integers(1280, 65515)),
    }
    if draw(st.booleans()):
        tunnel["number"] = number
    else:
        pair = IPNetwork(_PREFIXES[server])[2 * number]
        tunnel |= {"server_ipv6": str(pair), "client_ipv6": str(pair + 1)}
    if draw(st.booleans()):
        tunnel["local_ipv4"] = f"192.0.2.{client + 1}"
    # A /48 of its own for each client, or a /49 and a /64 of it; the first /48 holds a `prefix`.
    length = 48 if server < 2 else 49
    of_client = list(IPNetwork(_POOLS[server]).subnet(length))[client + 1 if server < 2 else client]
    halves = list(of_client.subnet(length + 1))
    prefixes = draw(
        st.sampled_from([[], [of_client], [halves[1], next(halves[0].subnet(64, count=1))]])
    )
    if prefixes:
        tunnel["routed_prefixes"] = [str(prefix) for prefix in prefixes]
        if draw(st.booleans()):
            inside = IPAddress(prefixes[0].first + draw(st.integers(1, 2**64 - 1)))
            tunnel["lan"] = {
                "interface": f"eth{server + 1}",
                "address": f"{inside}/64",
                "advertise": draw(st.booleans()),
            }
    return tunnel


_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        ["fra0", "web0", "2001:db8::/32", "2001:db8:100::/48", "2001:db8:100::1/64", "::", "lo"]
    ),
    st.ip_addresses().map(str),
)
_ANYTHING = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner)
)


@st.composite
def broken_inventories(draw: st.DrawFn) -> Inventory:
    """A valid inventory in which one value, key or host was replaced by anything."""
    hosts = copy.deepcopy(draw(inventories()))
    place: Any = draw(st.sampled_from(list(hosts.values())))
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return hosts
        key = draw(st.sampled_from(keys))
        if isinstance(place[key], dict | list) and draw(st.integers(0, 3)):
            place = place[key]
        elif isinstance(place, dict) and draw(st.booleans()):
            place[draw(st.text(max_size=10) | st.integers() | st.none())] = place.pop(key)
            return hosts
        else:
            place[key] = draw(_ANYTHING)
            return hosts
