"""What a host's answer is understood as."""

import re
import subprocess
from dataclasses import replace

import pytest
from netaddr import IPAddress, IPNetwork

from tasks import parts
from tasks.declared import declaration
from tasks.declared.model import Node
from tasks.host import rollback
from tasks.host.answer import parse
from tasks.host.ruleset import Flow
from tasks.host.state import (
    File,
    Line,
    Link,
    Room,
    Route,
    Unit,
    UnreadableStateError,
    sysctl_key,
    sysctl_path,
)
from tests import answers
from tests.samples import node

# As a Debian 12 server with netplan answers once a tunnel is deployed, cut to what matters.
ANSWER = """Welcome! It is @@ culvert day.

@@ culvert uid
0

@@ culvert machine
5d1bb7d0-2f5c-4e0e-9b7e-52c0a1f4ad6e
net:[4026531840]

@@ culvert stamp
5f3a0c2e-7b1d-4a52-9a53-0a8d6c1f2b47

@@ culvert holder
alice@laptop, since 2026-01-01 10:00:00 UTC, is at work on this host, and that ends by itself in 9 s

@@ culvert report
2026-01-01 09:00:00 UTC: undone, because nobody confirmed it in time: the run of alice@laptop

@@ culvert record
by alice@laptop from 192.0.2.9, since 2026-11-27 12:03:04 UTC
{{"host": "fra1.example.net"}}

@@ culvert unreadable
/etc/netplan/60-culvert-sit-old.yaml

@@ culvert files
{files}
@@ culvert addresses
[{{}},{{"ifindex":2,"ifname":"eth0","flags":["BROADCAST","UP","LOWER_UP"],"mtu":1500,
"linkinfo":{{}},"addr_info":[{{"family":"inet","local":"198.51.100.10","prefixlen":25}}]}},
{{"ifindex":5,"link":null,"ifname":"sit-web1","flags":["POINTOPOINT","NOARP"],"mtu":1480,
"linkinfo":{{"info_kind":"sit","info_data":{{"proto":"ip6ip","remote":"203.0.113.20",
"local":"198.51.100.10","ttl":255,"pmtudisc":true}}}},
"addr_info":[{{"family":"inet6","local":"2001:db8:1::2","prefixlen":127}}]}}]
[{{"priority":32765,"not":null,"src":"all","fwmark":"0xca6c","table":"51820",
"protocol":"kernel"}}]
[{{"type":"unicast","dst":"203.0.113.1","gateway":"198.51.100.1","dev":"eth0","table":"main",
"flags":[]}}]
[{{"dst":"203.0.113.1","dev":"wg0","prefsrc":"192.0.2.1","flags":[],"uid":0}}]
[{{"dst":"203.0.113.2","from":"198.51.100.10","dev":"wg0","table":"51820","flags":[],"uid":0}}]

@@ culvert routes
[{{"priority":0,"src":"all","table":"local"}},{{"priority":100,"src":"2001:db8:1::","srclen":64,
"iif":"eth0","iif_detached":null,"table":"100"}},{{"priority":32766,"src":"all","table":"main"}}]
[{{"ifindex":1,"ifname":"lo"}}]
[{{"dst":"default","gateway":"fe80::1","dev":"eth0","protocol":"ra","metric":1024,"flags":[]}},
{{"dst":"default","gateway":"fe80::2","dev":"eth0","metric":2048,"flags":[]}}]
[{{"ifindex":1,"ifname":"lo"}}]
[{{"dst":"2001:db8:1::2/127","dev":"sit-web1","metric":256,"flags":[]}}]
[{{"ifindex":1,"ifname":"lo"}}]
[{{"type":"unreachable","dst":"2001:db8:100::/40","dev":"lo","metric":4294967295,"flags":[]}},
{{"dst":"default","gateway":"fe80::2","dev":"eth0","metric":2048,"flags":[]}}]
[{{"ifindex":1,"ifname":"lo"}}]
[]
[{{"ifindex":1,"ifname":"lo"}}]
[{{"dst":"2001:db8:1::3","dev":"eth0","proxy":null}}]
[{{"ifindex":1,"ifname":"lo"}}]
[{{"dst":"2001:db8:1::/64","dev":"wg0","table":"100","metric":1024,"flags":[],"pref":"medium"}},
{{"type":"throw","dst":"2001:db8:1::4","dev":"lo","table":"100","metric":1024,"flags":[]}},
{{"dst":"2001:db8:1::8","protocol":"bird","metric":32,"flags":[],"nexthops":[
{{"gateway":"fe80::3","dev":"eth0","weight":1,"flags":[]}},
{{"gateway":"fe80::4","dev":"eth1","weight":1,"flags":["linkdown"]}}]}}]
[{{"dst":"2001:db8:1::/64","dev":"wg0","table":"100","metric":1024,"flags":[],"pref":"medium"}},
{{"dst":"default","gateway":"fe80::1","dev":"eth0","protocol":"ra","metric":1024,"flags":[]}}]

@@ culvert listeners
tcp   LISTEN 0      128             [::]:22           [::]:*    users:(("sshd",pid=500,fd=3))

@@ culvert ruleset
whole
table ip filter
{{"nftables": [{{"metainfo": {{"version": "1.0.6", "json_schema_version": 1}}}},
{{"table": {{"family": "ip", "name": "filter", "handle": 1}}}},
{{"chain": {{"family": "ip", "table": "filter", "name": "INPUT", "handle": 1, "type": "filter",
"hook": "input", "prio": 0, "policy": "drop"}}}},
{{"rule": {{"family": "ip", "table": "filter", "chain": "INPUT", "handle": 2,
"expr": [{{"xt": {{"type": "match", "name": "conntrack"}}}}, {{"accept": null}}]}}}},
{{"rule": {{"family": "ip", "table": "filter", "chain": "INPUT", "handle": 3,
"expr": [{{"match": {{"op": "==", "left": {{"meta": {{"key": "iifname"}}}},
"right": {{"set": ["a", "b"]}}}}}}, {{"accept": null}}]}}}}]}}

@@ culvert ip tables of nft
*filter
:INPUT DROP [0:0]
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -j ACCEPT
COMMIT

@@ culvert ip legacy tables

@@ culvert ip6 tables of nft

@@ culvert ip6 legacy tables
*filter
:FORWARD DROP [0:0]
COMMIT

@@ culvert sysctls
/proc/sys/net/ipv6/conf/eth0.7/proxy_ndp:1

@@ culvert ufw
IPT_SYSCTL=/etc/ufw/sysctl.conf
ENABLED=yes

@@ culvert sysctl-files
/etc/sysctl.d/50-masked.conf
/etc/sysctl.d/99-mine.conf
/run/sysctl.d/*.conf
/usr/lib/sysctl.d/50-masked.conf

@@ culvert sysctl-lines
/etc/sysctl.d/99-mine.conf:2:net.ipv6.conf.eth0/7.proxy_ndp = 0
/usr/lib/sysctl.d/50-masked.conf:1:net.ipv6.conf.all.forwarding=0

@@ culvert answer of networkd


@@ culvert answer of ifupdown
eth0=eth0
source /etc/network/interfaces.d/*

@@ culvert units
Id=networkd-dispatcher.service
LoadState=loaded
ActiveState=inactive
UnitFileState=enabled

Id=radvd.service
LoadState=not-found
ActiveState=inactive
UnitFileState=

@@ culvert radvd
installed
eth5

@@ culvert sit
0

@@ culvert sit-loading
0
modprobe: FATAL: Module rtnl-link-sit not found in directory /lib/modules/6.1.0

@@ culvert programs
nft

@@ culvert room
/etc/netplan writable
/var/lib/culvert read-only
Filesystem     1024-blocks   Used Available Capacity Mounted on
/dev/vda           2022400 418100   1483060      22% /
tmpfs                57348    776     56572       2% /var

@@ culvert warnings
ifup --force sit-web1 ended with status 1: run-parts: /etc/network/if-up.d/mine

@@ culvert paths
198.51.100.10 203.0.113.20 1400

@@ culvert lines
/etc/rc.local:3:ip link add sit-web1: x

@@ culvert end
"""


