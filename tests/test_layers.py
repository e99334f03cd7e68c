"""Who may import whom, and what the pure rooms may not even name: the policy of the trusted base (`docs/tcb.md`), as a test.

A new room, a new third party or a second home for a primitive means that the picture changes: write the decision record,
then change the constants here. The negative controls at the end inject one violation each and must be caught.
"""

import ast
import shutil
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = "helm_ai_kernel"
SOURCE = Path(__file__).resolve().parent.parent / "src" / PACKAGE

# The picture: a row may import the rows below it; rooms in one row never import each other.
ROWS = (
    ("cli",),
    ("trials",),
    ("app",),
    ("gateway", "launchpad", "connectors", "credentials", "ledger"),
    ("net", "disk"),
    ("executor",),
    ("pep", "guardian", "wire"),
    ("tcb",),
)
BELOW = {room: {below for row in ROWS[depth + 1 :] for below in row} for depth, rooms in enumerate(ROWS) for room in rooms}
BELOW |= {"verifier": {"tcb"}, "cli": BELOW["cli"] | {"verifier"}, "": set()}  # "" is the package itself: it knows no room
LATE = {"__init__.py": {"app"}}  # `helm_ai_kernel.Kernel`, when it is asked for: a verifier must not load the rest
BELOW_FILE = {"__main__.py": {"cli"}}  # `python -m helm_ai_kernel`

PURE = {"executor", "pep", "guardian", "wire", "tcb"}
THIRD_PARTIES = {"tcb": {"nacl", "jiter", "orjson"}, "pep": {"jsonschema_rs"}, "guardian": {"cedarpy"}, "wire": {"httptools"}}
THIRD_PARTIES |= {room: set() for room in ("executor", "verifier", "disk", "")}
RUNTIME = {
    "bcrypt",
    "cedarpy",
    "cryptography",
    "httptools",
    "jiter",
    "jsonschema_rs",
    "nacl",
    "orjson",
    "ruamel",
    "starlette",
    "tomlkit",
}  # of the rooms not named above

# The parts of the standard library that neither open, wait, print, read a clock nor draw randomness.
PURE_STDLIB = {
    "__future__", "abc", "array", "base64", "binascii", "bisect", "collections", "copy", "dataclasses", "decimal", "difflib",
    "enum", "fractions", "functools", "hashlib", "heapq", "ipaddress", "itertools", "math", "operator", "re", "string", "struct",
    "textwrap", "types", "typing", "unicodedata",
}  # fmt: skip
PURE_FROM = {"datetime": {"UTC", "date", "datetime", "timedelta", "timezone"}, "pathlib": {"PurePath", "PurePosixPath"}}
PURE_FROM |= {  # values only
    "contextlib": {"contextmanager", "suppress"},
    "http": {"HTTPStatus"},
    "urllib.parse": {"quote", "unquote", "urlsplit"},
}
NAMES = {"open", "print", "input", "eval", "exec", "compile", "__import__", "globals", "locals", "vars", "breakpoint"}
NAMES |= {"__builtins__", "__loader__", "__spec__"}
ATTRIBUTES = {"__builtins__", "__globals__", "__import__", "__subclasses__", "__loader__"}  # ways back to those names
CLOCKS = {"now", "utcnow", "today", "fromtimestamp", "astimezone"}  # the last two read the machine's time zone

