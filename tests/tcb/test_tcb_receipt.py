"""A receipt says exactly what its kind says: every single change of a field is refused, except those that this file lists."""

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helm_ai_kernel.tcb.call import Effect
from helm_ai_kernel.tcb.ceremony import Held, Requirement, State
from helm_ai_kernel.tcb.checkpoint import NOTE_BYTES_MAX
from helm_ai_kernel.tcb.clock import Clock
from helm_ai_kernel.tcb.codes import Finding, Reason
from helm_ai_kernel.tcb.decision import Claim, ClaimState, Facts, Granted, Status, Verdict
from helm_ai_kernel.tcb.digest import Digest, digest, leaf
from helm_ai_kernel.tcb.envelope import pae
from helm_ai_kernel.tcb.errors import EvidenceError
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.tcb.interim import Interim
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.tcb.keys import Purpose, SecretKey
from helm_ai_kernel.tcb.receipt import LIST_MAX, TEXT_MAX, EffectBy, Kind, Receipt
from helm_ai_kernel.tcb.shapes import SHAPES
from helm_ai_kernel.tcb.statement import StatementKind, sign

Body = dict[str, Any]
Path = tuple[str | int, ...]

AT = "2026-01-02T03:04:05.678Z"
LOG = "helm.local/0123456789abcdef/fedcba9876543210"
EXECUTION = SecretKey.from_seed(b"\x01" * 32, Purpose.EXECUTION)
APPROVAL = SecretKey.from_seed(b"\x02" * 32, Purpose.APPROVAL)


def name(of: str) -> Digest:
    return digest(of.encode())


CLOCK = Clock(1_767_323_045_678, "b0" * 16, 1000)


def facts(**more: Any) -> Json:
    return Facts("", "", None, CLOCK, **more).to_json()


def body(kind: Kind, parents: Sequence[Digest] = (), **content: Any) -> Body:
    common: Body = {"v": 1, "kind": kind.value, "log": LOG, "session": "5e" * 16, "seq": 3, "prev": name("prev"), "at": AT}
    common |= {"parents": list(parents), "trust": {"size": 4, "head": name("registry")}, "signers": [EXECUTION.public.id]}
    return common | {"build": {"version": "0.1.0", "insecure": ["insecure-bind", "insecure-observe"]}} | content


def decision(verdict: Verdict, reason: Reason, **content: Any) -> Body:
    said = {"verdict": verdict.value, "reason": reason.value, "policy": name("policy"), "effect_by": "kernel", "facts": facts()}
    return body(Kind.DECISION, **said | content)


def called(verdict: Verdict, reason: Reason, **content: Any) -> Body:
    said = {"tool": "demo/add", "args_hash": name("args"), "pin": name("pin"), "effect": "read"}
    return decision(verdict, reason, **said | content)


def outcome(status: Status, **content: Any) -> Body:
    return body(Kind.OUTCOME, [name("intent")], decision=name("intent"), status=status.value, ms=7, **content)


def statement(kind: StatementKind, clock: bool = False, **content: Json) -> Body:
    signed = sign(kind, content, log=LOG, at=AT, nonce="0c" * 16, signers=[APPROVAL])
    return body(Kind.STATEMENT, statement=signed.record.to_json(), **({"clock": CLOCK.to_json()} if clock else {}))


CHANGE: Json = {"from": name("old"), "to": name("new")}
REPEAT = Claim(name("first"), ClaimState.DONE, True)
NEEDED = Requirement(2, 1000, 5000, ("agent", "olga"))
HELD = Held(name("call"), CLOCK, NEEDED, State.COMPLETE, CLOCK, (name("first"), name("second")), disputed=True)
SILENT = Held(name("call"), CLOCK, Requirement(not_by=("agent",)), State.WAITING)
GRANT = Granted(name("grant"), 3, CLOCK, ("ada", "bob"))
LONELY = facts(not_by=("olga",), frozen=name("freeze"), alone=True, crowded=True)
GRANTED: dict[str, Json] = {"principal": "agent", "tool": "demo/add", "pin": name("pin"), "calls": 2, "lasts_ms": 3}
GRANTED["where"] = {"a": {"at_most": 5}}
RELEASED = Interim().next(b"one").next(b"two").to_json()
WHY = {"rules": ["deny-all", "no-mail"], "sub": "daily", "key": name("key")}

