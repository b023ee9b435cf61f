"""Proofs on this computer's own kernel: of a tunnel, and of what lies behind its server."""

from collections.abc import Iterable

from tasks.parts.part import Site
from tasks.planning import proof
from tasks.planning.proof import Check, Result
from tests import networks
from tests.samples import node

SERVER, CLIENT, PROBE = "2001:db8:1::2", "2001:db8:1::3", "2001:4860:4860::8888"
OWN, ROUTER = "2001:db8:2::1", "2001:db8:2::2"
SITES = {
    "server": Site(node("server"), "eth1"),
    "client": Site(node("client"), "eth0"),
}

# A link of the size of a tunnel, called as its interfaces are.
HOSTS = f"""
make client server internet
ip -n client link add sit-ipv6 mtu 1480 type veth peer name sit-web1 netns server
ip -n server link add eth1 mtu 1500 type veth peer name eth0 netns internet
ip -n client link set sit-ipv6 up
ip -n server link set sit-web1 up
ip -n server link set eth1 up
ip -n internet link set eth0 up
ip -n client address add {CLIENT}/127 dev sit-ipv6 nodad
ip -n server address add {SERVER}/127 dev sit-web1 nodad
ip -n server address add {OWN}/64 dev eth1 nodad
ip -n internet address add {ROUTER}/64 dev eth0 nodad
ip -n internet address add {PROBE}/128 dev lo nodad
ip -n client route add default via {SERVER}
ip -n server route add {PROBE} via {ROUTER}
ip -n internet route add default via {OWN}
ip netns exec server sh -c 'echo 1 >/proc/sys/net/ipv6/conf/all/forwarding'
ip netns exec server sh -c 'echo 1 >/proc/sys/net/ipv6/conf/all/proxy_ndp'
ip -n server neighbour add proxy {SERVER} dev eth1
ip -n server neighbour add proxy {CLIENT} dev eth1
"""

_TABLE = """
ip netns exec {host} nft -f - <<'END'
table inet {hook}-rules {{
    chain c {{
        type filter hook {hook} priority 0
        {rules}
    }}
}}
END
"""


def firewall(host: str, *rules: str, hook: str = "input") -> str:
    """What puts rules of nftables' on a host."""
    return _TABLE.format(host=host, hook=hook, rules="\n        ".join(rules))


# A process on each host that holds the table of its filter, as long as the test goes on.
HELD = """
for host in server client; do
    mkfifo /run/held-$host
    ip netns exec $host nft -i </run/held-$host >/dev/null &
done
exec 8>/run/held-server 9>/run/held-client
echo 'add table inet culvert { flags owner; }' | tee /dev/fd/8 >&9
for host in server client; do
    until ip netns exec $host nft list table inet culvert >/dev/null 2>&1; do sleep 0.05; done
done
"""

# Instead of what the programs have there.
Patience = dict[str, str]
SHORT = {"ATTEMPTS => 10,": "ATTEMPTS => 2,", "SECONDS => 20;": "SECONDS => 2;"}


def seen(
    wanted: dict[str, list[Check]], more: str = "", after: float = 0, patience: Patience = SHORT
) -> dict[str, list[Result]]:
    """By host, what checks find on hosts to which more was done, the last one's begun later."""
    script = f"{HOSTS}{more}\nproofs=\n"
    for name, checks in wanted.items():
        text = proof.script(checks)
        for written, instead in patience.items():
            assert written in text
            text = text.replace(written, instead)
        pause = f"sleep {after}\n" if after and name == [*wanted][-1] else ""
        script += f"{pause}ip netns exec {name} sh >/run/{name} <<'END_OF_SCRIPT' &\n{text}"
        script += 'END_OF_SCRIPT\nproofs="$proofs $!"\n'
    script += "wait $proofs\n" + "".join(f"echo '= {name}'; cat /run/{name}\n" for name in wanted)
    printed = "\n".join(networks.run(script)).split("= ")
    outputs = (part.partition("\n") for part in printed if part)
    return {name: proof.results(wanted[name], output) for name, _, output in outputs}


def sentences(results: Iterable[Result]) -> list[str]:
    return [result.sentence for result in results]
