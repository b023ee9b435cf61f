"""Pure: what people ask of pyinfra that can't be had, and what to do instead."""

from collections.abc import Iterable, Mapping
from typing import Any

# As pyinfra takes them.
ADDRESSES = ("tasks.addresses.addresses", "tasks.addresses:addresses")


def refusals(asked: Mapping[str, Any]) -> Iterable[str]:
    """A sentence for each of pyinfra's options, by its name there, that is refused."""
    if asked["serial"]:
        yield (
            "`--serial` is done with one host before it begins another, and a tunnel has two ends: "
            "`--parallel 1` takes one host after the other in each step"
        )
    if asked["no_wait"]:
        yield "`--no-wait` has clients overtake their servers, and hides what fails: leave it out"
    if asked["retry"]:
        yield (
            "`--retry` does again what was planned before the failure: run again instead, which "
            "looks at the hosts anew"
        )
    for written in asked["data"]:
        if "=" not in written:
            yield f"--data {written}: expected key=value"
    if asked["json_output"] and asked["operations"][0] in ADDRESSES:
        yield "the plan of addresses is a table, and no JSON: leave `--json` out"
