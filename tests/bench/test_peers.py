"""What Culvert is compared with writes what Culvert does."""

from pathlib import Path

import pytest
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tasks.planning.plan import plan
from tests.bench import commands
from tests.samples import bare

TEMPLATES = Path(__file__).parent / "peers/templates"
NETWORKD, SYSCTLS = "/etc/systemd/network", "/etc/sysctl.d/60-culvert.conf"


def meaning(text: str) -> list[str]:
    """The lines that mean something to those who read the file."""
    return [line for line in text.splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize("mtu", [None, 1400])
def test_templates_of_others_say_what_culverts_do(mtu: int | None) -> None:
    wanted = commands.server(3, mtu)
    variables = wanted.variables
    filled = {
        f"{NETWORKD}/eth0.network.d/60-culvert.conf": ("external.conf", {}),
        SYSCTLS: ("sysctl.conf", {}),
        **{
            f"{NETWORKD}/60-culvert-{tunnel['name']}.{kind}": (f"tunnel.{kind}", tunnel)
            for tunnel in variables["tunnels"]
            for kind in ("netdev", "network")
        },
    }
    environment = Environment(loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined)
    theirs = {
        path: meaning(environment.get_template(f"{name}.j2").render(**variables, tunnel=tunnel))
        for path, (name, tunnel) in filled.items()
    }
    ours = {
        change.path: meaning(change.after.text)
        for change in plan(wanted.node, bare("networkd", "server")).changes.files
        if change.after and change.path.startswith((NETWORKD, SYSCTLS))
    }
    assert theirs == ours
