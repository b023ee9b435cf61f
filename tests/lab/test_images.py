"""A Debian suite that can't be had, or whose index has expired, is said: no fault of the code."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab import images
from tests.lab.errors import ReleaseError
from tests.lab.lab import Lab
from tests.lab.topologies import BROKER, Row, Topology
from tests.scenarios.conftest import Labs

# What mmdebstrap ends with, whatever keeps apt from the index.
ENDS = "E: apt-get update --error-on=any -oAPT::Status-Fd=<$fd> -oDpkg::Use-Pty=false failed"
ABSENT = f"""\
E: The repository 'http://deb.debian.org/debian nosuch Release' does not have a Release file.
{ENDS}"""
EXPIRED = f"""\
E: Release file for http://deb.debian.org/debian/dists/testing/InRelease is expired
{ENDS}"""

Programs = Callable[[str], None]


@pytest.fixture
def mmdebstrap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Programs:
    """Puts a mmdebstrap in front of the real one, and a place for a lab of its own."""

    def put(script: str) -> None:
        for name in ("mmdebstrap", "genext2fs", "tune2fs", "e2fsck", "qemu-img"):
            program = tmp_path / "bin" / name
            program.parent.mkdir(exist_ok=True)
            program.write_text(f"#!/bin/sh\n{script}\n")
            program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        monkeypatch.setenv("CULVERT_LAB_PORT", "64990")

    return put


def test_an_expired_index_is_used_and_that_is_said(
    mmdebstrap: Programs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mmdebstrap(f'case "$*" in *Check-Valid-Until*) ;; *) echo "{EXPIRED}"; exit 25 ;; esac')
    images._install(["mmdebstrap", "testing", "root.tar"], "testing", tmp_path / "log")
    assert "The index of testing has expired; it is used all the same." in capsys.readouterr().err


def test_a_topology_with_a_suite_that_cannot_be_had_is_skipped(mmdebstrap: Programs) -> None:
    mmdebstrap(f'echo "{ABSENT}"; exit 25')
    topology = Topology("nowhere", (Row("networkd", "nosuch"), Row("ifupdown", "nosuch")))
    with pytest.raises(pytest.skip.Exception, match="nosuch Release' does not have a Release"):
        Labs().up(topology)


def test_the_first_topology_is_never_skipped(mmdebstrap: Programs) -> None:
    mmdebstrap(f'echo "{ABSENT}"; exit 25')
    with pytest.raises(ReleaseError, match="apt-get update"):
        Lab(BROKER).up()
    with pytest.raises(ReleaseError, match="apt-get update"):
        Labs().up(BROKER)
