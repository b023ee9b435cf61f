"""Pure: the parts put together.

fitting    the MTU of each tunnel, by what was measured at its ends
by_hand    tunnels that somebody set up by hand, line by line
machines   names that lead to one machine, hosts that nothing is said of
obstacles  what stands in the way on a host, found before anything changes there
policy     rules that lead packets past the main table
taken      what a host uses already, of all that a tunnel is to have
exposure   what the IPv6 Internet reaches on a host as soon as that has a tunnel
warnings   what stops nothing, and is better known
outcomes   what became of each host of a run, in a word and why
plan       from what a host is to carry, and what it is now, to the changes between
undo       back to before the last confirmed run, where nothing that it touched has changed since
aims       what a run is for, by which its hosts are read and planned
confirming whether what worked before a run still does
    probe.pl the program that tries it
proof      what shows that packets flow
    proof.pl   the program in it that sees all of it on a host, in parts:
    tables.pl  what a host's tables say
    ping.pl    pings, thousands at once
    tcp.pl     connections, many at once
"""
