"""The lab: six QEMU machines on one computer, to prove on real kernels what Culvert promises.

machines     who stands where: names, addresses, network cards, links
flavours     one entry for each network manager: its packages, its configuration files
places       where the lab keeps its files, and on which ports it answers
progress     what a person waiting at the terminal gets to read
errors       the one exception that is for people
cpio         writes the archives that a Linux kernel unpacks at boot
images       builds a disk, a kernel and an initrd for each flavour
seed         the files that make an image into one machine
ssh          keys, connections and commands
accelerator  whether KVM can be trusted on this computer
qemu         one machine's process: start, snapshot, stop
lab          the machines together: up, reset, down
init         the first process of every machine, a shell script
"""