# One home: exactly these files import it.
HOMES = {
    "jiter": {"tcb/ijson.py"},
    "orjson": {"tcb/jcs.py", "tcb/ijson.py"},  # ijson: only as a probe for numbers that need a look, never as a reader
    "hashlib": {"tcb/digest.py"},
    "nacl": {"tcb/keys.py"},
}
ROOM_HOMES = {"jsonschema_rs": "pep", "cedarpy": "guardian", "sqlite3": "ledger"}
ROOM_HOMES |= {"cryptography": "credentials", "bcrypt": "credentials", "httptools": "wire", "starlette": "gateway"}
ROOM_HOMES |= {"ruamel": "app", "tomlkit": "app"}  # of other people's configuration files
# Ways to run what was read, or to import around this test.
NEVER = {"pickle", "marshal", "shelve", "importlib", "runpy", "code", "ctypes"}
JSON_READERS = {"load", "loads"}  # of the standard library: they take duplicate keys, NaN and any depth
# `transaction` reads a column of names that it wrote itself, on the hot path; `demo` what a command printed, as an outsider does.
JSON_OWN = {"ledger/transaction.py", "trials/demo.py"}
IMPORTLIB_DATA = {"importlib.resources", "importlib.metadata"}  # these read our own files and version, above the line
LAZY_ROOMS = {"cli", "trials"}  # a hook must start in milliseconds: commands import what they need when they run


class Violation(NamedTuple):
    rule: str
    file: str
    line: int
    what: str


class Import(NamedTuple):
    """One imported module, absolute (`helm_ai_kernel.tcb.codes`), and the names taken from it."""

    module: str
    names: tuple[str, ...]
    level: int
    line: int
    top: bool

    @property
    def root(self) -> str:
        return self.module.partition(".")[0]

    @property
    def rooms(self) -> set[str]:
        """The rooms of ours that this reaches."""
        _, _, rest = self.module.partition(".")
        if self.root != PACKAGE:
            return set()
        return {rest.partition(".")[0]} if rest else {name if name in BELOW else "" for name in self.names or ("",)}


def violations(source: Path) -> list[Violation]:
    """Every breach of the picture in the tree of the package at `source`."""
    found: list[Violation] = []
    importers: dict[str, set[str]] = {}
    for path in sorted(source.rglob("*.py")):
        file = path.relative_to(source).as_posix()
        breaches, roots = in_file(file, path.read_text(encoding="utf-8"))
        found += breaches
        for root in roots:
            importers.setdefault(root, set()).add(file)
    for name, homes in HOMES.items():
        for file in sorted(homes ^ importers.get(name, set())):
            found.append(Violation("one-home", file, 1, f"`{name}` is imported by exactly {sorted(homes)}"))
    for name, room in ROOM_HOMES.items():
        for file in sorted(f for f in importers.get(name, set()) if room_of(f) != room):
            found.append(Violation("one-home", file, 1, f"`{name}` is imported only in `{room}`"))
    return found


@cache
def in_file(file: str, text: str) -> tuple[list[Violation], set[str]]:
    """What one file does wrong, and the root of everything that it imports."""
    tree, room = ast.parse(text), room_of(file)
    if room not in BELOW:
        return [Violation("room", file, 1, f"`{room}` is not a room of the picture")], set()
    imports = tuple(imported(tree, file))
    found = [breach for item in imports for breach in of_import(file, room, item)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            found.append(("assert", node.lineno, "`python -O` removes it: raise what the room raises"))
        of_json = isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "json" and node.attr in JSON_READERS
        if of_json and file not in JSON_OWN:
            found.append(("one-home", getattr(node, "lineno", 1), "JSON is read by `tcb/ijson.py`"))
        if room in PURE:
            found += of_pure(room, node)
    return [Violation(rule, file, line, what) for rule, line, what in found], {item.root for item in imports}


def room_of(file: str) -> str:
    return file.partition("/")[0] if "/" in file else ""


def imported(tree: ast.Module, file: str) -> Iterator[Import]:
    package = [PACKAGE, *file.split("/")[:-1]]
    body = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        top = id(node) in body
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, (), 0, node.lineno, top)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join(base + ([node.module] if node.module else []))
            yield Import(module, tuple(alias.name for alias in node.names), node.level, node.lineno, top)


