"""A new kernel: what `init` makes, for whom it is readable, and that it overwrites nothing and leaves nothing half made."""

import stat
from pathlib import Path

import pytest

from app.kernels import PASSPHRASE, Place
from helm_ai_kernel.app import home
from helm_ai_kernel.app.config import Paths, load
from helm_ai_kernel.ledger import trustlog
from helm_ai_kernel.ledger.fsck import fsck
from helm_ai_kernel.tcb.errors import OutsideError
from helm_ai_kernel.tcb.keys import Purpose, SecretKey

AGENT_KEY = SecretKey.from_seed(b"\x07" * 32, Purpose.APPROVAL)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_new_kernel_has_its_keys_its_registry_an_empty_log_and_a_policy_that_allows_nothing(place: Place) -> None:
    assert set(tree(place.folder)) == {
        "passphrase", "home/helm.toml", "home/policy/main.cedar", "home/keys/execution", "home/keys/log", "home/store/ledger.db",
        "home/keys/subjects/secret",
        "home/store/trust.jsonl", "people/keys/root", "people/keys/root.pub", "people/keys/approval",
        "people/keys/approval.pub", "people/trust.json",
    }  # fmt: skip
    registry = trustlog.load(place.paths.store / "trust.jsonl")
    assert sorted(entry.key.purpose for entry in registry.keys.values()) == ["approval", "execution", "log", "root"]
    assert home.trusted(place.paths.trust) == [registry.genesis]
    assert place.receipts() == []
    assert fsck(place.paths.store, place.vault) == (0, [])


def test_secrets_are_their_owners_alone(place: Place) -> None:
    machine = [path for path in place.paths.keys.rglob("*") if path.is_file()]
    for path in (*machine, place.paths.people_keys / "root", place.paths.people_keys / "approval"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for folder in (place.paths.home, place.paths.keys, place.paths.subjects, place.paths.store, place.paths.people_keys):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_second_home_has_the_same_people_and_is_another_deployment(place: Place) -> None:
    second = Paths(place.folder / "second", place.paths.people)
    people = tree(place.paths.people_keys)
    made = home.init(second, lambda: PASSPHRASE)
    assert tree(place.paths.people_keys) == people
    first = trustlog.load(place.paths.store / "trust.jsonl")
    assert made.genesis != first.genesis
    assert {made.root, made.approval} < first.keys.keys()
    assert home.trusted(place.paths.trust) == sorted([first.genesis, made.genesis])


def test_a_home_that_is_there_is_never_touched(place: Place) -> None:
    before = tree(place.folder)
    with pytest.raises(OutsideError, match="is not empty, and nothing is overwritten"):
        home.init(place.paths, lambda: PASSPHRASE)
    file = place.folder / "file"
    file.write_bytes(b"mine")
    for taken in (file, place.paths.people_keys):
        with pytest.raises(OutsideError, match="nothing is overwritten"):
            home.init(Paths(taken, place.paths.people), lambda: PASSPHRASE)
    file.unlink()
    assert tree(place.folder) == before


def test_an_empty_directory_is_taken(place: Place) -> None:
    second = Paths(place.folder / "second", place.paths.people)
    second.home.mkdir()
    home.init(second, lambda: PASSPHRASE)
    assert load(second, {}).agent == "local"


@pytest.mark.parametrize(("passphrase", "says"), [(b"another passphrase", "did not open"), (b"", "did not open")])
def test_a_wrong_passphrase_changes_nothing(place: Place, passphrase: bytes, says: str) -> None:
    before = tree(place.folder)
    with pytest.raises(OutsideError, match=says):
        home.init(Paths(place.folder / "second", place.paths.people), lambda: passphrase)
    assert tree(place.folder) == before
    assert not (place.folder / "second").exists()


def test_an_interrupted_init_leaves_nothing_that_looks_like_a_kernel(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tree(place.folder)

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(home.ledger, "create", interrupted)
    with pytest.raises(KeyboardInterrupt):
        home.init(Paths(place.folder / "second", place.paths.people), lambda: PASSPHRASE)
    assert tree(place.folder) == before


def test_with_an_agents_key_no_approval_key_is_written_and_the_agent_is_configured(place: Place) -> None:
    second = Paths(place.folder / "second", place.folder / "others")
    made = home.init(second, lambda: PASSPHRASE, approval=AGENT_KEY)
    assert made.approval == AGENT_KEY.public.id
    assert not (second.people_keys / "approval").exists()
    assert load(second, {}).approval_key == "ssh-agent"


@pytest.mark.parametrize("content", ["[]", '{"v": 2, "genesis": []}', '{"v": 1, "genesis": ["sha256:00"]}', '{"v": 1}'])
def test_a_trust_file_of_another_form_is_never_read_as_an_empty_one(tmp_path: Path, content: str) -> None:
    (tmp_path / "trust.json").write_text(content)
    with pytest.raises(OutsideError, match="is not a trust file"):
        home.trusted(tmp_path / "trust.json")
    assert home.trusted(tmp_path / "none.json") == []
