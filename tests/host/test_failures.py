"""What a person reads when a command failed on a host."""

import pytest

from tasks.host import failures


@pytest.mark.parametrize(
    ("said", "read"),
    [
        (
            ["sudo: sorry, you must have a tty to run sudo"],
            "sudo wants a terminal, which a run has none of: take `requiretty` from this user in "
            "/etc/sudoers (`Defaults:USER !requiretty`), or connect as root",
        ),
        (
            ["Welcome", "sudo: a password is required", ""],
            "sudo asks for a password: give it with `--use-sudo-password`",
        ),
        (
            ["sudo: no password was provided", "sudo: 1 incorrect password attempt"],
            "sudo asks for a password: give it with `--use-sudo-password`",
        ),
        (["sh: 1: sudo: not found", "  "], "a command failed there: sh: 1: sudo: not found"),
        ([], "a command failed there"),
    ],
)
def test_its_last_words_are_told_with_a_way_out(said: list[str], read: str) -> None:
    assert failures.reason(said) == read
