# Has addresses come back, as `ip address save` wrote them into a file, its argument. Each link has
# its own by itself: one that is gone would keep those after it from theirs.
use strict;
use warnings;

open my $file, '<:raw', $ARGV[0] or die "$ARGV[0]: $!\n";
my $saved = do { local $/; <$file> };
my $mark = substr $saved, 0, 4, '';
my %of_link;
# Each message begins with its length (struct nlmsghdr), padded to a multiple of 4, and has the
# number of its link behind four bytes (struct ifaddrmsg).
while (length $saved >= 24) {
    my ($length, $link) = unpack 'L x16 L', $saved;
    last if $length < 24;
    $of_link{$link} .= substr $saved, 0, ($length + 3) & ~3, '';
}
for my $link (sort keys %of_link) {
    open my $pipe, '|-', qw(ip address restore) or die "ip: $!\n";
    print $pipe $mark, $of_link{$link};
    close $pipe;
}