@pytest.fixture
def answer() -> str:
    found = File("a=1\n", 0o600)
    return ANSWER.format(files=answers.file("/etc/sysctl.d/60-culvert.conf", found) + "\n")


def test_everything_is_read(answer: str) -> None:
    found = parse(answer)
    assert found.uid == 0
    assert found.machine == "5d1bb7d0-2f5c-4e0e-9b7e-52c0a1f4ad6e, net:[4026531840]"
    assert found.stamp == "5f3a0c2e-7b1d-4a52-9a53-0a8d6c1f2b47"
    assert found.holder.startswith("alice@laptop, since 2026-01-01 10:00:00 UTC, is at work on")
    assert not found.is_cut_off
    assert found.report.endswith("nobody confirmed it in time: the run of alice@laptop")
    assert found.record == '{"host": "fra1.example.net"}'
    assert found.recorded_by.startswith("alice@laptop from")
    assert found.unreadable == ("/etc/netplan/60-culvert-sit-old.yaml",)
    assert found.files == {"/etc/sysctl.d/60-culvert.conf": File("a=1\n", 0o600)}
    assert found.links == {
        "eth0": Link("eth0", None, True, 1500, ("198.51.100.10/25",)),
        "sit-web1": Link(
            "sit-web1",
            "sit",
            False,
            1480,
            ("2001:db8:1::2/127",),
            IPAddress("198.51.100.10"),
            IPAddress("203.0.113.20"),
            255,
        ),
    }
    assert found.routes == (
        Route("default", "fe80::1", "eth0", "ra", 1024),
        Route("default", "fe80::2", "eth0", "boot", 2048),
        Route("2001:db8:1::2/127", None, "sit-web1", "kernel", 256),
        Route("2001:db8:100::/40", None, "lo", "boot", 4294967295, "unreachable"),
        Route("2001:db8:1::8", "fe80::3", "eth0", "bird", 32),
        Route("2001:db8:1::8", "fe80::4", "eth1", "bird", 32),
    )
    assert found.tables == {
        "100": (
            Route("2001:db8:1::/64", None, "wg0", "boot", 1024),
            Route("2001:db8:1::4", None, "lo", "boot", 1024, "throw"),
        )
    }
    assert [str(rule) for rule in found.rules] == [
        "0: from all lookup local",
        "100: from 2001:db8:1::/64 iif eth0 [detached] lookup 100",
        "32766: from all lookup main",
    ]
    assert [str(rule) for rule in found.ipv4_rules] == [
        "32765: not from all fwmark 0xca6c lookup 51820"
    ]
    assert found.proxies == {(IPAddress("2001:db8:1::3"), "eth0")}
    assert found.ipv4_devices == {
        IPAddress("203.0.113.1"): "eth0",
        IPAddress("203.0.113.2"): "wg0",
    }
    assert found.ipv4_tables == {IPAddress("203.0.113.2"): "51820"}
    assert found.sysctls == {"net/ipv6/conf/eth0.7/proxy_ndp": "1"}
    mine, masked = "/etc/sysctl.d/99-mine.conf", "/usr/lib/sysctl.d/50-masked.conf"
    assert found.sysctl_files == {
        "/etc/sysctl.d/50-masked.conf": (),
        mine: (Line(mine, 2, "net.ipv6.conf.eth0/7.proxy_ndp = 0"),),
        masked: (Line(masked, 1, "net.ipv6.conf.all.forwarding=0"),),
    }
    assert found.ufw_sysctls == "/etc/ufw/sysctl.conf"
    assert found.answers == {
        "networkd": "",
        "ifupdown": "eth0=eth0\nsource /etc/network/interfaces.d/*",
    }
    assert found.units == {
        "networkd-dispatcher.service": Unit(is_loaded=True, is_active=False, is_enabled=True),
        "radvd.service": Unit(is_loaded=False, is_active=False, is_enabled=False),
    }
    assert found.has_radvd
    assert found.radvd_interfaces == {"eth5"}
    assert found.lines == (Line("/etc/rc.local", 3, "ip link add sit-web1: x"),)
    assert found.sit_is_module
    assert found.sit_loading == (
        "0",
        "modprobe: FATAL: Module rtnl-link-sit not found in directory /lib/modules/6.1.0",
    )
    assert found.missing_programs == ("nft",)
    assert found.room == {
        "/etc/netplan": Room(is_writable=True, free=1483060),
        "/var/lib/culvert": Room(is_writable=False, free=56572),
    }
    assert found.paths == {(IPAddress("198.51.100.10"), IPAddress("203.0.113.20")): 1400}
    (warning,) = found.warnings
    assert warning.endswith("run-parts: /etc/network/if-up.d/mine")


