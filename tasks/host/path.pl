# Measures which packets of IPv4 pass to other hosts, to all of them at once, by echo requests that
# may not be fragmented. Its input has a line for each:
#
#     LOCAL REMOTE BYTES exactly    whether packets of BYTES pass, and else the largest that do
#     LOCAL REMOTE BYTES as-kept    the same, but for what the record, the program's argument, has of
#                                   this path: if that passes, it will do
#
# It prints LOCAL REMOTE BYTES where larger packets than BYTES were seen not to pass, though these
# do; one less than LEAST stands for all that is less. Of a host that answers no echo request it
# prints nothing.
#
# It needs no more of Perl than Debian's perl-base, which is Essential.
use strict;
use warnings;
use Errno qw(EMSGSIZE);
use Socket qw(:DEFAULT IPPROTO_IP);

# A packet that passes everywhere, and the smallest that is worth knowing of.
use constant { SMALL => 84, LEAST => 1300 };
use constant { OUTER_HEADER => 20, HEADERS => 28, ICMP => 1, ECHO_REQUEST => 8, ECHO_REPLY => 0 };
# The interface's MTU counts, and not what the kernel has heard of the path (ip(7)).
use constant { IP_MTU_DISCOVER => 10, IP_PMTUDISC_PROBE => 3, IP_MTU => 14 };
use constant { SOL_RAW => 255, ICMP_FILTER => 1 };
# Each size is tried so often, so many seconds apart, with so many to wait after the last one.
use constant { TRIES => 3, INTERVAL => 0.4, PATIENCE => 0.7 };
# As many sizes are tried at once between one that passes and one that doesn't, of one end and of all.
use constant { SIZES => 8, ALL_SIZES => 2000 };
# As many packets are sent before answers are looked for: a socket has room for some 90.
use constant BURST => 40;
use constant SECONDS => 20;

# Time::HiRes isn't in perl-base.
sub now {
    open my $uptime, '<', '/proc/uptime' or die "/proc/uptime: $!\n";
    return (split ' ', <$uptime>)[0];
}

my $start = now();
my (%sockets, @ends, %waiting);

sub opened {
    my ($local) = @_;
    socket my $socket, AF_INET, SOCK_RAW, ICMP or die "socket: $!\n";
    setsockopt $socket, IPPROTO_IP, IP_MTU_DISCOVER, pack 'i', IP_PMTUDISC_PROBE;
    setsockopt $socket, SOL_RAW, ICMP_FILTER, pack 'L', ~(1 << ECHO_REPLY) & 0xffffffff;
    bind $socket, pack_sockaddr_in(0, inet_aton($local)) or return;
    return $socket;
}

# What the kernel takes for the largest that passes: the interface's MTU, or what it has heard.
sub guess {
    my ($local, $remote) = @_;
    socket my $socket, AF_INET, SOCK_DGRAM, 0 or return;
    bind $socket, pack_sockaddr_in(0, inet_aton($local)) or return;
    # Nothing is sent.
    connect $socket, pack_sockaddr_in(9, inet_aton($remote)) or return;
    my $mtu = getsockopt $socket, IPPROTO_IP, IP_MTU or return;
    return unpack 'i', $mtu;
}

sub request {
    my ($bytes) = @_;
    my $rest = pack('nn', $$ & 0xffff, $bytes) . "\0" x ($bytes - HEADERS);
    my $sum = unpack '%32n*', pack('CC', ECHO_REQUEST, 0) . $rest . "\0";
    $sum = ($sum & 0xffff) + ($sum >> 16) while $sum >> 16;
    return pack('CCn', ECHO_REQUEST, 0, ~$sum & 0xffff) . $rest;
}

# Hears answers for so long; less where none is waited for.
sub hear {
    my ($seconds) = @_;
    my $until = now() + $seconds;
    while (%waiting) {
        my $left = $until - now();
        my $readable = '';
        vec($readable, fileno $_, 1) = 1 for values %sockets;
        select my $can_read = $readable, undef, undef, $left > 0 ? $left : 0 or return;
        for my $local (keys %sockets) {
            next if !vec $can_read, fileno $sockets{$local}, 1;
            my $from = recv $sockets{$local}, my $packet, 65535, 0 or next;
            my (undef, $address) = unpack_sockaddr_in($from);
            my ($type, undef, undef, $id) = unpack 'CCnn', substr $packet, 4 * (ord($packet) & 15);
            next if $type != ECHO_REPLY or $id != ($$ & 0xffff);
            answered($local, inet_ntoa($address), length $packet);
        }
    }
}

