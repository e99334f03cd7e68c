"""Writes `vectors/pack/`: the same bytes each time, from fixed seeds. Run it from anywhere: `python vectors/generate.py`.

The cases, each with the exit code and the findings that its author expects, are in `tests/pack_cases_*.py`.
"""

import json
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

import pack_cases_approval  # noqa: E402, F401  # registers its cases
import pack_cases_client  # noqa: E402, F401
import pack_cases_container  # noqa: E402, F401
import pack_cases_log  # noqa: E402, F401
import pack_cases_part  # noqa: E402, F401
import pack_cases_story  # noqa: E402, F401
import pack_cases_trust  # noqa: E402, F401
import pack_cases_witness  # noqa: E402, F401
from pack_case import CASES, Case  # noqa: E402


def files_of(case: Case) -> dict[str, bytes]:
    """A vector's files by name."""
    expected = {"about": case.about, "exit": int(case.exit), "verdict": case.exit.name, "codes": list(case.codes)}
    if case.made.require_resolved:
        expected["require_resolved"] = True
    files = {"pack.tar": case.made.pack, "expected.json": json.dumps(expected, indent=2).encode() + b"\n"}
    if case.made.genesis is not None:
        files["genesis.txt"] = case.made.genesis.encode() + b"\n"
    if case.made.witnesses is not None:
        files["witnesses.txt"] = case.made.witnesses
    if case.made.max_age is not None:
        files["max_age.txt"] = "{} {}\n".format(*case.made.max_age).encode()
    if case.made.known_head is not None:
        files["known_head.txt"] = case.made.known_head
    return files


def generated() -> dict[str, bytes]:
    """Everything below `vectors/pack/`, by path."""
    return {f"{name}/{file}": data for name, make in CASES.items() for file, data in files_of(make()).items()}


def main() -> None:
    shutil.rmtree(HERE / "pack", ignore_errors=True)
    for path, data in generated().items():
        target = HERE / "pack" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


if __name__ == "__main__":
    main()
