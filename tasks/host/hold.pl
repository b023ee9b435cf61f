# What a run says beside what files.pl does: who may be at work on a host, and that it waits for a word.
#
#     take LIMIT BY              the host is this run's, for so many seconds, or the run stops
#     seen STAMP                 it stops where this isn't that of the last one
#     stamp RUN                  the name of this one
#     mine                       it stops where the host isn't this run's any more
#     clear LIMIT BY             what was cut off is taken back, where nobody is at work
#     sweep FOLDER               what a run left that was killed between staging and putting
#     early, anyway              between these, what is for where /var is there before the network
#     wait UNIT                  something begins to wait for a word that all is well
use strict;
use warnings;

my ($hold, $store, $stamp) = qw(/run/culvert-hold /var/lib/culvert /run/culvert-stamp);
my ($pending, $undoing) = ("$store/pending", "$store/undoing");

sub first_of {
    open my $file, '<', $_[0] or return '';
    my $line = <$file> // return '';
    chomp $line;
    return $line;
}

sub uptime { return int((split ' ', first_of('/proc/uptime'))[0]) }

# Of a process, what proc_pid_stat(5) tells after its name; nothing of one that has ended.
sub stat_of {
    my ($pid) = @_;
    open my $file, '<', "/proc/$pid/stat" or return;
    my $stat = do { local $/; <$file> } // return;
    my @words = split ' ', $stat =~ s/.*\) //sr;
    return $words[0] =~ /[ZX]/ ? () : @words;
}