def of_import(file: str, room: str, item: Import) -> Iterator[tuple[str, int, str]]:
    depth = file.count("/")
    if item.level > max(depth, 1):
        yield "relative", item.line, "a relative import leaves its room"
    if not item.top and room not in LAZY_ROOMS and file not in LATE:
        yield "top", item.line, f"`{item.module}` is not imported at the top of the file"
    for reached in item.rooms - {room}:
        allowed = BELOW[room] | BELOW_FILE.get(file, set()) | (set() if room in PURE else {""})
        if reached not in allowed | (set() if item.top else LATE.get(file, set())):
            yield "layer", item.line, f"`{room}` may not import `{reached}`"
    if room and room in item.rooms and not item.level:
        yield "relative", item.line, "inside a room imports are relative"
    if item.root in NEVER and not (item.module in IMPORTLIB_DATA and room not in PURE):
        yield "never", item.line, f"`{item.module}` goes around the picture"
    if item.root == "json" and set(item.names) - {"dump", "dumps"}:
        yield "one-home", item.line, "JSON is read by `tcb/ijson.py`"
    if item.root in sys.stdlib_module_names:
        if room in PURE and item.module.partition(".")[0] not in PURE_STDLIB and not whitelisted(item):
            yield "pure-module", item.line, f"`{room}` is pure and may not import `{item.module}` ({', '.join(item.names)})"
    elif item.root != PACKAGE and item.root not in THIRD_PARTIES.get(room, RUNTIME):
        yield "third-party", item.line, f"`{room}` may not import `{item.module}`"


def whitelisted(item: Import) -> bool:
    return bool(item.names) and set(item.names) <= PURE_FROM.get(item.module, set())


def of_pure(room: str, node: ast.AST) -> Iterator[tuple[str, int, str]]:
    if isinstance(node, ast.Name) and node.id in NAMES and isinstance(node.ctx, ast.Load):
        yield "pure-name", node.lineno, f"`{room}` is pure and may not use the name `{node.id}`"
    if isinstance(node, ast.Attribute):
        of_time = isinstance(node.value, ast.Name) and node.value.id in ("datetime", "date")
        if node.attr in ATTRIBUTES or (node.attr in CLOCKS and of_time):
            yield "pure-name", node.lineno, f"`{room}` is pure and may not use `.{node.attr}`"
    if room != "executor" and isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
        yield "pure-wait", node.lineno, f"nothing waits in `{room}`"


def test_the_tree_keeps_the_picture() -> None:
    found = violations(SOURCE)
    assert not found, "\n".join(f"{v.file}:{v.line}: {v.rule}: {v.what}" for v in found)


