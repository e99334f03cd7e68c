"""The container: one byte string for one content, readable by everybody's tar, and no second reading of anything."""

import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helm_ai_kernel.tcb import container
from helm_ai_kernel.tcb.errors import EvidenceError

part = st.from_regex(r"[a-z0-9_][a-z0-9._-]{0,79}", fullmatch=True)
folder = st.from_regex(r"[a-z0-9_][a-z0-9._-]{0,9}", fullmatch=True)
path = st.one_of(part, st.tuples(folder, folder, folder, part).map("/".join))


def read(data: bytes) -> dict[str, bytes]:
    source = container.Held(data)
    found = {entry.name: source.read(entry.at, entry.size) for entry in container.entries(source)}
    container.check_names(found)
    return found


contents = st.dictionaries(path, st.one_of(st.binary(max_size=20), st.binary(min_size=500, max_size=1030)), max_size=6)


def readable(files: dict[str, bytes]) -> bool:
    """No entry lies in another one."""
    return not any(other.startswith(name + "/") for name in files for other in files)


@settings(max_examples=60, deadline=None)
@given(contents.filter(readable))
def test_what_is_written_is_read_again_and_by_pythons_tarfile_too(files: dict[str, bytes]) -> None:
    data = container.write(files)
    assert read(data) == files
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        members = archive.getmembers()
        assert [member.name for member in members] == sorted(files)
        assert all(member.isreg() and (member.mode, member.uid, member.mtime) == (0o644, 0, 0) for member in members)
        for member in members:
            inside = archive.extractfile(member)
            assert inside is not None and inside.read() == files[member.name]


BASE = container.write({"a.txt": b"first", "b/c.txt": b"x" * 600})


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(BASE) - 1), st.integers(1, 255))
def test_what_is_accepted_is_what_would_be_written(at: int, flip: int) -> None:
    changed = BASE[:at] + bytes([BASE[at] ^ flip]) + BASE[at + 1 :]
    try:
        files = read(changed)
    except EvidenceError:
        return
    assert container.write(files) == changed


def test_every_cut_and_every_byte_more_is_refused() -> None:
    for size in range(len(BASE)):
        with pytest.raises(EvidenceError):
            read(BASE[:size])
    for more in (b"\0", bytes(512), bytes(1024), BASE):
        with pytest.raises(EvidenceError):
            read(BASE + more)


def archived(name: str, **changes: object) -> bytes:
    """An archive as other tools write it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=changes.pop("format", tarfile.USTAR_FORMAT)) as archive:  # type: ignore[call-overload]
        info = tarfile.TarInfo(name)
        for field, value in changes.items():
            setattr(info, field, value)
        archive.addfile(info, io.BytesIO(bytes(info.size)))
    return out.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        archived("a", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        archived("a", type=tarfile.LNKTYPE, linkname="b"),
        archived("a", type=tarfile.DIRTYPE),
        archived("a", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
        archived("a", type=tarfile.FIFOTYPE),
        archived("a", type=tarfile.CONTTYPE),
        archived("a", mode=0o755),
        archived("a", mtime=1),
        archived("a", uid=1000, uname="mallet"),
        archived("a", format=tarfile.PAX_FORMAT, pax_headers={"path": "../b"}),
        archived("a" * 200, format=tarfile.GNU_FORMAT),
        archived("/a"),
        archived("../a"),
        archived("a/../../b"),
        archived("./a"),
        archived("a//b"),
        archived("a\\b"),
        archived(".a"),
        archived("a b"),
        archived("\u00e9", format=tarfile.GNU_FORMAT),
        archived("-rf"),
        b"",
        bytes(512),
        b"PK\x05\x06" + bytes(18),
    ],
)
def test_what_tar_can_say_and_a_pack_cannot_is_refused(data: bytes) -> None:
    with pytest.raises(EvidenceError, match="PACK_MALFORMED"):
        read(data)


def raw(*names: str) -> bytes:
    return b"".join(container.header(name, 0) for name in names) + bytes(1024)


@pytest.mark.parametrize("names", [("b", "a"), ("a", "a"), ("A", "a"), ("a", "a/b"), ("a", "A/b")])
def test_names_that_are_unsorted_or_collide_somewhere_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(EvidenceError, match="PACK_MALFORMED"):
        read(raw(*names))


def test_a_size_beyond_the_data_is_refused_before_anything_is_read() -> None:
    with pytest.raises(EvidenceError, match="PACK_MALFORMED"):
        read(container.header("a", 8**11 - 1) + bytes(1024))


@pytest.mark.parametrize("name", ["", "../a", "/a", "a b", "x" * 81, "/".join(["x" * 80] * 4)])
def test_a_name_that_no_archive_has_is_not_written(name: str) -> None:
    with pytest.raises(ValueError, match="no archive has"):
        container.write({name: b""})
