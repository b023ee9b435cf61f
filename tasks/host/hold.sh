# Functions of a run's script, of what waits beside it, and of what goes back.
hold=/run/culvert-hold store=/var/lib/culvert
pending=$store/pending undoing=$store/undoing
# Without a process each, since what waits asks every second: $up are the seconds since the boot, a
# clock that nobody sets, and $began is when a process began, in the kernel's ticks.
uptime() { read -r up _ </proc/uptime && up=${up%%.*}; }
# What no other boot has, and no other container of its kernel.
running_system() { cat /proc/sys/kernel/random/boot_id; readlink /proc/self/ns/net; }
# Fails for one that has ended.
born() {
    began=
    IFS= read -r stat 2>/dev/null <"/proc/$1/stat" || return 1
    # shellcheck disable=SC2086
    set -- ${stat##*) }
    [ "$1" != Z ] && [ "$1" != X ] && shift 19 && began=$1
}
# Whether the process lives that a file names.
lives() {
    read -r pid start 2>/dev/null <"$1" && [ -n "$start" ] && born "$pid" && [ "$began" = "$start" ]
}
# All processes below one, but for the one that is spared, and those below it.
family() {
    for each in $(sed -s -n 's/^\([0-9]*\) (.*) [A-Za-z] '"$1"' .*/\1/p' /proc/[0-9]*/stat 2>/dev/null); do
        [ "$each" = "$spared" ] || { echo "$each"; family "$each"; }
    done
}
# Whether a file's first line is this; there is none in one that isn't there.
says() {
    line=
    IFS= read -r line 2>/dev/null <"$1" || :
    [ "$line" = "$2" ]
}
# Written at once, for those who read it meanwhile, and with every backslash.
put() { printf '%s\n' "$2" >"$1.new" && mv -f "$1.new" "$1"; }
# Whoever began it may be gone, and nobody read what it prints.
undo() { sh "$undoing/undo" now "$1" </dev/null >/dev/null 2>&1; }
# Of a run that stays, whoever said so may have been ended at it.
settle() { [ ! -e "$store/confirmed.new/stay" ] || sh "$store/confirmed.new/stay"; }
release() {
    [ ! -e "$hold.left" ] || rm -rf "$hold.left"
    mv -T "$hold" "$hold.left" 2>/dev/null
    rm -rf "$hold.left"
}
# What sshd told this shell, or one above: sudo tells it to nobody.
origin() {
    from=
    each=$$
    while [ "${each:-0}" -gt 1 ]; do
        # Nothing reads the zeros between two variables: the first word of this one ends by itself.
        [ ! -r "/proc/$each/environ" ] || while IFS= read -r line || [ -n "$line" ]; do
            case $line in
            *SSH_CONNECTION=*)
                line=${line##*SSH_CONNECTION=}
                from=" from ${line%% *}"
                return
                ;;
            esac
        done 2>/dev/null <"/proc/$each/environ"
        IFS= read -r stat 2>/dev/null <"/proc/$each/stat" || return 0
        # shellcheck disable=SC2086
        set -- ${stat##*) }
        each=$2
    done
}
# How long it is until a hold ends by itself.
left() {
    read -r until 2>/dev/null <"$hold/deadline" || read -r until <"$hold/limit"
    uptime
    until=$((until - up))
    echo $((until > 0 ? until : 1))
}
# Nobody else's from here on: a folder is whole as soon as it has this name.
seize() {
    own=$hold.$$
    [ ! -e "$own" ] || rm -rf "$own"
    uptime
    born $$
    origin
    {
        mkdir "$own" &&
            printf '%s\n' "$by$from, since $(date -u '+%Y-%m-%d %H:%M:%S') UTC" >"$own/holder" &&
            echo "$$ $began" >"$own/pid" &&
            echo $((up + limit)) >"$own/limit"
    } || { rm -rf "$own"; step="writing $own"; return 1; }
    until mv -T "$own" "$hold" 2>/dev/null; do
        if lives "$hold/pid" || lives "$hold/waiter"; then
            rm -rf "$own"
            step="$(cat "$hold/holder"), is at work on this host, and that ends by itself in $(left) s"
            return 1
        fi
        # Its owner is gone, if it isn't another one's by now.
        mv -T "$hold" "$own.gone" 2>/dev/null || true
        if lives "$own.gone/pid" || lives "$own.gone/waiter"; then
            mv -T "$own.gone" "$hold" 2>/dev/null || true
        else
            # How far it was tells what there is to take back.
            mv -f "$own.gone/begun" "$own/begun" 2>/dev/null || true
        fi
        rm -rf "$own.gone"
    done
}
is_cut_off() { [ -e "$pending" ] || [ -e "$undoing" ]; }
take_back() {
    mv -T "$pending" "$undoing" 2>/dev/null || true
    undo 'the run was cut off'
}
take() {
    seize || exit 1
    held=1
    settle
    if is_cut_off; then
        step='a run that was cut off before it was confirmed had to be undone first: run again'
        held=
        take_back
        exit 1
    fi
    if ! says /run/culvert-stamp "$seen"; then
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
