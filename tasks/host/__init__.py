"""Pure: what a host is now, and what is done to one.

rules     policy routing: which rules a packet meets
state     what a host is
asking    the script that asks a host for it
    path.pl   the program in it that measures which packets reach other hosts
answer    what the script printed, as a state
boot      which settings of the kernel the next boot would make of what is there
failures  why a command failed there, and what to do
changes   what a run does to one host: the diff that is read, the script that does it
edits     the text of a file, or what makes it out of another one
    files.pl  the program that does it, and all else to files, by lines
rollback  what a host keeps meanwhile, to go back by itself
    hold.pl   what files.pl does for that: takes the host, has it wait for a word that all is well
    hold.sh   who is at work on it, until when, and how what was made stays, or goes
    wait.sh   the process that waits
    remember.pl, recall.pl  what nobody meant to touch, and may be lost all the same
render    a template, filled
perl      a program in Perl, as a command
"""
