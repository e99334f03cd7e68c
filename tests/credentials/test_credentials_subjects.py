"""A key for each subject: found by name, destroyed for good, and in between nobody else's."""

import os
import resource
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helm_ai_kernel.credentials import subjects
from helm_ai_kernel.credentials.subjects import SECRET, Subjects
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import EvidenceError, OutsideError

NAME = "customer-4711"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    subjects.make(tmp_path / "subjects")
    return tmp_path / "subjects"


def every_byte(folder: Path) -> bytes:
    """The names in the folder, where its links lead, and what its files hold."""
    paths = sorted(folder.iterdir())
    held = [os.readlink(path).encode() if path.is_symlink() else path.read_bytes() for path in paths]
    return b"\n".join([*(path.name.encode() for path in paths), *held])


def reason(work: Callable[[], object]) -> Reason:
    with pytest.raises(OutsideError) as error:
        work()
    return error.value.reason


@given(st.binary(max_size=200), st.binary(max_size=20))
def test_what_is_sealed_opens_at_its_place_under_its_key_and_nowhere_else(content: bytes, place: bytes) -> None:
    one, other = (subjects.Subject(bytes(16), "n", subjects.AESGCM(bytes([n]) * 32)) for n in (1, 2))
    sealed = one.seal(content, place)
    assert one.open(sealed, place) == content and one.seal(content, place) != sealed
    flipped = bytes([sealed[0] ^ 1]) + sealed[1:]
    for key, data, where in (
        (other, sealed, place),
        (one, sealed, place + b"0"),
        (one, flipped, place),
        (one, sealed[:9], place),
    ):
        with pytest.raises(EvidenceError):
            key.open(data, where)


def test_a_name_has_one_key_in_every_process_and_another_name_another(folder: Path) -> None:
    made = Subjects(folder).named(NAME)
    again, other = Subjects(folder).named(NAME), Subjects(folder).named("customer-4712")
    assert again.id == made.id != other.id and again.open(made.seal(b"x", b"p"), b"p") == b"x"
    found = Subjects(folder).of(made.id)
    assert found is not None and (found.id, found.name) == (made.id, NAME)
    assert {one.name for one in Subjects(folder).listed()} == {NAME, "customer-4712"}
    assert Subjects(folder).find("customer") is None and Subjects(folder).of(bytes(16)) is None


def test_a_marked_text_says_nothing_and_is_found_again(folder: Path, tmp_path: Path) -> None:
    subjects.make(tmp_path / "others")
    marks = {Subjects(where).mark(text) for where in (folder, folder, tmp_path / "others") for text in ("a", "b")}
    assert len(marks) == 4


def test_the_keys_are_their_owners_alone_and_the_folder_says_no_names(folder: Path) -> None:
    Subjects(folder).named(NAME)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in folder.iterdir())
    assert not any(NAME in path.name for path in folder.iterdir())


def test_a_destroyed_key_is_gone_with_its_name_and_the_name_begins_anew(folder: Path) -> None:
    vault = Subjects(folder)
    first, other = vault.named(NAME), vault.named("other")
    assert NAME.encode() in every_byte(folder)
    vault.destroy(first.id)
    vault.destroy(first.id)
    assert NAME.encode() not in every_byte(folder) and first.id.hex().encode() not in every_byte(folder)
    for later in (vault, Subjects(folder)):
        assert later.of(first.id) is None and later.find(NAME) is None and later.named("other").id == other.id
    second = vault.named(NAME)
    assert second.id != first.id
    with pytest.raises(EvidenceError):
        second.open(first.seal(b"x", b"p"), b"p")


def test_a_key_in_memory_counts_only_while_its_file_is_there(folder: Path) -> None:
    """Who reads beside the process that destroys it (an export) has met the key before."""
    reads, destroys = Subjects(folder), Subjects(folder)
    id = destroys.named(NAME).id
    assert reads.named(NAME).id == id and reads.of(id) is not None
    destroys.destroy(id)
    assert reads.of(id) is None and reads.named(NAME).id != id


def with_links_followed(folder: Path) -> list[Path]:
    """As `cp -rL`, `scp -r` and `rsync -L` copy it: the files that had been links."""
    links = [path for path in folder.iterdir() if path.is_symlink()]
    for link in links:
        data = link.read_bytes()
        link.unlink()
        link.write_bytes(data)
    return links


def test_with_a_key_every_copy_of_it_in_the_folder_is_destroyed_and_no_other_key(folder: Path) -> None:
    ids = {name: Subjects(folder).named(name).id for name in (NAME, "second", "kept")}
    with_links_followed(folder)
    for name in (f"{ids[NAME].hex()}~", f".{ids[NAME].hex()}.swp", "x" * 32, "ab" * 16):
        (folder / name).write_bytes((folder / ids[NAME].hex()).read_bytes())
    (folder / "keys.tar").write_bytes(bytes(1 << 20) + (folder / ids[NAME].hex()).read_bytes())
    (folder / "kept~").write_bytes((folder / ids["kept"].hex()).read_bytes())
    linked = folder.with_name("linked elsewhere")
    (copy,) = (path for path in folder.iterdir() if len(path.name) == 64 and NAME.encode() in path.read_bytes())
    os.link(copy, linked)  # to see what becomes of its bytes
    Subjects(folder).destroy(ids[NAME], ids["second"])
    assert ids[NAME].hex().encode() not in every_byte(folder) and ids["second"].hex().encode() not in every_byte(folder)
    assert NAME.encode() not in linked.read_bytes()
    assert [one.name for one in Subjects(folder).listed()] == ["kept"] and len(list(folder.iterdir())) == 4


