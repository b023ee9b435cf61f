"""A server and a client that are fake, and what became of a run on them."""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import runs
from tests.samples import CLIENT, SERVER

SERVER_HOST, CLIENT_HOST = "@fake/fra1.example.net", "@fake/web1.example.net"


@dataclass(frozen=True)
class Recorded(runs.Run):
    """A run and its execs, each with its host and kind."""

    execs: list[list[str]]

    def on(self, host: str) -> list[str]:
        return [kind for name, kind in self.execs if name == host and kind != "connect"]


Start = Callable[..., Recorded]


def declared(
    server: dict[str, Any] | None = None,
    client: dict[str, Any] | None = None,
    others: dict[str, dict[str, Any]] | None = None,
) -> runs.Hosts:
    """The hosts of an inventory, the server's and the client's data changed by this."""
    tunnel = {**CLIENT, "server": SERVER_HOST}
    of_server = {"sample": "netplan server", "tunnel_server": SERVER, **(server or {})}
    of_client = {"sample": "ifupdown client", "tunnel": tunnel, **(client or {})}
    hosts = {SERVER_HOST: of_server, CLIENT_HOST: of_client, **(others or {})}
    fast = {"fake_delay": 0, "fake_delay_jitter": 0}
    return [(name, {**fast, **data}) for name, data in hosts.items()]


def until(happened: Callable[[], bool]) -> None:
    """Wait for something that a run does."""
    end = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def run(tmp_path: Path) -> Start:
    def run(
        *arguments: str,
        server: dict[str, Any] | None = None,
        client: dict[str, Any] | None = None,
        others: dict[str, dict[str, Any]] | None = None,
        write: Callable[[runs.Hosts], runs.Hosts | str] = lambda hosts: hosts,
    ) -> Recorded:
        hosts = declared(server, client, others)
        program = (sys.executable, "-m", "tests.running.recorder", str(tmp_path / "log"))
        arguments = arguments or ("deploy.py", "-y")
        done = runs.run(tmp_path, write(hosts), *arguments, program=program)
        execs = json.loads((tmp_path / "log").read_text())
        return Recorded(done.status, done.stdout, done.stderr, execs)

    return run
