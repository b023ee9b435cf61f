"""Pure: why a command failed on a host, as its last words tell, and what to do about it."""

from collections.abc import Sequence

UNANSWERED = (
    "sudo asks for a password, and nobody answers here: give it in the host's data, as "
    "`_sudo_password`"
)
NO_SESSION = (
    "sshd opens no session there: its `MaxSessions` is too low; agent forwarding (`ForwardAgent`, "
    "`ssh_forward_agent`) takes one of them for itself"
)
_WRONG = "sudo doesn't take that password"
# What is said, and the way out.
_KNOWN = {
    "you must have a tty to run sudo": (
        "sudo wants a terminal, which a run has none of: take `requiretty` from this user in "
        "/etc/sudoers (`Defaults:USER !requiretty`), or connect as root"
    ),
    "incorrect password attempt": _WRONG,
    "sudo: no password was provided": _WRONG,
}


def reason(said: Sequence[str]) -> str:
    """What a failed command said last on standard error, and what to do where that is known."""
    lines = [line.strip() for line in said if line.strip()]
    for line in reversed(lines):
        for known, way_out in _KNOWN.items():
            if known in line:
                return way_out
    return f"a command failed there: {lines[-1]}" if lines else "a command failed there"
