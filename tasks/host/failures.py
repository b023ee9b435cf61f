"""Pure: why a command failed on a host, as its last words tell, and what to do about it."""

from collections.abc import Sequence
from enum import Enum

UNANSWERED = (
    "sudo asks for a password, and nobody answers here: give it in the host's data, as "
    "`_sudo_password`"
)
NO_SESSION = (
    "sshd opens no session there: its `MaxSessions` is too low; agent forwarding (`ForwardAgent`, "
    "`ssh_forward_agent`) takes one of them for itself"
)
ENDED = (
    "it takes the TCP connection and ends it: is that sshd's port? does it turn this machine away "
    "(`MaxStartups`, `PerSourcePenalties`, fail2ban)?"
)
# What is begun isn't undone by a connection that ends.
_AT_WORK = "it may still be at work there: run again"
NO_END = "no end of a command in"
_SILENT = "its sshd, which had answered, says nothing in"
BROKEN = f"the connection broke before the command's end, and {_AT_WORK}"
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


# Sentences of this page's own, and of a run's script, that need no heading.
_STOPPED = "Culvert stopped at: "
_TAKEN_BACK = "; what it made is taken back"
_OWN = (UNANSWERED, NO_SESSION, NO_END, _SILENT, "the connection broke", _STOPPED)


class Phase(Enum):
    """What a connection waited for, and where to look."""

    # Of what goes before that, names and `ProxyJump`, a connection tells nothing.
    TCP = (
        "no TCP connection",
        "is its name known, is it up, and does nothing drop what goes to its SSH port?",
    )
    PROXY = "its `ProxyCommand` says nothing", "what does `ssh` say?"
    BANNER = "it takes the TCP connection and says nothing", "is that sshd's port? is it frozen?"
    KEYS = "no end of the exchange of keys", "is it frozen? are large packets lost on the way?"
    AGENT = "no answer of the SSH agent here", "what does `ssh-add -l` say?"
    LOGIN = "no answer to the login", "what does PAM wait for there, a directory server?"


def unconnected(phase: Phase, seconds: int) -> str:
    """What a connection came to within its limit."""
    awaited, where = phase.value
    return f"{awaited} in {seconds} s: {where} `ssh_connect_timeout` allows more"


def no_end(seconds: int) -> str:
    """Of a command that is longer at work than its limit, or of a host that is frozen."""
    return f"{NO_END} {seconds} s, and {_AT_WORK}; `ssh_command_timeout` allows more"


def silent(seconds: int) -> str:
    """Of a host that is frozen or gone, and of a connection that is dead."""
    return (
        f"{_SILENT} {seconds} s, and {_AT_WORK}; is the host up? is it frozen? "
        "`ssh_connect_timeout` allows more"
    )


def broken(error: Exception) -> str:
    return f"the connection broke: {error}"


def is_hung(sentence: str) -> bool:
    """Whether that is of a host which was waited for in vain."""
    return sentence.startswith((NO_END, _SILENT))


def has_stopped(sentence: str) -> bool:
    """Whether it is that of a run's script that has ended there."""
    return sentence.startswith(_STOPPED)


def is_taken_back(sentence: str) -> bool:
    """Whether that script has put the host back."""
    return has_stopped(sentence) and sentence.endswith(_TAKEN_BACK)


def cause(sentence: str) -> str:
    """What failed, without what doesn't hold of a host that goes back."""
    return sentence.partition(f", and {_AT_WORK}")[0].removesuffix(":")


def reason(said: Sequence[str]) -> str:
    """What a failed command said last on standard error, and what to do where that is known."""
    lines = [line.strip() for line in said if line.strip()]
    if lines and lines[-1].startswith(_OWN):
        return lines[-1]
    for line in reversed(lines):
        for known, way_out in _KNOWN.items():
            if known in line:
                return way_out
    return f"a command failed there: {lines[-1]}" if lines else "a command failed there"
