"""A bundle's archive has one meaning, or it is refused: each archive here lies in one place only."""

import io
import random
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.wire import archive, packing
from wire.archives import STORED, Part, deflated, signature, zipped

A, B = Part(b"a", b"first"), Part(b"b/c", b"second" * 100)
ZEROS, NOISE = bytes(8 << 20), random.Random(1).randbytes(100_000)
UNSAID = {"crc": 0, "packed": 0, "size": 0}
EXTRA = b"\x55\x54\x05\x00\x01\x00\x00\x00\x00"  # a time
LINK = b"\x6e\x75\x0e\x00" + bytes(14)  # ASi's unix field, which may hold a link


def named(name: str) -> Part:
    return Part(name.encode(), central={"flags": 0x800}, local={"flags": 0x800})


def both(**said: object) -> Part:
    return Part(b"a", b"first", local=said, central=said)


def endless(content: bytes) -> bytes:
    """Deflated whole, but not ended."""
    engine = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return engine.compress(content) + engine.flush(zlib.Z_SYNC_FLUSH)


def described(part: Part, behind: bytes | None = None, **before: object) -> Part:
    """Its sizes stand behind its content."""
    said = part.says({})
    numbers = b"".join(said[name].to_bytes(4, "little") for name in ("crc", "packed", "size"))
    local = {"flags": 8, **UNSAID, **before}
    return Part(
        part.name, part.content, part.method, behind=b"PK\x07\x08" + numbers if behind is None else behind, local=local,
        central={"flags": 8},
    )  # fmt: skip


