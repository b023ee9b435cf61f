"""`python -m tests.running.slow_names …` is pyinfra, where some names are answered by nobody."""

import _socket
import sys
from typing import Any

SECONDS = 60
"""What it takes to find out, as with a few servers of DNS that are all gone."""

if __name__ == "__main__":
    # They replace Python's threads: not where tests import this.
    from gevent.monkey import get_original
    from pyinfra_cli.main import main  # type: ignore[import-untyped]

    resolve = _socket.getaddrinfo

    def slow(name: Any, *arguments: Any) -> Any:
        if str(name).endswith(".invalid"):
            get_original("time", "sleep")(SECONDS)
        return resolve(name, *arguments)

    vars(_socket)["getaddrinfo"] = slow
    sys.exit(main())
