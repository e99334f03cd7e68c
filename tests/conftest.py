"""Makes `tests/` importable (`from corpora import corpus`) and refuses skips that CI must not have."""

import os
import signal
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A property says what holds, not how fast: a busy machine must not fail it. No example database is left in the tree.
settings.register_profile("helm", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("helm")

# A shell that starts this in the background makes it deaf to interrupts, and every program that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

sys.path.insert(0, str(Path(__file__).parent))

from app.kernels import Place, copy, made  # noqa: E402  (the path is set above)
from needs import MAY_SKIP  # noqa: E402


@pytest.fixture(autouse=True)
def heads_of_this_test_only(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests copy stores, which the heads that are kept outside them would tell. Those of this machine are not touched."""
    monkeypatch.setenv("HELM_STATE", str(tmp_path_factory.getbasetemp() / f"heads-{os.urandom(8).hex()}"))


@pytest.fixture(scope="session")
def master(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("master")
    made(folder)
    return folder


@pytest.fixture
def place(master: Path, tmp_path: Path) -> Place:
    """A kernel of its own for each test."""
    return copy(master, tmp_path)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where `CI=true` a test that was skipped has failed: a green run must mean that it ran."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr).removeprefix("Skipped: ")
        if not reason.startswith(MAY_SKIP):
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} was skipped, and CI=true: {reason}"
    return report
