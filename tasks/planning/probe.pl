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
use Socket qw(:DEFAULT inet_ntop inet_pton pack_sockaddr_in6 unpack_sockaddr_in6);
use Socket qw(IPPROTO_ICMP IPPROTO_ICMPV6);

# So often an address is tried, with so many seconds for the answer.
use constant { TRIES => 3, PATIENCE => 1 };
# So many packets leave at once, so many seconds apart: no queue on the way has room for thousands.
use constant { BURST => 20, PAUSE => 0.02 };
use constant SO_BINDTODEVICE => 25;
use constant {
    AF_NETLINK => 16, NLM_F_REQUEST => 0x1, NLM_F_DUMP => 0x300, NLMSG_ERROR => 2, NLMSG_DONE => 3,
    RTM_GETROUTE => 26, RTM_GETNEIGH => 30, RT_TABLE_MAIN => 254, RTN_UNICAST => 1,
    RTA_OIF => 4, RTA_GATEWAY => 5, RTA_MULTIPATH => 9, RTA_VIA => 18,
    NDA_DST => 1, NDA_LLADDR => 2, NUD_FAILED => 0x20, SIOCGIFNAME => 0x8910,
};
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

# --- The kernel's tables (rtnetlink(7)) ---

# Has the kernel tell of all that it has in one: each answer is a header of 12 bytes, in which the
# family is the first, and attributes by their numbers.
sub dump_of {
    my ($type, $family, $is_wanted) = @_;
    # What isn't seen now would not be missed afterwards.
    socket my $netlink, AF_NETLINK, SOCK_RAW, 0 or die "netlink: $!\n";
    my $asked = pack 'C x11', $family;
    send $netlink, pack('LSSLL', 28, $type, NLM_F_REQUEST | NLM_F_DUMP, 1, 0) . $asked, 0
        or die "netlink: $!\n";
    my @found;
    while (defined recv $netlink, my $messages, 65536, 0) {
        while (length $messages >= 16) {
            my ($length, $kind) = unpack 'LS', $messages;
            my $message = substr $messages, 0, ($length + 3) & ~3, '';
            return @found if $kind == NLMSG_DONE;
            die "the kernel doesn't tell of what it has (", unpack('x16 l', $message), ")\n"
                if $kind == NLMSG_ERROR;
            my $header = substr $message, 16, 12;
            push @found, [$header, attributes(substr $message, 28)] if $is_wanted->($header);
        }
    }
    die "netlink: $!\n";
}

sub attributes {
    my ($rest) = @_;
    my %found;
    while (length $rest >= 4) {
        my ($length, $type) = unpack 'SS', $rest;
        last if $length < 4;
        $found{ $type & 0x3fff } = substr $rest, 4, $length - 4;
        substr $rest, 0, ($length + 3) & ~3, '';
    }
    return \%found;
}

sub name_of {
    my ($index) = @_;
    socket my $any, AF_INET, SOCK_DGRAM, 0 or die "socket: $!\n";
    my $request = pack 'x16 l x20', $index;
    return ioctl($any, SIOCGIFNAME, $request) ? unpack 'Z16', $request : "if$index";
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

# Default routes of the main table: how each goes on, its gateway and its interface.
sub defaults {
    my ($family) = @_;
    my $is_default = sub {
        my ($of, $length, undef, undef, $table, undef, undef, $type) = unpack 'C8', $_[0];
        # A kernel without IPv6 tells of what it has instead.
        return $of == $family && !$length && $table == RT_TABLE_MAIN && $type == RTN_UNICAST;
    };
    my %found;
    for (dump_of(RTM_GETROUTE, $family, $is_default)) {
        my $route = $_->[1];
        my @hops = $route->{+RTA_MULTIPATH} ? hops($route->{+RTA_MULTIPATH}) : $route;
        for my $hop (@hops) {
            my $interface = name_of(unpack 'L', $hop->{+RTA_OIF} // next);
            my ($via, $gateway) = gateway($family, $hop);
            $found{"${via}dev $interface"} = ["${via}dev $interface", $gateway, $interface];
        }
    }
    return grep { !$own{ $_->[2] } } values %found;
}

# Of a route with several ways, each as if it had that alone (struct rtnexthop).
sub hops {
    my ($rest) = @_;
    my @found;
    while (length $rest >= 8) {
        my ($length, $index) = unpack 'S x2 L', $rest;
        last if $length < 8;
        my $hop = attributes(substr $rest, 8, $length - 8);
        push @found, { %$hop, RTA_OIF, pack 'L', $index };
        substr $rest, 0, ($length + 3) & ~3, '';
    }
    return @found;
}

# The words for it, and the address; of IPv4 it may be one of IPv6.
sub gateway {
    my ($family, $hop) = @_;
    if (my $via = $hop->{+RTA_VIA}) {
        my $address = inet_ntop(AF_INET6, substr $via, 2);
        return ("via inet6 $address ", $address);
    }
    my $gateway = $hop->{+RTA_GATEWAY} // return ('', undef);
    my $address = inet_ntop($family, $gateway);
    return ("via $address ", $address);
}

# As `$address dev $interface`, all whose hardware address is known.
sub neighbours {
    my $is_there = sub {
        my ($family, $state) = unpack 'C x7 S', $_[0];
        return ($family == AF_INET || $family == AF_INET6) && !($state & NUD_FAILED);
    };
    my %found;
    for (dump_of(RTM_GETNEIGH, AF_UNSPEC, $is_there)) {
        my ($header, $neighbour) = @$_;
        next if !$neighbour->{+NDA_LLADDR};
        my ($family, $index) = unpack 'C x3 l', $header;
        my $address = inet_ntop($family, $neighbour->{+NDA_DST} // next);
        $found{"$address dev " . name_of($index)} = 1;
    }
    return %found;
}

sub look {
    my (@works, %ways);
    for my $version (4, 6) {
        for (defaults($version == 4 ? AF_INET : AF_INET6)) {
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
    my %there = %ways ? neighbours() : ();
    for my $way (grep { $there{$_} } keys %ways) {
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
