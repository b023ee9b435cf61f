"""Commands in a network of their own, where the tests run as root and netfilter's programs are."""

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest


def _works() -> bool:
    if not all(map(shutil.which, ("unshare", "nft", "iptables-nft"))):
        return False
    tried = ["unshare", "--net", "nft", "add", "table", "inet", "tried"]
    return not subprocess.run(tried, capture_output=True, check=False).returncode


needed = pytest.mark.skipif(not _works(), reason="this needs root, nft and iptables-nft")


def has_legacy() -> bool:
    """Whether the kernel has what iptables-legacy needs."""
    tried = ["unshare", "--net", "iptables-legacy", "--list"]
    return not subprocess.run(tried, capture_output=True, check=False).returncode


def run(commands: Iterable[str], backend: str = "nft") -> str:
    """What they print, in a namespace that is gone afterwards.

    `iptables` and its kind are those of the backend, as Debian's alternatives have it.
    """
    script = "\n".join(["set -e", *commands])
    with TemporaryDirectory() as folder:
        for name in ("iptables", "ip6tables"):
            for suffix in ("", "-save", "-restore"):
                program = shutil.which(f"{name}-{backend}{suffix}")
                if program:
                    (Path(folder) / f"{name}{suffix}").symlink_to(program)
        done = subprocess.run(
            ["unshare", "--net", "sh"],
            input=script,
            text=True,
            capture_output=True,
            check=False,
            env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}:/usr/sbin:/sbin"},
        )
    assert not done.returncode, done.stderr
    return done.stdout


def shell(script: str) -> str:
    """What a script prints that needs none of that."""
    return subprocess.run(["sh"], input=script, text=True, capture_output=True, check=True).stdout