REFUSED: dict[str, tuple[str, bytes]] = {
    "nothing": ("archive", b""),
    "no archive": ("archive", b"#!/bin/sh\n" * 10),
    "no entries": ("size", zipped()),
    "data before it": ("overlap", zipped(A, B, before=b"#!/bin/sh\n")),
    "data before it, and offsets that do not count it": ("archive", b"#!/bin/sh\n" + zipped(A, B)),
    "data between its entries": ("overlap", zipped(Part(b"a", b"first", behind=b"hidden"), B)),
    "data before the central directory": ("overlap", zipped(A, B, between=b"hidden")),
    "data behind the central directory": ("archive", zipped(A, B, after=b"hidden")),
    "data behind the end": ("archive", zipped(A, B) + b"hidden"),
    "an archive behind its end": ("archive", zipped(A) + zipped(B)),
    "a comment": ("archive", zipped(A, comment=b"hello")),
    "a comment that is an archive": ("archive", zipped(A, comment=zipped(B))),
    "a comment that is not there": ("archive", zipped(A)[:-2] + b"\x05\x00"),
    "a comment that is shorter than the signature": ("archive", zipped(A)[:-2] + b"\x05\x00" + signature()),
    "a central directory of another length": ("archive", zipped(A, length=3)),
    "another disk": ("archive", zipped(A, disk=1)),
    "a central directory on another disk": ("archive", zipped(A, start=1)),
    "fewer entries here than in all": ("archive", zipped(A, here=0)),
    "an entry that is not counted": ("archive", zipped(A, B, here=1, count=1)),
    "an entry that is only counted": ("archive", zipped(A, B, here=3, count=3)),
    "a central directory that begins too early": ("archive", zipped(A, B, at=3)),
    "an entry of another disk": ("archive", zipped(Part(b"a", central={"disk": 1}))),
    "an entry with a comment": ("archive", zipped(Part(b"a", central={"comment": b"hello"}))),
    "no mark in the central directory": ("archive", zipped(Part(b"a", central={"mark": b"PK\x01\x03"}))),
    "no mark before a content": ("mismatch", zipped(Part(b"a", local={"mark": b"PK\x03\x05"}))),
    "two entries in one place": ("overlap", zipped(A, Part(b"b", b"first", central={"offset": 0}))),
    "an entry inside another": ("overlap", zipped(Part(b"a", zipped(B), STORED), Part(b"x", central={"offset": 31}))),
    "an entry that is said to begin in itself": ("overlap", zipped(A, Part(b"b", NOISE, STORED, central={"offset": 50}))),
    "an entry that reaches into the next": ("overlap", zipped(Part(b"a", central={"packed": 60}, local={"packed": 60}), B)),
    "an entry that reaches into the central directory": ("overlap", zipped(both(packed=60))),
    "another name before the content": ("mismatch", zipped(Part(b"a", local={"name": b"b"}))),
    "another size before the content": ("mismatch", zipped(Part(b"a", local={"size": 3}))),
    "another packed size before the content": ("mismatch", zipped(Part(b"a", local={"packed": 3}))),
    "another checksum before the content": ("mismatch", zipped(Part(b"a", local={"crc": 3}))),
    "another method before the content": ("mismatch", zipped(Part(b"a", local={"method": 0}))),
    "other flags before the content": ("mismatch", zipped(Part(b"a", local={"flags": 2}))),
    "no sizes before the content, and no word of others behind": ("mismatch", zipped(Part(b"a", local=UNSAID))),
    "other sizes before the content than behind": ("mismatch", zipped(described(A, size=3))),
    "no sizes before the content, and none behind": ("mismatch", zipped(described(A, b""))),
    "another size behind the content": ("mismatch", zipped(described(A, b"PK\x07\x08" + bytes(12)))),
    "sizes of something stored behind it": ("mismatch", zipped(described(Part(b"a", b"first", STORED)))),
    "encrypted": ("encrypted", zipped(both(flags=1))),
    "strongly encrypted": ("encrypted", zipped(both(flags=0x41))),
    "a masked directory": ("encrypted", zipped(both(flags=0x2000))),
    "a patch": ("encrypted", zipped(both(flags=0x20))),
    "64-bit sizes": ("encrypted", zipped(Part(b"a", central={"needed": 45}))),
    "64-bit sizes in a field": ("kind", zipped(Part(b"a", central={"extra": b"\x01\x00\x08\x00" + bytes(8)}))),
    "another name in a field": ("kind", zipped(Part(b"a", central={"extra": b"\x75\x70\x06\x00\x01" + bytes(4) + b"b"}))),
    "a link in a field": ("kind", zipped(Part(b"a", central={"extra": LINK}))),
    "a link in a field before the content": ("kind", zipped(Part(b"a", local={"extra": LINK}))),
    "a field that is cut off": ("kind", zipped(Part(b"a", central={"extra": b"\x55\x54\x09\x00\x01"}))),
    "bzip2": ("method", zipped(both(method=12))),
    "aes": ("method", zipped(both(method=99))),
    "stored with two sizes": ("method", zipped(Part(b"a", b"first", STORED, local={"size": 3}, central={"size": 3}))),
    "a link": ("kind", zipped(Part(b"a", b"/etc/passwd", mode=0o120777))),
    "a device": ("kind", zipped(Part(b"a", b"", mode=0o060644))),
    "a pipe": ("kind", zipped(Part(b"a", b"", mode=0o010644))),
    "a program of another user": ("kind", zipped(Part(b"a", mode=0o104755))),
    "a folder with the name of a file": ("kind", zipped(Part(b"a", b"", mode=0o040755))),
    "a folder with the name of a file, as DOS says it": ("kind", zipped(Part(b"a", b"", central={"external": 0x10}))),
    "a file with the name of a folder": ("kind", zipped(Part(b"a/", b"", mode=0o100644))),
    "a label": ("kind", zipped(Part(b"a", b"", central={"external": 0x08}))),
    "a folder with a content": ("kind", zipped(Part(b"a/", b"first", mode=0o040755))),
    "a name that climbs": ("name", zipped(Part(b"../a"))),
    "a name that climbs inside": ("name", zipped(Part(b"a/../../b"))),
    "a name that stays": ("name", zipped(Part(b"./a"))),
    "an empty step": ("name", zipped(Part(b"a//b"))),
    "an absolute name": ("name", zipped(Part(b"/etc/passwd"))),
    "an empty name": ("name", zipped(Part(b""))),
    "the folder itself": ("name", zipped(Part(b"/", b"", mode=0o040755))),
    "backslashes": ("name", zipped(Part(b"a\\..\\b"))),
    "a drive": ("name", zipped(Part(b"C:/a"))),
    "a stream": ("name", zipped(Part(b"a:b"))),
    "three dots": ("name", zipped(Part(b".../a"))),
    "a dot at the end": ("name", zipped(Part(b"a./b"))),
    "a space at the end": ("name", zipped(Part(b"a "))),
    "a NUL": ("name", zipped(Part(b"a\x00.js"))),
    "a line end": ("name", zipped(Part(b"a\nb"))),
    "bytes that are no UTF-8": ("name", zipped(Part(b"\xff\xfe", local={"flags": 0x800}, central={"flags": 0x800}))),
    "UTF-8 that is not called so": ("name", zipped(Part("é".encode()))),
    "a name that is shown from right to left": ("name", zipped(named("a\u202egnp.js"))),
    "a character that is not shown": ("name", zipped(named("a\u200bb"))),
    "a separator of lines": ("name", zipped(named("a\u2028b"))),
    "a long name": ("name", zipped(Part(b"/".join([b"a" * 200] * 6)))),
    "a long step": ("name", zipped(Part(b"a" * 256))),
    "many steps": ("name", zipped(Part(b"/".join([b"a"] * 33)))),
    "a name twice": ("twin", zipped(A, A)),
    "a folder twice": ("twin", zipped(*[Part(b"d/", b"", STORED, 0o040755)] * 2)),
    "names that differ in case": ("twin", zipped(Part(b"manifest.json"), Part(b"Manifest.json"))),
    "names that differ in form": ("twin", zipped(named("\u00e9"), named("e\u0301"))),
    "names that differ in width": ("twin", zipped(Part(b"a"), named("\uff41"))),
    "names that fold to one": ("twin", zipped(Part(b"ss"), named("\u00df"))),
    "folders that differ in case": ("twin", zipped(Part(b"A/x"), Part(b"a/y"))),
    "a file that is a folder": ("twin", zipped(A, Part(b"a/b"))),
    "a file that is an empty folder": ("twin", zipped(A, Part(b"a/", b"", STORED, 0o040755))),
    "a bomb by its ratio": ("bomb", zipped(Part(b"a", ZEROS))),
    "a bomb beside what is none": ("bomb", zipped(Part(b"a", ZEROS), Part(b"b", NOISE, STORED))),
    "a bomb by its size": ("bomb", zipped(both(size=(1 << 30) + 1))),
    "a bomb of many small entries": ("bomb", zipped(*(Part(b"%d" % n, bytes(1 << 20)) for n in range(20)))),
    "more than it says": ("bomb", zipped(Part(b"a", b"first", packed=deflated(b"first, and more")))),
    "much more than it says": ("bomb", zipped(Part(b"a", b"first", packed=deflated(ZEROS)))),
    "less than it says": ("content", zipped(Part(b"a", b"first", packed=deflated(b"fir")))),
    "another content": ("content", zipped(Part(b"a", b"first", packed=deflated(b"third")))),
    "another stored content": ("content", zipped(Part(b"a", b"first", STORED, packed=b"third"))),
    "nothing, with the checksum of nothing": ("content", zipped(Part(b"a", b"", local={"size": 3}, central={"size": 3}))),
    "a deflate without an end": ("content", zipped(Part(b"a", b"first", packed=endless(b"first")))),
    "no deflate": ("content", zipped(Part(b"a", b"first", packed=b"\xff\xff\xff"))),
    "a deflate that is cut off": ("content", zipped(Part(b"a", b"first" * 99, packed=deflated(b"first" * 99)[:-3]))),
    "something behind a deflate": ("content", zipped(Part(b"a", b"first", packed=deflated(b"first") + b"hidden"))),
    "a second deflate behind the first": ("content", zipped(Part(b"a", b"first", packed=deflated(b"first") * 2))),
    "a signature that is cut off": ("archive", zipped(A) + signature()[:-1]),
    "a signature that is longer than it says": ("signature", zipped(A) + signature().replace(b"\x05\0\0\0", b"\x04\0\0\0")),
    "a signature that is no sequence": ("signature", zipped(A) + signature(b"\x31\x03\x02\x01\x07")),
    "a sequence that is shorter than its block": ("signature", zipped(A) + signature(b"\x30\x03\x02\x01\x07hidden")),
    "a signature of one byte": ("signature", zipped(A) + signature(b"\x30")),
    "an empty signature": ("signature", zipped(A) + signature(b"")),
    "a signature without a beginning": ("signature", zipped(A) + b"MCPB_SIG_END"),
    "a signature with the end of an archive in it": ("archive", zipped(A) + signature(b"\x30\x16PK\x05\x06" + bytes(18))),
    "two signatures": ("archive", zipped(A) + signature() * 2),
    "an archive and its signature inside": ("signature", zipped(Part(b"a", zipped(B) + signature(), STORED))),
    "an archive and its signature inside what is signed": (
        "signature", zipped(Part(b"a", zipped(B) + signature(), STORED)) + signature(),
    ),
    "a signature in a comment that is longer": ("archive", zipped(A, comment=b"x" + signature())),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_an_archive_that_lies_in_one_place_is_refused(case: str) -> None:
    sub, data = REFUSED[case]
    with pytest.raises(Refused) as refused:
        archive.read(data)
    assert (refused.value.reason, refused.value.sub) == (Reason.ERR_BUNDLE_MALFORMED, sub), refused.value.detail
    assert "ERR_BUNDLE_MALFORMED" in refused.value.hint


READ: dict[str, bytes] = {
    "deflated and stored": zipped(A, Part(b"b/c", b"second" * 100, STORED)),
    "folders": zipped(Part(b"b/", b"", STORED, 0o040755), A, B),
    "a folder as DOS says it": zipped(Part(b"b/", b"", STORED, central={"external": 0x10}), A, B),
    "sizes behind the content": zipped(described(A), described(B)),
    "sizes behind the content without a mark": zipped(described(A, described(A).behind[4:]), B),
    "no mode": zipped(Part(b"a", b"first", central={"external": 0}), B),
    "times in fields": zipped(Part(b"a", b"first", central={"extra": EXTRA}, local={"extra": EXTRA}), B),
    "levels of compression": zipped(both(flags=6), B),
    "a central directory in another order": zipped(A, B),
    "signed": zipped(A, B) + signature(),
    "signed, and the end says so": zipped(A, B, comment=signature()),
    "the marks of a signature the other way round": zipped(A, B, Part(b"x", b"MCPB_SIG_END MCPB_SIG_V1", STORED)),
}


@pytest.mark.parametrize("case", READ)
def test_an_archive_in_order_is_read_as_it_is(case: str) -> None:
    found = archive.read(READ[case])
    assert {entry.name: archive.content(entry) for entry in found.entries if entry.name != "x"} == {
        "a": b"first", "b/c": b"second" * 100,
    }  # fmt: skip
    assert (found.signature is not None) == ("signed" in case)


def test_the_central_directory_may_have_another_order_than_the_entries() -> None:
    data = zipped(A, B)
    at, middle = data.index(b"PK\x01\x02"), data.rindex(b"PK\x01\x02")
    end = data.index(b"PK\x05\x06")
    found = archive.read(data[:at] + data[middle:end] + data[at:middle] + data[end:])
    assert [entry.name for entry in found.entries] == ["a", "b/c"]


def test_an_archive_that_is_too_large_is_refused_before_it_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "ARCHIVE_BYTES_MAX", 100)
    with pytest.raises(Refused, match="larger than 100 bytes"):
        archive.read(bytes(101))


