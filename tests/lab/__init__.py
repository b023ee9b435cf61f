"""The lab: QEMU machines on one computer, to prove on real kernels what Culvert promises.

machines     what a machine is: its manager and release, its cards, how they get their addresses
flavours     one entry for each network manager: its packages, files and commands
topologies   who stands where: a server and a client of two managers each, and what is supported
internet     what makes a machine the Internet between them
places       where the lab keeps its files, and on which ports it answers
progress     what a person waiting at the terminal gets to read
waiting      until something has come true on a machine
errors       the one exception that is for people
cpio         writes the archives that a Linux kernel unpacks at boot
images       builds a disk, a kernel and an initrd for each set of packages
seed         the files that make an image into one machine
access       who may enter the machines: keys, ports, users
session      commands on a machine, over a connection that is kept
ties         processes that end with the program that starts them
accelerator  whether KVM can be trusted on this computer
qemu         one machine's process: start, snapshot, stop
lab          the machines together: up, reset, down
init         the first process of every machine, a shell script
"""
