"""An event on its way to the registry, and the machine's next key on its way into use."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.kernels import PASSPHRASE, Place
from helm_ai_kernel.app import trust
from helm_ai_kernel.app.home import now
from helm_ai_kernel.app.runtime import open_ledger
from helm_ai_kernel.app.witnesses import log_vkey
from helm_ai_kernel.credentials import keyfile
from helm_ai_kernel.ledger import trustlog
from helm_ai_kernel.ledger.ledger import TRUST
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.tcb import registry
from helm_ai_kernel.tcb.checkpoint import Checkpoint
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.cosign import VerifierKey
from helm_ai_kernel.tcb.errors import EvidenceError, OutsideError
from helm_ai_kernel.tcb.events import End
from helm_ai_kernel.tcb.keys import Purpose, SecretKey
from helm_ai_kernel.tcb.registry import Registry


def root(place: Place) -> SecretKey:
    return keyfile.read_person(place.paths.people_keys / "root", Purpose.ROOT, PASSPHRASE)


def origin(place: Place) -> str:
    with Reader(place.paths.store) as reader:
        return reader.origin


def rotation(place: Place, purpose: Purpose) -> trust.Draft:
    """The next key of the machine, signed for by all who must."""
    known = trust.known(place.paths)
    old = trust.find_key(known, purpose.value, origin(place))
    assert old.log is not None
    new, owner = trust.next_machine_key(place.paths, purpose, old.log), root(place)
    body = registry.rotation(known, new.public, old, at=now())
    return trust.Draft.of(body, [owner.public.id, new.public.id]).signed(owner).signed(new)


def opened(place: Place) -> Registry:
    ledger = open_ledger(place.config)
    try:
        return ledger.writer.ink.registry
    finally:
        ledger.abandon()


@pytest.mark.parametrize("purpose", [Purpose.EXECUTION, Purpose.LOG])
def test_a_crash_between_registry_and_key_is_finished_by_the_next_start(place: Place, purpose: Purpose) -> None:
    draft = rotation(place, purpose)
    waiting = (place.paths.keys / f"{purpose}.next").read_bytes()
    after = trustlog.append(place.paths.store / TRUST, draft.line)  # and no more: the process died
    assert opened(place) == after
    assert (place.paths.keys / purpose).read_bytes() == waiting
    assert not (place.paths.keys / f"{purpose}.next").exists()


def test_the_key_that_witnesses_are_told_is_the_one_in_force_though_the_last_head_is_by_a_stolen_one(place: Place) -> None:
    old = trust.find_key(trust.known(place.paths), "log", origin(place))
    assert log_vkey(place.config) == VerifierKey(origin(place), old.key)
    after = trust.apply(place.paths, rotation(place, Purpose.LOG))
    body = registry.revocation(after, old.key.id, End.COMPROMISE, at=now(), since=now())
    owner = root(place)
    after = trust.apply(place.paths, trust.Draft.of(body, [owner.public.id]).signed(owner))
    (new,) = after.in_force(Purpose.LOG).values()
    assert new.key != old.key and after.keys[old.key.id].stolen
    with Reader(place.paths.store) as reader:
        Checkpoint.from_bytes(reader.checkpoint).verify(origin(place), old.key)  # until the next start
    assert log_vkey(place.config) == VerifierKey(origin(place), new.key)


def test_a_key_that_waits_is_not_used_and_is_the_same_for_whoever_tries_again(place: Place) -> None:
    first = rotation(place, Purpose.LOG)
    assert opened(place).size == 4 and (place.paths.keys / "log.next").exists()
    second = rotation(place, Purpose.LOG)
    assert first.body["key"] == second.body["key"]
    trust.apply(place.paths, second)
    assert opened(place).size == 5
    with pytest.raises(EvidenceError, match="CHAIN_FORK"):  # its place is taken
        trust.apply(place.paths, first)


def test_a_lost_machine_key_is_replaced(place: Place) -> None:
    (place.paths.keys / "log").unlink()
    trust.apply(place.paths, rotation(place, Purpose.LOG))
    assert opened(place).size == 5


def test_nothing_is_appended_beside_a_running_kernel(place: Place) -> None:
    draft, before = rotation(place, Purpose.LOG), (place.paths.store / TRUST).read_bytes()
    ledger = open_ledger(place.config)
    with pytest.raises(OutsideError) as error:
        trust.apply(place.paths, draft)
    assert error.value.reason is Reason.ERR_STORE_LOCKED
    ledger.abandon()
    assert (place.paths.store / TRUST).read_bytes() == before
    trust.apply(place.paths, draft)
    assert (place.paths.store / TRUST).read_bytes().startswith(before)


def test_an_event_that_the_registry_refuses_changes_no_file(place: Place) -> None:
    before = (place.paths.store / TRUST).read_bytes()
    known, owner = trust.known(place.paths), root(place)
    body = registry.revocation(known, owner.public.id, End.CESSATION, at=now())
    draft = trust.Draft.of(body, [owner.public.id]).signed(owner)
    stranger = SecretKey.from_seed(b"x" * 32, Purpose.ROOT)
    for wrong in (draft, trust.Draft(draft.body), rotation(place, Purpose.LOG).signed(stranger)):
        with pytest.raises(EvidenceError):
            trust.apply(place.paths, wrong)
    assert (place.paths.store / TRUST).read_bytes() == before


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=8)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 9), st.lists(NAMES, max_size=3, unique=True))
def test_a_draft_reads_back_as_itself(seq: int, signers: list[str]) -> None:
    body = {"v": 1, "kind": "trust", "event": "threshold", "seq": seq, "prev": None, "at": "", "threshold": 1}
    key = SecretKey.from_seed(b"x" * 32, Purpose.ROOT)
    for draft in (trust.Draft.of(body, signers), trust.Draft.of(body, [*signers, key.public.id]).signed(key)):
        assert trust.Draft.from_bytes(draft.to_bytes()) == draft
        assert draft.missing == sorted({*signers} - {key.public.id})


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=200))
def test_what_is_no_draft_is_refused_and_nothing_else_happens(data: bytes) -> None:
    with pytest.raises(OutsideError):
        trust.Draft.from_bytes(data)
