"""Pure: the shell script that asks a host what it is now."""

from collections.abc import Iterable
from pathlib import Path

from netaddr import IPNetwork, cidr_merge

from tasks.declared.model import Node
from tasks.declared.written import OUTER_HEADER
from tasks.host import rollback
from tasks.host.ruleset import OWN_TABLE
from tasks.host.state import FALLBACK, FOLDER, OWNED, SET_PROTOCOLS, WARNINGS, Question

# Culvert's own, what is waiting to be one, and what nobody reads.
_UNREAD = (f"{OWNED}*", ".*", "*~", "*.bak", "*.old", "*.orig", "*.disabled", "*.dpkg-*")

PROTOCOLS = ("kernel", *SET_PROTOCOLS)
# Whoever uses an address of it may use any other one.
_NEIGHBOURHOOD = 64

# Of a unit: what it is, and which others have it started.
PROPERTIES = ("Id", "LoadState", "ActiveState", "UnitFileState")
ASKING = ("WantedBy", "RequiredBy", "UpheldBy")

# Of a ruleset with its sets, in bytes.
_RULESET_LIMIT = 1_000_000
_MEASURING = Path(__file__).with_name("path.pl")

MARK = "@@ culvert "
ANSWER = "answer of "

_SCRIPT = r"""
section() { printf '\n%s%s\n' '@@ culvert ' "$1"; }
has() { command -v "$1" >/dev/null 2>&1; }
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"
section uid; id -u
# A copied disk brings its machine ID and SSH keys along. Each boot has another ID, which all
# containers of a kernel share, but not their network.
section machine; cat /proc/sys/kernel/random/boot_id && readlink /proc/self/ns/net
ours() {
    find @FOLDERS@ -type f \( -name '@OWNED@*' -o -path '*/@FOLDER@/*' ! -name '.*' \) \
        @JOURNAL@ "$@" 2>/dev/null
}
section stamp; cat @STAMP@ 2>/dev/null
section holder
@HOLDING@
section report; cat @REPORT@ 2>/dev/null
section record; @RECORD@
section unreadable; ours ! -readable
section files
ours -print0 |
    tar --create --gzip --file=- --null --no-recursion --absolute-names --files-from=- \
        2>/dev/null | base64
section addresses; ip -json -details address show
section default-routes; ip -6 -json route show default
# Not all of a routing daemon's, of which there may be very many.
for protocol in @PROTOCOLS@; do
    section "routes $protocol"; ip -6 -json route show proto "$protocol"
done
section routes; ip -6 -json -force -batch - 2>/dev/null <<'END'
@AROUND@
END
section rules; ip -6 rule show 2>/dev/null
section ipv4-rules; ip -4 rule show 2>/dev/null
section proxies; ip -6 -json neighbour show proxy
section devices; ip -4 -json -force -batch - 2>/dev/null <<'END'
@REMOTES@
END
section listeners
# Who listens, and by which program; without iproute2's `ss`, without that.
if has ss; then
    ss -H -tulnp 2>/dev/null
else
    for protocol in tcp udp; do sed "s/^/$protocol /" /proc/net/${protocol}6 2>/dev/null; done
fi
section ruleset
# A module that isn't loaded has no rules, and would be loaded for whoever asks.
nf_tables=there
if [ ! -e /sys/module/nf_tables ] && modinfo -F filename nf_tables 2>/dev/null | grep -q '^/'; then
    nf_tables=
fi
if [ -n "$nf_tables" ] && has nft; then
    # Not Culvert's own: before nft 1.1.0, the JSON of a table that has a flag is undefined.
    listed() {
        nft list tables | while read -r _ family name; do
            [ "$family $name" != "@OWN_TABLE@" ] || continue
            echo "table $family $name"; nft "$@" list table "$family" "$name"
        done
    } 2>/dev/null
    # Sets may be very large: without them, where all is more than people write.
    rules=$(listed -j | head -c @LIMIT@)
    if [ "${#rules}" -lt @LIMIT@ ]; then
        printf 'whole\n%s\n' "$rules"
    else
        rules=
        # Maps are written by people: with them, if they aren't too large themselves.
        echo terse; nft -j list maps 2>/dev/null | head -c @LIMIT@; echo; listed -j -t
    fi
fi
for family in ip ip6; do
    section "$family tables of nft"
    save=${family}tables-nft-save
    if [ -z "$nf_tables" ]; then
        :
    elif has "$save"; then
        "$save" 2>/dev/null
    elif ${family}tables-save --version 2>/dev/null | grep -q nf_tables; then
        ${family}tables-save 2>/dev/null
    fi
    # Whoever asks for a table that isn't there has it made.
    section "$family legacy tables"
    save=${family}tables-legacy-save
    has "$save" || save=${family}tables-save
    if grep -q . "/proc/net/${family}_tables_names" 2>/dev/null; then "$save" 2>/dev/null; fi
done
section sysctls
grep -H '' /proc/sys/net/ipv6/conf/*/accept_ra /proc/sys/net/ipv6/conf/*/accept_redirects \
    /proc/sys/net/ipv6/conf/*/autoconf /proc/sys/net/ipv6/conf/*/forwarding \
    /proc/sys/net/ipv6/conf/*/hop_limit /proc/sys/net/ipv6/conf/*/mtu \
    /proc/sys/net/ipv6/conf/*/proxy_ndp /proc/sys/net/ipv6/conf/*/disable_ipv6 \
    /proc/sys/net/ipv6/neigh/*/proxy_delay \
    /proc/sys/net/ipv6/icmp/echo_ignore_all 2>/dev/null
section ufw
ufw=$(grep -hE '^[[:space:]]*(ENABLED|IPT_SYSCTL)=' /etc/default/ufw /etc/ufw/ufw.conf 2>/dev/null)
echo "$ufw"
[ -z "$ufw" ] || ufw=$(echo "$ufw" | sed -n 's/^.*IPT_SYSCTL=//p' | tr -d "\"'")
sysctls="/etc/sysctl.d/*.conf /run/sysctl.d/*.conf /usr/local/lib/sysctl.d/*.conf
    /usr/lib/sysctl.d/*.conf /lib/sysctl.d/*.conf /etc/sysctl.conf $ufw"
section sysctl-files; printf '%s\n' $sysctls
section sysctl-lines; grep -nH '^[[:space:]]*[^#;[:space:]]' $sysctls 2>/dev/null
@QUESTIONS@
section units
if has systemctl; then
    systemctl show --property=@PROPERTIES@ networkd-dispatcher.service radvd.service \
        NetworkManager.service systemd-networkd.service systemd-networkd.socket \
        networking.service ufw.service nftables.service netfilter-persistent.service \
        docker.service firewalld.service \
        $(cd /etc/systemd/system && ls @OWNED@*.service 2>/dev/null) 2>/dev/null
fi
section radvd
if has radvd; then
    echo installed; sed -n 's/^[[:space:]]*interface[[:space:]]*\([^[:space:]{]*\).*/\1/p' \
        /etc/radvd.conf 2>/dev/null
fi
section sit; cat /sys/module/sit/refcnt 2>/dev/null
section sit-loading
# By the alias that the kernel asks for, to which `blacklist` applies; without loading anything.
if [ ! -e /sys/module/sit ]; then
    cat /proc/sys/kernel/modules_disabled
    modprobe --dry-run --verbose rtnl-link-sit 2>&1
    grep -rHE '^[[:space:]]*(install|blacklist)[[:space:]]+(sit|tunnel4|ip_tunnel)([[:space:]]|$)' \
        /etc/modprobe.d /run/modprobe.d /usr/lib/modprobe.d 2>/dev/null
fi
section programs
for program in ip ping find tar base64 sed mktemp mkfifo nft perl unshare; do
    has $program || echo $program
done
section ping; ping -V 2>&1
section room
there=
for folder in @FOLDERS@; do
    found=$folder
    while [ ! -d "$found" ]; do found=${found%/*}; found=${found:-/}; done
    if [ -w "$found" ]; then echo "$folder writable"; else echo "$folder read-only"; fi
    there="$there $found"
done
df -Pk $there
section warnings; cat @WARNINGS@ 2>/dev/null
section paths
@MEASURING@
section lines
grep -rnHIE @UNREAD@ @PATTERNS@ @PLACES@ 2>/dev/null
section end
"""

