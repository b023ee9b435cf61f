"""All of them, one after the other, whatever becomes of each: `python -m tests.bench`.

The status is 1 where one of them missed a bar, or came to nothing.
"""

import subprocess
import sys

BENCHES = ("against", "wide", "hanging", "tunnels", "filter")

if __name__ == "__main__":
    ended = [subprocess.call([sys.executable, "-m", f"tests.bench.{name}"]) for name in BENCHES]
    sys.exit(any(ended))
