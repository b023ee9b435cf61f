"""Pure: why a command failed on a host, as its last words tell, and what to do about it."""

from collections.abc import Sequence

_NO_PASSWORD = "sudo asks for a password: give it with `--use-sudo-password`"
UNANSWERED = f"nobody answers here, and {_NO_PASSWORD}"
NO_SESSION = (
    "sshd opens no session there: its `MaxSessions` is too low; agent forwarding (`ForwardAgent`, "
    "`ssh_forward_agent`) takes one of them for itself"
)
# The beginning of what is said, and the way out.
_KNOWN = {
    "sudo: sorry, you must have a tty": (
        "sudo wants a terminal, which a run has none of: take `requiretty` from this user in "
        "/etc/sudoers (`Defaults:USER !requiretty`), or connect as root"
    ),
    "sudo: a password is required": _NO_PASSWORD,
    "sudo: no password was provided": _NO_PASSWORD,
    "sudo-rs: interactive authentication is required": _NO_PASSWORD,
}


def reason(said: Sequence[str]) -> str:
    """What a failed command said last on standard error, and what to do where that is known."""
    lines = [line.strip() for line in said if line.strip()]
    for line in reversed(lines):
        for beginning, way_out in _KNOWN.items():
            if line.startswith(beginning):
                return way_out
    return f"a command failed there: {lines[-1]}" if lines else "a command failed there"
