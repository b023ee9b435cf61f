# Tries what is to work on a host, all of it at the same time. Each line of its input is one of
#
#     own INTERFACE                 one of Culvert's, whose default routes come and go with it
#     tunnel INTERFACE ADDRESS      a tunnel, and its other end
#     IPv6 - ADDRESS                an address on the Internet
#     expected THING                what works, in its own words
#
# It prints what works, in lines; with a number of seconds as its argument instead what doesn't of
# all that is expected, if that doesn't come in so long.
#
# It needs no more of Perl than Debian's perl-base, which is Essential.
use strict;
use warnings;
use Socket qw(:DEFAULT inet_pton pack_sockaddr_in6 unpack_sockaddr_in6);
use Socket qw(IPPROTO_ICMP IPPROTO_ICMPV6);

# So often an address is tried, with so many seconds for the answer.
use constant { TRIES => 3, PATIENCE => 1 };
# So many packets leave at once, so many seconds apart: no queue on the way has room for thousands.
use constant { BURST => 20, PAUSE => 0.02 };
use constant SO_BINDTODEVICE => 25;
# By family, the types of an echo request and of its reply, and how a socket gets none but these:
# level, option, and a bit for each type that it doesn't get (raw(7); RFC 3542, 3.2).
my %icmp = (
    AF_INET() => [IPPROTO_ICMP, 8, 0, 255, 1, pack('L', 0xffffffff), pack('L', 0xfffffffe)],
    AF_INET6() => [
        IPPROTO_ICMPV6, 128, 129, IPPROTO_ICMPV6, 1,
        pack('L8', (0xffffffff) x 8),
        pack('L8', (0xffffffff) x 4, 0xfffffffd, (0xffffffff) x 3),
    ],
);

# Time::HiRes isn't in perl-base.
sub now {
    open my $uptime, '<', '/proc/uptime' or die "/proc/uptime: $!\n";
    return (split ' ', <$uptime>)[0];
}

sub said {
    open my $pipe, '-|', @_ or die "$_[0]: $!\n";
    my @lines = <$pipe>;
    # What isn't seen now would not be missed afterwards.
    close $pipe or die "@_ ended badly\n";
    return @lines;
}

# --- Addresses ---

# What the answers carry that are this program's.
my $mark = pack 'NN', rand 2**32, rand 2**32;
# By family, the one socket that hears all answers: the kernel offers each packet to every raw
# socket, so one for each address would cost the square of their number.
my %ears;

sub opened {
    my ($family, $is_ear) = @_;
    my ($protocol, undef, undef, $level, $option, $deaf, $hearing) = @{ $icmp{$family} };
    socket my $socket, $family, SOCK_RAW, $protocol or return;
    setsockopt $socket, $level, $option, $is_ear ? $hearing : $deaf;
    return $socket;
}

sub request {
    my ($type, $number) = @_;
    my $rest = pack 'nn a8 N x40', $$ & 0xffff, $number & 0xffff, $mark, $number;
    # Of ICMPv6, the kernel fills the checksum in.
    my $sum = unpack '%32n*', pack('CC', $type, 0) . $rest;
    $sum = ($sum & 0xffff) + ($sum >> 16) while $sum >> 16;
    return pack('CCn', $type, 0, ~$sum & 0xffff) . $rest;
}

# Sends an echo request, by an interface if it has one.
sub ask {
    my ($target, $number) = @_;
    my $family = $target->{address} =~ /:/ ? AF_INET6 : AF_INET;
    $target->{ip} = inet_pton($family, $target->{address}) or return;
    $ears{$family} ||= opened($family, 1) or return;
    my $socket = opened($family) or return;
    my $interface = $target->{interface};
    return if $interface ne '-' and !setsockopt $socket, SOL_SOCKET, SO_BINDTODEVICE, $interface;
    my $to = $family == AF_INET ? \&pack_sockaddr_in : \&pack_sockaddr_in6;
    send $socket, request($icmp{$family}[1], $number), 0, $to->(0, $target->{ip});
}