# sample -> (its shape, its body): every field of every shape is in one of them (a test below says so)
SAMPLES: dict[str, tuple[str, Body]] = {
    "start": (
        "session start",
        body(
            Kind.SESSION, event="start", principal="agent", door="library", client="a client", policy=name("policy"),
            catalog=name("catalog"),
        ),
    ),
    "end": ("session end", body(Kind.SESSION, event="end", count=3, reason="closed")),
    "raw": (
        "decision raw",
        decision(Verdict.DENY, Reason.ERR_JSON_NOT_IJSON, raw_hash=name("raw"), sub="dup_key"),
    ),
    "intent": (
        "decision",
        called(
            Verdict.ALLOW, Reason.OK, rules=["allow-all", "reads"], key=name("key"), subject="5b" * 16,
            reserved={"daily": 1, "total": 1}, deadline_ms=1_767_323_075_678, facts=facts(budget={"daily": 5, "total": 9}),
        ),
    ),
    "repeat": (
        "decision",
        called(Verdict.ALLOW, Reason.REPEATED, repeats=name("first"), key=name("key"), facts=facts(claim=REPEAT)),
    ),
    "denied": ("decision", called(Verdict.DENY, Reason.ERR_BUDGET_EXHAUSTED, facts=facts(hold=name("hold")), **WHY)),
    "unknown tool": ("decision", decision(Verdict.DENY, Reason.ERR_TOOL_NOT_ALLOWED, tool="no/tool", args_hash=name("args"))),
    "escalated": (
        "decision",
        called(Verdict.ESCALATE, Reason.ERR_APPROVAL_REQUIRED, rules=["ask-a-person"], requires=NEEDED.to_json(), facts=LONELY),
    ),
    "offer": (
        "decision",
        called(Verdict.ALLOW, Reason.OK, effect_by="client", reserved={"daily": 1}, relies=[name("first")], key=name("key")),
    ),
    "held for the client": (
        "decision",
        called(Verdict.ESCALATE, Reason.ERR_APPROVAL_REQUIRED, effect_by="client", requires=NEEDED.to_json()),
    ),
    "waits": ("decision", called(Verdict.ESCALATE, Reason.ERR_APPROVAL_PENDING_TIMELOCK, facts=facts(approval=HELD))),
    "resumed": (
        "decision",
        called(
            Verdict.ALLOW, Reason.OK, deadline_ms=1, relies=[name("first"), name("second")],
            facts=facts(approval=HELD, grant=GRANT),
        ),
    ),
    "silent": ("decision", called(Verdict.DENY, Reason.ERR_APPROVAL_EXPIRED, facts=facts(approval=SILENT))),
    "ok": (
        "outcome",
        outcome(Status.OK, output_hash=name("out"), contract="schema", spent={"daily": 1, "total": 1}, tool_error=True),
    ),
    "drift": (
        "outcome",
        outcome(Status.DRIFT, output_hash=name("out"), reason="ERR_CONNECTOR_CONTRACT_DRIFT", sub="shape", truncated=True),
    ),
    "unknown": ("outcome", outcome(Status.UNKNOWN, reason="ERR_OUTCOME_UNKNOWN", sub="timeout")),
    "failed": ("outcome", outcome(Status.FAILED, reason="ERR_CONNECTOR_FAILED", sub="not_applied")),
    "released before": ("outcome", outcome(Status.UNKNOWN, reason="ERR_OUTCOME_UNKNOWN", interim=RELEASED)),
    "reported": ("outcome", outcome(Status.REPORTED, output_hash=name("out"), contract="shape", spent={"daily": 1})),
    "reported in vain": (
        "outcome",
        outcome(Status.REPORTED, output_hash=name("out"), reason="ERR_CONNECTOR_CONTRACT_DRIFT", sub="shape", truncated=True),
    ),
    "reported a failure": ("outcome", outcome(Status.REPORTED, reason="ERR_CONNECTOR_FAILED", sub="declined")),
    "late": ("outcome", outcome(Status.LATE, output_hash=name("out"), contract="shape")),
    "pin": ("statement", statement(StatementKind.PIN, policy=CHANGE, catalog=CHANGE)),
    "activation": ("statement", statement(StatementKind.ACTIVATION, policy=CHANGE, catalog=CHANGE)),
    "release": ("statement", statement(StatementKind.RELEASE, tool="demo/add", hold=name("hold"))),
    "erasure": ("statement", statement(StatementKind.ERASURE, subject="5b" * 16, count=3)),
    "approval": (
        "statement", statement(StatementKind.APPROVAL, True, call=name("call"), intent=name("intent"), decision="approve",
        confirmation=name("answer")),
    ),
    "override": ("statement", statement(StatementKind.OVERRIDE, True, call=name("call"), intent=name("intent"))),
    "grant": ("statement", statement(StatementKind.GRANT, True, **GRANTED)),
    "revocation": ("statement", statement(StatementKind.REVOCATION, grant=name("grant"))),
    "thaw": ("statement", statement(StatementKind.RELEASE, scope="all", hold=name("hold"))),
    "freeze": ("freeze", body(Kind.HOLD, scope="server:demo", by="olga", reason="ERR_FROZEN")),
    "quarantine": ("freeze", body(Kind.HOLD, scope="server:demo", reason="ERR_MCP_SCHEMA_DRIFT", sub="instructions")),
    "seen": ("hold", body(Kind.HOLD, tool="demo/add", reason="ERR_MCP_SCHEMA_DRIFT", sub="changed")),
    "lapse": ("lapse", body(Kind.LAPSE, [name("call")], call=name("call"), clock=CLOCK.to_json(), reason="ERR_APPROVAL_EXPIRED")),
    "gap": ("gap", body(Kind.GAP, door="mcp-http", counts={"ERR_UPSTREAM_SHAPE": 3})),
    "hold": ("hold", body(Kind.HOLD, [name("out")], tool="demo/add", cause=name("out"), reason="ERR_CONNECTOR_CONTRACT_DRIFT")),
    "recovery": ("recovery", body(Kind.RECOVERY, size=3, root=name("root"), open=1)),
    "recovery elsewhere": ("recovery", body(Kind.RECOVERY, size=1, root=name("root"), open=0, heads=["one", "other"])),
}  # fmt: skip
BODIES = {sample: content for sample, (_, content) in SAMPLES.items()}


def copied(content: Body) -> Body:
    made: Body = json.loads(canonical(content))
    return made


def sealed(content: Body) -> bytes:
    """The line of this body under the real key's signature; unlike `seal` it repairs nothing."""
    sig = EXECUTION.sign(pae(str(content.get("kind")), canonical(content)))
    return canonical({"body": content, "sigs": [{"key": EXECUTION.public.id, "sig": base64.b64encode(sig).decode()}]})


