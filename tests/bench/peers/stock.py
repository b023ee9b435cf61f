"""The same server by pyinfra's own operations: `pyinfra INVENTORY tests/bench/peers/stock.py`.

Its data: `external`, `tunnels`, each with a name, mtu, local, remote, ttl and address, `entries`,
`sysctls` by their names, and `deaf`, what is 0 for each tunnel.
"""

import json
from typing import Any

from pyinfra.context import host
from pyinfra.facts.server import Command
from pyinfra.operations import files, server

FOLDER = "/etc/systemd/network"
TEMPLATES = "tests/bench/peers/templates"
tunnels: list[dict[str, Any]] = host.data.tunnels
entries: list[str] = host.data.entries
sysctls: dict[str, str] = host.data.sysctls
deaf: list[str] = host.data.deaf
external: str = host.data.external

# Of what the kernel has, all in one command.
asked = "ip -json -details address show; ip -6 -json neighbour show proxy"
addresses, proxies = map(json.loads, host.get_fact(Command, asked).splitlines())
links = {link["ifname"]: link for link in addresses}
held = {proxy["dst"] for proxy in proxies}


def has_address(tunnel: dict[str, Any]) -> bool:
    """Whether it is up, and has its address."""
    link = links.get(tunnel["name"], {"flags": [], "addr_info": []})
    there = {f"{each['local']}/{each['prefixlen']}" for each in link["addr_info"]}
    return "UP" in link["flags"] and tunnel["address"] in there


def batch(name: str, lines: list[str]) -> None:
    """One command of iproute2's for all that is to be done, if anything is."""
    if lines:
        text = "\n".join(lines)
        server.shell(name=name, commands=[f"ip -batch - <<'END'\n{text}\nEND"])


for tunnel in tunnels:
    for kind in ("netdev", "network"):
        files.template(
            name=f"{tunnel['name']}.{kind}",
            src=f"{TEMPLATES}/tunnel.{kind}.j2",
            dest=f"{FOLDER}/60-culvert-{tunnel['name']}.{kind}",
            tunnel=tunnel,
        )
files.template(
    name="Proxy entries",
    src=f"{TEMPLATES}/external.conf.j2",
    dest=f"{FOLDER}/{external}.network.d/60-culvert.conf",
    entries=entries,
)
files.template(
    name="Settings",
    src=f"{TEMPLATES}/sysctl.conf.j2",
    dest="/etc/sysctl.d/60-culvert.conf",
    sysctls=sysctls,
    tunnels=tunnels,
    deaf=deaf,
)
for key, value in sysctls.items():
    server.sysctl(name=f"{key} is {value}", key=key, value=value)

new = [tunnel for tunnel in tunnels if tunnel["name"] not in links]
other = [t for t in tunnels if t not in new and links[t["name"]]["mtu"] != t["mtu"]]
batch(
    "Tunnels",
    [
        *(
            f"link add {each['name']} mtu {each['mtu']} type sit local {each['local']} "
            f"remote {each['remote']} ttl {each['ttl']}"
            for each in new
        ),
        *(f"link set dev {each['name']} mtu {each['mtu']}" for each in other),
    ],
)
# As it is before the tunnels are up.
for tunnel in tunnels:
    for key in deaf:
        server.sysctl(
            name=f"{tunnel['name']} has no {key}",
            key=f"net.ipv6.conf.{tunnel['name']}.{key}",
            value="0",
        )
batch(
    "Addresses and proxy entries",
    [
        *(
            line
            for each in tunnels
            if not has_address(each)
            for line in (
                f"link set dev {each['name']} up",
                f"address replace {each['address']} dev {each['name']}",
            )
        ),
        *(f"neighbour add proxy {each} dev {external}" for each in entries if each not in held),
    ],
)
