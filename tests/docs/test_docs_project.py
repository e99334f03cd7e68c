"""The project's own papers: the bound of the trusted base, the decision records, the locks, the change log."""

import ast
import json
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCE = ROOT / "src/helm_ai_kernel"
RECORDS = sorted((ROOT / "docs/decisions").glob("*.md"))
LOCKS = sorted(path for path in (ROOT / "requirements").iterdir() if path.is_file())
NODE_LOCKS = sorted((ROOT / "requirements").glob("*/package-lock.json"))


def code_lines(path: Path) -> int:
    """Lines that hold code: without blank lines, comments and docstrings."""
    text = path.read_text(encoding="utf-8")
    said = {
        line
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    lines = enumerate(text.splitlines(), 1)
    return sum(1 for number, line in lines if number not in said and line.strip() and not line.strip().startswith("#"))


def table() -> dict[str, tuple[int, set[str]]]:
    """Room -> bound and third parties, as the page says."""
    page = (ROOT / "docs/tcb.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| `(\w+)/` \| ≤ ([\d,]+) \|([^|]*)\|", page, re.MULTILINE)
    return {room: (int(bound.replace(",", "")), set(re.findall(r"`(\w+)`", parties))) for room, bound, parties in found}


def test_the_trusted_base_is_no_larger_than_its_page_says() -> None:
    assert table().keys() == {"tcb", "verifier"}
    for room, (bound, _) in table().items():
        size = sum(code_lines(path) for path in (SOURCE / room).rglob("*.py"))
        assert 0 < size <= bound, f"`{room}` has {size} lines of code: make it smaller, or raise the bound and say why"


def test_the_third_parties_of_the_trusted_base_are_those_of_its_page() -> None:
    for room, (_, named) in table().items():
        text = "\n".join(path.read_text(encoding="utf-8") for path in (SOURCE / room).rglob("*.py"))
        roots = set(re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE))
        assert named == roots - set(sys.stdlib_module_names) - {"helm_ai_kernel"}


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_decision_record_is_one_page_with_its_four_parts(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.match(r"\d{4}-[a-z0-9-]+\.md\Z", path.name)
    assert text.startswith(f"# {path.name[:4]} ")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Options", "Choice", "What would change it"]
    assert len(text.splitlines()) <= 60


def test_decision_records_are_numbered_without_gaps() -> None:
    assert [int(path.name[:4]) for path in RECORDS] == list(range(1, len(RECORDS) + 1))


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.relative_to(ROOT / "requirements").as_posix())
def test_a_lock_names_no_index_and_every_pin_has_a_hash(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links|--trusted-host", text)
    if path.suffix == ".txt":
        pins = [block for block in re.split(r"\n(?=\S)", text) if block and not block.startswith("#")]
        assert pins
        assert all("==" in pin and "--hash=sha256:" in pin for pin in pins)


@pytest.mark.parametrize("path", NODE_LOCKS, ids=lambda path: path.parent.name)
def test_a_lock_of_node_names_no_registry_and_every_package_has_a_version_and_a_hash(path: Path) -> None:
    packages = json.loads(path.read_bytes())["packages"]
    own = packages.pop("")
    asked = own.get("dependencies", {}) | own.get("optionalDependencies", {})
    assert asked == {name: packages[f"node_modules/{name}"]["version"] for name in asked}
    for name, package in packages.items():
        assert package["integrity"].startswith("sha512-") and package["version"], name
        assert "resolved" not in package, name


def test_the_change_log_knows_the_version_of_the_package() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert f'__version__ = "{version}"' in (SOURCE / "__init__.py").read_text(encoding="utf-8")
    assert re.search(rf"^## \[{re.escape(version)}\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