def finding(content: Body) -> Finding | None:
    """How `content` is refused; nothing but `EvidenceError` may come out."""
    try:
        Receipt.from_bytes(sealed(content))
    except EvidenceError as error:
        return error.finding
    return None


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_receipt_of_each_kind_reads_back_as_what_was_sealed(sample: str) -> None:
    shape, content = SAMPLES[sample]
    line = sealed(content)
    receipt = Receipt.from_bytes(line, 7)
    assert (receipt.body, receipt.line, receipt.leaf, receipt.index) == (content, line, leaf(line), 7)
    assert (receipt.log, receipt.session, receipt.seq, receipt.prev) == (LOG, "5e" * 16, 3, name("prev"))
    assert receipt.kind == shape.split()[0].replace("freeze", "hold") and list(receipt.parents) == content["parents"]
    assert (receipt.trust.size, receipt.trust.head) == (4, name("registry"))


def test_the_samples_show_every_field_of_every_shape() -> None:
    common = set(BODIES["end"]) - SHAPES["session end"][0]
    shown: dict[str, set[str]] = {shape: set() for shape in SHAPES}
    for shape, content in SAMPLES.values():
        required, optional = SHAPES[shape]
        assert common | required <= content.keys() <= common | required | optional
        shown[shape] |= content.keys() - common
    assert shown == {shape: set(required | optional) for shape, (required, optional) in SHAPES.items()}


# -- one change


def places(node: Any, path: Path = ()) -> Iterator[Path]:
    """Every place below `node`, however deep."""
    steps: list[tuple[str | int, Any]] = []
    if type(node) is dict:
        steps = list(node.items())
    elif type(node) is list:
        steps = list(enumerate(node))
    for step, inner in steps:
        yield (*path, step)
        yield from places(inner, (*path, step))


def holder(content: Body, path: Path) -> Any:
    node: Any = content
    for step in path[:-1]:
        node = node[step]
    return node


def changes(content: Body) -> Iterator[tuple[str, Body]]:
    """`content` with each single field removed, nulled, emptied, retyped, and with a field added to each object."""
    for path in [(), *places(content)]:
        spot = "/".join(map(str, path))
        old: Any = content if not path else holder(content, path)[path[-1]]
        if type(old) is dict:
            yield f"add {spot}/extra", _with(content, (*path, "extra"), 1)
        if not path:
            continue
        removed = copied(content)
        del holder(removed, path)[path[-1]]
        yield f"remove {spot}", removed
        for word, new in [("null", None), *(("empty", empty) for empty in ("", [], {}) if type(old) is type(empty))]:
            if new != old:
                yield f"{word} {spot}", _with(content, path, new)
        for new in (True, 1, 1.5, "x", str(old), [old], {"x": old}):
            if type(new) is not type(old):
                yield f"retype {spot}", _with(content, path, new)


def _with(content: Body, path: Path, new: Any) -> Body:
    made = copied(content)
    holder(made, path)[path[-1]] = new
    return made


PARENT = {"remove parents/0", "empty parents"}
INSECURE = {"remove build/insecure", "remove build/insecure/0", "remove build/insecure/1"}
NAMED = {"remove rules", "remove rules/0", "remove rules/1"}
NO_POLICY = {"null policy"}  # nothing was in force
NO_TOOL = {"empty tool"}  # the caller's word for a tool; it may be any
NO_LOG = {"empty statement/body/log"}  # signed for a log without a name, which is not this one
CHANGED = {f"null statement/body/{name}/from" for name in ("policy", "catalog")}  # nothing was in force before

READ = {f"{how} facts/approval/{what}" for how, what in (
    ("remove", "disputed"), ("remove", "statements/0"), ("remove", "statements/1"), ("remove", "requires/not_by"),
    ("remove", "requires/not_by/0"), ("remove", "requires/not_by/1"), ("empty", "requires/not_by/0"),
)}  # fmt: skip  # whether it is what the log shows is asked where the log is (V10)

