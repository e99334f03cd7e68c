"""A kernel of its own for each test, and a terminal in its directory."""

from pathlib import Path

import pytest

from app.kernels import Place, copy, made
from cli.terminal import Terminal


@pytest.fixture(scope="session")
def master(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("master")
    made(folder)
    return folder


@pytest.fixture
def place(master: Path, tmp_path: Path) -> Place:
    return copy(master, tmp_path)


@pytest.fixture
def terminal(place: Place, monkeypatch: pytest.MonkeyPatch, capsys: "pytest.CaptureFixture[str]") -> Terminal:
    for name in ("HELM_PASSPHRASE_FILE", "HELM_KERNEL_AGENT", "HELM_APPROVAL_KEY", "SSH_AUTH_SOCK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HELM_HOME", str(place.paths.home))
    monkeypatch.setenv("HELM_PEOPLE", str(place.paths.people))
    monkeypatch.setenv("HOME", str(place.folder))
    monkeypatch.chdir(place.folder)
    return Terminal(place, capsys)
