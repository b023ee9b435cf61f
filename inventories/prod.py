"""The example to edit: one tunnel server, one client.

Each tunnel is declared once, on its client; the server's end follows from it. The host names are
what SSH connects to, unless `ssh_hostname` says otherwise; every `ssh_…` setting and `_sudo` of
pyinfra may stand beside these keys.
"""

hosts = [
    # A server with native IPv6. Its provider's router looks for each address of the prefix on the
    # link, so Culvert has the server answer for the tunnels'.
    (
        "fra1.example.net",
        {
            "tunnel_server": {
                "ipv4": "198.51.100.10",  # what clients connect to
                "prefix": "2001:db8:1::/64",  # tunnel addresses come from here
                # "local_ipv4": "192.0.2.10",  # its own, where NAT translates `ipv4` one to one
                # "on_link": False,  # the provider routes the prefix to the server
                # "routed_prefixes": ["2001:db8:100::/40"],  # routed here, to delegate from
                # "external_interface": "eth0",  # default: that of the IPv6 default route
                # "probe_address": "2001:4860:4860::8888",  # what verification pings
            },
        },
    ),
    # A client without IPv6.
    (
        "web1.example.net",
        {
            "tunnel": {
                "server": "fra1.example.net",
                "ipv4": "203.0.113.20",  # the address that the server sees
                "number": 1,  # 2001:db8:1::2 on the server, 2001:db8:1::3 on the client
                # "local_ipv4": "192.0.2.20",  # the client's own address behind NAT
                # "mtu": 1472,  # on an uplink of 1492 bytes; default 1480
                # "default_route": False,
                # "routed_prefixes": ["2001:db8:101::/48"],  # for the networks behind it
                # "lan": {"interface": "eth1", "address": "2001:db8:101:1::1/64"},
            },
            # "ssh_user": "admin", "_sudo": True,
        },
    ),
]
