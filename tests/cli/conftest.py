"""A terminal in the directory of a test's own kernel."""

import pytest

from app.kernels import Place
from cli.terminal import Terminal


@pytest.fixture
def terminal(place: Place, monkeypatch: pytest.MonkeyPatch, capsys: "pytest.CaptureFixture[str]") -> Terminal:
    for name in ("HELM_PASSPHRASE_FILE", "HELM_KERNEL_AGENT", "HELM_APPROVAL_KEY", "SSH_AUTH_SOCK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HELM_HOME", str(place.paths.home))
    monkeypatch.setenv("HELM_PEOPLE", str(place.paths.people))
    monkeypatch.setenv("HOME", str(place.folder))
    monkeypatch.chdir(place.folder)
    return Terminal(place, capsys)
