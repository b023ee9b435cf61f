"""Pure: the shell script that asks a host what it is now."""

import re
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path

from netaddr import IPNetwork, cidr_merge

from tasks.declared.model import Node
from tasks.declared.written import OUTER_HEADER
from tasks.host import perl, rollback
from tasks.host.ruleset import OWN_TABLE
from tasks.host.state import FALLBACK, FOLDER, OWNED, SET_PROTOCOLS, WARNINGS, Question, Search

# Culvert's own, what is waiting to be one, and what nobody reads.
_UNREAD = (f"{OWNED}*", ".*", "*~", "*.bak", "*.old", "*.orig", "*.disabled", "*.dpkg-*")

PROTOCOLS = ("kernel", *SET_PROTOCOLS)
TOLD = ("rules", "default", *PROTOCOLS, "proxies", "around")
"""What is asked for IPv6, with a mark between any two."""
# Whoever uses an address of it may use any other one.
_NEIGHBOURHOOD = 64

# Of a unit: what it is, how long it may take to start, and which others have it started.
PROPERTIES = ("Id", "LoadState", "ActiveState", "UnitFileState", "TimeoutStartUSec")
ASKING = ("WantedBy", "RequiredBy", "UpheldBy")

_MEASURING = Path(__file__).with_name("path.pl")
_READING = Path(__file__).with_name("read.pl")

# Which is told as no rule or route is, nor an entry.
_MARK = "link show dev lo"
_NO_LINE = "(?!)"

_CONF = "/proc/sys/net/ipv6/conf/*"
_SYSCTLS = (
    *("accept_ra", "accept_redirects", "autoconf", "forwarding", "hop_limit", "mtu"),
    *("proxy_ndp", "disable_ipv6"),
)
_SEARCHES = (
    Search(
        "sysctls",
        "",
        (
            *(f"{_CONF}/{name}" for name in _SYSCTLS),
            "/proc/sys/net/ipv6/neigh/*/proxy_delay",
            "/proc/sys/net/ipv6/icmp/echo_ignore_all",
        ),
        "path:line",
    ),
    # The files that the script has found.
    Search("sysctl-lines", r"^\s*[^#;\s]", ("-",)),
)

MARK = "@@ culvert "
ANSWER = "answer of "
WITHOUT_PERL = "without-perl"