sub answered {
    my ($local, $remote, $bytes) = @_;
    my $end = $waiting{"$local $remote"} or return;
    return if !exists $end->{asked}{$bytes};
    my $seconds = now() - $end->{asked}{$bytes};
    $end->{seconds} = $seconds if $seconds > $end->{seconds};
    $end->{passed}{$bytes} = 1;
    $end->{largest} = $bytes if $bytes > $end->{largest};
    # What is smaller passes, too.
    delete @{ $end->{asked} }{ grep { $_ <= $bytes } keys %{ $end->{asked} } };
    delete $waiting{"$local $remote"} if !%{ $end->{asked} };
}

# Tries the sizes under `sizes` of these ends; those that pass are in `passed` then.
sub try_all {
    my ($ends, $interval, $patience) = @_;
    for my $end (@$ends) {
        $end->{asked} = { map { $_ => 0 } @{ $end->{sizes} } };
        $end->{passed} = {};
        $waiting{"$end->{local} $end->{remote}"} = $end;
    }
    for my $try (1 .. TRIES) {
        my $count = 0;
        for my $end (@$ends) {
            my $to = pack_sockaddr_in(0, inet_aton($end->{remote}));
            # The largest first: who answers so many alone would leave them out.
            for my $bytes (sort { $b <=> $a } keys %{ $end->{asked} }) {
                $end->{asked}{$bytes} = now();
                if (send $sockets{ $end->{local} }, request($bytes), 0, $to) {
                    hear(0.01) if ++$count % BURST == 0;
                }
                elsif ($! == EMSGSIZE) {
                    delete $end->{asked}{$bytes};
                }
            }
        }
        hear($try < TRIES ? $interval : $patience);
    }
    %waiting = ();
}

# A few sizes between one that passes and one that doesn't.
sub between {
    my ($low, $high) = @_;
    my $count = int(ALL_SIZES / @ends) || 1;
    $count = SIZES if $count > SIZES;
    my $step = ($high - $low) / ($count + 1);
    my %sizes = map { int($low + $_ * $step) => 1 } 1 .. $count;
    return grep { $_ > $low and $_ < $high } keys %sizes;
}

# Whether an end is to be tried again, and with which sizes, after what was seen of the last ones.
sub goes_on {
    my ($end) = @_;
    my ($wanted, $largest) = @$end{qw(wanted largest)};
    return if !$largest or $largest >= $wanted;
    my $low = $largest < LEAST ? LEAST - 1 : $largest;
    my @lost = grep { $_ > $low } $wanted, $end->{high}, @{ $end->{sizes} };
    my ($high) = sort { $a <=> $b } @lost;
    if ($end->{is_last} and $high == $end->{high}) {
        print "$end->{local} $end->{remote} $low\n" if $end->{passed}{$largest};
        return;
    }
    # At last, both sides of the border: a size may have been lost by chance.
    $end->{is_last} = ($high - $low == 1 or $largest == $end->{kept});
    $end->{high} = $high;
    $end->{sizes} =
        $end->{is_last}
        ? [$wanted, $high, $largest]
        : [$low < LEAST ? LEAST : (), between($low, $high)];
    return 1;
}

my %record;
if (@ARGV and open my $file, '<', $ARGV[0]) {
    /^tunnel local (\S+) remote (\S+) mtu (\d+)$/ and $record{"$1 $2"} = $3 + OUTER_HEADER
        for <$file>;
}
while (my $line = <STDIN>) {
    my ($local, $remote, $wanted, $how) = split ' ', $line;
    my $kept = $how eq 'as-kept' ? $record{"$local $remote"} || 0 : 0;
    my $socket = $sockets{$local} || opened($local) or next;
    $sockets{$local} = $socket;
    my $guess = guess($local, $remote) || $wanted;
    my @sizes = ($wanted, $guess < $wanted ? ($guess + 1, $guess) : (), $kept ? $kept : (), SMALL);
    my %end = (local => $local, remote => $remote, wanted => $wanted, kept => $kept);
    push @ends, { %end, sizes => \@sizes, high => $wanted, largest => 0, seconds => 0 };
}
try_all(\@ends, INTERVAL, PATIENCE);
while (now() < $start + SECONDS and @ends = grep { goes_on($_) } @ends) {
    my ($slowest) = sort { $b <=> $a } map { $_->{seconds} } @ends;
    $slowest = INTERVAL if $slowest > INTERVAL;
    try_all(\@ends, 0.1 + $slowest, 0.2 + 3 * $slowest);
}
