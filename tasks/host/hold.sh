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
settle() {
    stays=$store/confirmed.new
    [ ! -e "$stays/program" ] || perl "$stays/program" <"$stays/stay"
}
release() {
    [ ! -e "$hold.left" ] || rm -rf "$hold.left"
    mv -T "$hold" "$hold.left" 2>/dev/null
    rm -rf "$hold.left"
}
# How long it is until a hold ends by itself.
left() {
    read -r until 2>/dev/null <"$hold/deadline" || read -r until <"$hold/limit"
    uptime
    until=$((until - up))
    echo $((until > 0 ? until : 1))
}
