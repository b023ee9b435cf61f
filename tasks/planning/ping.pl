# Pings, by echo requests of ICMPv6 (RFC 4443):
#
#     INDEX ping SOURCE TARGET [bytes BYTES] [beyond ADDRESS] [arriving INTERFACE]
#
# Packets of BYTES may not be fragmented. Who answers no echo request still says that a packet to an
# address `beyond` may go no further. Where no answer comes, it is told whether one comes to the
# host's own address, on the INTERFACE where they would arrive, and how often somebody asked there
# who has an address, and was told.
use strict;
use warnings;
use Errno qw(EMSGSIZE);
use Socket qw(:DEFAULT inet_ntop inet_pton pack_sockaddr_in6 unpack_sockaddr_in6 IPPROTO_IPV6);
use Socket qw(IPPROTO_ICMPV6 IPV6_MTU IPV6_MTU_DISCOVER IPV6_UNICAST_HOPS SO_RCVBUFFORCE);

# A neighbour, a route and the tunnel may all be new, and the provider's router may have given up on
# an address a moment ago. So many seconds are between an attempt and the next one.
use constant { ATTEMPTS => 10, BETWEEN => 0.2 };
# So many seconds an answer may take.
use constant PATIENCE => 1;
# So many packets leave in a turn, 1,000 a second: no queue on the way has room for all at once.
use constant PER_TURN => 20;
# As large as a ping is by default.
use constant SMALL => 104;
use constant { IP_HEADER => 40, NEXT_HEADER => 6, ICMP_HEADER => 8 };
use constant { ECHO_REQUEST => 128, ECHO_REPLY => 129, TOO_BIG => 2 };
use constant IPV6_PMTUDISC_DO => 2;
# A bit for each type of ICMPv6 that a socket doesn't get (RFC 3542, 3.2): any, or any but errors,
# which are 1 to 4, and echo replies.
use constant { ICMPV6_FILTER => 1, DEAF => pack 'L8', (0xffffffff) x 8 };
use constant HEARING => DEAF ^ pack 'L8', 0b11110, 0, 0, 0, 1 << ECHO_REPLY % 32, 0, 0, 0;
# For all that may come between two looks; by default there is room for some 90 packets.
use constant ROOM => 4 << 20;

# By type, and then by code (RFC 4443).
my @types = ('', 'Destination unreachable', 'Packet too big', 'Time exceeded', 'Parameter problem');
my @codes = (
    [],
    [
        'No route',
        'Administratively prohibited',
        'Beyond scope of source address',
        'Address unreachable',
        'Port unreachable',
        'Source address failed ingress/egress policy',
        'Reject route',
    ],
    [],
    ['Hop limit', 'Defragmentation failure'],
    ['Wrong header field', 'Unknown header', 'Unknown option'],
);

# Requests that are to be sent; what was sent and isn't answered, by number; and in order of time,
# what has been sent, and checks that pause.
my (@queue, %waiting, @sent, @paused);
my $number = 0;
# What the answers carry that are this program's.
my $mark = pack 'NN', rand 2**32, rand 2**32;
# The one socket that hears all answers: the kernel offers each packet to every raw socket, so one
# for each address would cost the square of their number.
my $ear;

sub begin_ping {
    my ($check, $source, $target, %more) = @_;
    $ear ||= listening();
    %$check = (%$check, %more, source => $source, target => $target, attempts => 0, sent => 0);
    count_from_here($check->{arriving}) if $check->{arriving};
    attempt_ping($check);
}

sub attempt_ping {
    my ($check) = @_;
    $check->{attempts}++;
    request($check, to => $check->{target}, then => \&pinged);
}

sub pinged {
    my ($check, $answer) = @_;
    $check->{sent}++ if $answer->{is_sent};
    return told($check, 1, "$check->{sent} packets transmitted, 1 received") if $answer->{is_reply};
    my $said = $answer->{said};
    $check->{said} = $answer->{from} ? "from $answer->{from}: $said" : $said if $said;
    return pause($check) if !$check->{beyond};
    request($check, to => $check->{beyond}, hop_limit => 1, then => \&stopped);
}

