"""What the README says of the code, where the code can tell."""

from tests.lab.topologies import table
from tests.runs import REPOSITORY


def test_the_table_of_what_is_supported_is_that_of_the_tests() -> None:
    assert f"\n{table()}\n" in (REPOSITORY / "README.md").read_text()