# sample -> the changes after which it is another receipt of its kind; every other change of any sample is refused
ANOTHER_RECEIPT: dict[str, set[str]] = {
    # whether it is a head is asked where the registry is (V8)
    "recovery elsewhere": {"remove heads", "remove heads/0", "remove heads/1", "empty heads/0", "empty heads/1"},
    "start": {"null client", "null catalog"} | NO_POLICY,
    "raw": {"remove sub"} | NO_POLICY,
    "intent": NAMED | NO_POLICY | NO_TOOL | {"remove key", "remove subject"}
    | {"remove reserved", "remove reserved/daily", "remove reserved/total", "add reserved/extra"}
    | {"remove facts/budget", "remove facts/budget/daily", "remove facts/budget/total", "add facts/budget/extra"},
    "repeat": NO_POLICY | NO_TOOL | {"remove key", "remove facts/claim"},
    "denied": NAMED | NO_POLICY | NO_TOOL | {"remove sub", "remove key", "remove facts/hold"},
    "unknown tool": NO_POLICY | NO_TOOL,
    "escalated": {"remove rules"} | NO_POLICY | NO_TOOL
    | {"remove facts/alone", "remove facts/crowded", "remove facts/frozen", "remove facts/not_by", "empty facts/not_by/0"}
    | {"remove requires/not_by", "remove requires/not_by/0", "remove requires/not_by/1", "empty requires/not_by/0"},
    "offer": NO_POLICY | NO_TOOL
    | {"remove key", "remove relies", "remove reserved", "add reserved/extra"},
    "held for the client": NO_POLICY | NO_TOOL
    | {"remove requires/not_by", "remove requires/not_by/0", "remove requires/not_by/1", "empty requires/not_by/0"},
    "waits": NO_POLICY | NO_TOOL | READ,
    "resumed": NO_POLICY | NO_TOOL | READ | {"remove relies", "remove relies/0", "remove relies/1", "remove facts/approval"}
    | {"remove facts/grant", "remove facts/grant/by/0", "remove facts/grant/by/1", "empty facts/grant/by/0"},
    "silent": NO_POLICY | NO_TOOL | {"remove facts/approval"}
    | {"remove facts/approval/requires/not_by", "empty facts/approval/requires/not_by/0"},
    "ok": PARENT | {"remove tool_error", "remove spent", "remove spent/daily", "remove spent/total", "add spent/extra"},
    "drift": PARENT | {"remove sub", "remove truncated"},
    "unknown": PARENT | {"remove sub"},
    "failed": PARENT | {"remove sub", "remove reason"},
    "late": PARENT | {"remove contract"},
    "released before": PARENT | {"remove interim"},
    "reported": PARENT | {"remove spent", "add spent/extra"},
    "reported in vain": PARENT | {"remove sub", "remove truncated"},
    "reported a failure": PARENT | {"remove sub"},
    "pin": CHANGED | NO_LOG,
    "activation": CHANGED | NO_LOG,
    "release": {"empty statement/body/tool"} | NO_LOG,  # and then it releases nothing: no hold is on a tool without a name
    "erasure": NO_LOG,
    "approval": NO_LOG,
    "override": NO_LOG,
    "grant": NO_LOG | {f"empty statement/body/{field}" for field in ("principal", "tool", "where")}  # a grant of nothing
    | {"remove statement/body/where/a", "retype statement/body/where/a/at_most"},  # 1.5 is a number, too
    "revocation": NO_LOG,
    "thaw": NO_LOG | {"empty statement/body/scope"},
    "lapse": PARENT,
    "hold": PARENT,
}  # fmt: skip


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_receipt_with_one_field_changed_is_refused_or_is_another_receipt_that_is_listed(sample: str) -> None:
    accepted = {change for change, content in changes(BODIES[sample]) if finding(content) is None}
    assert accepted == ANOTHER_RECEIPT.get(sample, set()) | INSECURE


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(-1e9, 1e9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
SPOTS = [(sample, path) for sample, content in BODIES.items() for path in places(content)]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SPOTS), JSON)
def test_whatever_stands_in_a_field_is_refused_or_kept_as_it_is(spot: tuple[str, Path], value: Json) -> None:
    sample, path = spot
    content = copied(_with(BODIES[sample], path, value))
    if finding(content) is None:
        receipt = Receipt.from_bytes(sealed(content))
        assert canonical(dict(receipt.body)) == canonical(content) and receipt.line == sealed(content)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted({*BODIES["intent"], *BODIES["ok"], *BODIES["start"]})), JSON))
def test_any_object_is_read_or_refused_and_never_breaks_the_reader(content: Body) -> None:
    finding(content)
    finding({"v": 1, "kind": "decision", "signers": [EXECUTION.public.id], **content})


def test_a_field_of_one_shape_is_refused_in_every_other() -> None:
    fields = {field: content[field] for content in BODIES.values() for field in content}
    for sample, (shape, content) in SAMPLES.items():
        for field in fields.keys() - content.keys() - SHAPES[shape][1]:
            assert finding({**content, field: fields[field]}) is Finding.PACK_MALFORMED, (sample, field)


def test_a_receipt_relabelled_as_another_kind_is_refused() -> None:
    for sample, content in BODIES.items():
        for kind in {*Kind, "trust", "pin", "checkpoint", ""} - {content["kind"]}:
            found = finding({**content, "kind": str(kind)})
            assert found is (Finding.PACK_MALFORMED if kind in set(Kind) else Finding.UNSUPPORTED), (sample, kind)


# -- the rules of a kind, each with what breaks it


def changed(sample: str, **new: Any) -> Body:
    """The sample with fields replaced; `...` leaves one out."""
    made = copied(BODIES[sample]) | new
    return {field: value for field, value in made.items() if value is not ...}


MALFORMED, UNSUPPORTED = Finding.PACK_MALFORMED, Finding.UNSUPPORTED


