# Shows on a host that packets flow. This is the first of the program's files: it has all begun that
# is asked for, and waits until all is told. Each of the others knows some kinds of checks.
#
# A check is asked for in a line of its input, `INDEX KIND …`, and told of in a line that the program
# prints, `@@ check INDEX STATUS SEEN`, in any order. The status is 0 if it is met.
#
# It needs no more of Perl than Debian's perl-base, which is Essential.
use strict;
use warnings;

# In seconds, how far apart two looks at all sockets are at least, for they may be thousands, and at
# most.
use constant { TURN => 0.02, LONGEST_TURN => 0.05 };

my %begun_by = (
    ping => \&begin_ping,
    (map { $_ => \&begin_tcp } qw(client server probe)),
    (map { $_ => \&begin_reading } qw(leads routed unreachable proxied held)),
    sysctl => \&read_sysctl,
);
my %watched;
my ($readable, $writable) = ('', '');

# In seconds. Time::HiRes isn't in perl-base.
sub now {
    open my $uptime, '<', '/proc/uptime' or die "/proc/uptime: $!\n";
    return (split ' ', <$uptime>)[0];
}

sub watch {
    my ($handle, $heard, $for_writing) = @_;
    my $number = fileno $handle;
    $watched{$number} = [$handle, $heard];
    vec($readable, $number, 1) = 1;
    vec($writable, $number, 1) = $for_writing ? 1 : 0;
}

sub forget {
    my ($handle) = @_;
    my $number = fileno $handle;
    delete $watched{$number};
    vec($readable, $number, 1) = vec($writable, $number, 1) = 0;
}

sub told {
    my ($check, $is_met, $seen) = @_;
    print join(' ', '@@ check', $check->{index}, $is_met ? 0 : 1, $seen), "\n";
}

sub prove {
    while (my $line = <STDIN>) {
        my ($index, $kind, @words) = split ' ', $line;
        $begun_by{$kind}->({ index => $index, kind => $kind }, @words);
    }
    read_all();
    while (1) {
        my $now = now();
        # Each says for how long it has to do nothing but listen, or nothing once it has told all.
        my @turns = (go_on_reading(), go_on_pinging($now), go_on_connecting($now));
        my ($turn) = sort { $a <=> $b } @turns or last;
        select my $can_read = $readable, my $can_write = $writable, undef, $turn;
        my $ready = unpack 'b*', $can_read | $can_write;
        while ($ready =~ /1/g) {
            my ($handle, $heard) = @{ $watched{ $-[0] } || next };
            $heard->($handle);
        }
        # What comes meanwhile is looked at together.
        select undef, undef, undef, TURN if $ready =~ /1/;
    }
}
