# Prints what a host's files say, in sections, and which machine it is. Each line of its input asks for
# a section, in fields with tabs between:
#
#     NAME FORM PATTERN PLACES LEFT-OUT PROGRAM INCLUDES
#
# PLACES are files, folders with all that is below them, and patterns of either, with spaces between.
# Of their lines it prints those that fit the PATTERN: in the FORM `line`, `path:line` or
# `path:number:line`; in that of `path` only where there is one. In the form `file` it prints
# files as a whole whose paths fit: the mode, and as base64 the path and the text; and at last those
# that can't be read in a section of their own.
#
# Files whose names fit LEFT-OUT are not looked at in folders, nor any where there is no PROGRAM. The
# lines that fit INCLUDES name more files, relative ones below /etc.
#
# Its arguments are the tables that `nft` lists, and more places, which `-` stands for.
#
# It needs no more of Perl than Debian's perl-base, which is Essential.
use strict;
use warnings;
use File::Glob qw(bsd_glob);

# Of a ruleset with its sets, in bytes.
use constant RULESET_LIMIT => 1_000_000;
# How often files may include others.
use constant DEPTH => 3;

my ($tables, $more) = @ARGV;

sub section {
    print "\n", '@@ culvert ', $_[0], "\n";
}

# --- Files ---

sub text_of {
    -f $_[0] and open my $file, '<', $_[0] or return;
    local $/;
    return scalar(<$file>) // '';
}

sub base64 {
    my ($text) = @_;
    my $padding = (3 - length($text) % 3) % 3;
    # A line of uuencode begins with its length.
    my $found = join '', map { substr $_, 1 } split /\n/, pack 'u', $text;
    $found =~ tr|` -_|AA-Za-z0-9+/|;
    substr($found, -$padding) = '=' x $padding if $padding;
    return $found;
}

# All files below a folder, which may be a symbolic link itself; those in it lead out of it.
sub below {
    my ($folder, $left_out) = @_;
    opendir my $handle, $folder or return;
    my @paths = map { "$folder/$_" } grep { !/^\.\.?$/ } sort readdir $handle;
    return map { -d $_ ? below($_, $left_out) : -f _ && !m{/(?:$left_out)$} ? $_ : () }
        grep { !-l $_ } @paths;
}

sub files {
    my ($places, $left_out) = @_;
    my @found = map { bsd_glob($_) } map { $_ eq '-' ? split ' ', $more : $_ } split ' ', $places;
    return map { -d $_ ? below($_, $left_out) : $_ } @found;
}

sub print_lines {
    my ($form, $pattern, $text, $path) = @_;
    # What is no text has no lines.
    return if $text =~ /\0/;
    my $number = 0;
    for my $line (split /\n/, $text) {
        $number++;
        next if $line !~ $pattern;
        return print "$path\n" if $form eq 'path';
        my %parts = (path => $path, number => $number, line => $line);
        print join(':', @parts{ split /:/, $form }), "\n";
    }
}

sub search {
    my ($form, $pattern, $places, $left_out, $program, $includes) = @_;
    return if $program and !grep { -x "$_/$program" } split /:/, $ENV{PATH};
    for (1 .. DEPTH) {
        my @included;
        for my $path (files($places, $left_out)) {
            my $text = text_of($path);
            next if !defined $text;
            print_lines($form, qr/$pattern/, $text, $path);
            push @included, $text =~ /$includes/mg if $includes;
        }
        return if !@included;
        $places = join ' ', map { m|^/| ? $_ : "/etc/$_" } @included;
    }
}

my @unreadable;

sub whole_files {
    my ($pattern, $places) = @_;
    for my $path (grep { /$pattern/ } map { below($_, '') } split ' ', $places) {
        my $text = text_of($path);
        my $mode = sprintf '%04o', (stat $path)[2] & 07777;
        print join(' ', $mode, base64($path), base64($text)), "\n" if defined $text;
        push @unreadable, "$path\n" if !defined $text;
    }
}

# --- The ruleset ---

sub said {
    my ($limit, @command) = @_;
    open my $pipe, '-|', @command or return '';
    my $text = '';
    1 while length $text < $limit and read $pipe, $text, 65536, length $text;
    return $text;
}

# Not Culvert's own: before nft 1.1.0, the JSON of a table that has a flag is undefined.
sub listed {
    my ($limit, @options) = @_;
    my $text = '';
    for (split /\n/, $tables) {
        my (undef, $family, $name) = split ' ', $_, 3;
        next if "$family $name" eq '@OWN_TABLE@';
        $text .= "table $family $name\n";
        $text .= said($limit, 'nft', @options, qw(list table), $family, $name);
        last if length $text >= $limit;
    }
    return $text;
}

sub ruleset {
    # Sets may be very large: without them, where all is more than people write.
    my $rules = listed(RULESET_LIMIT, '-j');
    return print "whole\n$rules\n" if length $rules < RULESET_LIMIT;
    # Maps are written by people: with them, if they aren't too large themselves.
    print "terse\n", said(RULESET_LIMIT, qw(nft -j list maps)), "\n", listed(9**9, qw(-j -t)), "\n";
}

# A copied disk brings its machine ID and SSH keys along. Each boot has another ID, which all
# containers of a kernel share, but not their network.
section('machine');
print text_of('/proc/sys/kernel/random/boot_id') // '', readlink('/proc/self/ns/net') // '', "\n";
section('ruleset');
ruleset() if $tables;
while (<STDIN>) {
    chomp;
    my ($name, $form, @rest) = split /\t/, $_, -1;
    section($name);
    $form eq 'file' ? whole_files(@rest) : search($form, @rest);
}
section('unreadable');
print @unreadable;
