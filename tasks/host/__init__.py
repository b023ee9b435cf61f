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
    write.pl  the program that does it
rollback  what a host keeps meanwhile, to go back by itself
    hold.sh   the functions of that: who is at work on it, and since when
    wait.sh   the process that waits for a word that all is well
render    a template, filled
perl      a program in Perl, as a command
"""
