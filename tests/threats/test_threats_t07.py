"""T7, approval bypass: the whole ceremony through the real doors of a resident kernel, and whoever tries to get around it."""

import json
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.kernels import OPEN, PASSPHRASE, Place
from app.residents import up
from cli.terminal import Terminal
from helm_ai_kernel.app import home, trust
from helm_ai_kernel.ledger import trustlog
from helm_ai_kernel.ledger.ledger import TRUST
from helm_ai_kernel.tcb import registry as registries
from helm_ai_kernel.tcb.ceremony import Act
from helm_ai_kernel.tcb.envelope import seal
from helm_ai_kernel.tcb.events import End
from helm_ai_kernel.tcb.keys import Purpose, SecretKey
from needs import needs
from threats.ceremony import ASK, SENT, approval, flipped, office, other_intents


@pytest.fixture
def with_agent(place: Place, terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The approver's key is in a real ssh-agent, and its file is nowhere."""
    path, key = place.folder / "agent", place.paths.people_keys / "approval"
    process = subprocess.Popen([needs("ssh-agent"), "-D", "-a", str(path)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None and process.stdout.readline()
        ask = place.folder / "ask"
        ask.write_text(f"#!/bin/sh\necho '{PASSPHRASE.decode()}'\n")
        ask.chmod(0o700)
        env = {**os.environ, "SSH_AUTH_SOCK": str(path), "SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"}
        subprocess.run([needs("ssh-add"), "-q", str(key)], env=env, check=True, capture_output=True, stdin=subprocess.DEVNULL)
        key.unlink()
        monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
        yield
    finally:
        process.terminate()
        process.communicate()


def verified(place: Place, terminal: Terminal) -> list[str]:
    """The exported pack is valid and every decision follows from it again; the kinds of its receipts."""
    pack = str(place.folder / "evidence.tar")
    terminal.done("pack", "export", "--out", pack)
    assert terminal.done("pack", "verify", pack, "--format", "json").json["exit"] == 0
    assert terminal.done("replay", "--verify", pack, "--format", "json").json["exit"] == 0
    return [receipt.kind.value for receipt in place.receipts()]


def test_a_call_is_held_shown_approved_with_a_key_of_an_ssh_agent_timelocked_and_dispatched_once(
    place: Place, terminal: Terminal, with_agent: None
) -> None:
    at = office(place, b'@timelock("1s")')
    with up(place) as kernel:
        held = at.call(kernel)
        assert (held.status, held.value["helm"]["verdict"], "error" in held.value) == (202, "ESCALATE", False)
        index = str(held.value["helm"]["receipt"]["index"])
        shown = terminal.done("approvals", "show", index).out
        for said in (
            "ann at execute asks for tools/send",
            "amount = 5",
            'to = "shop"',
            "held by ask",
            "1 second",
            at.one().ceremony.intent,
        ):
            assert said in shown
        assert at.call(kernel).status == 202 and len(at.held()) == 1
        assert terminal.done("approvals", "approve", index, "--ssh-agent", "--yes").code == 0
        early = at.call(kernel)
        assert (early.status, early.value["helm"]["reason"], at.done) == (202, "ERR_APPROVAL_PENDING_TIMELOCK", [])
        answer = at.call(kernel, prefer="wait=60")
        assert (answer.status, at.done) == (200, [["send", SENT]])
        again = at.call(kernel)  # a second use is a new call
        assert (again.status, again.value["helm"]["reason"], len(at.done)) == (202, "ERR_APPROVAL_REQUIRED", 1)
        assert "ERR_APPROVAL_CONSUMED" in terminal("approvals", "approve", index, "--ssh-agent", "--yes").error
        assert kernel.end() == (0, "")
    kinds = verified(place, terminal)
    assert kinds.count("outcome") == 1 and kinds.count("statement") == 3
    place.check()


def test_what_was_approved_is_what_goes_and_nothing_that_is_like_it(place: Place) -> None:  # 7.1, through the door
    at = office(place, b"", "ann", "bob")
    with up(place) as kernel:
        assert at.call(kernel).status == 202
        at.say(at.one(), Act.APPROVE, place.approver)
        for other in (
            {**SENT, "amount": 6},
            {**SENT, "to": "Shop"},
            {**SENT, "to": "shop "},
            {"amount": 5},
            {**SENT, "amount": 5.5},
        ):
            assert at.call(kernel, sent=other).status == 202 and at.done == []
        assert at.call(kernel, who="bob").status == 202 and at.done == []
        assert at.call(kernel, sent=dict(reversed(SENT.items()))).status == 200  # the same bytes in canonical form
        assert at.done == [["send", SENT]]
        kernel.end()
    place.check()


def test_an_approval_of_one_call_is_none_of_another_whichever_field_differs(place: Place) -> None:  # 7.1
    at = office(place, b"", "ann", "bob")
    signer = place.approver
    with up(place) as kernel:
        for who, sent in (("ann", SENT), ("ann", {**SENT, "amount": 6}), ("bob", SENT)):
            assert at.call(kernel, who=who, sent=sent).status == 202
        first, *others = at.held()
        for name, named in other_intents(first).items():
            no = at.attack(kernel, first, signer, about=named)
            assert (no.status, no.code) == (409, "ERR_APPROVAL_INTENT_MISMATCH"), name
        for other in others:
            assert at.attack(kernel, other, signer, about=first.ceremony.intent).code == "ERR_APPROVAL_INTENT_MISMATCH"
            assert at.attack(kernel, other, signer, call=first.ceremony.call).code == "ERR_APPROVAL_CHALLENGE"
        elsewhere = flipped(first.decision.log)
        assert at.attack(kernel, first, signer, log=elsewhere).code == "ERR_APPROVAL_INTENT_MISMATCH"
        assert at.attack(kernel, first, signer, call=flipped(first.ceremony.call)).status == 403
        assert [at.call(kernel, who=who).status for who in ("ann", "bob")] == [202, 202]
        assert len(at.held()) == 3 and at.done == []
        kernel.end()
    place.check()


def test_no_byte_of_a_signed_approval_can_change(place: Place) -> None:  # 7.1, on the wire
    at = office(place)
    with up(place) as kernel:
        at.call(kernel)
        held = at.one()
        key = place.approver.public.id
        nonce = str(at.challenge(kernel, held.ceremony.call, key).value["nonce"])
        statement = approval(held, place.approver, nonce)
        record = statement.record.to_json()
        body = dict(record["body"])  # type: ignore[index,arg-type]
        for name, value in {**body, "decision": "deny", "at": "2026-11-23T00:00:00.001Z"}.items():
            changed = flipped(value) if isinstance(value, str) and value == body[name] else value
            changed = [flipped(key)] if name == "signers" else 2 if name == "v" else changed
            sent = {"statement": {**record, "body": {**body, name: changed}}, "documents": []}  # type: ignore[dict-item]
            no = kernel.ask("control", "POST", "/v1/statements", sent, token=at.operator)
            assert (no.status // 100, held.ceremony.call in {one.ceremony.call for one in at.held()}) == (4, True), (name, no)
        assert at.call(kernel).status == 202
        assert at.put(kernel, statement).status == 200  # none of them used up the challenge, which was its signer's
        assert (at.put(kernel, statement).code, at.call(kernel).status) == ("ERR_APPROVAL_CONSUMED", 200)
        kernel.end()
    place.check()


def test_only_a_person_who_may_approves(place: Place) -> None:  # 7.3
    stranger = SecretKey.from_seed(b"\x09" * 32, Purpose.APPROVAL)
    itself, spelt, gone, second = (place.adds(name) for name in ("ann", "ANN", "bob", "owner"))
    path = place.paths.store / TRUST
    registry = trustlog.load(path)
    revoked = registries.revocation(registry, gone.public.id, End.SUPERSEDED, at=home.now())
    event = seal(trust.Draft.of(revoked, [place.root().public.id]).body, [place.root()])
    with path.open("ab") as file:
        file.write(event.line + b"\n")
    registry = trustlog.load(path)
    execution, log = (trust.machine_key(place.paths, registry, purpose) for purpose in (Purpose.EXECUTION, Purpose.LOG))
    at = office(place)
    with up(place) as kernel:
        at.call(kernel)
        held = at.one()
        for signer, reason in (
            (execution, "ERR_APPROVAL_KEY_ROLE"), (log, "ERR_APPROVAL_KEY_ROLE"), (place.root(), "ERR_APPROVAL_KEY_ROLE"),
            (stranger, "ERR_APPROVAL_SIGNATURE"), (gone, "ERR_APPROVAL_SIGNATURE"),
            (itself, "ERR_APPROVAL_SELF"), (spelt, "ERR_APPROVAL_SELF"),
        ):  # fmt: skip
            no = at.attack(kernel, held, signer)
            assert (no.status, no.code) == (403, reason)
        assert at.call(kernel).status == 202 and at.done == []
        assert at.attack(kernel, held, second).status == 200 and at.call(kernel).status == 200
        kernel.end()
    place.check()


def test_of_many_clients_that_race_one_is_dispatched(place: Place) -> None:  # 7.2
    at = office(place)
    with up(place) as kernel, ThreadPoolExecutor(16) as many:
        at.call(kernel)
        held = at.one()
        waiting = [many.submit(at.call, kernel, prefer="wait=60") for _ in range(8)]
        nonce = str(at.challenge(kernel, held.ceremony.call, place.approver.public.id).value["nonce"])
        approvals = [many.submit(at.attack, kernel, held, place.approver, nonce=nonce) for _ in range(4)]
        assert sorted(future.result().status for future in approvals) == [200, 409, 409, 409]
        late = [many.submit(at.call, kernel) for _ in range(8)]
        statuses = [future.result().status for future in late]
        while len(at.done) == 0:
            statuses.append(at.call(kernel).status)
        for one in at.held():  # those who still wait are told no
            at.say(one, Act.DENY, place.approver)
        statuses += [future.result().status for future in waiting]
        assert (statuses.count(200), at.done) == (1, [["send", SENT]])
        kernel.end()
    place.check()


def test_a_waiting_caller_is_told_no_when_nobody_answers(place: Place) -> None:  # silence
    at = office(place, b'@expires("1s")')
    with up(place) as kernel:
        answer = at.call(kernel, prefer="wait=60")
        assert (answer.status, answer.code, at.done) == (403, "ERR_APPROVAL_EXPIRED", [])
        kernel.end()
    place.check()


def test_a_policy_that_is_laxer_by_now_lets_nothing_go_that_waits(place: Place, terminal: Terminal) -> None:  # 7.11
    at = office(place)
    policy = place.paths.policy / "main.cedar"

    def apply(text: bytes) -> None:
        policy.write_bytes(text)
        assert terminal.sign("policy", "apply").code == 0

    with up(place) as kernel:
        at.call(kernel)
        apply(OPEN)
        assert (at.call(kernel).status, at.done) == (202, [])
        apply(ASK % b'@approvers("2")')
        at.say(at.one(), Act.APPROVE, place.approver)
        assert (at.call(kernel).status, at.done) == (202, [])
        apply(b'@id("no") forbid (principal, action, resource);\n')
        assert (at.call(kernel).code, at.done) == ("ERR_POLICY_DENY", [])
        kernel.end()
    place.check()


def test_an_override_needs_its_threshold_and_shows_in_every_pack(place: Place, terminal: Terminal) -> None:  # 7.13
    at = office(place, b'@approvers("2") @timelock("1h") @expires("2d")')
    with up(place) as kernel:
        index = str(at.call(kernel).value["helm"]["receipt"]["index"])
        assert terminal.sign("approvals", "override", index).code == 0
        assert at.call(kernel).status == 200
        kernel.end()
    verified(place, terminal)
    said = [receipt for receipt in place.receipts() if b'"kind":"override"' in receipt.line]
    assert len(said) == 1
    allowed = next(r for r in place.receipts() if r.is_intent)
    assert json.loads(allowed.line)["body"]["facts"]["approval"]["state"] == "overridden"