# When it began, in the kernel's ticks.
sub born { return (stat_of($_[0]))[19] // '' }

# Whether the process lives that a file names.
sub lives {
    my ($pid, $began) = split ' ', first_of($_[0]);
    return defined $began && born($pid) eq $began;
}

# What sshd told the script's shell, or one above: sudo tells it to nobody.
sub origin {
    for (my $each = $main::script; $each and $each > 1; $each = (stat_of($each))[1]) {
        open my $file, '<', "/proc/$each/environ" or next;
        local $/;
        return " from $1" if (<$file> // '') =~ /(?:^|\0)SSH_CONNECTION=([^ \0]*)/;
    }
    return '';
}

# How long it is until a hold ends by itself.
sub left {
    my $until = first_of("$hold/deadline") || first_of("$hold/limit") || 0;
    my $left = $until - uptime();
    return $left > 0 ? $left : 1;
}

# Nobody else's from here on: a folder is whole as soon as it has this name. Else who has it.
sub seized {
    my ($limit, $by) = @_;
    my $own = "$hold.$main::script";
    my ($second, $minute, $hour, $day, $month, $year) = gmtime;
    my $since = sprintf '%d-%02d-%02d %02d:%02d:%02d UTC',
        $year + 1900, $month + 1, $day, $hour, $minute, $second;
    remove($own);
    make($own, 0755);
    write_file("$own/holder", 0644, $by, origin(), ", since $since\n");
    write_file("$own/pid", 0644, "$main::script ", born($main::script), "\n");
    write_file("$own/limit", 0644, uptime() + $limit, "\n");
    until (rename $own, $hold) {
        if (lives("$hold/pid") or lives("$hold/waiter")) {
            remove($own);
            return first_of("$hold/holder") . ', is at work on this host, and that ends by itself in '
                . left() . ' s';
        }
        # Its owner is gone, if it isn't another one's by now.
        rename $hold, "$own.gone";
        if (lives("$own.gone/pid") or lives("$own.gone/waiter")) {
            rename "$own.gone", $hold;
        }
        else {
            # How far it was tells what there is to take back.
            rename "$own.gone/begun", "$own/begun";
        }
        remove("$own.gone");
    }
    return;
}

sub is_cut_off { return -e $pending || -e $undoing }

# Whoever began it may be gone, and nobody reads what it prints.
sub quietly { return system 'sh', '-c', 'umask 022; exec "$@" >/dev/null 2>&1', 'sh', @_ }

sub take_back {
    rename $pending, $undoing;
    quietly('sh', "$undoing/undo", 'now', 'the run was cut off');
}

# Of a run that stays, whoever said so may have been ended at it.
sub settle {
    my $stays = "$store/confirmed.new";
    # What is left of it is no reason to do nothing else.
    eval { $main::verbs{do}("$stays/stay") } if -e "$stays/program";
}

sub release {
    remove("$hold.left");
    rename $hold, "$hold.left";
    remove("$hold.left");
}

# Whether /var comes over the network: a unit that goes before the network would go round in a circle,
# which systemd cuts where it likes. Whoever runs next takes back what a boot left there.
sub is_late {
    my %mounts = map { $_ => 1 } qw(/var /var/lib), $store;
    my @units = qw(var.mount var-lib.mount var-lib-culvert.mount);
    my @folders = map { ("/etc/systemd/$_", "/run/systemd/$_") }
        qw(system generator generator.late generator.early transient);
    my $is_mount = grep { $mounts{ (split ' ')[1] } } lines_of('/proc/self/mounts');
    for my $folder (@folders, '/usr/lib/systemd/system', '/lib/systemd/system') {
        $is_mount ||= grep { -e "$folder/$_" } @units;
    }
    return if !$is_mount;
    no warnings 'exec';
    open my $pipe, '-|', qw(systemctl show --property=After --value), @units or return;
    return grep { $_ eq 'network.target' } map { split } <$pipe>;
}

# Files that are called so, anywhere in it but behind a link.
sub sweep {
    my ($folder) = @_;
    # Whatever somebody does to it meanwhile.
    for my $name (eval { names_in($folder) }) {
        my $path = "$folder/$name";
        if (!-l $path and -d _) {
            sweep($path);
        }
        elsif ($name =~ /^\..*\.(?:new|old)$/s) {
            unlink $path if $name =~ /^\.@OWNED@/ or $path =~ m{/@FOLDER@/};
        }
    }
}

# Something that goes on when this run, its connection or whoever began it are gone.
sub await_word {
    my ($unit) = @_;
    my @systemd = qw(systemd-run --quiet --collect --property=Restart=on-failure);
    push @systemd, '--property=OOMScoreAdjust=-1000', "--unit=$unit";
    my @ways;
    if (-d '/run/systemd/system') {
        # From systemd 255 on, all but the kernel and /run may start anew under it.
        my $ends = 'reboot.target kexec.target poweroff.target halt.target';
        my @outlasting = map { "--property=$_" } qw(SurviveFinalKillSignal=yes IgnoreOnIsolate=yes),
            'DefaultDependencies=no', "Conflicts=$ends", "Before=$ends";
        push @ways, [@systemd, @outlasting] if -e '/usr/lib/systemd/system/soft-reboot.target';
        push @ways, [@systemd];
    }
    push @ways, [qw(setsid --fork)];
    for my $way (@ways) {
        last if !quietly(@$way, 'sh', "$hold/wait");
    }
    for (1 .. 500) {
        return if lives("$hold/waiter");
        select undef, undef, undef, 0.02;
    }
    die "nothing waits there\n";
}

%main::verbs = (
    %main::verbs,
    take => sub {
        my $own = "$hold.$main::script";
        $main::at = "writing $own";
        my $who = eval { seized(split ' ', $_[0], 2) };
        if ($@) {
            my $why = $@;
            eval { remove($own) };
            die $why;
        }
        stop($who) if $who;
        settle();
        if (is_cut_off()) {
            take_back();
            stop('a run that was cut off before it was confirmed had to be undone first: run again');
        }
    },
    seen => sub {
        stop('another run has changed this host since this one looked at it: run again')
            if first_of($stamp) ne ($_[0] // '');
    },
    mine => sub {
        die "another run has taken the host over\n"
            if first_of("$hold/pid") ne "$main::script " . born($main::script);
    },
    stamp => sub { put($stamp, $_[0] // '') },
    clear => sub {
        return if seized(split ' ', $_[0], 2);
        if (is_cut_off()) { take_back() }
        else { release() }
    },
    sweep => sub { sweep($_[0]) },
    early => sub { $main::is_skipping = is_late() },
    anyway => sub { undef $main::is_skipping },
    wait => sub { await_word($_[0]) },
);
