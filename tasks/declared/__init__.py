"""Pure: what a person wrote in an inventory, checked, as tunnels, ends and nodes.

model        tunnels, the two ends of each, and what one host carries of them
numbering    what a server gives to its tunnels: numbers and prefixes, and what is free
written      the keys that a person may write, and the values that each may have
naming       what a server calls a client's tunnel interface
declaration  an inventory, checked as a whole
"""
