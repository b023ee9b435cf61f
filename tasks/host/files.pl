# Does to files what its input says, in lines, and stops at the first that fails; then it prints what
# that was for. What it writes is on the disk before it goes on. Names are absolute, below a root.
#
#     at WORDS               what the following lines are for
#     > MODE PATH            a file begins, with its mode before it has its text:
#     < PATH                     what it is made from: an old file, below the folder of their copies
#     = NUMBER                   so many of its lines stay
#     - NUMBER                   so many don't
#     +LINE                      a line that is new
#     *LINE                      the same, where \\ is one backslash, and \0 a zero byte
#     !                          the last line has no end
#     put PATH TEXT          a file of one line, there at once for those who read it meanwhile
#     copy FROM PATH         its text
#     program PATH           this program itself
#     folder MODE PATH       is made, with those above it
#     link TARGET PATH       a symbolic link, also where there is one
#     rename FROM PATH
#     away FROM PATH         the same, if that can be
#     remove PATTERN         with all that is in it
#     only PATH NAME…        a folder keeps these of what is in it
#     rmdir PATH             where it is empty
#     sync PATH              a file or folder that was made otherwise
#     absent PATH            is to be new, so it may not be there
#     lack PATH              noted, where the folder isn't there, with those above it
#     made PATH              a file of all that was noted, what is further down first
#     scratch, clean         the script's own folder is made, and goes
#     do PATH                what the lines of a file say
#     end                    the last line: without it, nothing tells that all of it has come
#
# Its arguments are the root, the folder of the copies, the script's process, and its own folder.
#
# It needs no more of Perl than Debian's perl-base, which is Essential.
use strict;
use warnings;
use File::Glob qw(bsd_glob);
use IO::Handle;

our ($root, $copies, $script, $scratch) = @ARGV;
$root //= '';
our %verbs;
our $at = '';
our $is_skipping;
our $is_whole;
my ($mode, $name, $text, @old);
my @lacking;

sub lines_of {
    open my $file, '<', $_[0] or die "$_[0]: $!\n";
    return <$file>;
}

sub write_file {
    my ($path, $bits, @lines) = @_;
    open my $file, '>', $path or die "$path: $!\n";
    chmod $bits, $file or die "$path: $!\n";
    return if print $file @lines and $file->flush and $file->sync and close $file;
    my $why = $!;
    close $file;
    die "$path: $why\n";
}

sub put {
    my ($path, $line) = @_;
    write_file("$path.new", 0644, "$line\n");
    move("$path.new", $path);
}

sub move { rename $_[0], $_[1] or die "$_[1]: $!\n" }

sub make {
    my ($path, $bits) = @_;
    return if $path eq '' or -d $path;
    make($path =~ s{/[^/]*$}{}r, 0755);
    mkdir $path or die "$path: $!\n";
    chmod $bits, $path or die "$path: $!\n";
}

sub names_in {
    my ($folder) = @_;
    opendir my $names, $folder or die "$folder: $!\n";
    return grep { !/^\.\.?$/ } readdir $names;
}

sub remove {
    my ($path) = @_;
    return if !-l $path and !-e _;
    if (!-l _ and -d $path) {
        remove("$path/$_") for names_in($path);
        rmdir $path or $!{ENOENT} or die "$path: $!\n";
    }
    else {
        unlink $path or $!{ENOENT} or die "$path: $!\n";
    }
}

# Also of a folder.
sub synced {
    my ($path) = @_;
    open my $file, '<', $path or die "$path: $!\n";
    $file->sync or die "$path: $!\n";
}

# What is said of the host, instead of what was tried.
sub stop {
    $at = $_[0];
    die "\n";
}

sub ended {
    write_file("$root$name", $mode, $text) if defined $name;
    undef $name;
}

sub act {
    my ($line) = @_;
    return if $is_skipping and $line ne "anyway\n";
    if ($line =~ /^([a-z]+)(?: (.*))?$/) {
        ended();
        my $verb = $verbs{$1} or die "$1: no such verb\n";
        return $verb->($2);
    }
    if ($line =~ /^> (\d+) (.*)/) {
        ended();
        ($mode, $name, $text, @old) = (oct $1, $2, '');
    }
    elsif ($line =~ /^< (.*)/) { @old = lines_of("$copies$1") }
    elsif ($line =~ /^= (\d+)/) { $text .= join '', splice @old, 0, $1 }
    elsif ($line =~ /^- (\d+)/) { splice @old, 0, $1 }
    elsif ($line =~ /^!/) { chomp $text }
    else {
        my $rest = substr $line, 1;
        $rest =~ s/\\(.)/$1 eq '0' ? "\0" : $1/ge if $line =~ /^\*/;
        $text .= $rest;
    }
}

sub both { my ($from, $to) = split ' ', $_[0]; return ("$root$from", "$root$to") }

%verbs = (
    %verbs,
    at => sub { $at = $_[0] },
    put => sub { my ($path, $line) = split ' ', $_[0], 2; put("$root$path", $line) },
    copy => sub { my ($from, $to) = both($_[0]); write_file($to, 0600, lines_of($from)) },
    program => sub {
        local $/;
        write_file("$root$_[0]", 0600, (split /\0/, (lines_of('/proc/self/cmdline'))[0])[2]);
    },
    folder => sub { my ($bits, $path) = split ' ', $_[0]; make("$root$path", oct $bits) },
    link => sub {
        my ($target, $path) = split ' ', $_[0];
        remove("$root$path");
        symlink $target, "$root$path" or die "$root$path: $!\n";
    },
    rename => sub { move(both($_[0])) },
    away => sub { my ($from, $to) = both($_[0]); rename $from, $to },
    remove => sub { remove($_) for bsd_glob("$root$_[0]") },
    only => sub {
        my ($path, @kept) = split ' ', $_[0];
        my %kept = map { $_ => 1 } @kept;
        remove("$root$path/$_") for grep { !$kept{$_} } names_in("$root$path");
    },
    rmdir => sub { rmdir "$root$_[0]" },
    sync => sub { synced("$root$_[0]") },
    absent => sub {
        stop("$_[0] has been changed since this run looked at it: run again") if -e "$root$_[0]";
    },
    lack => sub {
        my ($path) = @_;
        my @new;
        while ($path and !-d "$root$path" and !grep { $_ eq $path } @lacking) {
            push @new, $path;
            $path =~ s{/[^/]*$}{};
        }
        unshift @lacking, @new;
    },
    made => sub { write_file("$root$_[0]", 0600, "@lacking\n") },
    scratch => sub { remove($scratch); make($scratch, 0700) },
    clean => sub { remove($scratch) },
    do => sub {
        local $is_whole;
        act($_) for lines_of("$root$_[0]");
        die "$root$_[0]: it was cut off\n" if !$is_whole;
    },
    end => sub { $is_whole = 1 },
);
umask 077;
# What it starts gets none of it, whatever reads there: a program may have another in front of it.
open my $input, '<&', \*STDIN or die "its input: $!\n";
open STDIN, '<', '/dev/null' or die "/dev/null: $!\n";
eval { act($_) while <$input>; ended(); $is_whole or die "its input was cut off\n" } or do {
    print $at;
    print STDERR $@ if $@ ne "\n";
    exit 1;
};
