# Writes files below a folder, its first argument, each with its mode before it has its text. Its
# input tells of one after the other, in lines:
#
#     > MODE NAME    a file begins
#     < PATH         what it is made from: an old file, below the second argument
#     = NUMBER       so many of its lines stay
#     - NUMBER       so many don't
#     +LINE          a line that is new
#     *LINE          the same, where \\ is one backslash, and \0 a zero byte
#     !              the last line has no end
#
# It needs no more of Perl than Debian's perl-base, which is Essential.
use strict;
use warnings;

my ($root, $copies) = @ARGV;
my ($name, $mode, $text, @old);

sub lines_of {
    open my $file, '<', $_[0] or die "$_[0]: $!\n";
    return <$file>;
}

sub put {
    open my $file, '>', "$root/$name" or die "$root/$name: $!\n";
    chmod $mode, $file or die "$root/$name: $!\n";
    print $file $text;
    close $file or die "$root/$name: $!\n";
}

umask 077;
while (<STDIN>) {
    my $rest = substr $_, 1;
    if (/^> (\d+) (.*)/) {
        put() if defined $name;
        ($mode, $name, $text, @old) = (oct $1, $2, '');
    }
    elsif (/^< (.*)/) { @old = lines_of("$copies$1") }
    elsif (/^= (\d+)/) { $text .= join '', splice @old, 0, $1 }
    elsif (/^- (\d+)/) { splice @old, 0, $1 }
    elsif (/^!/) { chomp $text }
    else {
        $rest =~ s/\\(.)/$1 eq '0' ? "\0" : $1/ge if /^\*/;
        $text .= $rest;
    }
}
put() if defined $name;
