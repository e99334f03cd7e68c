"""What an outsider needs is two rooms and four packages: here they are alone in an empty directory, and judge every vector."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

from helm_ai_kernel.tcb import pack
from needs import ROOT, needs
from packs import Log, repack, short, story

SOURCE = ROOT / "src/helm_ai_kernel"
VECTORS = ROOT / "vectors/pack"
PACKAGES = ("nacl", "jiter", "orjson", "cffi", "_cffi_backend")

# Judges each vector through the verifier's own `main`; says what it loaded besides.
DRIVER = """
import contextlib, io, json, pathlib, sys
from helm_ai_kernel.verifier.__main__ import main
results = {}
for folder in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    expected = json.loads((folder / "expected.json").read_bytes())
    if (folder / "max_age.txt").exists():  # of a now that is not ours
        continue
    args = [str(folder / "pack.tar"), "--format", "json"]
    if (folder / "genesis.txt").exists():
        args += ["--genesis", (folder / "genesis.txt").read_text().strip()]
    if (folder / "known_head.txt").exists():
        args += ["--known-head", str(folder / "known_head.txt")]
    if (folder / "witnesses.txt").exists():
        args += ["--witnesses", str(folder / "witnesses.txt")]
    if expected.get("require_resolved"):
        args.append("--require-resolved")
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = main(args)
    report = json.loads(out.getvalue())
    codes = sorted({found["code"] for found in report["findings"]})
    results[folder.name] = [code, report["verdict"], codes]
places = sorted({getattr(m, "__file__", None) or "" for m in list(sys.modules.values())})
print(json.dumps({"results": results, "places": places}))
"""


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`package/` with the two rooms, `site/` with the third parties, and nothing else of ours or of the environment."""
    folder = tmp_path_factory.mktemp("alone")
    package = folder / "package/helm_ai_kernel"
    package.mkdir(parents=True)
    shutil.copy(SOURCE / "__init__.py", package)
    for room in ("tcb", "verifier"):
        shutil.copytree(SOURCE / room, package / room, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "site").mkdir()
    for name in PACKAGES:
        spec = find_spec(name)
        assert spec is not None and spec.origin is not None
        origin = Path(spec.origin)
        target = origin.parent if origin.name == "__init__.py" else origin
        (folder / "site" / target.name).symlink_to(target)
    return folder


def run(alone: Path, *args: str, under: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """Without site-packages, user site or the current directory; the base interpreter, where the environment is a virtual one."""
    env = {"PYTHONPATH": f"{alone / 'package'}{os.pathsep}{alone / 'site'}", "PYTHONDONTWRITEBYTECODE": "1"}
    python = getattr(sys, "_base_executable", sys.executable)
    return subprocess.run([*under, python, "-s", "-S", "-P", *args], cwd=alone, env=env, capture_output=True, text=True)


def test_two_rooms_alone_judge_every_vector(alone: Path) -> None:
    done = run(alone, "-c", DRIVER, str(VECTORS))
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    folders = [folder for folder in VECTORS.iterdir() if not (folder / "max_age.txt").exists()]
    expected = {folder.name: json.loads((folder / "expected.json").read_bytes()) for folder in folders}
    assert said["results"] == {name: [want["exit"], want["verdict"], want["codes"]] for name, want in expected.items()}
    foreign = [place for place in said["places"] if "helm_ai_kernel" in place and not place.startswith(str(alone))]
    assert foreign == [], "a room of the kernel itself was loaded"


@pytest.mark.parametrize("name", ["least", "receipt_edited_fail", "known_head_contradicts_fail", "outcome_missing_fail"])
def test_the_command_ends_with_the_code_of_the_verdict(alone: Path, name: str) -> None:
    folder = VECTORS / name
    expected = json.loads((folder / "expected.json").read_bytes())
    args = [str(folder / "pack.tar"), "--genesis", (folder / "genesis.txt").read_text().strip()]
    if (folder / "known_head.txt").exists():
        args += ["--known-head", str(folder / "known_head.txt")]
    done = run(alone, "-m", "helm_ai_kernel.verifier", *args)
    assert (done.returncode, done.stderr) == (expected["exit"], "")
    assert done.stdout.startswith(f"{expected['verdict']} (exit {expected['exit']})\n")


def test_the_two_rooms_need_nothing_else_of_the_kernel(alone: Path) -> None:
    """The control: with the rest of the kernel out of reach an import of it would have failed."""
    done = run(alone, "-c", "import helm_ai_kernel.ledger")
    assert done.returncode == 1 and "ModuleNotFoundError" in done.stderr


def proof(middle: bytes) -> bytes:
    """A part of 32 MiB of proof."""
    log = short()
    files = dict(pack.read(log.part(2)))
    head, tail = b'{"hashes":[', b'"kind":"inclusion","ranges":[[0,1],[5,1]],"v":1}'
    files[pack.INCLUSION] = head + middle * ((1 << 25) // len(middle)) + tail
    return repack(files)


def lined(line: bytes, count: int) -> bytes:
    return repack({**short().files(), pack.RECEIPTS: (line + b"\n") * count})


def crowded() -> bytes:
    files = short().files()
    return repack({**files, **{f"policy/{at:064x}/x": b"" for at in range(1 << 15)}})


HOSTILE: dict[str, Callable[[], bytes]] = {
    "empty ranges": lambda: proof(b"[],"),
    "hashes": lambda: proof(b'"sha256:' + b"0" * 64 + b'",'),
    "long lines": lambda: lined(b"[" + b"0," * (1 << 19) + b"0]", 40),
    "deep lines": lambda: lined(b"[" * (1 << 16), 64),
    "millions of lines": lambda: lined(b"", 1 << 22),
    "thousands of policies": crowded,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_256_mb_are_enough_for_whatever_is_handed_over(alone: Path, tmp_path: Path, kind: str) -> None:  # 5.20
    hostile = tmp_path / "hostile.tar"
    hostile.write_bytes(HOSTILE[kind]())
    done = run(alone, "-m", "helm_ai_kernel.verifier", str(hostile), under=["prlimit", f"--as={256 << 20}"])
    assert done.returncode == 40 and done.stdout.startswith("INVALID") and not done.stderr, done


def test_nothing_is_written_and_nobody_is_asked(alone: Path, tmp_path: Path) -> None:  # 5.20
    log: Log = story()
    good, trace = tmp_path / "good.tar", tmp_path / "trace"
    good.write_bytes(log.pack(withhold=False))
    under = [needs("strace"), "-f", "-o", str(trace), "-e", "trace=%file,%network,clock_settime"]
    done = run(alone, "-m", "helm_ai_kernel.verifier", str(good), "--genesis", log.genesis, "--cores", "1", under=under)
    assert done.returncode == 0, done
    calls = trace.read_text()
    assert str(good) in calls, "the control: what is read is seen"
    assert not re.search(r"O_WRONLY|O_RDWR|O_CREAT|\b(socket|connect|sendto|mkdir|rename|unlink|creat|link)\w*\(", calls), calls
