"""Two labs that start at the same time on a fresh machine share their keys."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.lab import access
from tests.lab.places import cache


def test_a_key_that_another_program_was_first_to_make_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    generate = Ed25519PrivateKey.generate

    def meanwhile() -> Ed25519PrivateKey:
        (cache() / "host_ed25519").write_bytes(b"the other's")
        return generate()

    cache().mkdir(parents=True)
    monkeypatch.setattr(Ed25519PrivateKey, "generate", meanwhile)
    assert access.host_key() == b"the other's"
    assert [path.name for path in cache().iterdir()] == ["host_ed25519"]


def test_a_key_is_made_once_and_for_its_owner_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = access.host_key()
    assert b"PRIVATE KEY" in first
    assert access.host_key() == first
    assert (cache() / "host_ed25519").stat().st_mode & 0o777 == 0o600