def test_a_run_that_was_cut_off_holds_the_host_for_nobody(answer: str) -> None:
    found = parse(re.sub(r"alice@laptop, since .* 9 s", rollback.CUT_OFF, answer))
    assert found.is_cut_off
    assert found.holder == ""


def test_rules_are_told_by_nft_and_by_iptables_each_of_what_it_knows(answer: str) -> None:
    """Iptables takes a rule of nft's for one without conditions."""
    ruleset = parse(answer).ruleset
    incoming = Flow("input", IPNetwork("203.0.113.20"), IPNetwork("198.51.100.10"), "eth0", "", 41)
    (drop,) = ruleset.drops(incoming)
    assert str(drop) == "chain ip filter INPUT drops it (policy)"
    through = Flow("forward", IPNetwork("2001:db8:1::3"), IPNetwork("::/0"), "sit-web1", "eth0")
    (drop,) = ruleset.drops(through)
    assert str(drop) == "chain ip6tables (legacy) filter FORWARD drops it (policy)"


def test_a_destination_comes_before_what_a_route_is_encapsulated_for(answer: str) -> None:
    """As iproute2 before 6.3 prints it: two fields of one name."""
    plain = '{"dst":"default","gateway":"fe80::1"'
    other = '"encap":"ip6","id":5,"src":"::","dst":"2001:db8:ffff::2"'
    assert plain in answer
    found = parse(answer.replace(plain, f'{{"dst":"default",{other},"gateway":"fe80::1"'))
    assert found.routes == parse(answer).routes


