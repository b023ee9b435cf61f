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
            ["Welcome", "Sorry, try again.", "sudo: 3 incorrect password attempts", ""],
            "sudo doesn't take that password",
        ),
        (["sh: 1: sudo: not found", "  "], "a command failed there: sh: 1: sudo: not found"),
        ([], "a command failed there"),
        (
            ["mkdir: cannot create directory", "Culvert stopped at: folder /etc/x"],
            "Culvert stopped at: folder /etc/x",
        ),
        (["so far", failures.no_end(9)], failures.no_end(9)),
        ([failures.BROKEN], failures.BROKEN),
    ],
)
def test_its_last_words_are_told_with_a_way_out(said: list[str], read: str) -> None:
    assert failures.reason(said) == read


def test_of_a_host_that_goes_back_what_failed_is_told_alone() -> None:
    assert failures.cause(failures.no_end(9)) == "no end of a command in 9 s"
    assert failures.cause(failures.BROKEN) == "the connection broke before the command's end"
    assert failures.cause("all was applied, and this is not as it should be:") == (
        "all was applied, and this is not as it should be"
    )


def test_what_was_waited_for_is_told_with_how_long_and_what_to_do() -> None:
    assert failures.no_end(51) == (
        "no end of a command in 51 s, and it may still be at work there: run again; "
        "`ssh_command_timeout` allows more"
    )
    told = [failures.unconnected(phase, 20) for phase in failures.Phase]
    assert told == [
        "no TCP connection in 20 s: is its name known, is it up, and does nothing drop what goes "
        "to its SSH port? `ssh_connect_timeout` allows more",
        "its `ProxyCommand` says nothing in 20 s: what does `ssh` say? "
        "`ssh_connect_timeout` allows more",
        "it takes the TCP connection and says nothing in 20 s: is that sshd's port? is it frozen? "
        "`ssh_connect_timeout` allows more",
        "no end of the exchange of keys in 20 s: is it frozen? are large packets lost on the way? "
        "`ssh_connect_timeout` allows more",
        "no answer of the SSH agent here in 20 s: what does `ssh-add -l` say? "
        "`ssh_connect_timeout` allows more",
        "no answer to the login in 20 s: what does PAM wait for there, a directory server? "
        "`ssh_connect_timeout` allows more",
    ]