@pytest.mark.parametrize(
    ("rule", "sample", "new", "expected"),
    [
        ("an unknown verdict", "denied", {"verdict": "MAYBE"}, UNSUPPORTED),
        ("an unknown reason", "denied", {"reason": "ERR_NO_SUCH_CODE"}, UNSUPPORTED),
        ("an unknown effect class", "denied", {"effect": "harmless"}, UNSUPPORTED),
        ("an effect by somebody unknown", "denied", {"effect_by": "nobody"}, UNSUPPORTED),
        ("an intent of the client's", "intent", {"effect_by": "client"}, MALFORMED),
        ("an offer with a deadline", "offer", {"deadline_ms": 1}, MALFORMED),
        ("an offer that nobody acts on", "offer", {"effect_by": "none"}, MALFORMED),
        ("an offer that repeats", "offer", {"repeats": name("first")}, MALFORMED),
        ("a call of the client's that waits for nothing", "held for the client", {"requires": ...}, MALFORMED),
        ("an intent of a question that is no call", "intent", {"effect_by": "none"}, MALFORMED),
        ("a question that is held", "escalated", {"effect_by": "none"}, MALFORMED),
        ("a call that waits for nothing", "escalated", {"requires": ...}, MALFORMED),
        ("a denial that is held", "denied", {"requires": NEEDED.to_json()}, MALFORMED),
        ("an intent that is held", "intent", {"requires": NEEDED.to_json()}, MALFORMED),
        ("a held call of no tool", "escalated", {"pin": ..., "effect": ...}, MALFORMED),
        ("an escalation because of a policy", "escalated", {"reason": "ERR_POLICY_DENY"}, MALFORMED),
        ("an escalation because of silence", "waits", {"reason": "ERR_APPROVAL_EXPIRED"}, MALFORMED),
        ("a call that is held, and has a timelock", "escalated", {"reason": "ERR_APPROVAL_PENDING_TIMELOCK"}, MALFORMED),
        ("a denial that waits", "silent", {"reason": "ERR_APPROVAL_PENDING_TIMELOCK"}, MALFORMED),
        ("nobody is needed", "escalated", {"requires": {**NEEDED.to_json(), "approvers": 0}}, MALFORMED),
        ("seventeen are", "escalated", {"requires": {**NEEDED.to_json(), "approvers": 17}}, MALFORMED),
        ("no time", "escalated", {"requires": {**NEEDED.to_json(), "expires_ms": 0}}, MALFORMED),
        ("more than a year", "escalated", {"requires": {**NEEDED.to_json(), "expires_ms": 31_622_400_001}}, MALFORMED),
        ("a timelock of it", "escalated", {"requires": {**NEEDED.to_json(), "timelock_ms": 31_622_400_001}}, MALFORMED),
        ("excluded in disorder", "escalated", {"requires": {**NEEDED.to_json(), "not_by": ["b", "a"]}}, MALFORMED),
        ("excluded twice", "escalated", {"requires": {**NEEDED.to_json(), "not_by": ["a", "a"]}}, MALFORMED),
        ("65 excluded", "escalated", {"requires": {**NEEDED.to_json(), "not_by": [f"{n:02}" for n in range(65)]}}, MALFORMED),
        ("a denial that relies", "denied", {"relies": [name("first")]}, MALFORMED),
        ("a repeat that relies", "repeat", {"relies": [name("first")]}, MALFORMED),
        ("an escalation that relies", "waits", {"relies": [name("first")]}, MALFORMED),
        ("relied on nothing", "resumed", {"relies": []}, MALFORMED),
        ("relied on twice", "resumed", {"relies": [name("first")] * 2}, MALFORMED),
        ("relied on seventeen", "resumed", {"relies": [name(str(n)) for n in range(17)]}, MALFORMED),
        ("an unparsed request that read a hold", "raw", {"facts": facts(hold=name("hold"))}, MALFORMED),
        ("a false flag", "escalated", {"facts": {**facts(), "alone": False}}, MALFORMED),  # type: ignore[dict-item]
        ("a grant that is used up", "resumed", {"facts": facts(grant=replace(GRANT, left=0))}, MALFORMED),
        ("a grant of nobody", "resumed", {"facts": facts(grant=replace(GRANT, by=()))}, MALFORMED),
        ("a grant in disorder", "resumed", {"facts": facts(grant=replace(GRANT, by=("b", "a")))}, MALFORMED),
        ("complete since never", "waits", {"facts": facts(approval=replace(HELD, since=None))}, MALFORMED),
        ("waiting since then", "waits", {"facts": facts(approval=replace(HELD, state=State.WAITING))}, MALFORMED),
        ("denied by nobody", "silent", {"facts": facts(approval=replace(SILENT, state=State.DENIED))}, MALFORMED),
        ("complete by nobody", "waits", {"facts": facts(approval=replace(HELD, statements=()))}, MALFORMED),
        ("an unparsed request that is allowed", "raw", {"verdict": "ALLOW", "reason": "OK"}, MALFORMED),
        ("an unparsed request that waits", "raw", {"verdict": "ESCALATE", "reason": "ERR_APPROVAL_REQUIRED"}, MALFORMED),
        ("an unparsed request denied for nothing", "raw", {"reason": "OK"}, MALFORMED),
        ("an unparsed request that repeats", "raw", {"reason": "REPEATED"}, MALFORMED),
        ("an unparsed request of a tool", "raw", {"tool": "demo/add"}, MALFORMED),
        ("a call under two hashes", "denied", {"raw_hash": name("raw")}, MALFORMED),
        ("a call under none", "denied", {"args_hash": ...}, MALFORMED),
        ("a denial for nothing", "denied", {"reason": "OK"}, MALFORMED),
        ("a denial that repeats", "denied", {"reason": "REPEATED", "repeats": name("first")}, MALFORMED),
        ("an allow with an error", "intent", {"reason": "ERR_POLICY_DENY"}, MALFORMED),
        ("an escalation for nothing", "escalated", {"reason": "OK"}, MALFORMED),
        ("an escalation that repeats", "escalated", {"reason": "REPEATED", "repeats": name("first")}, MALFORMED),
        ("a pin without effect class", "denied", {"effect": ...}, MALFORMED),
        ("an effect class without pin", "denied", {"pin": ...}, MALFORMED),
        ("an allow of what is not pinned", "intent", {"pin": ..., "effect": ...}, MALFORMED),
        ("a repeat of what is not pinned", "repeat", {"pin": ..., "effect": ...}, MALFORMED),
        ("REPEATED, and not of what", "repeat", {"repeats": ...}, MALFORMED),
        ("a repeat that is OK", "repeat", {"reason": "OK"}, MALFORMED),
        ("a repeat that is OK, with a deadline", "repeat", {"reason": "OK", "deadline_ms": 1}, MALFORMED),
        ("an intent that repeats", "intent", {"repeats": name("first")}, MALFORMED),
        ("a denial that repeats silently", "denied", {"repeats": name("first")}, MALFORMED),
        ("an intent without deadline", "intent", {"deadline_ms": ...}, MALFORMED),
        ("a deadline of a repeat", "repeat", {"deadline_ms": 1}, MALFORMED),
        ("a deadline of a denial", "denied", {"deadline_ms": 1}, MALFORMED),
        ("a deadline of an escalation", "escalated", {"deadline_ms": 1}, MALFORMED),
        ("a deadline before 1970", "intent", {"deadline_ms": -1}, MALFORMED),
        ("a denial that reserves", "denied", {"reserved": {"daily": 1}}, MALFORMED),
        ("an escalation that reserves", "escalated", {"reserved": {"daily": 1}}, MALFORMED),
        ("a repeat that reserves", "repeat", {"reserved": {"daily": 1}}, MALFORMED),
        ("a negative reservation", "intent", {"reserved": {"daily": -1}}, MALFORMED),
        ("a reservation in parts", "intent", {"reserved": {"daily": 0.5}}, MALFORMED),
        ("rules out of order", "intent", {"rules": ["b", "a"]}, MALFORMED),
        ("a rule twice", "intent", {"rules": ["a", "a"]}, MALFORMED),
        ("a rule without a name", "intent", {"rules": ["", "a"]}, MALFORMED),
        ("a rule with a name too long", "intent", {"rules": ["r" * (TEXT_MAX + 1)]}, MALFORMED),
        ("too many rules", "intent", {"rules": [f"{n:04}" for n in range(LIST_MAX + 1)]}, MALFORMED),
        ("a tool's name too long", "denied", {"tool": "t" * (TEXT_MAX + 1)}, MALFORMED),
        ("a sub-reason too long", "denied", {"sub": "s" * (TEXT_MAX + 1)}, MALFORMED),
        ("facts of another shape", "denied", {"facts": {**facts(), "more": 1}}, MALFORMED),  # type: ignore[dict-item]
        ("an empty budget", "denied", {"facts": {**facts(), "budget": {}}}, MALFORMED),  # type: ignore[dict-item]
        ("no facts", "raw", {"facts": {}}, MALFORMED),
    ],
)  # fmt: skip
def test_a_decision_that_breaks_a_rule_is_refused(rule: str, sample: str, new: Body, expected: Finding) -> None:
    assert finding(changed(sample, **new)) is expected, rule


