"""Commands in a network of their own, where the tests run as root and netfilter's programs are."""

import shutil
import subprocess
from collections.abc import Iterable

import pytest


def _works() -> bool:
    if not all(map(shutil.which, ("unshare", "nft", "iptables-nft"))):
        return False
    tried = ["unshare", "--net", "nft", "add", "table", "inet", "tried"]
    return not subprocess.run(tried, capture_output=True, check=False).returncode


needed = pytest.mark.skipif(not _works(), reason="this needs root, nft and iptables-nft")


def run(commands: Iterable[str]) -> str:
    """What they print, in a namespace that is gone afterwards."""
    script = "\n".join(["set -e", *commands])
    done = subprocess.run(
        ["unshare", "--net", "sh"], input=script, text=True, capture_output=True, check=False
    )
    assert not done.returncode, done.stderr
    return done.stdout


def shell(script: str) -> str:
    """What a script prints that needs none of that."""
    return subprocess.run(["sh"], input=script, text=True, capture_output=True, check=True).stdout