_REMEMBERING = f"""echo "by $(cat {rollback.RECORDED_BY} 2>/dev/null)"
cat {rollback.RECORD} 2>/dev/null"""


def script(
    node: Node,
    questions: Iterable[Question],
    folders: Iterable[str],
    places: Iterable[str],
    measuring: str,
    *,
    remembers: bool = False,
) -> str:
    """The shell script that reads all of a host that matters to what it is to carry.

    `folders` are all those where files of Culvert may lie, `places` those where people set up a
    tunnel by hand, and `measuring` is what `measuring()` returns, or nothing. Where it `remembers`,
    it tells of the last confirmed run, too.
    """
    asked = (f"section '{ANSWER}{question.name}'\n{question.script}" for question in questions)
    return (
        _SCRIPT.replace("@FOLDERS@", " ".join(folders))
        .replace("@QUESTIONS@", "\n".join(asked))
        .replace("@PLACES@", " ".join(places))
        .replace("@PROTOCOLS@", " ".join(PROTOCOLS))
        .replace("@AROUND@", "\n".join(_around(node)))
        .replace("@UNREAD@", " ".join(f"--exclude='{name}'" for name in _UNREAD))
        .replace("@PATTERNS@", " ".join(f"-e '{pattern}'" for pattern in _telling(node)))
        .replace("@PROPERTIES@", ",".join((*PROPERTIES, *ASKING)))
        .replace("@OWNED@", OWNED)
        .replace("@FOLDER@", FOLDER)
        .replace("@WARNINGS@", WARNINGS)
        .replace("@JOURNAL@", " ".join(f"! -path '{each}'" for each in rollback.JOURNAL))
        .replace("@HOLDING@", rollback.HOLDING)
        .replace("@STAMP@", rollback.STAMP)
        .replace("@REPORT@", rollback.REPORT)
        .replace("@RECORD@", _REMEMBERING if remembers else "")
        .replace("@LIMIT@", str(_RULESET_LIMIT))
        .replace("@OWN_TABLE@", " ".join(OWN_TABLE))
        .replace("@MEASURING@", measuring)
        .replace("@REMOTES@", "\n".join(_outer(node)))
    )


