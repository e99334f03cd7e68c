"""The page as one file: whole, the same for everyone, and asking nothing of anybody."""

import base64
import re
import zipfile
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from subprocess import run
from sys import executable

import pytest

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.ijson import parse
from helm_ai_kernel.verifier.document import document
from needs import ROOT

PAGE = ROOT / "src/helm_ai_kernel/verifier/page"
HTML = document().decode()


class Elements(HTMLParser):
    """As a browser reads it: each element's attributes, and the text of scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(HTML)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self.seen[-1][0] if self.seen else "", []).append(data)


ELEMENTS = Elements()


def policy() -> str:
    [said] = [at["content"] for _, at in ELEMENTS.seen if at.get("http-equiv") == "Content-Security-Policy"]
    assert said is not None
    return said


def test_it_is_the_same_bytes_every_time() -> None:
    assert document() == document()


def test_every_file_of_the_page_is_in_it_once_and_in_its_order() -> None:
    listed = parse((PAGE / "page.json").read_bytes())
    assert isinstance(listed, dict)
    names = [*listed["verifier"], *listed["page"], *listed["styles"]]  # type: ignore[misc]
    assert sorted(path.name for path in PAGE.iterdir()) == sorted([*names, "page.html", "page.json"])
    assert [HTML.count((PAGE / str(name)).read_text()) for name in names] == [1] * len(names)
    places = [HTML.index((PAGE / str(name)).read_text()) for name in [*listed["styles"], *listed["verifier"], *listed["page"]]]  # type: ignore[misc]
    assert places == sorted(places)


@pytest.mark.parametrize("element", ["script", "style"])
def test_its_policy_names_its_one_script_and_its_one_style_and_nothing_else(element: str) -> None:
    assert [tag for tag, _ in ELEMENTS.seen].count(element) == 1
    text = HTML.partition(f"<{element}>")[2].partition(f"</{element}>")[0]
    assert text.count("<!--") == text.count("\r") == text.count(f"<{element}") == 0  # a browser reads what was digested
    source = base64.b64encode(sha256(text.encode()).digest()).decode()
    assert f"; {element}-src 'sha256-{source}'" in policy()


def test_its_policy_allows_no_request_of_any_kind() -> None:
    names = [directive.split()[0] for directive in policy().split("; ")]
    assert names == ["default-src", "script-src", "style-src", "worker-src", "base-uri", "form-action"]
    assert policy().startswith("default-src 'none'; ") and policy().endswith("; base-uri 'none'; form-action 'none'")
    assert "; worker-src blob:; " in policy() and policy().count("blob:") == 1  # a thread, of what the page itself hands over
    assert "unsafe" not in policy() and policy().count("sha256-") == 2


def test_it_names_no_other_file_and_no_code_in_an_attribute() -> None:
    for _, attributes in ELEMENTS.seen:
        assert not {name for name in attributes if name.startswith("on") or name in ("src", "href", "style", "action", "srcset")}
    assert not re.search(
        r"\b(fetch|XMLHttpRequest|WebSocket|EventSource|sendBeacon|importScripts)\b|\bimport\(|@import|url\(", HTML
    )
    assert not re.search(r"\b(innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval|new Function)\b", HTML)


def test_an_installed_wheel_has_the_page(tmp_path: Path) -> None:
    """Of a copy: a build leaves things beside what it builds."""
    copy = tmp_path / "copy"
    (copy / "src/helm_ai_kernel").mkdir(parents=True)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (copy / name).write_bytes((ROOT / name).read_bytes())
    for path in (ROOT / "src/helm_ai_kernel").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            target = copy / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    build = "from setuptools.build_meta import build_wheel; print(build_wheel('.'))"
    done = run([executable, "-c", build], cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(copy / done.stdout.split()[-1]) as wheel:
        held = {Path(name).name for name in wheel.namelist() if name.startswith("helm_ai_kernel/verifier/page/")}
    assert held == {path.name for path in PAGE.iterdir()}


def test_the_page_knows_every_reason_that_a_receipt_can_give() -> None:
    """One that it does not know would be UNSUPPORTED there, and is none here."""
    reasons = (PAGE / "reasons.js").read_text(encoding="utf-8")
    assert [reason for reason in Reason if f'"{reason.value}"' not in reasons] == []