# By number, those that haven't answered yet.
my %waiting;

# Hears answers for so long; less where none is waited for.
sub hear {
    my ($seconds) = @_;
    my $until = now() + $seconds;
    while (%ears and %waiting) {
        my $left = $until - now();
        return if $left <= 0;
        my $readable = '';
        vec($readable, fileno $_, 1) = 1 for values %ears;
        select $readable, undef, undef, $left or return;
        vec $readable, fileno $ears{$_}, 1 and heard($_) for keys %ears;
    }
}

sub heard {
    my ($family) = @_;
    my $from = recv $ears{$family}, my $message, 512, 0 or return;
    my $of = $family == AF_INET ? \&unpack_sockaddr_in : \&unpack_sockaddr_in6;
    my $ip = ($of->($from))[1];
    $message = substr $message, 4 * (ord($message) & 15) if $family == AF_INET;
    return if length $message < 20;
    my ($type, $own, $number) = unpack 'Cx7 a8 N', $message;
    return if $type != $icmp{$family}[2] or $own ne $mark or !$waiting{$number};
    (delete $waiting{$number})->{answers} = 1 if $waiting{$number}{ip} eq $ip;
}

# What has answered once, does: of very many, now and then one doesn't.
sub ping {
    my @silent = grep { !$_->{answers} } @_;
    %waiting = map { $_ => $silent[$_] } 0 .. $#silent;
    for (1 .. TRIES) {
        my $count = 0;
        for my $number (sort keys %waiting) {
            ask($silent[$number], $number);
            hear(PAUSE) if ++$count % BURST == 0;
        }
        hear(PATIENCE);
    }
}

# --- What works ---

my (%own, @targets, %gateways, @expected);

# Default routes as `ip` has them, each with its gateway and interface.
sub defaults {
    my ($version) = @_;
    my %found;
    for (said('ip', "-$version", qw(route show default))) {
        next if /^(?:unreachable|prohibit|blackhole|throw) /;
        $found{$1} = [$1, $2, $3] while /((?:via (?:inet6 )?(\S+) )?dev (\S+))/g;
    }
    return grep { !$own{ $_->[2] } } values %found;
}

sub look {
    my (@works, %ways);
    for my $version (4, 6) {
        for (defaults($version)) {
            my ($route, $address, $interface) = @$_;
            push @works, "IPv$version default route $route";
            next if !defined $address;
            my $told = "gateway $address of $interface answers";
            $ways{"$address dev $interface"} = $gateways{$told}
                ||= { interface => $interface, address => $address, told => $told };
        }
    }
    my @tried = (values %ways, @targets);
    ping(@tried);
    push @works, map { $_->{told} } grep { $_->{answers} } @tried;
    # A silent one still tells its hardware address.
    for (%ways ? said(qw(ip neighbour show)) : ()) {
        my ($way) = /^(\S+ dev \S+) .*lladdr/ or next;
        next if /FAILED/ or !$ways{$way};
        push @works, "gateway $ways{$way}{address} of $ways{$way}{interface} is there";
    }
    return @works;
}

while (<STDIN>) {
    chomp;
    my ($kind, $rest) = split ' ', $_, 2;
    if ($kind eq 'own') {
        $own{$rest} = 1;
    }
    elsif ($kind eq 'expected') {
        push @expected, $rest;
    }
    else {
        my ($interface, $address) = split ' ', $rest;
        my $told = $kind eq 'tunnel' ? "tunnel $interface answers" : 'the Internet answers over IPv6';
        push @targets, { interface => $interface, address => $address, told => $told };
    }
}
if (!@ARGV) {
    print '@@ works: ', $_, "\n" for look();
    exit;
}
my $until = now() + $ARGV[0];
while (1) {
    my %works = map { $_ => 1 } look();
    my @lost = grep { !$works{$_} } @expected or exit;
    if (now() >= $until) {
        print '@@ lost: ', $_, "\n" for @lost;
        exit;
    }
    sleep 1;
}
