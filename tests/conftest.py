"""Settings of all tests."""

from _pytest.terminal import TerminalReporter
from hypothesis import HealthCheck, settings

# A busy machine is slow now and then; that is no property of the code under test.
settings.register_profile(
    "culvert", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=80
)
settings.load_profile("culvert")


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """The table of what each manager lived through, with seconds, or how it ended.

    It stands here because the process that prints it, where others run the tests, reads no other
    conftest.py.
    """
    rows: dict[str, dict[str, str]] = {}
    cuts: list[str] = []
    for outcome in ("passed", "failed", "skipped", "error"):
        for report in terminalreporter.getreports(outcome):
            found = dict(getattr(report, "user_properties", ()))
            cuts += found.get("cuts", ())
            if "scenario" in found:
                cells = rows.setdefault(found["host"], {})
                seconds = found.get("seconds")
                ended = f"{seconds:.0f} s" if outcome == "passed" else outcome.upper()
                cells[found["scenario"]] = ended
    if cuts:
        survived = len({*cuts})
        terminalreporter.section(
            f"{survived} different points where a run was cut, and the hosts whole"
        )
    if not rows:
        return
    titles = list(dict.fromkeys(title for cells in rows.values() for title in cells))
    width = max(map(len, rows))
    terminalreporter.section("what each manager lived through")
    terminalreporter.line(f"{'':{width}}  {'  '.join(titles)}")
    for host, cells in rows.items():
        line = "  ".join(f"{cells.get(title, ''):>{len(title)}}" for title in titles)
        terminalreporter.line(f"{host:{width}}  {line}")
