"""What is done to paramiko's connection to a host."""

from types import SimpleNamespace
from typing import Any

import pytest
from paramiko import ChannelException

from tasks.running import connection


class Transport:
    """Of an sshd that refuses a number of times to open a session."""

    def __init__(self, refusals: int) -> None:
        self.sock = None
        self.refusals = refusals

    def open_channel(self, kind: str) -> str:
        if self.refusals:
            self.refusals -= 1
            raise ChannelException(2, "Connect failed")
        return f"a {kind}"


def prepared(transport: Transport) -> Any:
    client = SimpleNamespace(get_transport=lambda: transport)
    host: Any = SimpleNamespace(connector=SimpleNamespace(client=client))
    connection.prepare(host)
    connection.prepare(host)
    return transport


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PAUSE", 0)


def test_a_session_that_is_refused_for_a_moment_is_asked_for_again() -> None:
    transport = prepared(Transport(connection.ATTEMPTS - 1))
    assert transport.open_channel("session") == "a session"


def test_a_session_that_stays_refused_is_asked_for_a_number_of_times() -> None:
    transport = prepared(Transport(connection.ATTEMPTS + 1))
    with pytest.raises(ChannelException):
        transport.open_channel("session")
    assert transport.refusals == 1
