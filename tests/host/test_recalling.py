"""What nobody meant to touch comes back as it was, in a network of its own."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tasks.host import rollback

_WORKS = (
    shutil.which("unshare")
    and not subprocess.run(
        ["unshare", "--net", "ip", "link", "add", "a1", "type", "veth"],
        capture_output=True,
        check=False,
    ).returncode
)
pytestmark = pytest.mark.skipif(not _WORKS, reason="this needs root, and a kernel with veth")

_LINKS = """
set -eu
for link in eth0 eth1 eth2; do
    ip link add $link type veth peer p$link
    ip link set $link up
    ip link set p$link up
done
ip address add 192.0.2.2/24 dev eth0
ip address add 198.51.100.2/24 dev eth1
ip address add 203.0.113.2/24 dev eth2
ip -6 address add 2001:db8::2/64 dev eth0 nodad
ip route add default via 192.0.2.1
ip route add default via 198.51.100.1 metric 50 proto static
ip route add 10.0.0.0/8 via 192.0.2.1 proto static
ip -6 route add default via 2001:db8::1
ip -6 route add unreachable 2001:db8:9::/48 proto static
ip -6 route add 2001:db8:8::/48 proto static nexthop via 2001:db8::1 nexthop via 2001:db8::3
show() { ip -4 -oneline route show; ip -6 -oneline route show | grep -v ^fe80; ip -br address; }
"""


def after(happens: str, tmp_path: Path) -> tuple[str, str]:
    """What the network is before, and when all has come back."""
    folder = tmp_path / "store"
    (folder / "pending.new").mkdir(parents=True)
    script = "\n".join(
        [
            _LINKS,
            (Path(rollback.__file__).parent / "hold.sh").read_text(),
            f"pending={folder}/pending undoing={folder}/pending.new mode=now run=",
            f"show >{tmp_path}/before",
            f"{rollback.FILING}\n{rollback.BEGINNING}",
            f"begin <<END\nremember {folder}/pending.new\n{rollback.ENDING}",
            happens,
            f"set +e\n{rollback._RECALL} >/dev/null 2>{tmp_path}/said\nshow >{tmp_path}/after",
        ]
    )
    done = subprocess.run(
        ["unshare", "--net", "sh"], input=script, text=True, capture_output=True, check=False
    )
    assert not done.returncode, done.stderr
    return (tmp_path / "before").read_text(), (tmp_path / "after").read_text()


def test_what_was_lost_comes_back(tmp_path: Path) -> None:
    flushed = "ip address flush dev eth0; ip -6 route flush root ::/0 proto static"
    before, now = after(f"{flushed}; ip address del 203.0.113.2/24 dev eth2", tmp_path)
    assert sorted(now.splitlines()) == sorted(before.splitlines())


def test_a_gateway_that_was_changed_since_has_none_beside_it(tmp_path: Path) -> None:
    changed = (
        "ip route replace default via 192.0.2.254; ip -6 route replace default via 2001:db8::fe"
    )
    _, now = after(changed, tmp_path)
    defaults = [line.split()[2] for line in now.splitlines() if line.startswith("default")]
    assert sorted(defaults) == ["192.0.2.254", "198.51.100.1", "2001:db8::fe"]


def test_a_link_that_is_gone_keeps_nothing_from_coming_back(tmp_path: Path) -> None:
    _, now = after("ip link del eth1; ip address del 203.0.113.2/24 dev eth2", tmp_path)
    assert "203.0.113.2/24" in now


def test_in_another_boot_no_link_is_what_it_was(tmp_path: Path) -> None:
    lost = "ip address del 203.0.113.2/24 dev eth2; running_system() { echo another; }"
    _, now = after(lost, tmp_path)
    assert "203.0.113.2/24" not in now
