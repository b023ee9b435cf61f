# What a host remembers of itself, beside what files.pl does:
#
#     remember FOLDER            keeps there which system runs, and what nobody meant to touch, and may
#                                be lost all the same, by a hook or a manager: the addresses as
#                                `ip address save` has them, and for each version of IP the lines of
#                                `ip -batch` that add the routes
use strict;
use warnings;

# Not all of a routing daemon's.
use constant PROTOCOLS => qw(boot static ra dhcp);
# What has a line before all that follows: of the answers in a batch, each is told apart by it.
use constant MARK => "link show dev lo\n";

my $folder;

sub keep {
    my ($name, @lines) = @_;
    write_file("$folder/$name", 0600, @lines);
}

sub routes {
    my ($version) = @_;
    my @asking = ('ip', "-$version", qw(-oneline -force -batch), "$folder/asked");
    open my $pipe, '-|', @asking or die "ip: $!\n";
    my @protocols = ('', PROTOCOLS);
    my @lines;
    while (my $line = <$pipe>) {
        if ($line =~ /^\d+: /) {
            shift @protocols;
            next;
        }
        if ($protocols[0]) {
            # What it is asked for, it leaves out.
            next if $line =~ /^(?:[a-z]+ )?default /;
            $line =~ s/^(?:[a-z]+ )?[0-9a-f]\S*\K/ proto $protocols[0]/;
        }
        $line =~ tr/\\/ /;
        $line =~ s/ expires \d+\Ksec//;
        $line =~ s/ error -?\d+//;
        $line =~ s/ (?:linkdown|dead|offload|trap|rt_offload|rt_trap|offload_failed)\b//g;
        push @lines, "route add $line";
    }
    return @protocols ? () : @lines;
}

sub remember {
    ($folder) = @_;
    # As running_system() of hold.sh.
    my $network = readlink '/proc/self/ns/net' or die "/proc/self/ns/net: $!\n";
    keep('system', first_of('/proc/sys/kernel/random/boot_id'), "\n$network\n");
    keep('addresses', do { open my $pipe, '-|', qw(ip address save) or die "ip: $!\n"; <$pipe> });
    keep('asked', "route show default\n", MARK, map { ("route show proto $_\n", MARK) } PROTOCOLS);
    keep("routes-$_", routes($_)) for 4, 6;
    unlink "$folder/asked";
}

%main::verbs = (
    %main::verbs,
    # As much as can be had.
    remember => sub {
        open my $said, '>&', \*STDERR or die "stderr: $!\n";
        open STDERR, '>', '/dev/null';
        eval { remember($_[0]) };
        open STDERR, '>&', $said;
    },
);
