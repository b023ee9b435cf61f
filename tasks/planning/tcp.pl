# TCP connections:
#
#     INDEX client LOCAL REMOTE    a connection to the other end of a tunnel, which does the same as
#     INDEX server LOCAL REMOTE    the other one of the two; each sends BYTES, and gets as many
#     INDEX probe LOCAL REMOTE     any answer of a host on the Internet
use strict;
use warnings;
use Errno qw(EAGAIN EINPROGRESS ECONNREFUSED);
use Fcntl qw(F_SETFL O_NONBLOCK O_RDWR);
use Socket qw(:DEFAULT inet_pton pack_sockaddr_in6 unpack_sockaddr_in6);
use Socket qw(IPPROTO_IPV6 IPV6_RECVERR MSG_ERRQUEUE SO_REUSEPORT);

# Of both ends; above the ports that Linux gives to others' connections.
use constant PORT => 61041;
use constant BYTES => 16384;
# Any of them will do: DNS, web, SSH.
use constant PROBED => (53, 443, 80, 22);
use constant SECONDS => 20;
# Between one attempt and the next: at first, and at most.
use constant { PAUSE => 0.1, LONGEST_PAUSE => 1, FAREWELL => 2 };

$SIG{PIPE} = 'IGNORE';
# Checks that aren't told of, and by number the sockets of servers whose clients don't go yet.
my (@open, %parting);
my $until;

sub drop {
    my ($socket) = @_;
    forget($socket);
    delete $parting{ fileno $socket };
    # With a reset instead of a farewell: no TIME_WAIT keeps the ports from the next proof.
    setsockopt $socket, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0);
    close $socket;
}

sub ended {
    my ($each, $is_met, $seen) = @_;
    return if $each->{is_over}++;
    told($each, $is_met, $seen);
    drop($_) for grep { defined } delete @$each{qw(listener connection)}, values %{ $each->{probes} };
}

sub opened {
    my ($local, $port) = @_;
    socket my $socket, AF_INET6, SOCK_STREAM, 0 or return;
    fcntl $socket, F_SETFL, O_RDWR | O_NONBLOCK;
    setsockopt $socket, SOL_SOCKET, $_, 1 for SO_REUSEADDR, SO_REUSEPORT;
    bind $socket, pack_sockaddr_in6($port, inet_pton(AF_INET6, $local)) or return;
    return $socket;
}

# --- The other end of a tunnel ---
#
# Neither has a service there, and neither knows when the other one begins. So both listen, and both
# try to connect: where a firewall lets in only what answers something, what an end has sent opens
# the way for the other one. SYNs that cross make one connection, too (RFC 9293, 3.5).

sub listen_for {
    my ($each) = @_;
    my $socket = opened($each->{local}, PORT) or return;
    listen $socket, 8 or return;
    $each->{listener} = $socket;
    watch($socket, sub { accepted($each, @_) });
}

sub attempt {
    my ($each) = @_;
    my $socket = opened($each->{local}, PORT);
    if (!$socket) {
        return failed($each, "$!");
    }
    $each->{connection} = $socket;
    if (connect $socket, pack_sockaddr_in6(PORT, inet_pton(AF_INET6, $each->{remote}))) {
        return connected($each);
    }
    return watch($socket, sub { attempted($each, @_) }, 1) if $! == EINPROGRESS;
    failed($each, "$!");
}

sub failed {
    my ($each, $why) = @_;
    drop(delete $each->{connection}) if $each->{connection};
    $each->{last} = "the last attempt ended with: $why" if $why;
    $each->{pause} = $each->{pause} ? $each->{pause} * 1.5 : PAUSE;
    $each->{pause} = LONGEST_PAUSE if $each->{pause} > LONGEST_PAUSE;
    # Some at random, so that two ends don't go on missing each other.
    $each->{next} = now() + $each->{pause} * (0.5 + rand);
}

sub attempted {
    my ($each, $socket) = @_;
    my $error = unpack 'i', getsockopt $socket, SOL_SOCKET, SO_ERROR;
    if ($error) {
        $! = $error;
        return failed($each, "$!");
    }
    connected($each);
}

sub accepted {
    my ($each, $listener) = @_;
    my $from = accept my $socket, $listener or return;
    my ($port, $address) = unpack_sockaddr_in6($from);
    # Whoever else comes is sent away.
    if ($port != PORT or $address ne inet_pton(AF_INET6, $each->{remote}) or $each->{is_connected}) {
        setsockopt $socket, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0);
        return;
    }
    drop($each->{connection}) if $each->{connection};
    fcntl $socket, F_SETFL, O_RDWR | O_NONBLOCK;
    $each->{connection} = $socket;
    connected($each);
}

