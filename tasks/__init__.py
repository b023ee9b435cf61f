"""Culvert, from what a person declares to packets that flow.

Pure, tested in milliseconds; each knows those above it alone:

model           tunnels, the two ends of each, and what one host carries of them
numbering       what a server gives to its tunnels: numbers and prefixes, and what is free
written         the keys that a person may write, and the values that each may have
declaration     what a person wrote in an inventory, checked as a whole, as tunnels
state           what a host is now: the script that asks, and what its answer means
changes         what a run does to one host: the diff that is read, the script that does it
render          a template, filled
kernel          a tunnel as the kernel holds it: lines that tell of it, commands that make it so
managers/       one module for each network manager: its evidence, files and commands
additions       what is added beside Culvert's own interfaces, and the record of it
advertisements  the radvd of a network behind a client
by_hand         tunnels that somebody set up by hand, line by line
obstacles       what stands in the way on a host, found before anything changes there
sysctls         the kernel's settings that forwarding needs, and what they were before
plan            from what a host is to carry, and what it is now, to the changes between
proof           what shows that packets flow

pyinfra, which carries and decides nothing:

before          the inventory is checked before any host is connected to
facts           the state of a host, in one command
survey          every host of a run, read and planned once
operations      converge, barrier, verify

Tasks, each a function of the same name that `pyinfra INVENTORY tasks.NAME.NAME` calls:

verify          proves that packets flow, and changes nothing
drift           shows what a run would change, and fails where that is anything
addresses       lists who has which tunnel addresses, and what is free
remove          takes Culvert off a host
"""
