"""The public JSON Schema test suite: what may be pinned decides as the suite says, and what may not is listed here by reason."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from corpora import corpus
from helm_ai_kernel.pep.schema import Schema
from helm_ai_kernel.tcb.errors import Refused

# Test groups that are refused when pinned: (file, sub-reason) -> how many.
REFUSED = {
    ("anchor", "ref"): 4,
    ("boolean_schema", "shape"): 2,  # at the root
    ("const", "number_range"): 1,  # a number that is not in our JSON profile
    ("defs", "ref"): 1,  # the metaschema, remote
    ("dynamicRef", "ref"): 21,
    ("multipleOf", "multiple_of"): 4,  # fractions
    ("ref", "ref"): 22,  # `$id`, anchors and remote documents
    ("refRemote", "ref"): 15,
    ("unevaluatedItems", "ref"): 1,  # `$dynamicRef`
    ("unevaluatedProperties", "ref"): 1,  # `$dynamicRef`
    ("vocabulary", "dialect"): 2,
}
FORMATS_REFUSED = {("unknown", "format"): 1}
DECIDED = 1129


def run(files: list[Path]) -> tuple[Counter[tuple[str, str]], list[tuple[str, str, str]], int]:
    """Refused groups, tests that we decide otherwise, and how many were decided."""
    refused: Counter[tuple[str, str]] = Counter()
    differ, decided = [], 0
    for file in files:
        for group in json.loads(file.read_bytes()):
            try:
                schema = Schema.pin(group["schema"], closed=False)
            except Refused as error:
                refused[file.stem, error.sub] += 1
                continue
            for test in group["tests"]:
                decided += 1
                kept = schema.violation(test["data"], len(json.dumps(test["data"]))) is None
                if kept is not test["valid"]:
                    differ.append((file.stem, group["description"], test["description"]))
    return refused, differ, decided


def mandatory() -> list[Path]:
    return sorted(corpus("json-schema").glob("draft2020-12/*.json"))


def test_the_mandatory_suite_is_decided_as_it_says_but_that_formats_are_checked() -> None:
    refused, differ, decided = run(mandatory())
    assert refused == REFUSED
    assert {file for file, _, _ in differ} == {"format"}
    assert all(test.endswith("is only an annotation by default") for _, _, test in differ)
    assert decided == DECIDED


def test_the_formats_are_checked_as_the_optional_suite_says() -> None:
    refused, differ, decided = run(sorted(corpus("json-schema").glob("draft2020-12/optional/format/*.json")))
    assert refused == FORMATS_REFUSED
    assert differ == []
    assert decided > 500


def test_the_numbers_of_the_suite_are_of_this_corpus() -> None:
    groups: list[Any] = [group for file in mandatory() for group in json.loads(file.read_bytes())]
    assert sum(len(group["tests"]) for group in groups) == 1299