_SCRIPT = r"""
section() { printf '\n%s%s\n' '@@ culvert ' "$1"; }
# As `cat` does, without a process.
show() {
    [ ! -r "$1" ] || while IFS= read -r line || [ -n "$line" ]; do printf '%s\n' "$line"; done <"$1"
} 2>/dev/null
has() { command -v "$1" >/dev/null 2>&1; }
export LC_ALL=C @PERL@ PATH="$PATH:/usr/sbin:/sbin"
has perl || { section @WITHOUT_PERL@; exit; }
@FUNCTIONS@
section uid
while read -r key _ uid _; do [ "$key" != Uid: ] || echo "$uid"; done </proc/self/status
section stamp; show @STAMP@
section holder
@HOLDING@
section report; show @REPORT@
section record; @RECORD@
section addresses; ip -json -details -force -batch - 2>/dev/null <<'END'
address show
rule show
@REMOTES@
END
section routes; ip -6 -json -force -batch - 2>/dev/null <<'END'
@AROUND@
END
# A module that isn't loaded has no rules, and would be loaded for whoever asks.
nf_tables=there
if [ ! -e /sys/module/nf_tables ]; then
    case $(modinfo -F filename nf_tables 2>/dev/null) in /*) nf_tables= ;; esac
fi
tables= listed=
[ -z "$nf_tables" ] || { has nft && tables=$(nft list tables 2>/dev/null) && listed=1; }
has_table() {
    case "
$tables
" in *"
table $1
"*) ;; *) false ;; esac
}
# Whether any is there of those that iptables works with.
has_tables_of() {
    for name in filter nat mangle raw security; do ! has_table "$1 $name" || return 0; done
    [ -z "$listed" ]
}
for family in ip ip6; do
    section "$family tables of nft"
    save=${family}tables-nft-save
    if [ -z "$nf_tables" ] || ! has_tables_of "$family"; then
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
    name=
    { read -r name <"/proc/net/${family}_tables_names"; } 2>/dev/null
    if [ -n "$name" ]; then "$save" 2>/dev/null; fi
done
section ufw
ufw=
for file in /etc/default/ufw /etc/ufw/ufw.conf; do
    [ ! -r "$file" ] || while read -r line || [ -n "$line" ]; do
        case $line in
        IPT_SYSCTL=*)
            echo "$line"
            line=${line#*=} line=${line%%[[:space:]]*} line=${line#[\"\']}
            ufw="$ufw ${line%[\"\']}"
            ;;
        ENABLED=*) echo "$line" ;;
        esac
    done <"$file"
done
sysctls="/etc/sysctl.d/*.conf /run/sysctl.d/*.conf /usr/local/lib/sysctl.d/*.conf
    /usr/lib/sysctl.d/*.conf /lib/sysctl.d/*.conf /etc/sysctl.conf $ufw"
section sysctl-files; printf '%s\n' $sysctls
@SEARCHING@
units= active= enabled=
if has systemctl; then
    for each in /etc/systemd/system/@OWNED@*.service; do
        [ ! -e "$each" ] || units="$units ${each##*/}"
    done
    units=$(systemctl show --property=@PROPERTIES@ networkd-dispatcher.service radvd.service \
        NetworkManager.service systemd-networkd.service systemd-networkd.socket \
        networking.service ufw.service nftables.service netfilter-persistent.service \
        docker.service firewalld.service NetworkManager-dispatcher.service $units 2>/dev/null)
fi
section units; printf '%s\n' "$units"
IFS='
'
for line in $units; do
    case $line in
    Id=*) id=${line#Id=} ;;
    ActiveState=active | ActiveState=reloading) active="$active $id " ;;
    UnitFileState=enabled) enabled="$enabled $id " ;;
    esac
done
unset IFS
is_active() { case $active in *" $1 "*) ;; *) false ;; esac; }
is_enabled() { case $enabled in *" $1 "*) ;; *) false ;; esac; }
@QUESTIONS@
section radvd
if has radvd; then
    echo installed
    [ ! -r /etc/radvd.conf ] || while read -r word name _ || [ -n "$word" ]; do
        [ "$word" != interface ] || echo "${name%%\{*}"
    done </etc/radvd.conf
fi
section sit; show /sys/module/sit/refcnt
section sit-loading
# By the alias that the kernel asks for, to which `blacklist` applies; without loading anything.
if [ ! -e /sys/module/sit ]; then
    show /proc/sys/kernel/modules_disabled
    modprobe --dry-run --verbose rtnl-link-sit 2>&1
    grep -rHE '^[[:space:]]*(install|blacklist)[[:space:]]+(sit|tunnel4|ip_tunnel)([[:space:]]|$)' \
        /etc/modprobe.d /run/modprobe.d /usr/lib/modprobe.d 2>/dev/null
fi
section programs
for program in ip cmp base64 sha256sum sed mktemp mkfifo nft unshare; do
    has $program || echo $program
done
section warnings; show @WARNINGS@
@BEFORE@
section end
"""

# What only matters to a run that is still to change something.
_BEFORE = r"""section listeners
# Who listens, and by which program; without iproute2's `ss`, without that.
if has ss; then
    ss -H -tulnp 2>/dev/null
else
    for protocol in tcp udp; do sed "s/^/$protocol /" /proc/net/${protocol}6 2>/dev/null; done
fi
section room
there=
for folder in @FOLDERS@; do
    found=$folder
    while [ ! -d "$found" ]; do found=${found%/*}; found=${found:-/}; done
    if [ -w "$found" ]; then echo "$folder writable"; else echo "$folder read-only"; fi
    there="$there $found"
done
df -Pk $there
section paths
@MEASURING@"""

_REMEMBERING = f"""echo "by $(cat {rollback.RECORDED_BY} 2>/dev/null)"
cat {rollback.RECORD} 2>/dev/null"""

_COPIES = Search("copies", ".", (rollback.COPIES,), "file")