@pytest.mark.parametrize(
    ("rule", "sample", "new", "expected"),
    [
        ("an unknown status", "ok", {"status": "FINE"}, UNSUPPORTED),
        ("a status of a later version", "late", {"status": "RESOLVED"}, UNSUPPORTED),
        ("a report of nothing", "reported", {"output_hash": ..., "contract": ...}, MALFORMED),
        ("a report that is silent about its contract", "reported", {"contract": ...}, MALFORMED),
        ("a report that kept its contract and did not", "reported", {"reason": "ERR_CONNECTOR_CONTRACT_DRIFT"}, MALFORMED),
        ("a report that was cut", "reported", {"truncated": True}, MALFORMED),
        ("a broken report without it", "reported in vain", {"output_hash": ..., "truncated": ...}, MALFORMED),
        ("a report for a reason of the kernel's", "reported in vain", {"reason": "ERR_MCP_SCHEMA_DRIFT"}, MALFORMED),
        ("a failed report of a tool's error", "reported a failure", {"tool_error": True}, MALFORMED),
        ("nothing released before", "released before", {"interim": {**RELEASED, "count": 0}}, MALFORMED),
        ("less than nothing", "released before", {"interim": {**RELEASED, "count": -1}}, MALFORMED),
        ("released without a hash", "released before", {"interim": {"count": 2}}, MALFORMED),
        ("released under another hash", "released before", {"interim": {**RELEASED, "hash": "00"}}, MALFORMED),
        ("released twice over", "released before", {"interim": {**RELEASED, "more": 1}}, MALFORMED),
        ("released while late", "late", {"interim": RELEASED}, MALFORMED),
        ("an unknown contract", "ok", {"contract": "promise"}, UNSUPPORTED),
        ("an unknown reason", "failed", {"reason": "ERR_NO_SUCH_CODE"}, UNSUPPORTED),
        ("negative time", "ok", {"ms": -1}, MALFORMED),
        ("an OK without output", "ok", {"output_hash": ...}, MALFORMED),
        ("an OK without contract", "ok", {"contract": ..., "tool_error": ...}, MALFORMED),
        ("an OK with a reason", "ok", {"reason": "ERR_CONNECTOR_FAILED"}, MALFORMED),
        ("an OK that says so", "ok", {"reason": "OK"}, MALFORMED),
        ("a late one that says OK", "late", {"reason": "OK"}, MALFORMED),
        ("a failure that repeats", "failed", {"reason": "REPEATED"}, MALFORMED),
        ("a failure that says OK", "failed", {"reason": "OK"}, MALFORMED),
        ("a drift without output", "drift", {"output_hash": ..., "truncated": ...}, MALFORMED),
        ("a drift that does not say so", "drift", {"reason": ...}, MALFORMED),
        ("a drift for another reason", "drift", {"reason": "ERR_CONNECTOR_FAILED"}, MALFORMED),
        ("a drift that kept its contract", "drift", {"contract": "schema"}, MALFORMED),
        ("an unknown one that does not say so", "unknown", {"reason": ...}, MALFORMED),
        ("an unknown one for another reason", "unknown", {"reason": "ERR_CONNECTOR_FAILED"}, MALFORMED),
        ("an unknown one that kept its contract", "unknown", {"output_hash": name("out"), "contract": "shape"}, MALFORMED),
        ("a failure with an output", "failed", {"output_hash": name("out")}, MALFORMED),
        ("a failure that was cut", "failed", {"truncated": True}, MALFORMED),
        ("an OK that was cut", "ok", {"truncated": True}, MALFORMED),
        ("a failure that kept its contract", "failed", {"output_hash": name("out"), "contract": "shape"}, MALFORMED),
        ("a contract without output", "late", {"output_hash": ...}, MALFORMED),
        ("a tool's error without contract", "late", {"contract": ..., "tool_error": True}, MALFORMED),
        ("a false `tool_error`", "ok", {"tool_error": False}, MALFORMED),
        ("a false `truncated`", "drift", {"truncated": False}, MALFORMED),
        ("a 1 for a true", "drift", {"truncated": 1}, MALFORMED),
        ("a negative cost", "ok", {"spent": {"daily": -1}}, MALFORMED),
        ("a sub-reason too long", "failed", {"sub": "s" * (TEXT_MAX + 1)}, MALFORMED),
    ],
)
def test_an_outcome_that_breaks_a_rule_is_refused(rule: str, sample: str, new: Body, expected: Finding) -> None:
    assert finding(changed(sample, **new)) is expected, rule


