"""The pack around its receipts: manifest, attachments, policies. The rest of it is in the vectors."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helm_ai_kernel.tcb import pack
from helm_ai_kernel.tcb.codes import Finding
from helm_ai_kernel.tcb.contents import Contents
from helm_ai_kernel.tcb.digest import digest
from helm_ai_kernel.tcb.errors import EvidenceError
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.tcb.pack import Manifest
from packs import repack, short, story

digests = st.binary(max_size=4).map(digest)
manifests = st.builds(
    Manifest,
    log=st.text(max_size=20).filter(lambda text: text.isprintable()),
    size=st.integers(0, 2**53 - 1),
    root=digests,
    files=st.dictionaries(st.sampled_from(["receipts.jsonl", "trust.jsonl", "checkpoint.txt"]), digests),
    withheld=st.integers(0, 2**53 - 1),
)


@settings(deadline=None)
@given(manifests)
def test_a_manifest_is_read_as_it_was_written(manifest: Manifest) -> None:
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest


@pytest.mark.parametrize(
    ("finding", "old", "new"),
    [
        (Finding.UNSUPPORTED, b'"v":1', b'"v":2'),
        (Finding.UNSUPPORTED, b'"v":1', b'"v":true'),
        (Finding.UNSUPPORTED, b'"kind":"pack"', b'"kind":"trust"'),
        (Finding.NON_CANONICAL, b'"v":1', b'"v":1.0'),
        (Finding.NON_CANONICAL, b'"pack"', b'"p\\u0061ck"'),
        (Finding.PACK_MALFORMED, b'"v":1', b'"u":1,"v":1'),
        (Finding.PACK_MALFORMED, b'"size":6', b'"size":-6'),
        (Finding.PACK_MALFORMED, b'"size":6', b'"size":"6"'),
        (Finding.PACK_MALFORMED, b'"size":6', b'"size":6,"size":6'),
        (Finding.PACK_MALFORMED, b'"withheld":2', b'"withheld":-2'),
        (Finding.PACK_MALFORMED, b'"withheld":2', b'"withheld":[]'),
    ],
)
def test_a_manifest_has_exact_fields_and_one_form(finding: Finding, old: bytes, new: bytes) -> None:
    data = short().files()[pack.MANIFEST]
    assert data.count(old) == 1
    with pytest.raises(EvidenceError) as raised:
        Manifest.from_bytes(data.replace(old, new))
    assert raised.value.finding is finding


@pytest.mark.parametrize("torn", [b"a", b"a\nb"])
def test_a_torn_last_line_is_refused(torn: bytes) -> None:
    with pytest.raises(EvidenceError, match="PACK_MALFORMED"):
        pack.lines(torn)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=5).filter(lambda line: b"\n" not in line)))
def test_lines_are_split_as_they_were_joined(lines: list[bytes]) -> None:
    assert pack.lines(pack.joined(lines)) == lines


def test_a_pack_is_the_same_bytes_each_time() -> None:
    assert story().pack() == story().pack()
    assert story().pack(withhold=False) == story().pack(withhold=False)


def test_a_pack_holds_what_receipts_name_and_nothing_else() -> None:
    log = short()
    log.add_policy({"never.cedar": b""}, log.add_catalog(["never"]))
    log.attach(b"never named")
    files = log.files(withhold=False)
    held = {name for name in files if name.startswith("attachments/")}
    assert held == {f"attachments/{log.receipts[i].body[field][7:]}" for i, field in ((3, "args_hash"), (4, "output_hash"))}  # type: ignore[index]
    assert not any("never" in name for name in files)
    assert sum(name.startswith("policy/") for name in files) == 2 and sum(name.startswith("catalog/") for name in files) == 1


def test_what_is_not_given_is_withheld() -> None:
    log = short()
    assert Manifest.from_bytes(log.files(withhold=False)[pack.MANIFEST]).withheld == 0
    assert Manifest.from_bytes(log.files()[pack.MANIFEST]).withheld == 2


def test_the_names_of_keys_and_unreadable_requests_are_attachments_too() -> None:
    log = story()
    held = {
        f"sha256:{name.removeprefix('attachments/')}" for name in log.files(withhold=False) if name.startswith("attachments/")
    }
    for receipt in log.receipts:
        assert {receipt.body[name] for name in ("args_hash", "raw_hash", "key", "output_hash") if name in receipt.body} <= held


def test_an_entry_of_no_pack_and_a_missing_one_are_refused() -> None:
    files = short().files()
    with pytest.raises(EvidenceError, match="PACK_MALFORMED"):
        pack.read(repack({**files, "notes.txt": b""}))
    for name in pack.FIXED - {pack.MANIFEST}:
        with pytest.raises(EvidenceError, match="PACK_MALFORMED"):
            pack.read(repack({other: data for other, data in files.items() if other != name}))


def test_a_pack_beyond_the_bound_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    data = short().pack()
    monkeypatch.setattr(pack, "PACK_BYTES_MAX", len(data))
    assert pack.read(data)
    monkeypatch.setattr(pack, "PACK_BYTES_MAX", len(data) - 1)
    with pytest.raises(EvidenceError, match="larger than"):
        pack.read(data)


@pytest.mark.parametrize(
    ("finding", "body"),
    [
        (Finding.UNSUPPORTED, {"v": 2, "catalog": digest(b""), "files": {}, "protected": []}),
        (Finding.MANIFEST_MISMATCH, {"v": 1, "catalog": digest(b""), "files": {}}),
        (Finding.MANIFEST_MISMATCH, {"v": 1, "catalog": digest(b""), "files": {"rules.cedar": digest(b"")}, "protected": []}),
    ],
)
def test_a_policy_is_whole_and_of_a_known_version(finding: Finding, body: dict[str, object]) -> None:
    manifest = canonical(body)  # type: ignore[arg-type]
    entry = f"policy/{digest(manifest).removeprefix('sha256:')}/manifest.json"
    contents = Contents(
        pack.read(
            repack(
                {name: data for name, data in {**short().files(), entry: manifest}.items() if name == entry or name in pack.FIXED}
            )
        )
    )
    assert [error.finding for error in contents.own_faults()] == [finding]
    assert not contents.bound
