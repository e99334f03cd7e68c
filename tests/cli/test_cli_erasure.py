"""`subjects` and `erase`: what is kept about whom, and its end, which a person signs who was shown how much it is."""

import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from cli.terminal import Said, Terminal
from helm_ai_kernel.ledger.reader import Reader

NAME = "customer-4711"


def note(text: str) -> str:
    return text


@pytest.fixture
def used(terminal: Terminal) -> Terminal:
    with terminal.place.program(note) as program:
        for subject in (NAME, None, "customer-4712"):
            program.kernel.call("python/note", {"text": f"about {subject}"}, key=f"k {subject}", subject=subject)
    return terminal


def listed(terminal: Terminal) -> dict[str, Any]:
    return {row["name"]: row for row in terminal.done("subjects", "--format", "json").json}


def decisions(terminal: Terminal) -> list[int]:
    rows = terminal.done("receipts", "list", "--newest", "0", "--format", "json").json
    return [row["index"] for row in rows if row["kind"] == "decision"]


def show(terminal: Terminal, index: int) -> Said:
    return terminal.done("receipts", "show", str(index), "--format", "json")


def test_subjects_are_listed_with_what_is_kept_about_them(used: Terminal) -> None:
    rows = listed(used)
    assert {name: row["attachments"] for name, row in rows.items()} == {NAME: 3, "customer-4712": 3, "local": 3}
    first, *_ = used.done("subjects").out.splitlines()
    assert first.split() == [rows[NAME]["subject"], "3", NAME]


def test_a_subject_is_erased_by_name_or_id_and_everything_still_verifies(used: Terminal) -> None:
    ids = {name: row["subject"] for name, row in listed(used).items()}
    said = used.sign("erase", NAME)
    assert said.code == 0 and "1 calls, with 3 attachments" in said.out and "erased: 3 attachments" in said.out, said
    again = used.sign("erase", ids["customer-4712"], "--format", "json")
    assert again.json == {
        "subject": ids["customer-4712"], "calls": 1, "attachments": 3, "ended": [], "receipt": again.json["receipt"]
    }  # fmt: skip
    assert listed(used).keys() == {"local"}
    named, own, _ = decisions(used)
    assert (show(used, named).json["kept"], show(used, named).json["erased"]) == ({}, ["arguments", "key"])
    assert "kept arguments: erased" in used.done("receipts", "show", str(named)).out
    assert show(used, own).json["kept"] == {"arguments": '{"text":"about None"}', "key": "k None"}
    assert f"erasure {ids[NAME]}" in used.done("receipts", "list").out
    used.done("fsck")
    used.done("pack", "export", "--out", "evidence.tar")
    used.done("pack", "verify", "evidence.tar")
    replayed = used("replay", "evidence.tar", "--format", "json").json
    assert (replayed["verdict"], replayed["differs"], len(replayed["not_replayable"])) == ("INCOMPLETE", [], 4)


def test_nobody_is_erased_without_a_persons_yes(used: Terminal) -> None:
    said = used("erase", NAME, "--passphrase-file", str(used.place.passphrase))
    assert said.code == 1 and "nothing was signed" in said.error and listed(used)[NAME]["attachments"] == 3
    assert used.sign(*said.hint.split()[1:-1]).code == 0


def test_who_is_not_known_cannot_be_erased(used: Terminal) -> None:
    for name in ("customer-4713", "0" * 32):
        said = used.sign("erase", name)
        assert said.code == 1 and f"nothing is kept about `{name}`" in said.error and used.type(said.hint).code == 0
    used.sign("erase", NAME)
    assert used.sign("erase", NAME).code == 1


def test_what_is_shown_of_a_name_obeys_nobodys_terminal(used: Terminal) -> None:
    with used.place.program(note) as program:
        program.kernel.call("python/note", {"text": "a"}, subject="\x1b[2Jcustomer\n")
    assert "\\u{1b}[2Jcustomer\\u{a}" in used.done("subjects").out


def ended(terminal: Terminal) -> str:
    """The log as it is now ends, and a new one begins in this home; the origin of the old one."""
    store = terminal.place.paths.store
    with Reader(store) as reader:
        origin = reader.origin
    shutil.copytree(store, "yesterday")
    with terminal.place.program(note):
        pass
    shutil.rmtree(store)
    Path("yesterday").rename(store)
    said = terminal.sign("restore", "--here")
    assert said.code == 0 and "make them again" in said.out
    return origin


def contents(terminal: Terminal, origin: str) -> int:
    """How many attachments of a log that ended are in its pack."""
    terminal.done("pack", "export", "--of", origin, "--out", "old.tar")
    assert terminal("pack", "verify", "old.tar").code == 0
    with tarfile.open("old.tar") as archive:
        count = sum(member.name.startswith("attachments/") for member in archive)
    Path("old.tar").unlink()
    return count


def test_what_is_kept_in_a_log_that_ended_here_is_counted_and_shown_before_it_is_destroyed(
    used: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HELM_STATE")
    origin = ended(used)
    assert {name: row["attachments"] for name, row in listed(used).items()} == {NAME: 3, "customer-4712": 3, "local": 3}
    assert contents(used, origin) == 9
    said = used.sign("erase", NAME)
    assert said.code == 0 and "  0 calls, with 0 attachments" in said.out and "erased: 0 attachments of 0 calls" in said.out, said
    assert said.out.count(f"{origin}, which ended here: 3 attachments of 1 calls") == 2
    again = used.sign("erase", "customer-4712", "--format", "json").json
    assert again["ended"] == [{"log": origin, "calls": 1, "attachments": 3}] and again["attachments"] == 0
    assert contents(used, origin) == 3
    used.done("fsck")


def test_an_erasure_of_a_log_that_ended_is_finished_by_every_start_too(used: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HELM_STATE")
    keys = used.place.paths.subjects
    shutil.copytree(keys, "copy", symlinks=True)
    assert used.sign("erase", NAME).code == 0
    origin = ended(used)
    shutil.rmtree(keys)
    shutil.copytree("copy", keys, symlinks=True)  # somebody puts it back
    assert NAME in listed(used)
    with used.place.program(note):
        pass
    assert NAME not in listed(used) and contents(used, origin) == 6
