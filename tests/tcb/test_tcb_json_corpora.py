"""Public JSON corpora: every document is decided, and what the profile refuses beyond the standard is listed here by name."""

import json

from corpora import corpus
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.ijson import parse
from helm_ai_kernel.tcb.jcs import canonical

# Canonicalisation inputs outside the profile: numbers that a double does not hold, and 1E30
JCS_REFUSED = {"values.json": "number_precision"}

# Documents that RFC 8259 allows and the profile does not
Y_REFUSED = {
    "y_number.json": "number_range",  # [123e65]
    "y_number_minus_zero.json": "number_precision",
    "y_number_negative_zero.json": "number_precision",
    "y_number_real_capital_e.json": "number_range",  # [1E22]
    "y_number_real_exponent.json": "number_range",  # [123e45]
    "y_number_real_fraction_exponent.json": "number_range",  # [123.456e78]
    "y_object_duplicated_key.json": "dup_key",
    "y_object_duplicated_key_and_value.json": "dup_key",
    "y_object_extreme_numbers.json": "number_range",  # 1.0e+28
}


def sub_of(data: bytes, *, any_number: bool = False) -> str:
    try:
        parse(data, any_number=any_number)
    except Refused as refused:
        return refused.sub
    return ""


def documents(prefix: str) -> dict[str, bytes]:
    found = {path.name: path.read_bytes() for path in corpus("json/test_parsing").glob(f"{prefix}_*.json")}
    assert found
    return found


def test_every_document_that_is_not_json_is_refused() -> None:
    accepted = [name for name, data in documents("n").items() if not sub_of(data) or not sub_of(data, any_number=True)]
    assert accepted == []


def test_every_json_document_inside_the_profile_is_accepted_with_its_value() -> None:
    for name, data in documents("y").items():
        assert sub_of(data) == Y_REFUSED.get(name, ""), name
        if name not in Y_REFUSED:
            assert parse(data) == json.loads(data), name


def test_every_json_document_without_duplicate_keys_is_accepted_as_an_output() -> None:
    for name, data in documents("y").items():
        assert sub_of(data, any_number=True) == ("dup_key" if "duplicated_key" in name else ""), name


def test_a_document_on_which_readers_differ_is_refused_by_name() -> None:
    assert all(sub_of(data) not in ("", "syntax") for data in documents("i").values())


def test_canonical_bytes_are_those_that_the_authors_of_the_standard_published() -> None:
    folder = corpus("jcs")
    names = sorted(path.name for path in (folder / "input").iterdir())
    assert names
    for name in names:
        data = (folder / "input" / name).read_bytes()
        expected = (folder / "output" / name).read_bytes()
        assert expected == bytes.fromhex((folder / "outhex" / name).with_suffix(".txt").read_text())
        assert sub_of(data) == JCS_REFUSED.get(name, "")
        assert canonical(json.loads(data) if name in JCS_REFUSED else parse(data)) == expected
