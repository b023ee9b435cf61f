"""Tunnels that a manager may not bring up in time at boot, for their number."""

from dataclasses import replace

import pytest

from tasks.host.state import Unit
from tasks.planning.plan import plan
from tests.planning.test_growth import server
from tests.samples import bare


def warnings(
    tunnels: int, limit: float | None, manager: str = "ifupdown", told: str = ""
) -> tuple[str, ...]:
    """What is warned of on a server, of whose networkd a line more is `told`."""
    state = bare(manager, "server")
    networking = Unit(True, True, True, start_limit=limit)
    units = {**state.units, "networking.service": networking}
    answers = {**state.answers, "networkd": f"{state.answers.get('networkd', '')}\n{told}"}
    state = replace(state, units=units, answers=answers)
    return plan(server(tunnels, is_routed=False), state).warnings


def test_what_may_outlast_the_services_limit_is_said_with_the_numbers() -> None:
    (said,) = warnings(1000, 300)
    assert said.startswith(
        "ifupdown brings up its 1,000 tunnels one after the other at boot, in 40 s on a fast "
        "machine and 1150 s on a very slow one, and networking.service is ended after 300 s, "
    )


@pytest.mark.parametrize("manager", ["networkd", "netplan"])
def test_what_an_old_networkd_may_be_too_slow_for_is_said_with_the_numbers(manager: str) -> None:
    library = "/usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-{}.so:"
    (said,) = warnings(1000, None, manager, library.format(252))
    assert said.startswith(
        "at boot, networkd 252 needs 17 s for its 1,000 tunnels on a fast machine and 80 s on a "
        "very slow one, and gives up on every interface of which it comes to an answer of the "
        "kernel's only after 25 s: the uplink, too, would stay down. "
    )
    assert warnings(313, None, manager, library.format(256))
    assert not warnings(312, None, manager, library.format(252))
    assert not warnings(1000, None, manager, library.format(257))


@pytest.mark.parametrize(
    ("tunnels", "limit", "manager"),
    [(260, 300, "ifupdown"), (1000, None, "ifupdown"), (1000, 300, "networkmanager")],
    ids=["few", "no limit", "another manager"],
)
def test_nothing_is_said_where_it_does_not(tunnels: int, limit: float | None, manager: str) -> None:
    assert not warnings(tunnels, limit, manager)
