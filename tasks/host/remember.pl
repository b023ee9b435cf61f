# Keeps in a folder, its argument, which system runs, and what nobody meant to touch and what may be
# lost all the same, by a hook or a manager: the addresses as `ip address save` has them, and for each version of IP the
# lines of `ip -batch` that add the routes.
#
# It needs no more of Perl than Debian's perl-base, which is Essential.
use strict;
use warnings;

# Not all of a routing daemon's.
use constant PROTOCOLS => qw(boot static ra dhcp);
# What has a line before all that follows: of the answers in a batch, each is told apart by it.
use constant MARK => "link show dev lo\n";

my ($folder) = @ARGV;
my $asked = "$folder/asked";

sub put {
    my ($name, @lines) = @_;
    open my $file, '>', "$folder/$name" or die "$folder/$name: $!\n";
    print $file @lines;
    close $file or die "$folder/$name: $!\n";
}

sub routes {
    my ($version) = @_;
    open my $pipe, '-|', 'ip', "-$version", qw(-oneline -force -batch), $asked or die "ip: $!\n";
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

sub line_of {
    open my $file, '<', $_[0] or die "$_[0]: $!\n";
    return scalar <$file>;
}

# As running_system() of hold.sh.
my $network = readlink '/proc/self/ns/net' or die "/proc/self/ns/net: $!\n";
put('system', line_of('/proc/sys/kernel/random/boot_id'), "$network\n");
put('addresses', do { open my $pipe, '-|', qw(ip address save) or die "ip: $!\n"; <$pipe> });
put('asked', "route show default\n", MARK, map { ("route show proto $_\n", MARK) } PROTOCOLS);
put("routes-$_", routes($_)) for 4, 6;
unlink $asked;
