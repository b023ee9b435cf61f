"""pyinfra, which carries and decides nothing.

asked       pure: what people ask of pyinfra that can't be had
inventory   what it declares
before      the inventory is checked before any host is connected to
connection  what paramiko leaves undone
deadlines   no host keeps a run waiting for ever
facts       the state of a host, in one command
survey      every host of a run, read and planned once
turns       hosts are changed at the same time, each after those that it needs
confirming  hosts that were changed and wait for a word that all is well
proofs      what shows that packets flow, on all hosts at once
report      the table at the end of a run
progress    how far a run is, on a terminal
operations  converge, confirm, verify
"""