def test_a_copy_that_comes_back_without_its_key_is_destroyed_too(folder: Path) -> None:
    id = Subjects(folder).named(NAME).id
    (copy,) = with_links_followed(folder)
    data = copy.read_bytes()
    Subjects(folder).destroy(id)
    copy.write_bytes(data)
    Subjects(folder).destroy(id)
    assert [path.name for path in folder.iterdir()] == [SECRET]


class Died(BaseException):
    pass


@pytest.mark.parametrize("doing", ["make", "destroy"])
def test_a_process_that_dies_at_any_step_leaves_a_key_that_is_there_or_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, doing: str
) -> None:
    """At each call that changes the folder, before it and behind it; the next process ends what was begun."""
    steps = 0
    while steps is not None:
        folder = tmp_path / f"{doing}-{steps}"
        subjects.make(folder)
        vault = Subjects(folder)
        known = vault.named(NAME) if doing == "destroy" else None
        left = [steps]

        def dies(work: Callable[..., object], left: list[int] = left) -> Callable[..., object]:
            def stepped(*args: object, **kwargs: object) -> object:
                left[0] -= 1
                if left[0] == -1:
                    raise Died
                result = work(*args, **kwargs)
                return result

            return stepped

        died = False
        with monkeypatch.context() as patch:
            for name in ("open", "fsync", "link", "symlink", "unlink", "rename", "urandom"):
                patch.setattr(os, name, dies(getattr(os, name)))
            try:
                vault.named(NAME) if known is None else vault.destroy(known.id)
            except Died:
                died = True
        after = Subjects(folder)
        after.sweep()
        assert not list(folder.glob(".*"))
        if known is None:
            assert after.named(NAME).open(after.named(NAME).seal(b"x", b"p"), b"p") == b"x"
        else:
            after.destroy(known.id)
            assert NAME.encode() not in every_byte(folder) and sorted(folder.iterdir()) == [folder / SECRET]
            assert after.named(NAME).id != known.id
        if not died:
            break
        steps += 1
    assert steps > 4


def test_what_a_killed_process_left_half_made_is_destroyed_and_never_a_key_in_its_place(folder: Path) -> None:
    key = Subjects(folder).named(NAME)
    os.link(folder / key.id.hex(), folder / ".linked")  # it died between the link and the end of the other name
    (folder / ".half").write_bytes(b"key of another")
    vault = Subjects(folder)
    vault.sweep()
    assert not list(folder.glob(".*")) and vault.named(NAME).id == key.id


def test_a_name_that_leads_to_no_key_begins_anew(folder: Path) -> None:
    key = Subjects(folder).named(NAME)
    (folder / key.id.hex()).unlink()
    assert Subjects(folder).of(key.id) is None and Subjects(folder).named(NAME).id != key.id


def test_a_key_that_is_not_as_it_was_written_is_refused(folder: Path) -> None:
    key = Subjects(folder).named(NAME)
    path = folder / key.id.hex()
    line = path.read_bytes()
    for data in (line[:-1], line.replace(b'"v":1', b'"v":2'), line.replace(NAME.encode(), b"customer-4712"), b"", bytes(200)):
        path.write_bytes(data)
        assert reason(lambda: Subjects(folder).named(NAME)) is Reason.ERR_SIGNER_UNAVAILABLE, data
    path.write_bytes(line)
    path.chmod(0o644)
    assert reason(lambda: Subjects(folder).of(key.id)) is Reason.ERR_SIGNER_UNAVAILABLE
    path.chmod(0o600)
    with_links_followed(folder)
    with pytest.raises(OutsideError, match="copied with its links followed"):
        Subjects(folder).named(NAME)


def test_without_its_secret_nothing_is_found_and_none_is_made(folder: Path) -> None:
    (folder / SECRET).rename(folder / "elsewhere")
    assert reason(lambda: Subjects(folder)) is Reason.ERR_SIGNER_UNAVAILABLE
    (folder / SECRET).write_bytes(b"short")
    (folder / SECRET).chmod(0o600)
    assert reason(lambda: Subjects(folder)) is Reason.ERR_SIGNER_UNAVAILABLE


def test_only_so_many_keys_are_held_in_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subjects, "CACHED_MAX", 2)
    vault = Subjects(folder)
    ids = {name: vault.named(name).id for name in "abc"}
    assert len(vault._known) <= 2 and {name: vault.named(name).id for name in "abc"} == ids


def test_a_key_that_is_destroyed_while_another_thread_reads_it_is_gone_and_never_damaged(folder: Path) -> None:
    vault, stop, met = Subjects(folder), threading.Event(), list[BaseException]()
    first = vault.named(NAME).id
    ids = [first]

    def reads() -> None:
        try:
            while not stop.is_set():
                vault._known.clear()  # as if it had never been read
                vault.of(ids[-1])
        except BaseException as error:
            met.append(error)

    thread = threading.Thread(target=reads)
    thread.start()
    for _ in range(30):
        ids.append(vault.named(NAME).id)
        vault.destroy(ids[-1])
    stop.set()
    thread.join()
    assert met == [] and len(set(ids)) == 30 and all(vault.of(id) is None for id in ids)


def test_a_folder_that_cannot_be_looked_into_is_said(folder: Path) -> None:
    vault, (soft, hard) = Subjects(folder), resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        found = reason(vault.sweep)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert found is Reason.ERR_EVIDENCE_UNAVAILABLE
