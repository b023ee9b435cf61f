"""Pure: a program in Perl as a command of a shell script."""

import shlex
from collections.abc import Iterable

# By what people set for their own scripts, Perl would read and write characters, where these have
# bytes, and neither send nor receive; an empty PERL_UNICODE asks for just that (perlrun(1)).
ENVIRONMENT = "PERL_UNICODE=0 PERL5OPT="
"""What a script exports before it runs any."""


def command(program: str, *arguments: str, lines: Iterable[str] | None = None) -> str:
    """What runs the program, with words of the shell as arguments, and these lines as its input.

    As its input itself it would be more than a pipe has room for: dash then starts a process that
    writes it.
    """
    words = " ".join(["perl", "-e", shlex.quote(program), *arguments])
    return words if lines is None else "\n".join([f"{words} <<'END'", *lines, "END"])
