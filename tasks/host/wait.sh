# Waits beside a run for a word that all is well, and takes the run back where none comes.
spared=$$
# Not another run's, that came into its place.
waits() { read -r own _ 2>/dev/null <"$hold/waiter" && [ "$own" = $$ ]; }
go_back() {
    if lives "$hold/pid"; then
        # As a whole, and at once: what it started would go on.
        kill -KILL "$pid" $(family "$pid") 2>/dev/null
    fi
    undo "$1"
    exit
}
born $$
echo "$$ $began" >"$hold/waiter.new"
mv -f "$hold/waiter.new" "$hold/waiter"
# It was ended, and began again.
[ ! -d "$undoing" ] || go_back "nobody confirmed it in time"
away=0
while waits; do
    why=
    if [ -e "$hold/request" ]; then
        why=$(cat "$hold/request")
    elif read -r deadline 2>/dev/null <"$hold/deadline"; then
        uptime
        [ "$up" -lt "$deadline" ] || why="nobody confirmed it in time"
    elif ! lives "$hold/pid"; then
        # It may have ended well, or be at it.
        sleep 1
        [ -e "$hold/deadline" ] || ! waits || why="what changed the host was ended before its end"
    elif read -r limit 2>/dev/null <"$hold/limit" && uptime && [ "$up" -ge "$limit" ]; then
        why="the change came to no end in time"
    fi
    if [ -n "$why" ]; then
        ! mv -T "$pending" "$undoing" 2>/dev/null || go_back "$why"
        if [ ! -d "$undoing" ]; then
            # Where all but the kernel starts anew, /var may be away for a moment.
            [ -d "$store" ] || [ $((away += 1)) -gt 60 ] || { sleep 1; continue; }
            lives "$hold/pid" || ! waits || { settle; release; }
            exit
        fi
        # What changed the host is at going back, or was, until it was ended.
        lives "$hold/pid" || ! waits || go_back "$why"
    fi
    sleep 1
done