def test_a_route_for_some_senders_alone_is_none_for_others(answer: str) -> None:
    plain = '{"dst":"default","gateway":"fe80::1"'
    of_some = answer.replace(plain, '{"dst":"default","from":"2001:db8:7::/64","gateway":"fe80::1"')
    others = [route for route in parse(answer).routes if route.gateway != "fe80::1"]
    assert [*parse(of_some).routes] == others


def test_an_alias_may_have_any_character(answer: str) -> None:
    """As iproute2 before 7.0 prints it."""
    odd = answer.replace('"ifname":"eth0"', '"ifname":"eth0","ifalias":"a\x1b[1mb"')
    assert parse(odd).links == parse(answer).links


def test_half_of_what_tells_machines_apart_tells_nothing(answer: str) -> None:
    assert parse(answer.replace("net:[4026531840]\n", "")).machine == ""


def test_a_cut_off_answer_is_not_mistaken_for_a_host(answer: str) -> None:
    for end in range(0, len(answer) - len("@@ culvert end\n"), 7):
        with pytest.raises(UnreadableStateError):
            parse(answer[:end])


@pytest.mark.parametrize(
    ("good", "garbage"),
    [
        ('"mtu":1500', '"mtv":1500'),
        ('"mtu":1500', '"mtu":1e999'),
        ('"ifname":"eth0"', '"ifname":"eth0 x"'),
        ('"dst":"2001:db8:1::2/127"', '"dst":"$(x)"'),
        ('[{"dst":"2001:db8:1::3"', '["dst"]\n[{"dst":"2001:db8:1::3"'),
        ('"dst":"2001:db8:1::3"', '"dst":"x"'),
        ("/proc/sys/net/ipv6/conf/eth0.7/proxy_ndp", "/proc/sys/x"),
        ('"src":"2001:db8:1::"', '"src":"x"'),
        ("@@ culvert routes\n", f"@@ culvert routes\n{'[' * 100_000}"),
        # An answer is missing, or one too many.
        ('[{"ifindex":1,"ifname":"lo"}]\n', ""),
        ('[{"ifindex":1,"ifname":"lo"}]\n', '[{"ifname":"lo"}]\n[{"ifname":"lo"}]\n'),
        ("0600 ", "0900 "),
        ("0600 ", "0600 !"),
    ],
)
def test_garbage_is_an_error_for_people(answer: str, good: str, garbage: str) -> None:
    assert good in answer
    with pytest.raises(UnreadableStateError, match="unexpected form"):
        parse(answer.replace(good, garbage, 1))


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("net.ipv6.conf.all.forwarding", "net/ipv6/conf/all/forwarding"),
        ("net/ipv6/conf/eth0.7/proxy_ndp", "net/ipv6/conf/eth0.7/proxy_ndp"),
        ("net.ipv6.conf.eth0/7.proxy_ndp", "net/ipv6/conf/eth0.7/proxy_ndp"),
        ("/net//ipv6/./conf/all/forwarding", "net/ipv6/conf/all/forwarding"),
    ],
)
def test_the_first_separator_of_a_sysctl_decides(key: str, path: str) -> None:
    assert sysctl_path(key) == path
    assert sysctl_path(sysctl_key(path)) == path