# Whatever the other end says of a packet shows that it got there, and that something came back.
sub stopped {
    my ($check, $answer) = @_;
    my $from = $answer->{is_reply} ? '' : $answer->{from} || '';
    $from eq $check->{target} ? told($check, 1, "from $from: $answer->{said}") : pause($check);
}

sub pause {
    my ($check) = @_;
    return push @paused, [now() + BETWEEN, $check] if $check->{attempts} < ATTEMPTS;
    my $seen = "$check->{sent} packets transmitted";
    $seen .= ', 0 received, 100% packet loss' if $check->{sent};
    $seen .= "; $check->{said}" if $check->{said};
    $check->{arriving} ? compare($check, $seen) : told($check, 0, $seen);
}

# For how long nothing is to be sent.
sub go_on_pinging {
    my ($now) = @_;
    # What came while this program had to wait for its turn has come in time.
    hear() if $ear;
    attempt_ping((shift @paused)->[1]) while @paused and $paused[0][0] <= $now;
    while (@sent and $sent[0][0] <= $now) {
        my $lost = delete $waiting{ (shift @sent)->[1] } or next;
        $lost->{then}->($lost->{check}, { is_sent => 1 });
    }
    for (1 .. PER_TURN) {
        leave(shift @queue || last, $now);
    }
    return TURN if @queue;
    return %waiting || @paused ? LONGEST_TURN : ();
}

# Has a packet sent when it is its turn, and says `then` what became of it.
sub request {
    my ($check, %request) = @_;
    push @queue, { %request, check => $check };
}

sub leave {
    my ($request, $now) = @_;
    $number++;
    if (my $why = refusal($request)) {
        return $request->{then}->($request->{check}, { said => $why });
    }
    $waiting{$number} = $request;
    push @sent, [$now + PATIENCE, $number];
}

# Sends a packet, or says why it can't be. The kernel fills in the checksum.
sub refusal {
    my ($request) = @_;
    my ($check, $to) = @$request{qw(check to)};
    my $bytes = $check->{bytes} || SMALL;
    socket my $socket, AF_INET6, SOCK_RAW, IPPROTO_ICMPV6 or return "$!";
    setsockopt $socket, IPPROTO_ICMPV6, ICMPV6_FILTER, DEAF;
    setsockopt $socket, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO if $check->{bytes};
    my $hop_limit = $request->{hop_limit};
    setsockopt $socket, IPPROTO_IPV6, IPV6_UNICAST_HOPS, $hop_limit if $hop_limit;
    bind $socket, pack_sockaddr_in6(0, inet_pton(AF_INET6, $check->{source})) or return "$!";
    my @ids = ($$ & 0xffff, $number & 0xffff);
    my $packet = pack 'CCnnn a8 N', ECHO_REQUEST, 0, 0, @ids, $mark, $number;
    $packet .= "\0" x ($bytes - IP_HEADER - length $packet);
    return '' if send $socket, $packet, 0, pack_sockaddr_in6(0, inet_pton(AF_INET6, $to));
    return "$!" if $! != EMSGSIZE;
    return 'message too long, mtu=' . path_mtu($check->{source}, $to);
}

# A socket that sends nothing, and knows how the kernel would.
sub heading {
    my ($source, $target) = @_;
    socket my $socket, AF_INET6, SOCK_DGRAM, 0 or return;
    bind $socket, pack_sockaddr_in6(0, inet_pton(AF_INET6, $source)) or return;
    connect $socket, pack_sockaddr_in6(9, inet_pton(AF_INET6, $target)) or return;
    return $socket;
}

sub path_mtu {
    my $socket = heading(@_) or return '?';
    my $mtu = getsockopt $socket, IPPROTO_IPV6, IPV6_MTU or return '?';
    return unpack 'i', $mtu;
}

