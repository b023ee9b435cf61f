"""Pure: what a host is now, and what is done to one.

rules     policy routing: which rules a packet meets
state     the script that asks a host, and what its answer means
failures  why a command failed there, and what to do
changes   what a run does to one host: the diff that is read, the script that does it
render    a template, filled
"""