@pytest.mark.parametrize(
    ("lines", "is_off", "is_masked"),
    [
        (["UnitFileState=enabled", "WantedBy=multi-user.target"], False, False),
        (["UnitFileState=disabled", "WantedBy=", "RequiredBy="], True, False),
        # As netplan's generator has it, before and after its unit is there.
        (["UnitFileState=enabled-runtime", "WantedBy=multi-user.target"], False, False),
        (["UnitFileState=disabled", "WantedBy=multi-user.target"], False, False),
        (["UnitFileState=disabled", "WantedBy=", "RequiredBy=wait.service"], False, False),
        (["UnitFileState=static", "WantedBy="], False, False),
        (["UnitFileState=masked", "WantedBy=multi-user.target"], True, True),
        # Gone with /run.
        (["UnitFileState=masked-runtime", "WantedBy="], False, False),
        (["UnitFileState=", "WantedBy="], False, False),
    ],
)
def test_what_does_not_start_at_boot(
    answer: str, lines: list[str], is_off: bool, is_masked: bool
) -> None:
    block = "\n".join(["Id=x.service", "LoadState=loaded", "ActiveState=active", *lines])
    unit = parse(answer.replace("Id=radvd.service", f"{block}\n\nId=radvd.service")).units
    assert (unit["x.service"].is_off_at_boot, unit["x.service"].is_masked) == (is_off, is_masked)


@pytest.mark.parametrize(
    ("span", "seconds"),
    [("5min", 300), ("1min 30s", 90), ("500ms", 0.5), ("infinity", None)],
)
def test_how_long_a_service_may_take_to_start(
    answer: str, span: str, seconds: float | None
) -> None:
    known = "Id=radvd.service\n"
    found = parse(answer.replace(known, f"{known}TimeoutStartUSec={span}\n"))
    assert found.units["radvd.service"].start_limit == seconds


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("", None),
        ("ENABLED=no\nIPT_SYSCTL=/etc/ufw/sysctl.conf", None),
        ("IPT_SYSCTL=/etc/ufw/sysctl.conf\nENABLED=YES", "/etc/ufw/sysctl.conf"),
        ("IPT_SYSCTL='/etc/my.conf'\nENABLED=\"yes\"", "/etc/my.conf"),
        ("IPT_SYSCTL=\nENABLED=yes", None),
    ],
)
def test_ufw_has_sysctls_where_it_is_switched_on(answer: str, text: str, path: str | None) -> None:
    said = "IPT_SYSCTL=/etc/ufw/sysctl.conf\nENABLED=yes\n"
    assert parse(answer.replace(said, f"{text}\n")).ufw_sysctls == path