# --- What comes back ---

sub listening {
    socket my $socket, AF_INET6, SOCK_RAW, IPPROTO_ICMPV6 or die "a raw socket: $!\n";
    setsockopt $socket, IPPROTO_ICMPV6, ICMPV6_FILTER, HEARING;
    setsockopt $socket, SOL_SOCKET, SO_RCVBUFFORCE, ROOM;
    watch($socket, \&hear);
    return $socket;
}

sub hear {
    while (my $from = recv $ear, my $message, 512, MSG_DONTWAIT) {
        my ($type, $code, $mtu) = unpack 'CCx2N', $message;
        my $echo = $type == ECHO_REPLY ? $message : original($message);
        next if length $echo < 20;
        my ($own, $number) = unpack 'x8 a8 N', $echo;
        next if $own ne $mark or !$waiting{$number};
        my $address = inet_ntop(AF_INET6, (unpack_sockaddr_in6 $from)[1]);
        my %answer = (is_sent => 1, from => $address, is_reply => $type == ECHO_REPLY);
        next if $answer{is_reply} and $address ne $waiting{$number}{to};
        $answer{said} = in_words($type, $code, $mtu);
        my $request = delete $waiting{$number};
        $request->{then}->($request->{check}, \%answer);
    }
}

# The message that an error is about, if it is one of ICMPv6.
sub original {
    my ($error) = @_;
    return '' if length $error < ICMP_HEADER + IP_HEADER;
    return '' if ord(substr $error, ICMP_HEADER + NEXT_HEADER, 1) != IPPROTO_ICMPV6;
    return substr $error, ICMP_HEADER + IP_HEADER;
}

sub in_words {
    my ($type, $code, $mtu) = @_;
    return 'Echo reply' if $type == ECHO_REPLY;
    return "$types[$type]: mtu=$mtu" if $type == TOO_BIG;
    return "$types[$type]: " . ($codes[$type][$code] || "code $code");
}

# --- Of a server's own end that isn't answered: whether the server itself is ---

# By target, what came of asking it from the host's own address, which is tried once.
my %own;

sub compare {
    my ($check, $seen) = @_;
    $check->{seen} = $seen;
    my $target = $check->{target};
    if (!$own{$target}) {
        my $socket = heading('::', $target) or return told($check, 0, $seen);
        my $source = inet_ntop(AF_INET6, (unpack_sockaddr_in6 getsockname $socket)[1]);
        $own{$target} = { source => $source, compared => [] };
        request($own{$target}, to => $target, then => \&compared);
    }
    push @{ $own{$target}{compared} }, $check;
    compared($own{$target}, $own{$target}{answer}) if $own{$target}{answer};
}

sub compared {
    my ($own, $answer) = @_;
    $own->{answer} = $answer;
    for my $check (splice @{ $own->{compared} }) {
        my $seen = $check->{seen};
        if ($answer->{is_reply}) {
            my ($came, $left) = counted($check->{arriving});
            $seen .= "; the host's own address is answered: $own->{source}; to $check->{arriving} "
                . "came $came neighbour solicitations meanwhile, and $left advertisements left";
        }
        told($check, 0, $seen);
    }
}

# By interface, what was counted there when the proof began.
my %before;

sub count_from_here {
    my ($interface) = @_;
    $before{$interface} ||= { counters($interface) };
}

# How many neighbour solicitations came to an interface since then, and advertisements left.
sub counted {
    my ($interface) = @_;
    my %now = counters($interface);
    return map { ($now{$_} || 0) - ($before{$interface}{$_} || 0) }
        qw(Icmp6InNeighborSolicits Icmp6OutNeighborAdvertisements);
}

sub counters {
    my ($interface) = @_;
    open my $file, '<', "/proc/net/dev_snmp6/$interface" or return;
    return map { split } <$file>;
}
