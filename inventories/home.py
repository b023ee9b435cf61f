"""An example: a server on router advertisements, a client behind a home router.

docs/inventory.md has every key. The addresses are examples; put in your own.
"""

hosts = [
    # The server's IPv6 address and default route come by router advertisement. Nothing needs to be
    # declared for that: before a run turns forwarding on, it has the kernel keep on listening to
    # the router (`accept_ra = 2`).
    (
        "fra1.example.net",
        {
            "tunnel_server": {
                "ipv4": "198.51.100.10",
                "prefix": "2001:db8:1::/64",  # the one that the router advertises
            },
        },
    ),
    # The client has a private address. The router in front of it translates addresses, and must
    # pass protocol 41 both ways: docs/firewalls.md has what to set there.
    (
        "home1.example.net",
        {
            "ssh_hostname": "192.0.2.20",  # from a workstation in the same network
            "tunnel": {
                "server": "fra1.example.net",
                "ipv4": "203.0.113.20",  # the router's outer address: what the server sees
                "local_ipv4": "192.0.2.20",  # the client's own, which the router's DHCP must keep
                "number": 1,  # 2001:db8:1::2 on the server, 2001:db8:1::3 on the client
                "mtu": 1472,  # PPPoE: 1492 bytes, less the 20 of the tunnel
            },
        },
    ),
]
