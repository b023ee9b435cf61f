"""Pure: the firewalls that may be on a host already, one module each, and the table of them.

`firewall` is what one must be able to say, `insertions` what those of iptables have in common.
"""

from tasks.host.ruleset import Chain
from tasks.host.state import HostState
from tasks.parts.firewalls.docker import Docker
from tasks.parts.firewalls.firewall import Firewall
from tasks.parts.firewalls.firewalld import Firewalld
from tasks.parts.firewalls.iptables import Iptables
from tasks.parts.firewalls.nftables import Nftables
from tasks.parts.firewalls.ufw import Ufw

# In the order in which they are asked whether they hold a chain.
FIREWALLS: tuple[Firewall, ...] = (Ufw(), Firewalld(), Nftables(), Iptables(), Docker())


def holder(chain: Chain, state: HostState) -> Firewall | None:
    """The firewall that is to be told where a base chain drops something."""
    return next((each for each in FIREWALLS if each.holds(chain, state)), None)
