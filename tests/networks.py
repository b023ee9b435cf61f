"""Programs on real kernels without a lab: network namespaces, which an ordinary user may make."""

import shutil
import subprocess

import pytest

# What `ip netns` needs for names of its own, and addresses that are there at once.
_PROLOGUE = """set -e
mount -t tmpfs none /run
mkdir /run/netns
make() {
    for name in "$@"; do
        ip netns add "$name"
        ip -n "$name" link set lo up
        ip netns exec "$name" sh -c 'echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad'
    done
}
"""


def run(script: str, seconds: float = 120) -> list[str]:
    """What a shell script prints that is root in namespaces of its own; `make NAME …` makes more.

    The test is skipped where the kernel lets nobody do so, or a program is missing.
    """
    for program in ("unshare", "ip", "perl"):
        if shutil.which(program, path=_PATH) is None:
            pytest.skip(f"{program} isn't installed here")
    unshare = ["unshare", "--map-root-user", "--net", "--mount", "sh"]
    tried = subprocess.run([*unshare, "-c", _PROLOGUE], env=_ENV, capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"no namespaces here: {tried.stderr.decode().strip()}")
    done = subprocess.run(
        [*unshare, "-s"],
        input=_PROLOGUE + script,
        env=_ENV,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def can_filter() -> bool:
    """Whether there is `nft`."""
    return shutil.which("nft", path=_PATH) is not None


_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ENV = {"PATH": _PATH}