def measuring(node: Node, record: str) -> str:
    """What measures the paths to the other ends, where the record keeps what was found before."""
    if not node.ends:
        return ""
    ends = "\n".join(
        f"{end.local} {end.remote} {end.mtu + OUTER_HEADER} "
        f"{'exactly' if end.tunnel.is_mtu_written else 'as-kept'}"
        for end in node.ends
    )
    program = _MEASURING.read_text()
    return (
        f"perl - {record} 2>/dev/null <<'END_OF_PROGRAM'\n{program}__END__\n{ends}\nEND_OF_PROGRAM"
    )


def _around(node: Node) -> Iterable[str]:
    """Words of iproute2 for the routes that are in, are or cover a prefix of the node's."""
    prefixes = [prefix for server in node.servers for prefix in server.prefixes]
    for end in node.ends:
        prefixes += end.tunnel.routed_prefixes
        if not any(end.address in prefix for prefix in end.tunnel.server.prefixes):
            prefixes.append(IPNetwork(f"{end.address}/{_NEIGHBOURHOOD}").cidr)
    # Each is one more look through all routes.
    for prefix in cidr_merge(prefixes):
        yield f"route show table all root {prefix}"
        yield f"route show table all match {prefix}"
    for probe in sorted({server.probe_address for server in node.servers}):
        yield f"route show table all match {probe}"


def _outer(node: Node) -> Iterable[str]:
    """Words of iproute2 for the routes of what carries the tunnels' packets."""
    for end in node.ends:
        # A policy rule may be for what has this source.
        yield f"route get {end.remote} from {end.local}"
    for remote in sorted({end.remote for end in node.upstreams}):
        # Where the host doesn't have it.
        yield f"route get {remote}"


def _telling(node: Node) -> Iterable[str]:
    """Patterns of lines that may be about one of these tunnels: IPv6 addresses have two colons."""
    if node.ends:
        yield from ("proxy_ndp", ":.*:", FALLBACK, "^autoconnect=")
        yield from (end.interface for end in node.ends)
    else:
        # None: without a pattern, grep would take the first place for one.
        yield "^$^"