@pytest.mark.parametrize(
    ("rule", "sample", "new", "expected"),
    [
        ("an unknown version", "end", {"v": 2}, UNSUPPORTED),
        ("a version that equals 1", "end", {"v": True}, UNSUPPORTED),
        ("an event that a later version may have", "start", {"event": "pause"}, UNSUPPORTED),
        ("an event that is no word", "start", {"event": 7}, MALFORMED),
        ("a start with the fields of an end", "end", {"event": "start"}, MALFORMED),
        ("a session's id in capitals", "end", {"session": "5E" * 16}, MALFORMED),
        ("a negative number", "end", {"seq": -1}, MALFORMED),
        ("a negative count", "end", {"count": -1}, MALFORMED),
        ("a negative registry", "end", {"trust": {"size": -1, "head": name("registry")}}, MALFORMED),
        ("a time of another form", "end", {"at": "2026-01-02T03:04:05Z"}, MALFORMED),
        ("a name too long", "start", {"principal": "p" * (TEXT_MAX + 1)}, MALFORMED),
        ("a client's name too long", "start", {"client": "p" * (TEXT_MAX + 1)}, MALFORMED),
        ("a log's name too long", "end", {"log": "l" * (TEXT_MAX + 1)}, MALFORMED),
        ("too many parents", "hold", {"parents": [name("out")] * (LIST_MAX + 1)}, MALFORMED),
        ("a parent that is no digest", "hold", {"parents": ["x"]}, MALFORMED),
        ("switches out of order", "end", {"build": {"version": "0", "insecure": ["b", "a"]}}, MALFORMED),
        ("no switch, said", "end", {"build": {"version": "0", "insecure": []}}, MALFORMED),
        ("a hold without a reason", "hold", {"reason": "OK"}, MALFORMED),
        ("a hold for a repeat", "hold", {"reason": "REPEATED"}, MALFORMED),
        ("a hold because of a freeze", "hold", {"reason": "ERR_FROZEN"}, MALFORMED),
        ("a freeze because of a drift", "freeze", {"reason": "ERR_CONNECTOR_CONTRACT_DRIFT"}, MALFORMED),
        ("a hold for nothing", "hold", {"cause": ...}, MALFORMED),
        ("a hold for two things", "hold", {"sub": "changed"}, MALFORMED),
        ("a hold for something without a word", "seen", {"sub": ""}, MALFORMED),
        ("a quarantine that a person froze", "quarantine", {"reason": "ERR_FROZEN"}, MALFORMED),
        ("a quarantine without a reason", "quarantine", {"reason": "OK"}, MALFORMED),
        ("a quarantine by somebody", "quarantine", {"by": "olga"}, MALFORMED),
        ("a quarantine for nothing", "quarantine", {"sub": ...}, MALFORMED),
        ("a quarantine of everything", "quarantine", {"scope": "all"}, MALFORMED),
        ("a quarantine of an agent", "quarantine", {"scope": "agent:a"}, MALFORMED),
        ("a freeze by nobody", "freeze", {"by": ...}, MALFORMED),
        ("a freeze for what was seen", "freeze", {"sub": "changed"}, MALFORMED),
        ("a freeze of a tool", "freeze", {"scope": "demo/add"}, MALFORMED),
        ("a freeze of no server", "freeze", {"scope": "server:"}, MALFORMED),
        ("a freeze of a server in capitals", "freeze", {"scope": "server:Demo"}, MALFORMED),
        ("a freeze of a server with a long name", "freeze", {"scope": "server:" + "a" * 65}, MALFORMED),
        ("a freeze of an agent with a space", "freeze", {"scope": "agent:a b"}, MALFORMED),
        ("a freeze of half a session", "freeze", {"scope": "session:" + "a" * 16}, MALFORMED),
        ("a freeze of everything and more", "freeze", {"scope": "all\n"}, MALFORMED),
        ("a lapse for a denial", "lapse", {"reason": "ERR_APPROVAL_DENIED"}, MALFORMED),
        ("a gap of what was allowed", "gap", {"counts": {"OK": 1}}, MALFORMED),
        ("a gap of none", "gap", {"counts": {"ERR_UPSTREAM_SHAPE": 0}}, MALFORMED),
        ("a gap of what is not known", "gap", {"counts": {"ERR_NO_SUCH_CODE": 1}}, UNSUPPORTED),
        ("an approval at no time", "approval", {"clock": ...}, MALFORMED),
        ("a pin at a time", "pin", {"clock": CLOCK.to_json()}, MALFORMED),
        ("a hold for something unknown", "hold", {"reason": "ERR_NO_SUCH_CODE"}, UNSUPPORTED),
        ("a negative tree", "recovery", {"size": -1}, MALFORMED),
        ("negative work", "recovery", {"open": -1}, MALFORMED),
        ("no head", "recovery", {"heads": []}, MALFORMED),
        ("a head twice", "recovery", {"heads": ["one", "one"]}, MALFORMED),
        ("three heads", "recovery", {"heads": ["one", "other", "third"]}, MALFORMED),
        ("a head that is none", "recovery", {"heads": [1]}, MALFORMED),
        ("a head beyond what a note has", "recovery", {"heads": ["a" * (NOTE_BYTES_MAX + 1)]}, MALFORMED),
        ("a statement of a kind unknown here", "pin", {"statement": {"body": {"kind": "wish"}}}, MALFORMED),
    ],
)
def test_a_receipt_that_breaks_a_rule_of_its_kind_is_refused(rule: str, sample: str, new: Body, expected: Finding) -> None:
    assert finding(changed(sample, **new)) is expected, rule


