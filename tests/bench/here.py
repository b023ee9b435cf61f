"""What figures are of: the first line of every bench."""

import os
import platform
from datetime import date


def tell() -> None:
    """Print the machine, its kernel and the date."""
    print(
        f"{platform.node()}, {os.cpu_count()} cores, Linux {platform.release()}, {date.today()}",
        flush=True,
    )
