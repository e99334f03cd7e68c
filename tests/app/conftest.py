"""A kernel of its own for each test."""

from pathlib import Path

import pytest

from app.kernels import Place, copy, made


@pytest.fixture(scope="session")
def master(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("master")
    made(folder)
    return folder


@pytest.fixture
def place(master: Path, tmp_path: Path) -> Place:
    return copy(master, tmp_path)
