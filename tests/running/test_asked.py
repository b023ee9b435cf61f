"""What people ask of pyinfra that can't be had."""

from typing import Any

import pytest

from tasks.running import asked

NOTHING = {"serial": False, "no_wait": False, "retry": 0, "data": (), "json_output": False}


@pytest.mark.parametrize(
    ("operation", "options", "sentences"),
    [
        ("deploy.py", {}, []),
        ("deploy.py", {"data": ("ssh_user=root", "a=b=c"), "json_output": True}, []),
        (
            "deploy.py",
            {"serial": True},
            [
                "`--serial` is done with one host before it begins another, and a tunnel has two "
                "ends: `--parallel 1` takes one host after the other in each step"
            ],
        ),
        (
            "tasks.verify.verify",
            {"no_wait": True},
            ["`--no-wait` has clients overtake their servers, and hides what fails: leave it out"],
        ),
        (
            "tasks.remove.remove",
            {"retry": 3},
            [
                "`--retry` does again what was planned before the failure: run again instead, "
                "which looks at the hosts anew"
            ],
        ),
        ("deploy.py", {"data": ("a=b", "mtu")}, ["--data mtu: expected key=value"]),
        ("tasks.addresses.addresses", {}, []),
        (
            "tasks.addresses.addresses",
            {"json_output": True},
            ["the plan of addresses is a table, and no JSON: leave `--json` out"],
        ),
    ],
)
def test_what_cannot_be_had_is_said_with_what_to_do(
    operation: str, options: dict[str, Any], sentences: list[str]
) -> None:
    told = asked.refusals({**NOTHING, **options, "operations": (operation,)})
    assert [*told] == sentences
