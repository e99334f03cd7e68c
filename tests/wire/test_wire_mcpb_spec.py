"""What `docs/spec/mcpb.md` says is what is there: its example, its rules, its bounds."""

import json
import re
from pathlib import Path
from typing import Any

from helm_ai_kernel.wire import archive, entry, manifest, mcpb, reroute
from wire.archives import bundle

ROOT = Path(__file__).resolve().parent.parent.parent
TEXT = (ROOT / "docs/spec/mcpb.md").read_text("utf-8")
WIRE = ROOT / "src/helm_ai_kernel/wire"


def example(mark: str) -> Any:
    found = re.search(rf"^<!-- {mark} -->\n```json\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_the_example_is_what_becomes_of_it() -> None:
    original = example("original")
    made = archive.read(mcpb.wrapped(bundle(original), "hello")).entry("manifest.json")
    assert made is not None
    assert json.loads(archive.content(made)) == original | example("wrapped")


def test_every_rule_has_its_row() -> None:
    named = re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE)[1:]  # without the header
    modules = [(WIRE / f"{name}.py").read_text("utf-8") for name in ("archive", "entry", "manifest", "mcpb", "reroute")]
    used = set(re.findall(r'malformed\(\s*"(\w+)"', "\n".join(modules)))
    assert len(named) == len(set(named)) and set(named) == used


def test_the_bounds_are_those_of_the_page() -> None:
    assert (archive.ARCHIVE_BYTES_MAX, archive.ENTRIES_MAX) == (256 << 20, 32_768)
    assert (archive.UNPACKED_BYTES_MAX, archive.RATIO_MAX, archive.RATIO_FROM) == (1 << 30, 200, 1 << 20)
    assert archive.SIGNATURE_BYTES_MAX == 32 << 10
    assert (entry.NAME_BYTES_MAX, entry.STEPS_MAX, entry.STEP_BYTES_MAX) == (1024, 32, 255)
    assert (manifest.BYTES_MAX, manifest.TOOLS_MAX, manifest.WORDS_MAX) == (1 << 20, 1024, 64)
    assert (manifest.VERSIONS[0], manifest.VERSIONS[-1]) == ("0.1", "0.4")
    assert all(reroute.steers(name) for name in ("HELM_HOME", "LD_PRELOAD", "PYTHONPATH", "PATH", "HOME"))
    bounds = ["256 MiB", "32,768 entries", "1 GiB", "200 times", "32 KiB", "1,024 tools"]
    bounds += ["1,024 bytes and 32 steps of at most 255"]
    for bound in bounds:
        assert bound in TEXT, bound
