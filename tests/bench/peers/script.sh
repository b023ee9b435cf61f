# Makes a host the server of these tunnels, and shows that it is: by hand, for networkd, as
# `sh -s` over one ssh. $1 is the interface to the provider, $2 an address on the Internet, and
# $tunnels has a line for each: NAME MTU LOCAL REMOTE TTL ADDRESS/LENGTH ENTRY ENTRY. What is there
# already stays untouched.
set -eu
external=$1 probe=$2
new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT
each_tunnel() {
    while read -r name mtu local remote ttl address entry other; do "$@"; done <<END
$tunnels
END
}

# --- Files, for the next boot ---

network=$new/etc/systemd/network
mkdir -p "$network/$external.network.d" "$new/etc/sysctl.d"
files() {
    printf '%s\n' '[NetDev]' "Name=$name" Kind=sit "MTUBytes=$mtu" '' '[Tunnel]' Independent=yes \
        "Local=$local" "Remote=$remote" "TTL=$ttl" >"$network/60-culvert-$name.netdev"
    printf '%s\n' '[Match]' "Name=$name" '' '[Link]' RequiredForOnline=no '' '[Network]' \
        "Address=$address" IPv6AcceptRA=no ConfigureWithoutCarrier=yes \
        >"$network/60-culvert-$name.network"
}
entries() { printf 'IPv6ProxyNDPAddress=%s\n' "$entry" "$other"; }
sysctls() {
    printf -- "-net.ipv6.conf.$name.%s = 0\n" accept_ra accept_redirects autoconf
}
each_tunnel files
{
    printf '%s\n' '[Network]' IPv6ProxyNDP=yes
    each_tunnel entries
} >"$network/$external.network.d/60-culvert.conf"
{
    printf 'net.ipv6.%s\n' 'conf.all.forwarding = 1' 'conf.all.proxy_ndp = 1' \
        "neigh.$external.proxy_delay = 0"
    each_tunnel sysctls
} >"$new/etc/sysctl.d/60-culvert.conf"
cd "$new"
find etc -type f -exec sha256sum {} + >sums
if ! stale=$(cd / && sha256sum --check --quiet "$new/sums" 2>/dev/null); then
    echo "$stale"
    cp -r etc /
fi

# --- The running system ---

set_to() { [ "$(cat "/proc/sys/net/ipv6/$1")" = "$2" ] || echo "$2" >"/proc/sys/net/ipv6/$1"; }
set_to conf/all/forwarding 1
set_to conf/all/proxy_ndp 1
set_to "neigh/$external/proxy_delay" 0
links() {
    if [ ! -e "/sys/class/net/$name" ]; then
        echo "link add $name mtu $mtu type sit local $local remote $remote ttl $ttl"
    else
        read -r running <"/sys/class/net/$name/mtu"
        [ "$running" = "$mtu" ] || echo "link set dev $name mtu $mtu"
    fi
}
# Nothing that comes out of a tunnel leads this host elsewhere; before it is up.
deafen() {
    for key in accept_ra accept_redirects autoconf; do
        echo 0 >"/proc/sys/net/ipv6/conf/$name/$key"
    done
}
addresses() {
    echo "link set dev $name up"
    # It is there at once: nobody else is on a tunnel.
    echo "address replace $address dev $name nodad"
    echo "neighbour replace proxy $entry dev $external"
    echo "neighbour replace proxy $other dev $external"
}
each_tunnel links | ip -batch -
each_tunnel deafen
each_tunnel addresses | ip -batch -

# --- Proof ---

answered() {
    ping -q -n -c 1 -w 10 -I "${address%/*}" "$probe" >/dev/null || : >"$new/silent.$name" &
}
answers() {
    each_tunnel answered
    wait
}
answers
for each in silent.*; do
    [ ! -e "$each" ] || { echo "no answer: $(echo silent.*)" >&2; exit 1; }
done