def script(
    node: Node,
    questions: Collection[Question | Search],
    folders: Iterable[str],
    places: Iterable[str],
    measuring: str | None,
    *,
    remembers: bool = False,
) -> str:
    """The shell script that reads all of a host that matters to what it is to carry.

    `folders` are all those where files of Culvert may lie, `places` those where people set up a
    tunnel by hand. `measuring` is what `measuring()` returns: with it, it tells of what matters
    before a change, too. Where it `remembers`, it tells of the last confirmed run, too.
    """
    asked = [each for each in questions if isinstance(each, Question)]
    searches = [each for each in questions if isinstance(each, Search)]
    looked_for = [*_searches(node, searches, folders, places), *([_COPIES] if remembers else [])]
    return (
        _SCRIPT.replace("@BEFORE@", "" if measuring is None else _BEFORE)
        .replace("@MEASURING@", measuring or "")
        .replace("@FOLDERS@", " ".join(folders))
        .replace("@QUESTIONS@", "\n".join(f"section '{ANSWER}{e.name}'\n{e.script}" for e in asked))
        .replace("@SEARCHING@", searching(looked_for))
        .replace("@AROUND@", "\n".join(_around(node)))
        .replace("@PROPERTIES@", ",".join((*PROPERTIES, *ASKING)))
        .replace("@OWNED@", OWNED)
        .replace("@WARNINGS@", WARNINGS)
        .replace("@PERL@", perl.ENVIRONMENT)
        .replace("@WITHOUT_PERL@", WITHOUT_PERL)
        .replace("@FUNCTIONS@", rollback.FUNCTIONS)
        .replace("@HOLDING@", rollback.HOLDING)
        .replace("@STAMP@", rollback.STAMP)
        .replace("@REPORT@", rollback.REPORT)
        .replace("@RECORD@", _REMEMBERING if remembers else "")
        .replace("@REMOTES@", "\n".join(_outer(node)))
    )


def _searches(
    node: Node, asked: Iterable[Search], folders: Iterable[str], places: Iterable[str]
) -> Iterable[Search]:
    """All that files are asked for."""
    other = "|".join(map(_pattern, rollback.JOURNAL))
    # Culvert's own, wherever they are.
    own = rf"^(?!(?:{other})$)(?:.*/{OWNED}[^/]*|.*/{FOLDER}/(?:.*/)?[^./][^/]*)$"
    yield Search("files", own, (*folders,), "file")
    unread = "|".join(map(_pattern, _UNREAD))
    yield Search("lines", "|".join(_telling(node)), (*places,), left_out=unread)
    yield from _SEARCHES
    yield from (replace(each, name=f"{ANSWER}{each.name}") for each in asked)


def searching(searches: Iterable[Search]) -> str:
    """What prints all that files say, and the ruleset, in one process."""
    program = _READING.read_text().replace("@OWN_TABLE@", " ".join(OWN_TABLE))
    arguments = ('"$tables"', '"$sysctls"', "2>/dev/null")
    return perl.command(program, *arguments, lines=map(_asked, searches))


def _asked(search: Search) -> str:
    """A line of read.pl's input."""
    places = " ".join(search.places)
    whole = (search.name, search.form, search.pattern, places)
    return "\t".join((*whole, search.left_out, search.program, search.includes))


def _pattern(words: str) -> str:
    """Of Perl, for a pattern of find(1)'s or grep(1)'s."""
    return re.escape(words).replace(r"\*", ".*")


def measuring(node: Node, record: str) -> str:
    """What measures the paths to the other ends, where the record keeps what was found before."""
    if not node.ends:
        return ""
    ends = (
        f"{end.local} {end.remote} {end.mtu + OUTER_HEADER} "
        f"{'exactly' if end.tunnel.is_mtu_written else 'as-kept'}"
        for end in node.ends
    )
    return perl.command(_MEASURING.read_text(), record, "2>/dev/null", lines=ends)


def _around(node: Node) -> Iterable[str]:
    """Words of iproute2 for all that is TOLD.

    Of a routing daemon's very many routes, those alone that are in, are or cover a prefix of the
    node's.
    """
    yield from ("rule show", _MARK, "route show default")
    for protocol in PROTOCOLS:
        yield from (_MARK, f"route show proto {protocol}")
    yield from (_MARK, "neighbour show proxy", _MARK)
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
        yield from (re.escape(end.interface) for end in node.ends)
    else:
        yield _NO_LINE
