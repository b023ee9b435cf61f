"""Tunnels that a manager brings up one after the other, and how long its start may take."""

from dataclasses import replace

import pytest

from tasks.host.state import Unit
from tasks.planning.plan import plan
from tests.planning.test_growth import server
from tests.samples import bare


def warnings(tunnels: int, limit: float | None, manager: str = "ifupdown") -> tuple[str, ...]:
    state = bare(manager, "server")
    networking = Unit(True, True, True, start_limit=limit)
    units = {**state.units, "networking.service": networking}
    return plan(server(tunnels, is_routed=False), replace(state, units=units)).warnings


def test_what_may_outlast_the_services_limit_is_said_with_the_numbers() -> None:
    (said,) = warnings(1000, 300)
    assert said.startswith(
        "ifupdown brings up its 1,000 tunnels one after the other at boot, in 40 s on a fast "
        "machine and 1150 s on a very slow one, and networking.service is ended after 300 s, "
    )


@pytest.mark.parametrize(
    ("tunnels", "limit", "manager"),
    [(260, 300, "ifupdown"), (1000, None, "ifupdown"), (1000, 300, "networkd")],
    ids=["few", "no limit", "another manager"],
)
def test_nothing_is_said_where_it_does_not(tunnels: int, limit: float | None, manager: str) -> None:
    assert not warnings(tunnels, limit, manager)