def test_the_dependencies_of_the_package_are_the_third_parties_named_here() -> None:
    project = tomllib.loads((SOURCE.parent.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {line.partition(">")[0].replace("-", "_") for line in project["dependencies"]}
    assert names == {{"nacl": "pynacl", "ruamel": "ruamel.yaml"}.get(name, name) for name in RUNTIME}


# Negative controls: rule, file to write into, what is put there.
CONTROLS = [
    ("layer", "tcb/receipt.py", "from helm_ai_kernel.pep.admit import admit"),
    ("layer", "executor/execute.py", "from helm_ai_kernel.ledger.ledger import Ledger"),
    ("layer", "executor/execute.py", "import helm_ai_kernel.net.pool"),
    ("layer", "gateway/door.py", "from helm_ai_kernel.connectors.process import Process"),
    ("layer", "ledger/ledger.py", "from helm_ai_kernel import credentials"),
    ("layer", "guardian/policy.py", "from helm_ai_kernel.pep.catalog import Catalog"),
    ("layer", "verifier/report.py", "from helm_ai_kernel.wire.mcp import Session"),
    ("layer", "app/kernel.py", "from helm_ai_kernel.verifier.report import Report"),
    ("layer", "trials/demo.py", "def late():\n    from helm_ai_kernel.cli import main"),
    ("layer", "__init__.py", "from .app import kernel"),
    ("layer", "__init__.py", "def late():\n    from .ledger import ledger"),
    ("layer", "tcb/codes.py", "from helm_ai_kernel import __version__"),
    ("room", "utils/strings.py", "x = 1"),
    ("relative", "tcb/codes.py", "from ..pep import admit"),
    ("relative", "tcb/codes.py", "from helm_ai_kernel.tcb.digest import Digest"),
    ("top", "ledger/store.py", "def late():\n    import json"),
    ("top", "tcb/codes.py", "try:\n    import re\nexcept ImportError:\n    re = None"),
    ("third-party", "tcb/codes.py", "import cryptography"),
    ("third-party", "wire/mcp.py", "from orjson import loads"),
    ("third-party", "verifier/report.py", "import nacl"),
    ("third-party", "ledger/store.py", "import requests"),
    ("pure-module", "pep/admit.py", "import os"),
    ("pure-module", "guardian/policy.py", "from time import time"),
    ("pure-module", "tcb/keys.py", "import secrets"),
    ("pure-module", "wire/mcp.py", "import socket"),
    ("pure-module", "executor/execute.py", "import asyncio"),
    ("pure-module", "tcb/pack.py", "from pathlib import Path"),
    ("pure-module", "tcb/pack.py", "import json"),
    ("pure-name", "tcb/pack.py", "print(1)"),
    ("pure-name", "tcb/pack.py", "read = open"),
    ("pure-name", "pep/admit.py", "__import__('os')"),
    ("pure-name", "pep/admit.py", "eval('1')"),
    ("pure-name", "guardian/policy.py", "x = ().__class__.__base__.__subclasses__()"),
    ("pure-name", "guardian/policy.py", "from datetime import datetime\nat = datetime.now()"),
    ("pure-wait", "wire/mcp.py", "async def later():\n    pass"),
    ("one-home", "tcb/pack.py", "import hashlib"),
    ("one-home", "tcb/pack.py", "from nacl.signing import SigningKey"),
    ("one-home", "ledger/jobs.py", "import orjson"),
    ("one-home", "app/kernel.py", "import sqlite3"),
    ("one-home", "connectors/process.py", "import cryptography.hazmat"),
    ("one-home", "cli/clients.py", "def late():\n    import tomlkit"),
    ("one-home", "connectors/process.py", "import json\nx = json.loads('{}')"),
    ("one-home", "app/kernel.py", "from json import load"),
    ("never", "tcb/codes.py", "import importlib.resources"),
    ("never", "cli/main.py", "def late():\n    import importlib"),
    ("never", "ledger/store.py", "import pickle"),
    ("assert", "tcb/codes.py", "assert True"),
]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[Violation]]:
    """A copy of the tree, and what is wrong with it already."""
    target = tmp_path_factory.mktemp("tree") / PACKAGE
    shutil.copytree(SOURCE, target, ignore=shutil.ignore_patterns("__pycache__"))
    return target, set(violations(target))


@pytest.mark.parametrize(("rule", "file", "text"), CONTROLS)
def test_an_injected_violation_is_reported_by_its_rule(
    copy: tuple[Path, set[Violation]], rule: str, file: str, text: str
) -> None:
    path, before = copy[0] / file, copy[1]
    old = path.read_bytes() if path.exists() else None
    path.parent.mkdir(exist_ok=True)
    path.write_bytes((old or b"") + b"\n" + text.encode() + b"\n")
    try:
        new = set(violations(copy[0])) - before
    finally:
        path.unlink() if old is None else path.write_bytes(old)
    assert (rule, file) in {(found.rule, found.file) for found in new}


def test_a_home_that_is_empty_is_reported(copy: tuple[Path, set[Violation]]) -> None:
    path = copy[0] / "tcb/ijson.py"
    old = path.read_text(encoding="utf-8")
    path.write_text(old.replace("import jiter", "jiter = None"), encoding="utf-8")
    try:
        found = violations(copy[0])
    finally:
        path.write_text(old, encoding="utf-8")
    assert any(v.rule == "one-home" and "`jiter`" in v.what for v in found)
