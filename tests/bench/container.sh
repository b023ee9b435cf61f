# Makes a tunnel server of these namespaces of network, mounts and processes, and stays as its first
# process. Its argument is a folder of programs that stand for the host's.
#
# Beyond its uplink eth0 is the Internet, in a network of its own: the provider's router, which asks
# for each address on the link, and an address that answers. Beyond that are all clients, in another
# one: the input has lines of iproute2 that make their ends.
set -eu
programs=$1
# As it is called outside of them.
read -r first _ </proc/self/stat

# What a host keeps lies in memory; of /etc, what programs are started and users found by.
mount -t tmpfs none /run
mkdir -p /run/root /run/systemd/netif/links /run/units /run/of/etc /run/of/lib /run/of/programs
for each in alternatives group ld.so.cache ld.so.conf ld.so.conf.d localtime nsswitch.conf passwd; do
    [ ! -e "/etc/$each" ] || cp -a "/etc/$each" /run/of/etc
done
# With a home of its own.
sed -i 's|:/root:|:/run/root:|' /run/of/etc/passwd
cp "$programs"/* /run/of/programs
mount -t tmpfs none /tmp
mount --bind /run/of/etc /etc
mount --bind /run/of/lib /var/lib
mount --bind /run/of/programs /usr/local/sbin
mount -t proc none /proc
mount -t sysfs none /sys

# Addresses are there at once.
quick='for each in all default; do echo 0 >/proc/sys/net/ipv6/conf/$each/accept_dad; done'
eval "$quick"
network() {
    unshare --net sleep infinity &
    until [ "$(readlink "/proc/$!/ns/net")" != "$(readlink /proc/self/ns/net)" ]; do
        sleep 0.01
    done
    nsenter --target "$!" --net sh -euc "$quick; ip link set lo up"
}
network
internet=$!
network
clients=$!
ip link add eth0 type veth peer name eth0 netns "$internet"
nsenter --target "$internet" --net sh -eu <<END
echo 1 >/proc/sys/net/ipv4/ip_forward
ip -batch - <<LINES
link add eth1 type veth peer name eth0 netns $clients
link set eth0 up
link set eth1 up
address add 198.51.100.1/24 dev eth0
address add 2001:db8:1::ffff/64 dev eth0
address add 2001:db8:ffff::8888/128 dev lo
address add 192.0.2.1/24 dev eth1
route add 10.0.0.0/8 dev eth1
LINES
END
nsenter --target "$clients" --net ip -batch - <<'END'
link set eth0 up
address add 192.0.2.2/24 dev eth0
route add default via 192.0.2.1
route add local 10.0.0.0/8 dev lo
END
nsenter --target "$clients" --net ip -batch -
ip -batch - <<'END'
link set lo up
link set eth0 up
address add 198.51.100.10/24 dev eth0
address add 2001:db8:1::1/64 dev eth0
route add default via 198.51.100.1
route add default via 2001:db8:1::ffff
END

# As networkd has it, which itself listens to routers where it is to.
echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_ra
mkdir -p /etc/systemd/network /etc/systemd/system /etc/sysctl.d
cat >/etc/systemd/network/eth0.network <<'END'
[Match]
Name=eth0

[Network]
Address=198.51.100.10/24
Address=2001:db8:1::1/64
Gateway=198.51.100.1
Gateway=2001:db8:1::ffff
IPv6AcceptRA=no
END
printf '%s\n' ADMIN_STATE=configured NETWORK_FILE=/etc/systemd/network/eth0.network \
    >"/run/systemd/netif/links/$(cat /sys/class/net/eth0/ifindex)"

# Nobody waits for those that end here.
trap '' CHLD
echo "$first"
exec sleep infinity
