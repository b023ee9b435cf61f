"""Pure: what a host gets, a module or folder for each part.

managers/       one module for each network manager: its evidence, files and commands
sit             a tunnel as the kernel holds it: lines that tell of it, commands that make it so
sysctls         the kernel's settings that forwarding needs, and what they were before
additions       what is added beside Culvert's own interfaces, and the record of it
advertisements  the radvd of a network behind a client
"""
