"""What becomes of a host in a survey."""

from dataclasses import replace

from tasks.running.survey import Survey, _plan_all
from tests.samples import HOSTS, bare, broker, ifupdown2


def test_a_managers_answer_that_cannot_be_read_refuses_its_host_alone() -> None:
    # No pickles.
    record = ifupdown2(["eth0"]).partition("record:\n")[0] + "record:\nQUJD"
    garbled = replace(bare("ifupdown2", "client"), answers={"ifupdown": record})
    found = Survey(broker())
    states = {HOSTS["server"]: bare("ifupdown2", "server"), HOSTS["client"]: garbled}
    _plan_all(found, states)
    assert found.plans.keys() == {HOSTS["server"]}
    (said,) = found.refusals[HOSTS["client"]]
    assert said.startswith("ifupdown2's record has an unexpected form")
