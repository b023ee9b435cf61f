# Tries TCP connections, all at once, and prints a line for each: its index, 0 if it is met, what was
# seen. Each is asked for in a line behind the program:
#
#     INDEX client LOCAL REMOTE    a connection to the other end of a tunnel, which does the same as
#     INDEX server LOCAL REMOTE    the other one of the two; each sends BYTES, and gets as many
#     INDEX probe LOCAL REMOTE     any answer of a host on the Internet
#
# It needs no more of Perl than Debian's perl-base, which is Essential.
use strict;
use warnings;
use Errno qw(EAGAIN EINPROGRESS ECONNREFUSED);
use Fcntl qw(F_SETFL O_NONBLOCK O_RDWR);
use Socket qw(:DEFAULT inet_pton pack_sockaddr_in6 unpack_sockaddr_in6 IPPROTO_IPV6 SO_REUSEPORT);

# Of both ends; above the ports that Linux gives to others' connections.
use constant PORT => 61041;
use constant BYTES => 16384;
# Any of them will do: DNS, web, SSH.
use constant PROBED => (53, 443, 80, 22);
use constant SECONDS => 20;
# Between one attempt and the next: at first, and at most.
use constant { PAUSE => 0.1, LONGEST_PAUSE => 1, FAREWELL => 2 };
use constant { IPV6_RECVERR => 25, MSG_ERRQUEUE => 0x2000 };

$SIG{PIPE} = 'IGNORE';
my (@wanted, %watched);
my ($readable, $writable) = ('', '');

# Time::HiRes isn't in perl-base.
sub now {
    open my $uptime, '<', '/proc/uptime' or die "/proc/uptime: $!\n";
    return (split ' ', <$uptime>)[0];
}

my $start = now();

sub watch {
    my ($socket, $each, $heard, $for_writing) = @_;
    my $number = fileno $socket;
    $watched{$number} = [$socket, $each, $heard];
    vec($readable, $number, 1) = 1;
    vec($writable, $number, 1) = $for_writing ? 1 : 0;
}

sub forget {
    my ($socket) = @_;
    my $number = fileno $socket;
    delete $watched{$number};
    vec($readable, $number, 1) = vec($writable, $number, 1) = 0;
}

sub drop {
    my ($socket) = @_;
    forget($socket);
    # With a reset instead of a farewell: no TIME_WAIT keeps the ports from the next proof.
    setsockopt $socket, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0);
    close $socket;
}

sub ended {
    my ($each, $is_met, $seen) = @_;
    return if $each->{is_over};
    $each->{is_over} = 1;
    printf "@@ check %d %d %s\n", $each->{index}, $is_met ? 0 : 1, $seen;
    drop($_) for grep { defined } delete @$each{qw(listener connection)}, values %{ $each->{probes} };
}

sub opened {
    my ($local, $port) = @_;
    socket my $socket, AF_INET6, SOCK_STREAM, 0 or die "socket: $!\n";
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
    watch($socket, $each, \&accepted);
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
    return watch($socket, $each, \&attempted, 1) if $! == EINPROGRESS;
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
    watch($each->{connection}, $each, \&exchanged, 1);
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
    if ($length >= BYTES and !$each->{is_thanked} and $each->{role} eq 'client') {
        # "I have all of yours", which the server says last.
        $each->{left} .= '.';
        $each->{is_thanked} = 1;
    }
    if ($length > BYTES and !$each->{is_over}) {
        # Not to be dropped with the rest: the server waits for the client, which knows when to go.
        delete $each->{connection};
        ended($each, 1, 'all came');
        return drop($socket) if $each->{role} eq 'client';
        $each->{left} .= '.';
    }
    watch($socket, $each, \&exchanged, length $each->{left});
}

# --- What failed ---

sub seen {
    my ($each) = @_;
    my $in = "in @{[SECONDS]} s";
    if ($each->{role} eq 'probe') {
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
        return watch($socket, $each, sub { answered($each, $port) }, 1);
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

while (my $line = <DATA>) {
    my ($index, $role, $local, $remote) = split ' ', $line;
    push @wanted, { index => $index, role => $role, local => $local, remote => $remote };
}
$| = 1;
for my $each (@wanted) {
    if ($each->{role} eq 'probe') {
        $each->{again} = { map { $_ => 0 } PROBED };
    }
    else {
        listen_for($each);
        $each->{next} = 0;
    }
}

my $deadline = $start + SECONDS;
while (1) {
    my $now = now();
    my @open = grep { !$_->{is_over} } @wanted;
    last if $now > $deadline or !@open && !%watched;
    for my $each (@open) {
        if ($each->{role} eq 'probe') {
            for my $port (grep { $each->{again}{$_} <= $now } keys %{ $each->{again} }) {
                delete $each->{again}{$port};
                probe($each, $port);
            }
        }
        elsif (!$each->{connection} and $each->{next} <= $now) {
            attempt($each);
        }
    }
    select my $can_read = $readable, my $can_write = $writable, undef, 0.05;
    my $ready = unpack 'b*', $can_read | $can_write;
    for (my $number = index $ready, '1'; $number >= 0; $number = index $ready, '1', $number + 1) {
        my ($socket, $each, $heard) = @{ $watched{$number} || next };
        $heard->($each, $socket);
    }
    # What is left are servers whose clients don't go.
    $deadline = now() + FAREWELL if @open and !grep { !$_->{is_over} } @wanted;
}
ended($_, 0, seen($_)) for grep { !$_->{is_over} } @wanted;
