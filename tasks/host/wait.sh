# Waits beside a run for a word that all is well, and takes the run back where none comes.
# All processes below one, but for this one.
family() {
    for each in $(sed -s -n 's/^\([0-9]*\) (.*) [A-Za-z] '"$1"' .*/\1/p' /proc/[0-9]*/stat 2>/dev/null); do
        [ "$each" = $$ ] || { echo "$each"; family "$each"; }
    done
}
echo "$$ $(born $$)" >"$hold/waiter.new"
mv -f "$hold/waiter.new" "$hold/waiter"
# It was ended, and began again.
if [ -d "$undoing" ] && ! lives "$hold/pid"; then
    sh "$undoing/undo" now "nobody confirmed it in time"
    exit
fi
while [ -d "$hold" ]; do
    why=
    if [ -e "$hold/request" ]; then
        why=$(cat "$hold/request")
    elif [ -e "$hold/deadline" ]; then
        [ "$(uptime)" -lt "$(cat "$hold/deadline")" ] || why="nobody confirmed it in time"
    elif ! lives "$hold/pid"; then
        # It may have ended well, or be at it.
        sleep 1
        [ -e "$hold/deadline" ] || [ ! -d "$hold" ] || why="what changed the host was ended before its end"
    elif [ "$(uptime)" -ge "$(cat "$hold/limit")" ]; then
        why="the change came to no end in time"
    fi
    if [ -n "$why" ] && mv -T "$pending" "$undoing" 2>/dev/null; then
        if lives "$hold/pid"; then
            # As a whole, and at once: what it started would go on.
            set -- "$pid" $(family "$pid")
            kill -KILL "$@" 2>/dev/null
        fi
        sh "$undoing/undo" now "$why"
        exit
    fi
    [ -z "$why" ] || [ -d "$undoing" ] || exit 0
    sleep 1
done