sub connected {
    my ($each) = @_;
    @$each{qw(is_connected is_thanked left received)} = (1, 0, 'culvert ' x (BYTES / 8), '');
    $each->{most} ||= 0;
    watch($each->{connection}, sub { exchanged($each, @_) }, 1);
}

sub exchanged {
    my ($each, $socket) = @_;
    if (length $each->{left}) {
        my $sent = syswrite $socket, $each->{left};
        substr $each->{left}, 0, $sent, '' if $sent;
    }
    my $count = sysread $socket, $each->{received}, 65536, length $each->{received};
    if (!$count and (defined $count or $! != EAGAIN)) {
        $each->{last} = defined $count ? 'the other end closed' : "$!";
        $each->{is_connected} = 0;
        return $each->{is_over} ? drop($socket) : failed($each);
    }
    my $length = length $each->{received};
    $each->{most} = $length if $length > $each->{most};
    if ($length >= BYTES and !$each->{is_thanked} and $each->{kind} eq 'client') {
        # "I have all of yours", which the server says last.
        $each->{left} .= '.';
        $each->{is_thanked} = 1;
    }
    if ($length > BYTES and !$each->{is_over}) {
        # Not to be dropped with the rest: the server waits for the client, which knows when to go.
        delete $each->{connection};
        ended($each, 1, 'all came');
        return drop($socket) if $each->{kind} eq 'client';
        $parting{ fileno $socket } = $socket;
        $each->{left} .= '.';
    }
    watch($socket, sub { exchanged($each, @_) }, length $each->{left});
}

# --- What failed ---

sub seen {
    my ($each) = @_;
    my $in = "in @{[SECONDS]} s";
    if ($each->{kind} eq 'probe') {
        return "$each->{last}" if $each->{last};
        return "nothing came back from the ports @{[join ', ', PROBED]} $in";
    }
    return $each->{last} ? "no connection $in; $each->{last}" : "no connection $in, nor any answer"
        if !defined $each->{most};
    my $came = "a connection, and of @{[BYTES]} bytes $each->{most} came";
    return $each->{most} < BYTES ? "$came $in" : "$came, but not all that was sent arrived there $in";
}

# --- A host on the Internet ---

sub probe {
    my ($each, $port) = @_;
    my $socket = opened($each->{local}, 0);
    my $remote = pack_sockaddr_in6($port, inet_pton(AF_INET6, $each->{remote}));
    setsockopt $socket, IPPROTO_IPV6, IPV6_RECVERR, 1 if $socket;
    if ($socket and (connect($socket, $remote) or $! == EINPROGRESS)) {
        $each->{probes}{$port} = $socket;
        return watch($socket, sub { answered($each, $port) }, 1);
    }
    $each->{last} = "port $port: $!";
    $each->{again}{$port} = now() + LONGEST_PAUSE;
}

sub answered {
    my ($each, $port) = @_;
    my $socket = $each->{probes}{$port};
    my $error = unpack 'i', getsockopt $socket, SOL_SOCKET, SO_ERROR;
    return ended($each, 1, "port $port is open") if !$error;
    # A message of ICMPv6 is kept here, and comes from whoever is on the way; a reset isn't.
    my $is_told = defined recv $socket, my $message, 1, MSG_ERRQUEUE;
    return ended($each, 1, "port $port is closed") if $error == ECONNREFUSED and !$is_told;
    $! = $error;
    $each->{last} = "port $port: $!" . ($is_told ? ', as somebody on the way says' : '');
    drop(delete $each->{probes}{$port});
    $each->{again}{$port} = now() + LONGEST_PAUSE;
}

# --- All of them ---

sub begin_tcp {
    my ($each, $local, $remote) = @_;
    @$each{qw(local remote)} = ($local, $remote);
    push @open, $each;
    if ($each->{kind} eq 'probe') {
        $each->{again} = { map { $_ => 0 } PROBED };
    }
    else {
        listen_for($each);
        $each->{next} = 0;
    }
}

# For how long nothing is to be begun.
sub go_on_connecting {
    my ($now) = @_;
    $until ||= $now + SECONDS;
    if ($now > $until) {
        ended($_, 0, seen($_)) for @open;
        drop($_) for values %parting;
    }
    my $were_open = @open;
    @open = grep { !$_->{is_over} } @open;
    $until = $now + FAREWELL if $were_open and !@open;
    for my $each (@open) {
        if ($each->{kind} eq 'probe') {
            for my $port (grep { $each->{again}{$_} <= $now } keys %{ $each->{again} }) {
                delete $each->{again}{$port};
                probe($each, $port);
            }
        }
        elsif (!$each->{connection} and $each->{next} <= $now) {
            attempt($each);
        }
    }
    return @open || %parting ? LONGEST_TURN : ();
}
