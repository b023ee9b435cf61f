"""The lab's own server and a client: real 6in4, real cards, an emulated processor."""

import base64
import gzip
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tasks.parts.filtering import SERVICE
from tests import runs
from tests.bench.tables import INTERFACE, switching
from tests.lab.lab import Lab
from tests.lab.machines import FAR_ADDRESS
from tests.scenarios.cases import PAIRINGS, connected, tunnels

_CASE = PAIRINGS["straight"][0]
_PORT = 8090


class Broker:
    """A server and its client, deployed, and a connection from the client or to it.

    For as long as the object is used as a context.
    """

    def __init__(self, *, is_download: bool) -> None:
        self._is_download = is_download
        self._lab = Lab(is_tied=True)
        self._server = self._lab.machine(_CASE.server)

    @contextmanager
    def up(self) -> Iterator[None]:
        with self._lab:
            self._lab.reset()
            hosts: list[tuple[str, dict[str, Any]]] = tunnels([_CASE])
            hosts[1][1]["tunnel"]["server_interface"] = INTERFACE
            with TemporaryDirectory() as folder:
                hosts = connected(self._lab.topology, hosts)
                done = runs.run(Path(folder), hosts, "deploy.py", "-y")
            assert done.status == 0, done.output
            # The same table, of nobody's, so that it can be put to sleep.
            self._server.run(f"systemctl stop {SERVICE}")
            client, internet = self._lab.machine(_CASE.client), self._lab.machine("internet")
            sender, receiver = (internet, client) if self._is_download else (client, internet)
            source, aim = FAR_ADDRESS, str(_CASE.client_ipv6)
            if not self._is_download:
                source, aim = aim, source
            listening = receiver.start(f"socat -u TCP6-LISTEN:{_PORT},reuseaddr OPEN:/dev/null")
            receiver.wait_for(f"ss -Hltn sport = :{_PORT} | grep -q .", 30)
            sending = sender.start(f"socat -u OPEN:/dev/zero TCP6:[{aim}]:{_PORT},bind=[{source}]")
            try:
                yield
            finally:
                sending.stop()
                listening.stop()

    def load(self, table: str) -> float:
        """Load a table; the seconds that it took on the server."""
        # A command has a limit, which a thousand tunnels would pass.
        text = base64.b64encode(gzip.compress(table.encode())).decode()
        self._server.run(f"echo {text} | base64 --decode | gunzip >/tmp/table.nft")
        command = "date +%s%N; nft -f /tmp/table.nft; date +%s%N"
        start, end = map(int, self._server.run(command).stdout.split())
        return (end - start) / 1e9

    def switch(self, *, is_on: bool) -> None:
        self._server.run(f"nft '{switching(is_on=is_on)}'")

    def passed(self) -> tuple[float, int]:
        way = "tx" if self._is_download else "rx"
        path = f"/sys/class/net/{INTERFACE}/statistics/{way}_bytes"
        nanoseconds, count = self._server.run(f"date +%s%N; cat {path}").stdout.split()
        return int(nanoseconds) / 1e9, int(count)

    def processor(self) -> float:
        """Seconds of processor that the server's machine has taken so far."""
        stat = Path(f"/proc/{self._server.qemu.pid()}/stat").read_text()
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