@pytest.mark.parametrize("field", ["principal", "door", "client"])
def test_a_name_is_as_long_as_it_may_be_and_no_longer(field: str) -> None:
    for character in "aé\U0001f600":
        assert finding(changed("start", **{field: character * TEXT_MAX})) is None
        assert finding(changed("start", **{field: character * (TEXT_MAX + 1)})) is MALFORMED


def test_a_record_that_is_no_statement_is_no_content_of_a_statement_receipt() -> None:
    for sample in ("start", "intent", "pin"):
        inner = json.loads(sealed(BODIES[sample]))
        assert finding(changed("pin", statement=inner)) is UNSUPPORTED


def test_every_value_of_a_closed_list_is_read() -> None:
    for effect in Effect:
        assert finding(changed("intent", effect=effect.value)) is None
    for effect_by in EffectBy:
        assert finding(changed("denied", effect_by=effect_by.value)) is None
    for reason in set(Reason) - {Reason.OK, Reason.REPEATED}:
        waits, frozen = reason is Reason.ERR_APPROVAL_PENDING_TIMELOCK, reason is Reason.ERR_FROZEN
        assert finding(changed("denied", reason=reason.value)) is (MALFORMED if waits else None)
        assert finding(changed("failed", reason=reason.value)) is None
        assert finding(changed("hold", reason=reason.value)) is (MALFORMED if frozen else None)
        assert finding(changed("gap", counts={reason.value: 1})) is None


@pytest.mark.parametrize(
    "scope", ["all", "server:a", "server:9_-" + "a" * 61, "agent:!", "agent:" + "~" * 128, "session:" + "5e" * 16]
)
def test_a_freeze_is_of_everything_a_server_an_agent_or_a_session(scope: str) -> None:
    assert finding(changed("freeze", scope=scope)) is None


# -- what a receipt says of itself


def of(content: Body) -> Receipt:
    return Receipt.from_bytes(sealed(content))


def test_only_an_allow_that_we_dispatch_is_an_intent() -> None:
    assert {sample for sample, content in BODIES.items() if of(content).is_intent} == {"intent", "resumed"}
    assert {sample for sample, content in BODIES.items() if of(content).is_offer} == {"offer"}
    assert {sample for sample, content in BODIES.items() if of(content).goes} == {"intent", "resumed", "offer"}
    assert EffectBy(BODIES["intent"]["effect_by"]) is EffectBy.KERNEL


def test_a_receipt_tells_its_verdict_status_reason_and_rules() -> None:
    assert [of(BODIES[sample]).verdict for sample in ("intent", "denied", "waits", "ok")] == [*Verdict, None]
    statuses = {Status.OK: "ok", Status.FAILED: "failed", Status.DRIFT: "drift", Status.UNKNOWN: "unknown", Status.LATE: "late"}
    statuses |= {Status.REPORTED: "reported"}
    assert {status: of(BODIES[sample]).status for status, sample in statuses.items()} == {status: status for status in Status}
    assert of(BODIES["intent"]).status is None
    codes = {sample: content.get("reason", "OK") for sample, content in BODIES.items() if sample != "end"}
    assert {sample: of(BODIES[sample]).reason for sample in BODIES} == {**codes, "end": "OK"}
    assert of(BODIES["intent"]).rules == ("allow-all", "reads") and of(BODIES["ok"]).rules == ()
    assert of(BODIES["repeat"]).repeats == name("first") and of(BODIES["intent"]).repeats is None


def test_a_line_with_anything_behind_it_is_no_receipt() -> None:
    line = sealed(BODIES["intent"])
    spoilt: list[Callable[[bytes], bytes]] = [
        lambda line: line + b"\n",
        lambda line: line + b" ",
        lambda line: line[:-1],
        lambda line: line + line,
        lambda line: line.replace(b'"seq":3', b'"seq":3.0'),
        lambda line: line.replace(b'"seq":3', b'"seq":3,"seq":3'),
        lambda line: line.replace(b"demo/add", b"demo\\/add"),
    ]
    for spoil in spoilt:
        with pytest.raises(EvidenceError) as caught:
            Receipt.from_bytes(spoil(line))
        assert caught.value.finding in (Finding.NON_CANONICAL, Finding.PACK_MALFORMED)
