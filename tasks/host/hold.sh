# Functions of a run's script, of what waits beside it, and of what goes back.
hold=/run/culvert-hold store=/var/lib/culvert
pending=$store/pending undoing=$store/undoing
# Seconds since the boot: nobody sets that clock.
uptime() { read -r up _ </proc/uptime; echo "${up%%.*}"; }
# When a process began, in the kernel's ticks; nothing of one that has ended.
born() {
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    # shellcheck disable=SC2086
    set -- ${stat##*) }
    [ "$1" != Z ] && [ "$1" != X ] && shift 19 && echo "$1"
}
# Whether the process lives that a file names.
lives() { read -r pid start 2>/dev/null <"$1" && [ "$(born "$pid")" = "$start" ]; }
# Written at once, for those who read it meanwhile.
put() { echo "$2" >"$1.new" && mv -f "$1.new" "$1"; }
release() { rm -rf "$hold.left"; mv -T "$hold" "$hold.left" 2>/dev/null; rm -rf "$hold.left"; }
# What sshd told the shell above: sudo tells it to nobody.
origin() {
    each=$$
    while [ "${each:-0}" -gt 1 ]; do
        found=$(tr '\0' '\n' 2>/dev/null <"/proc/$each/environ" | sed -n 's/^SSH_CONNECTION=//p')
        [ -z "$found" ] || { echo " from ${found%% *}"; return; }
        each=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$each/status" 2>/dev/null)
    done
}
# How long it is until a hold ends by itself.
left() {
    until=$(cat "$hold/deadline" 2>/dev/null || cat "$hold/limit")
    until=$((until - $(uptime)))
    echo $((until > 0 ? until : 1))
}
# Nobody else's from here on: a folder is whole as soon as it has this name.
take() {
    own=$hold.$$
    rm -rf "$own"
    mkdir "$own"
    echo "$by$(origin), since $(date -u '+%Y-%m-%d %H:%M:%S') UTC" >"$own/holder"
    echo "$$ $(born $$)" >"$own/pid"
    echo $(($(uptime) + limit)) >"$own/limit"
    until mv -T "$own" "$hold" 2>/dev/null; do
        if lives "$hold/pid" || lives "$hold/waiter"; then
            rm -rf "$own"
            step="$(cat "$hold/holder"), is at work on this host, and that ends by itself in $(left) s"
            exit 1
        fi
        # Its owner is gone.
        mv -T "$hold" "$own.gone" 2>/dev/null
        rm -rf "$own.gone"
    done
    held=1
    if [ -e "$pending" ] || [ -e "$undoing" ]; then
        step='a run that was cut off before it was confirmed had to be undone first: run again'
        held=
        mv -T "$pending" "$undoing" 2>/dev/null
        sh "$undoing/undo" now 'the run was cut off'
        exit 1
    fi
    if [ "$(cat /run/culvert-stamp 2>/dev/null)" != "$seen" ]; then
        step='another run has changed this host since this one looked at it: run again'
        exit 1
    fi
    put /run/culvert-stamp "$run"
}
# Something that goes on when this script, its connection or whoever began it are gone.
await_word() {
    if [ -d /run/systemd/system ] &&
        systemd-run --quiet --collect --unit="$1" --property=Restart=on-failure \
            --property=OOMScoreAdjust=-1000 sh "$hold/wait" 2>/dev/null; then
        :
    else
        setsid sh "$hold/wait" </dev/null >/dev/null 2>&1 &
    fi
    tries=0
    until lives "$hold/waiter"; do
        tries=$((tries + 1))
        [ "$tries" -lt 100 ] || return 1
        sleep 0.1
    done
}