@pytest.mark.parametrize("measures", [True, False])
def test_the_script_is_one_that_a_posix_shell_reads(*, measures: bool) -> None:
    script = parts.script(node("client"), measures=measures)
    assert ("203.0.113.20 198.51.100.10 1500 as-kept" in script) == measures
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)
    assert not re.search(r"@[A-Z]+@", script)
    assert "|sit\\-ipv6\t" in script


def batches(script: str) -> tuple[list[str], list[str]]:
    """What iproute2 is asked all at once: for routes around prefixes, and for those of IPv4."""
    found = re.findall(r"\bip -.* <<'END'\n((?:.*\n)*?)END\n", script)
    outer, routes = (text.splitlines() for text in found)
    assert outer[0] == "address show"
    last = "neighbour show proxy\nlink show dev lo\n"
    return "\n".join(routes).partition(last)[2].splitlines(), outer[1:]


def test_routes_are_asked_for_narrowly_and_in_one_process() -> None:
    around, outer = batches(parts.script(node("delegating-server")))
    assert around == [
        "route show table all root 2001:db8:1::/64",
        "route show table all match 2001:db8:1::/64",
        "route show table all root 2001:db8:100::/40",
        "route show table all match 2001:db8:100::/40",
        "route show table all match 2001:4860:4860::8888",
    ]
    assert outer == ["rule show", "route get 203.0.113.20 from 198.51.100.10"]
    around, outer = batches(parts.script(node("client")))
    assert around[0] == "route show table all root 2001:db8:1::/64"
    assert outer == [
        "rule show",
        "route get 198.51.100.10 from 203.0.113.20",
        "route get 198.51.100.10",
    ]


def test_addresses_that_are_named_are_asked_for_by_their_neighbourhood() -> None:
    names = range(2, 40, 2)
    hosts: dict[str, dict[str, object]] = {
        f"web{n}": {
            "tunnel": {
                "server": "fra1",
                "ipv4": f"203.0.113.{n}",
                "server_ipv6": f"2001:db8:1::{n}",
                "client_ipv6": f"2001:db8:1::{n + 1}",
            }
        }
        for n in names
    }
    hosts["fra1"] = {"tunnel_server": {"ipv4": "198.51.100.10"}}
    around, _ = batches(parts.script(declaration.read(hosts, []).nodes["fra1"]))
    assert around[:2] == [
        "route show table all root 2001:db8:1::/64",
        "route show table all match 2001:db8:1::/64",
    ]
    assert len(around) == 3


def test_lines_of_strange_files_are_left_out(answer: str) -> None:
    strange = "Binary file /etc/rc.local matches\n/etc/netplan/a:1:x\x0cy:z\n"
    found = parse(answer.replace("@@ culvert lines\n", f"@@ culvert lines\n{strange}"))
    assert [line.text for line in found.lines] == ["x\x0cy:z", "ip link add sit-web1: x"]


def test_a_host_with_nothing_to_carry_is_asked_for_no_lines() -> None:
    nothing = Node("db1", None, None, ())
    assert "\nlines\tpath:number:line\t(?!)\t" in parts.script(nothing)


def test_an_array_that_is_left_open_is_empty(answer: str) -> None:
    """As iproute2 tells of rules where the kernel has no IPv6."""
    known = parse(answer)
    told = re.search(r"@@ culvert routes\n(.*?\n?.*?\]\n)\[\{\"ifindex\":1", answer, re.DOTALL)
    assert told is not None
    found = parse(answer.replace(told[1], "["))
    assert found == replace(known, rules=())
