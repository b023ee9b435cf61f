# A line for each thing that works, all tried at the same time.
works() { echo "@@ works: $1"; }
answers() {
    tries=0
    until ping -n -c 1 -W 1 "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt 3 ] || return 1
    done
}
defaults() {
    ip "-$1" route show default 2>/dev/null |
        grep -vE '^(unreachable|prohibit|blackhole|throw) ' |
        grep -oE '(via (inet6 )?[^ ]+ )?dev [^ ]+' | grep -vE " dev ($own)\$|^dev ($own)\$" | sort -u
}
gateway() {
    # A silent one still tells its hardware address.
    if answers -I "$2" "$1"; then works "gateway $1 of $2 answers"; fi
    if ip neighbour show to "$1" dev "$2" 2>/dev/null | grep lladdr | grep -qv FAILED; then
        works "gateway $1 of $2 is there"
    fi
}
probe() {
    for version in 4 6; do
        defaults "$version" | while read -r route; do
            works "IPv$version default route $route"
            # shellcheck disable=SC2086
            set -- $route
            [ "$1" != via ] || { [ "$2" != inet6 ] || shift; gateway "$2" "$4" & }
            wait
        done &
    done
    echo "$targets" | {
        while read -r name interface address; do
            case $name in
            tunnel) answers -I "$interface" "$address" && works "tunnel $interface answers" & ;;
            IPv6) answers "$address" && works "the Internet answers over IPv6" & ;;
            esac
        done
        wait
    }
    wait
}
