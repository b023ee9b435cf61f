"""Pure: what a person wrote in an inventory, checked, as tunnels, ends and nodes.

model        tunnels, the two ends of each, and what one host carries of them
numbering    what a server gives to its tunnels: numbers and prefixes, and what is free
written      the keys that a person may write, and the values that each may have
naming       what a server calls a client's tunnel interface
mistakes     what is wrong in an inventory, a line each
entries      what was written of one host, checked by itself
conflicts    what is right by itself, and can't be with what else is declared
prefixes     prefixes that overlap where they mustn't
declaration  an inventory, checked as a whole
"""