def test_what_unpacks_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "UNPACKED_BYTES_MAX", 99)
    archive.read(zipped(Part(b"a", NOISE[:99])))
    with pytest.raises(Refused, match="more than 99 bytes"):
        archive.read(zipped(Part(b"a", NOISE[:100])))


def test_too_many_entries_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "ENTRIES_MAX", 1)
    with pytest.raises(Refused, match="more than 1"):
        archive.read(zipped(A, B))


NAMES = st.text(st.sampled_from("abcXYZ-_0é漢"), min_size=1, max_size=8)
FILES = st.dictionaries(
    st.lists(NAMES, min_size=1, max_size=3).map("/".join), st.binary(max_size=200), min_size=1, max_size=6
)  # fmt: skip


@given(FILES, st.randoms(use_true_random=False))
def test_the_archive_of_files_is_the_same_bytes_in_any_order_and_others_read_the_same(
    files: dict[str, bytes], order: random.Random
) -> None:
    entries = [packing.stored(name, content) for name, content in files.items()]
    try:
        data = packing.write(entries)
    except Refused as refused:
        if refused.sub == "twin":
            return
        raise
    order.shuffle(entries)
    assert packing.write(entries) == data
    assert {entry.name: archive.content(entry) for entry in archive.read(data).entries} == files
    with zipfile.ZipFile(io.BytesIO(data)) as other:
        assert other.testzip() is None
        assert {name: other.read(name) for name in other.namelist()} == files
        assert {info.date_time for info in other.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {info.external_attr for info in other.infolist()} == {0o100644 << 16}


@given(FILES, st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
def test_what_another_program_packed_is_read_and_packed_again_to_the_same_contents(files: dict[str, bytes], method: int) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as other:
        for name, content in files.items():
            other.writestr(name, content)
    try:
        found = archive.read(out.getvalue())
    except Refused as refused:
        if refused.sub == "twin":
            return
        raise
    assert {entry.name: archive.content(entry) for entry in found.entries} == files
    again = packing.write(found.entries)
    assert packing.write(archive.read(again).entries) == again
    with zipfile.ZipFile(io.BytesIO(again)) as other:
        assert {name: other.read(name) for name in other.namelist()} == files


def flips(data: bytes) -> Callable[[int, int], bytes]:
    return lambda at, bit: data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :]


def test_no_flipped_bit_changes_what_is_read_unseen() -> None:
    """Each is refused, or the same files are read; whether one is executable is said in one place only."""
    data = zipped(A, Part(b"b", b"second", STORED))
    flipped, contents = flips(data), {"a": b"first", "b": b"second"}
    for at in range(len(data)):
        for bit in range(8):
            with suppress(Refused):
                found = archive.read(flipped(at, bit))
                assert {entry.name: archive.content(entry) for entry in found.entries} == contents, (at, bit)
                assert found.signature is None


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for candidate in (data, data + zipped(A), zipped(A) + data, zipped(Part(b"a", packed=data))):
        with suppress(Refused):
            archive.read(candidate)


def test_a_checksum_is_of_the_whole_content() -> None:
    content = random.Random(1).randbytes(3_000_000)
    (entry,) = archive.read(zipped(Part(b"a", content))).entries
    assert sum(map(len, archive.pieces(entry))) == len(content) and entry.crc == zlib.crc32(content)
