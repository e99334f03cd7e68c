"""A copy of what a kernel knows, a new log that goes on from it, and one in the place of a store that was put back."""

import json
import shlex
import shutil
import sqlite3
import stat
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from app.kernels import OPEN, Place
from cli.terminal import Said, Terminal
from helm_ai_kernel import Kernel
from helm_ai_kernel.app import backup, home, restore, trust
from helm_ai_kernel.app.config import Paths, load
from helm_ai_kernel.ledger import succession
from helm_ai_kernel.ledger.fsck import fsck
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.tcb import container
from helm_ai_kernel.tcb.checkpoint import Checkpoint
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.digest import digest
from helm_ai_kernel.tcb.errors import OutsideError
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.tcb.keys import Purpose
from helm_ai_kernel.tcb.receipt import Kind, Receipt


@pytest.fixture(autouse=True)
def heads_beside_people(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a `Place` has them."""
    monkeypatch.delenv("HELM_STATE")


def note(text: str) -> str:
    return text


def used(place: Place, text: str = "a") -> Checkpoint:
    """One process with a call; the head that it leaves."""
    with place.program(note) as program:
        program["note"](text)
    return head(place)


def head(place: Place) -> Checkpoint:
    with Reader(place.paths.store) as reader:
        return Checkpoint.from_bytes(reader.checkpoint)


def heads_of(receipt: Receipt) -> list[tuple[str, int]]:
    named: Any = receipt.body["heads"]
    return [(note.origin, note.size) for note in (Checkpoint.from_bytes(text.encode()) for text in named)]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def second(terminal: Terminal) -> Place:
    """The same people on the same machine, with another home."""
    folder = terminal.place.folder / "second"
    folder.mkdir(exist_ok=True)
    for name in ("people", "passphrase"):
        if not (folder / name).exists():
            (folder / name).symlink_to(terminal.place.folder / name)
    return Place(folder, terminal.place.approver)


def restored(terminal: Terminal, file: str = "helm.tar") -> tuple[Place, Said]:
    there = second(terminal)
    said = terminal.sign("restore", file, "--home", str(there.paths.home), "--format", "json")
    assert said.code == 0, said
    return there, said


def test_a_log_is_backed_up_goes_on_elsewhere_and_everything_verifies(terminal: Terminal) -> None:
    place = terminal.place
    older = used(place)
    said = terminal.done("backup", "helm.tar", "--format", "json").json
    assert said["bytes"] == Path("helm.tar").stat().st_size
    assert said["head"] == {"log": older.origin, "size": older.size, "root": older.root.hex()}
    assert stat.S_IMODE(Path("helm.tar").stat().st_mode) == 0o600
    newer = used(place, "what the backup does not have")
    before = tree(place.paths.home)
    there, told = restored(terminal)
    data = told.json
    assert {name: content for name, content in tree(place.paths.home).items() if "ledger.db" not in name} == {
        name: content for name, content in before.items() if "ledger.db" not in name
    }
    assert data["log"] != older.origin and data["before"]["log"] == older.origin
    kinds = [receipt.kind for receipt in there.receipts()]
    assert kinds == [Kind.SESSION, Kind.RECOVERY, Kind.SESSION]
    assert heads_of(there.receipts()[1]) == [(older.origin, older.size), (newer.origin, newer.size)]
    assert (place.paths.heads / f"{older.origin.replace('/', '-')}.json").exists()
    assert (place.paths.heads / f"{data['log'].replace('/', '-')}.json").exists()
    with there.program(note) as program:  # pinned and applied again
        assert program["note"]("on") == "on"
    assert fsck(there.paths.store, there.vault)[1] == []
    where = ("--home", str(there.paths.home))
    terminal.done("pack", "export", "--out", "new.tar", *where)
    assert terminal("pack", "verify", "new.tar").code == 0
    assert terminal("replay", "new.tar", "--verify").code == 0
    terminal.done("pack", "export", "--of", older.origin, "--out", "old.tar", *where)
    assert terminal("pack", "verify", "old.tar").code == 0
    other = older.origin.replace("/", "-")  # it has that log's folder, and is none
    for name, says in (("helm.local/none", "no log `helm.local/none` ended here"), (other, f"no log `{other}` ended here"),
                       ("..", "`..` names no log"), ("a b", "`a b` names no log")):  # fmt: skip
        lost = terminal("pack", "export", "--of", name, "--out", "lost.tar", *where)
        assert (lost.code, lost.error) == (2, f"pack export: {says} (ERR_EVIDENCE_UNAVAILABLE)") and not Path("lost.tar").exists()
        assert lost.hint


def test_what_is_printed_are_the_commands_that_put_it_into_force_again(terminal: Terminal) -> None:
    place = terminal.place
    with place.program(note) as program:
        program["note"]("a")
        terminal.place.sign(program.kernel, None, OPEN)
    terminal.done("tools", "inspect", "python")
    terminal.done("backup", "helm.tar")
    there = second(terminal)
    said = terminal.sign("restore", "helm.tar", "--home", str(there.paths.home))
    lines = said.out.splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("Nothing is in force in the new log"))
    typed = [line.strip() for line in lines[at + 1 :]]
    assert [line.split(" --home")[0] for line in typed] == ["helm-ai-kernel tools pin python", "helm-ai-kernel policy apply"]
    for line in typed:
        done = terminal.type(f"{line} --yes --passphrase-file {place.passphrase}")
        assert done.code == 0, done
    assert "a retried call runs again" in said.out
    evidence = next(line for line in lines if line.startswith("evidence")).removeprefix("evidence").strip()
    assert terminal.type(evidence).code == 0
    with Kernel(config=there.config) as kernel:
        assert kernel.tool(effect="write")(note)("a") == "a"


def test_a_store_that_was_put_back_goes_on_in_a_new_log_in_its_home(terminal: Terminal) -> None:
    place = terminal.place
    older, newer = put_back(place)
    trust.next_machine_key(place.paths, Purpose.EXECUTION, older.origin)  # which nobody signed for
    with pytest.raises(OutsideError) as refused:
        place.program(note)
    assert all(f"size {note.size}, root {note.root.hex()}" in refused.value.detail for note in (older, newer))
    assert "helm-ai-kernel restore --here" in refused.value.hint
    terminal.done("pack", "export", "--out", "put-back.tar")
    said = terminal.sign("restore", "--here", "--format", "json")
    assert said.code == 0, said
    assert heads_of(place.receipts()[1]) == [(older.origin, older.size), (newer.origin, newer.size)]
    kept = succession.ended(place.paths.store, older.origin) / "ledger.db"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o400
    assert not (place.paths.store / succession.NEXT).exists()
    with place.program(note) as program:
        program["note"]("on")
    assert fsck(place.paths.store, place.vault)[1] == []
    terminal.done("pack", "export", "--out", "new.tar")
    assert terminal("pack", "verify", "new.tar").code == 0
    terminal.done("pack", "export", "--of", older.origin, "--out", "old.tar")
    assert terminal("pack", "verify", "old.tar").code == 0
    assert terminal.sign("trust", "rotate", "execution").code == 0  # which names the key of this log
    used(place)
    again = terminal.sign("restore", "--here")
    assert (again.code, again.error) == (
        2, "restore: this store goes on by itself: it was not put back (ERR_EVIDENCE_UNAVAILABLE)"
    )  # fmt: skip
    assert terminal.type(again.hint).code == 0


def test_a_log_that_ended_and_is_damaged_is_found_and_no_kernel_goes_on_behind_it(terminal: Terminal) -> None:
    """Nobody knows any more whom it had erased."""
    place = terminal.place
    older, _ = put_back(place)
    assert terminal.sign("restore", "--here").code == 0 and terminal("fsck").code == 0
    database = succession.ended(place.paths.store, older.origin) / "ledger.db"
    database.chmod(0o600)
    with sqlite3.connect(database) as conn:
        conn.execute("UPDATE receipts SET line=replace(line, 'statement', 'statemend') WHERE kind='statement'")
    conn.close()
    said = terminal("fsck")
    assert said.code == 1 and f"before/{database.parent.name}: " in said.out
    with pytest.raises(OutsideError, match="nobody knows who was erased") as refused:
        place.program(note)
    *_, old, new = shlex.split(refused.value.hint)
    shutil.move(old, new)
    assert used(place)


def put_back(place: Place) -> tuple[Checkpoint, Checkpoint]:
    """Yesterday's store in the place of today's; the heads of both."""
    older = used(place)
    shutil.copytree(place.paths.store, "yesterday")
    newer = used(place)
    shutil.rmtree(place.paths.store)
    shutil.copytree("yesterday", place.paths.store)
    return older, newer


def test_nobody_comes_between_the_check_of_a_store_and_the_end_of_its_log(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another `restore --here` could be done by then: this one would end the log that goes on."""
    place, real, met = terminal.place, restore.check_rolled_back, list[Reason]()
    put_back(place)

    def check(*args: Any) -> None:
        real(*args)
        with pytest.raises(OutsideError) as error:
            restore.hold(place.paths).release()
        met.append(error.value.reason)

    monkeypatch.setattr(restore, "check_rolled_back", check)
    assert terminal.sign("restore", "--here").code == 0 and met == [Reason.ERR_STORE_LOCKED]


def test_a_backup_of_a_log_that_went_on_has_the_stores_of_those_before(terminal: Terminal) -> None:
    place = terminal.place
    first = used(place)
    terminal.done("backup", "one.tar")
    there, _ = restored(terminal, "one.tar")
    middle = used(there)
    where = ("--home", str(there.paths.home))
    terminal.done("backup", "two.tar", *where)
    third = str(place.folder / "third")
    assert terminal.sign("restore", "two.tar", "--home", third).code == 0
    for origin in (first.origin, middle.origin):
        terminal.done("pack", "export", "--of", origin, "--out", "old.tar", "--force", "--home", third)
        assert terminal("pack", "verify", "old.tar").code == 0


def test_no_secret_is_in_a_backup(terminal: Terminal) -> None:
    place = terminal.place
    used(place)
    trust.next_machine_key(place.paths, Purpose.EXECUTION, head(place).origin)
    terminal.done("backup", "helm.tar")
    data = Path("helm.tar").read_bytes()
    secrets = [path for path in place.paths.keys.rglob("*") if path.is_file()]
    secrets += [path for path in place.paths.people_keys.iterdir() if path.suffix != ".pub"]
    for path in secrets:
        assert path.read_bytes() not in data
    with tarfile.open("helm.tar") as archive:
        names = archive.getnames()
    assert names == sorted(names) == [
        "backup.json", "catalog/python.json", "helm.toml", "policy/main.cedar", "store/ledger.db", "store/trust.jsonl",
    ]  # fmt: skip


def test_a_backup_beside_a_running_kernel_is_whole(terminal: Terminal) -> None:
    with terminal.place.program(note) as program:
        for n in range(3):
            program["note"](str(n))
            terminal.done("backup", f"{n}.tar")
    there, _ = restored(terminal, "2.tar")
    assert fsck(there.paths.store, there.vault) == (3, [])


def test_nothing_is_overwritten_unless_it_is_said(terminal: Terminal) -> None:
    used(terminal.place)
    Path("helm.tar").write_bytes(b"mine")
    said = terminal("backup", "helm.tar")
    assert (said.code, said.error) == (1, "backup: `helm.tar` is there, and nothing is overwritten")
    assert Path("helm.tar").read_bytes() == b"mine"
    assert terminal.type(said.hint).code == 0
    taken = terminal.sign("restore", "helm.tar")
    assert (taken.code, "is not empty, and nothing is overwritten" in taken.error) == (2, True)


def test_the_policy_of_witnesses_goes_along(terminal: Terminal) -> None:
    used(terminal.place)
    terminal.place.configure('[log]\nwitnesses = "who.txt"\n')
    (terminal.place.paths.home / "who.txt").write_text("quorum none\n")
    (terminal.place.paths.home / "mine.txt").write_text("nothing of the kernel's\n")
    terminal.done("backup", "helm.tar")
    there, _ = restored(terminal)
    assert [path.read_text() for path in there.paths.home.glob("*.txt")] == ["quorum none\n"]


def test_what_is_no_file_of_a_kernel_is_left_out_and_said(terminal: Terminal) -> None:
    used(terminal.place)
    (terminal.place.paths.policy / ".main.cedar.swp").write_bytes(b"")
    (terminal.place.paths.policy / "overlays").mkdir(exist_ok=True)
    (terminal.place.paths.policy / "overlays/mine.cedar").symlink_to(terminal.place.passphrase)
    said = terminal.done("backup", "helm.tar", "--format", "json").json
    assert said["left_out"] == ["policy/.main.cedar.swp", "policy/overlays/mine.cedar"]
    there, _ = restored(terminal)
    assert [path.name for path in there.paths.policy.rglob("*")] == ["overlays", "main.cedar"]


def test_a_stranger_must_say_which_genesis_it_trusts(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    used(terminal.place)
    terminal.done("backup", "helm.tar")
    people = terminal.place.folder / "elsewhere"
    shutil.copytree(terminal.place.paths.people_keys, people / "keys")
    monkeypatch.setenv("HELM_PEOPLE", str(people))
    home_, genesis = str(terminal.place.folder / "new"), home.trusted(terminal.place.paths.trust)[0]
    said = terminal.sign("restore", "helm.tar", "--home", home_)
    assert said.code == 2 and f"nobody here trusts its genesis `{genesis}`" in said.error
    wrong = terminal.sign("restore", "helm.tar", "--home", home_, "--genesis", "sha256:" + "0" * 64)
    assert wrong.code == 2 and not Path(home_).exists()
    assert terminal.sign("restore", "helm.tar", "--home", home_, "--genesis", genesis).code == 0
    assert home.trusted(people / "trust.json") == [genesis]
    with Reader(Path(home_) / "store") as reader:
        assert len(heads_of(list(reader.receipts())[1])) == 1  # there is no mirror of the old log on this machine


def test_who_does_not_agree_or_has_no_root_key_changes_nothing(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    used(terminal.place)
    terminal.done("backup", "helm.tar")
    there = second(terminal)
    said = terminal("restore", "helm.tar", "--home", str(there.paths.home))
    assert said.code == 1 and "nothing was signed, and nothing changed" in said.err
    (terminal.place.paths.people_keys / "root.pub").rename("root.pub")
    (terminal.place.paths.people_keys / "root").rename("root")
    nobody = terminal.sign("restore", "helm.tar", "--home", str(there.paths.home))
    assert nobody.code == 2 and "must sign" in nobody.error
    assert list((terminal.place.folder / "second").glob("*home*")) == []


def damaged(data: bytes, name: str) -> bytes:
    """The archive with one byte of that file changed."""
    with tarfile.open("helm.tar") as archive:
        member = archive.getmember(name)
    at = member.offset_data + member.size // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_a_damaged_backup_is_refused_with_what_is_wrong(terminal: Terminal) -> None:
    used(terminal.place)
    terminal.done("backup", "helm.tar")
    data = Path("helm.tar").read_bytes()
    there = second(terminal)
    renamed = data.replace(b"policy/main.cedar", b"policy/../x.cedar")
    at = data.rindex(b"policy/main.cedar")
    climbs = data[:at] + b"policy/../x.cedar" + data[at + 17 :]  # in its header only
    cases = {
        "`store/ledger.db` is damaged": damaged(data, "store/ledger.db"),
        "`policy/main.cedar` is damaged": damaged(data, "policy/main.cedar"),
        "no backup has a file `policy/../x.cedar`": renamed,
        "is no whole backup: an entry that cannot be": climbs,
        "the end is not two empty blocks": data + b"\0",
        "entry `store/trust.jsonl` is cut off": data[:-2048],
        "an entry that cannot be: its name, kind or size is none": data[512:],
    }
    for says, content in cases.items():
        Path("damaged.tar").write_bytes(content)
        said = terminal.sign("restore", "damaged.tar", "--home", str(there.paths.home))
        assert said.code == 2 and says in said.error, said
    assert list((terminal.place.folder / "second").glob("*home*")) == []


def again_packed(terminal: Terminal, change: Any) -> None:
    """A backup whose manifest fits its files, and whose files somebody changed before it was made."""
    copy = terminal.place.folder / "copy"
    shutil.copytree(terminal.place.paths.home, copy, symlinks=True)
    change(copy / "store")
    (copy / "store/lock").unlink(missing_ok=True)
    config = Paths(copy, terminal.place.paths.people)
    backup.save(load(config, {}), Path("forged.tar"))


def test_a_backup_of_a_store_that_somebody_changed_is_refused(terminal: Terminal) -> None:
    used(terminal.place)

    def change(store: Path) -> None:
        conn = sqlite3.connect(store / "ledger.db")
        conn.execute("UPDATE receipts SET line=replace(line, 'ALLOW', 'DENYY') WHERE kind='decision'")
        conn.commit()
        conn.close()

    again_packed(terminal, change)
    there = second(terminal)
    said = terminal.sign("restore", "forged.tar", "--home", str(there.paths.home))
    assert said.code == 2 and "is not restored" in said.error, said
    assert list((terminal.place.folder / "second").glob("*home*")) == []


def test_somebody_who_reads_the_store_is_waited_for_before_anything_changes(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("helm_ai_kernel.ledger.store.BUSY_S", 0.01)
    place = terminal.place
    put_back(place)
    with Reader(place.paths.store):
        said = terminal.sign("restore", "--here", "--format", "json")
    assert said.code == 2 and "ERR_STORE_LOCKED" in said.err, said
    assert terminal.sign("restore", "--here").code == 0


def test_the_keys_of_the_log_that_ended_are_gone(terminal: Terminal) -> None:
    place = terminal.place
    old = {path.name: path.read_bytes() for path in place.paths.keys.iterdir() if path.is_file()}
    used(place)
    terminal.done("backup", "helm.tar")
    there, said = restored(terminal)
    new = {path.name: path.read_bytes() for path in there.paths.keys.iterdir() if path.is_file()}
    assert new.keys() == old.keys() == {"execution", "log"} and not {*new.values()} & {*old.values()}
    entries = trust.known(there.paths).in_force(Purpose.EXECUTION)
    assert [entry.log for entry in entries.values()][-1] == said.json["log"]


def contents(name: str) -> int:
    with tarfile.open(name) as archive:
        return sum(member.name.startswith("attachments/") for member in archive)


def test_what_was_kept_is_read_where_the_keys_of_its_subjects_are_and_nowhere_else(terminal: Terminal) -> None:
    place = terminal.place
    older = used(place)
    terminal.done("pack", "export", "--out", "before.tar")
    terminal.done("backup", "helm.tar")
    there, _ = restored(terminal)
    terminal.done("pack", "export", "--of", older.origin, "--out", "elsewhere.tar", "--home", str(there.paths.home))
    assert (contents("before.tar") > 0, contents("elsewhere.tar")) == (True, 0)  # a backup has no keys
    assert terminal("pack", "verify", "elsewhere.tar").code == 0
    put_back(place)
    assert terminal.sign("restore", "--here").code == 0
    terminal.done("pack", "export", "--of", older.origin, "--out", "here.tar")
    assert contents("here.tar") == 2 * contents("before.tar")  # of two processes


def forged(change: Any, unlisted: Sequence[str] = ()) -> None:
    """A backup whose manifest fits its files again, after somebody changed both; nobody signs it."""
    with tarfile.open("helm.tar") as archive:
        files = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    body = json.loads(files.pop(backup.MANIFEST))
    change(files, body)
    body["files"] = {name: digest(data) for name, data in files.items()}
    files |= dict.fromkeys(unlisted, b"") | {backup.MANIFEST: canonical(body)}
    Path("forged.tar").write_bytes(container.write(files))


def kept(files: dict[str, bytes], body: Any, store: bytes | None = None, name: str = "") -> None:
    """As the store of a log that ended there: this one's own, unless another is given."""
    name = name or str(body["log"]).replace("/", "-")
    files[f"store/before/{name}/ledger.db"] = files["store/ledger.db"] if store is None else store


def spoiled(data: bytes) -> bytes:
    Path("spoiled.db").write_bytes(data)
    conn = sqlite3.connect("spoiled.db", isolation_level=None)
    conn.execute("UPDATE receipts SET line=replace(line, 'ALLOW', 'DENYY') WHERE kind='decision'")
    conn.close()
    return Path("spoiled.db").read_bytes()


FORGED: dict[str, tuple[str, Any]] = {
    "log": ("`backup.json` says log `somebody.else/1`", lambda files, body: body.update(log="somebody.else/1")),
    "size": ("`backup.json` says size `999999`", lambda files, body: body.update(size=999_999)),
    "root": ("`backup.json` says root `sha256:00", lambda files, body: body.update(root="sha256:" + "0" * 64)),
    "case": ("two names differ only in case", lambda files, body: files.update({"policy/MAIN.cedar": b"// other"})),
    "before": ("is not restored: before/old: store", lambda files, body: kept(files, body, b"no database", "old")),
    "spoiled": ("is not restored: before/helm", lambda files, body: kept(files, body, spoiled(files["store/ledger.db"]))),
    "name": ("is not restored: before/other: this is no place", lambda files, body: kept(files, body, name="other")),
}  # fmt: skip


@pytest.mark.parametrize("how", FORGED)
def test_a_backup_that_says_other_than_what_is_in_it_is_refused(terminal: Terminal, how: str) -> None:
    says, change = FORGED[how]
    used(terminal.place)
    terminal.done("backup", "helm.tar")
    forged(change)
    said = terminal.sign("restore", "forged.tar", "--home", str(second(terminal).paths.home))
    assert said.code == 2 and says in said.error, said
    assert list((terminal.place.folder / "second").glob("*home*")) == []


def test_links_are_not_followed_and_each_is_named(terminal: Terminal) -> None:
    used(terminal.place)
    paths, elsewhere = terminal.place.paths, terminal.place.folder / "elsewhere"
    for folder in (elsewhere, paths.store / succession.BEFORE, paths.policy / "overlays"):
        folder.mkdir(exist_ok=True)
    (elsewhere / "diary.txt").write_text("nobody's business")
    (elsewhere / "diary.json").write_text("{}")
    (elsewhere / "more.cedar").write_text("")
    (paths.policy / "overlays").rmdir()
    shutil.rmtree(paths.catalog)
    for link in (paths.store / succession.BEFORE / "old", paths.policy / "overlays", paths.catalog):
        link.symlink_to(elsewhere)
    said = terminal.done("backup", "helm.tar", "--format", "json").json
    assert said["left_out"] == ["catalog", "policy/overlays", "store/before/old"]
    with tarfile.open("helm.tar") as archive:
        assert not [name for name in archive.getnames() if "diary" in name or "more" in name]
    restored(terminal)


@pytest.mark.parametrize("name", ["helm.toml", "store/trust.jsonl", "store"])
def test_a_backup_that_nobody_could_restore_is_not_made(terminal: Terminal, name: str) -> None:
    used(terminal.place)
    path = terminal.place.paths.home / name
    path.rename("moved")
    path.symlink_to(Path("moved").absolute())
    said = terminal("backup", "helm.tar")
    assert said.code == 2 and "a link" in said.error and said.hint and not Path("helm.tar").exists(), said


BOUNDS = {"MANIFEST_BYTES_MAX": 500, "PACK_BYTES_MAX": 50_000, "ENTRY_BYTES_MAX": 20_000}


@pytest.mark.parametrize(("bound", "value"), BOUNDS.items())
def test_a_backup_that_restore_could_not_read_is_not_made(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, bound: str, value: int
) -> None:
    used(terminal.place)
    monkeypatch.setattr(backup, bound, value)
    said = terminal("backup", "helm.tar")
    assert said.code == 2 and f"{value} bytes" in said.error and said.hint and not Path("helm.tar").exists(), said


def test_a_backup_of_names_that_some_disk_mixes_up_is_not_made(terminal: Terminal) -> None:
    used(terminal.place)
    (terminal.place.paths.policy / "MAIN.cedar").write_text("// another")
    said = terminal("backup", "helm.tar")
    assert said.code == 2 and "two names differ only in case" in said.error and not Path("helm.tar").exists()


def test_an_archive_of_very_many_entries_is_refused_at_the_first_that_is_not_listed(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    used(terminal.place)
    terminal.done("backup", "helm.tar")
    forged(lambda files, body: None, [f"catalog/{n}.json" for n in range(100)])
    seen, real = list[str](), container.entries

    def entries(source: Any) -> Any:
        for entry in real(source):
            seen.append(entry.name)
            yield entry

    monkeypatch.setattr(container, "entries", entries)
    said = terminal.sign("restore", "forged.tar", "--home", str(second(terminal).paths.home))
    assert said.code == 2 and "its entries are not those" in said.error, said
    assert len(seen) == 2
