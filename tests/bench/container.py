"""A tunnel server that really answers: namespaces of this machine's kernel, of network, mounts and
processes, with its own /etc, /run and /var/lib in memory.

networkd's place is taken by the files that it keeps, and systemd's by a script that starts what a
unit would; all else is what the machine has. Where its kernel has no 6in4, an `ip` stands in front
of iproute2's that makes VXLAN of it, which has the same ends and TTL.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

_HERE = Path(__file__).parent
_FOR_SIT = ("ip", "modprobe", "nft")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
EXTERNAL = "eth0"


class Container:
    """The host, by the number of its first process."""

    def __init__(self, number: int) -> None:
        self.number = number

    def entering(self) -> list[str]:
        """What goes before a command that is to be run there."""
        return ["nsenter", f"--target={self.number}", "--net", "--mount", "--pid", "--"]

    def run(self, *words: str) -> str:
        command = [*self.entering(), "env", "-i", f"PATH={PATH}", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def state(self) -> dict[str, Any]:
        """What tunnels are, whoever made them: in files of networkd's, and in the kernel."""
        links = json.loads(self.run("ip", "-json", "-details", "address", "show"))
        settings = self.run("sh", "-c", f"grep -H . {_SETTINGS}").splitlines()
        return {
            **{f"file {path}": lines for path, lines in self._files()},
            **{f"link {link['ifname']}": _link(link) for link in links},
            "routes": _routes(self.run("ip", "-6", "-json", "route", "show")),
            "proxies": sorted(self.run("ip", "-6", "neighbour", "show", "proxy").splitlines()),
            **dict(each.split(":", 1) for each in settings),
        }

    def _files(self) -> Iterator[tuple[str, list[str]]]:
        """Each with its lines that mean something, in any order of its sections."""
        found = self.run("sh", "-c", "grep -rHE '^[^#]' /etc/systemd/network /etc/sysctl.d || true")
        files: dict[str, list[str]] = {}
        for line in found.splitlines():
            path, _, text = line.partition(":")
            files.setdefault(path, []).append(text)
        yield from files.items()


_SETTINGS = " ".join(
    [
        *(f"/proc/sys/net/ipv6/conf/*/{key}" for key in ("accept_ra", "forwarding", "proxy_ndp")),
        *(f"/proc/sys/net/ipv6/conf/*/{key}" for key in ("accept_redirects", "autoconf", "mtu")),
        f"/proc/sys/net/ipv6/neigh/{EXTERNAL}/proxy_delay",
    ]
)


def _link(link: dict[str, Any]) -> dict[str, Any]:
    info = link.get("linkinfo", {})
    ends = {key: info.get("info_data", {}).get(key) for key in ("local", "remote", "ttl")}
    addresses = [
        f"{each['local']}/{each['prefixlen']}"
        for each in link["addr_info"]
        if each["scope"] != "link"
    ]
    is_up = "UP" in link["flags"]
    return {**ends, "kind": info.get("info_kind"), "mtu": link["mtu"], "up": is_up, "at": addresses}


def _routes(text: str) -> list[str]:
    found = (route for route in json.loads(text) if not route["dst"].startswith("fe80:"))
    keys = ("dst", "gateway", "dev", "metric")
    return sorted(" ".join(str(route.get(key)) for key in keys) for route in found)


@contextmanager
def up(clients: str) -> Iterator[Container]:
    """One before its first run, for as long as the context lasts; as root.

    Its `clients` are lines of iproute2's, by which their ends of the tunnels are made.
    """
    with TemporaryDirectory() as folder:
        for program in (_HERE / "programs").iterdir():
            if program.name not in _FOR_SIT or not has_sit():
                shutil.copy(program, folder)
        words = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child"]
        words += ["sh", str(_HERE / "container.sh"), folder]
        pipe = subprocess.PIPE
        first = subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True)
        try:
            assert first.stdin is not None and first.stdout is not None
            first.stdin.write(clients)
            first.stdin.close()
            yield Container(int(first.stdout.readline()))
        finally:
            first.kill()
            if first.stdout is not None:
                first.stdout.close()
            first.wait()


def has_sit() -> bool:
    """Whether this machine's kernel has 6in4."""
    tried = ["unshare", "--net", "ip", "link", "add", "tried", "type", "sit"]
    return not subprocess.run(tried, check=False, capture_output=True).returncode
