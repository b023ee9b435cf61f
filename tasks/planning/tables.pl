# What can be read on a host, each of its tables once:
#
#     INDEX leads TARGET SOURCE INTERFACE   packets from SOURCE to TARGET leave by INTERFACE
#     INDEX routed PREFIX INTERFACE         the main table has a route to PREFIX by INTERFACE
#     INDEX unreachable PREFIX              it has one of type unreachable
#     INDEX proxied ADDRESS INTERFACE       solicitations for ADDRESS are answered there
#     INDEX held FAMILY TABLE               a process holds that table of nftables'
#     INDEX sysctl PATH VALUE               that file under /proc/sys has this value
use strict;
use warnings;

use constant ROUTES => 'ip -6 -oneline route show table main';
use constant PROXIES => 'ip -6 neighbour show proxy';

# By kind, the command whose lines show it, which of them are about it, and how one looks that meets
# it. Those about a prefix or an address begin with that, but for a route's type.
my %shown_by = (
    leads => sub { "ip -6 route get $_[0] from $_[1]", qr/^/, by($_[2]) },
    routed => sub { ROUTES, $_[0], by($_[1]) },
    unreachable => sub { ROUTES, $_[0], qr/^unreachable / },
    proxied => sub { PROXIES, $_[0], by($_[1]) },
    # What a process holds, no flush takes away.
    held => sub { "nft --terse list table @_", qr/flags owner|Error/, qr/\bflags owner\b/ },
);
# By command, the checks that its lines are looked at for, and how many commands go on.
my %reading;
my $running = 0;

sub by {
    my ($interface) = @_;
    return qr/ dev \Q$interface\E(?!\S)/;
}

sub begin_reading {
    my ($check, @words) = @_;
    (my $command, @$check{qw(about met)}) = $shown_by{ $check->{kind} }->(@words);
    push @{ $reading{$command} }, $check;
}

sub read_all {
    for my $command (sort keys %reading) {
        # Perl itself does what the last word says, and starts no shell for that.
        if (open my $pipe, '-|', "$command 2>&1") {
            my $text = '';
            $running++;
            watch($pipe, sub { read_on($pipe, $reading{$command}, \$text) });
        }
        else {
            told($_, 0, "$command: $!") for @{ $reading{$command} };
        }
    }
}

sub read_on {
    my ($pipe, $checks, $text) = @_;
    return if sysread $pipe, $$text, 65536, length $$text;
    forget($pipe);
    close $pipe;
    $running--;
    my @lines = split /\s*\n/, $$text;
    my %about;
    for my $line (@lines) {
        push @{ $about{$1} }, $line if $line =~ /^(?:[a-z]+ )?([0-9a-f:]+(?:\/\d+)?)(?!\S)/;
    }
    for my $check (@$checks) {
        my $about = $check->{about};
        my @found = ref $about ? grep { $_ =~ $about } @lines : @{ $about{$about} || [] };
        my ($met) = grep { $_ =~ $check->{met} } @found;
        told($check, defined $met, $met || $found[-1] || '');
    }
}

sub go_on_reading {
    return $running ? LONGEST_TURN : ();
}

sub read_sysctl {
    my ($check, $path, $wanted) = @_;
    my $value = '';
    if (open my $file, '<', "/proc/sys/$path") {
        chomp($value = <$file>);
    }
    told($check, $value eq $wanted, $value eq '' ? "/proc/sys/$path: $!" : $value);
}
