"""A pytest plugin: in CI (``CI=true``) a test may be skipped only as ``ALLOWED`` says; any other skip fails the run."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

import pytest
from shared_data import NO_SHARED


@dataclass(frozen=True)
class Allowed:
    """Tests that may be skipped: a pattern of their ids, the reason they give, and why that is all right in CI."""

    tests: str
    reason: str
    why: str


NO_DEEPSPEED = "DeepSpeed is not installed: DEEPSPEED_PYTHON names an interpreter that has it"
ALLOWED = (
    Allowed("tests/*", NO_SHARED, "real data is not part of the repository; not every machine holds it"),
    Allowed("tests/invariant/test_sharding.py*", NO_DEEPSPEED, "it is built from source, for those who use it"),
)


@dataclass(frozen=True)
class Skip:
    """A skipped test (or, where a whole file is skipped, the file) and the reason it gave."""

    test: str
    reason: str

    @property
    def is_allowed(self) -> bool:
        return any(fnmatchcase(self.test, entry.tests) and self.reason == entry.reason for entry in ALLOWED)


def skips_of(reports: Iterable[pytest.TestReport | pytest.CollectReport]) -> list[Skip]:
    """The skips behind pytest's reports of skipped tests."""
    found = []
    for report in reports:
        told = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        found.append(Skip(report.nodeid, told.removeprefix("Skipped: ")))
    return found


def _skips(config: pytest.Config) -> list[Skip]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return skips_of(reporter.stats.get("skipped", [])) if reporter else []


def in_ci() -> bool:
    """Whether this run is CI's."""
    return os.environ.get("CI", "").lower() == "true"


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run for a skip that nobody allowed."""
    if in_ci() and session.exitstatus == 0 and not all(skip.is_allowed for skip in _skips(session.config)):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was skipped: by reason where it is allowed, test by test where it is not."""
    if not in_ci():
        return
    skips = _skips(config)
    for reason, count in Counter(skip.reason for skip in skips if skip.is_allowed).items():
        terminalreporter.write_line(f"skipped as tests/skips.py allows: {count} tests, {reason}")
    for skip in skips:
        if not skip.is_allowed:
            terminalreporter.write_line(f"SKIPPED, which tests/skips.py does not allow: {skip.test}: {skip.reason}")
