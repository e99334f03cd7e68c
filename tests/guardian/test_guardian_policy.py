import json
import random
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from typing import Any

import cedarpy
import pytest
from guardian_faces import CLOCK, FILES, HOME, Tool, call, catalog, decided, facts, obj, policy
from hypothesis import given, settings
from hypothesis import strategies as st

from helm_ai_kernel.guardian.policy import Policy, Rules, decide, read_verdict
from helm_ai_kernel.tcb.call import Effect, Refusal
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Claim, ClaimState, Verdict
from helm_ai_kernel.tcb.digest import digest
from helm_ai_kernel.tcb.errors import Refused

PERMIT = '@id("permit") permit(principal, action, resource);'
OPEN = policy(PERMIT)
LEAF = digest(b"an earlier decision")


def test_what_no_rule_permits_is_denied() -> None:
    for tool in FILES.tools:
        decision = decided(policy(""), tool, {"path": "/x", "url": "x"})
        assert (decision.verdict, decision.reason, decision.rules) == (Verdict.DENY, Reason.ERR_TOOL_NOT_ALLOWED, ())


def test_a_permitted_call_is_allowed_and_names_every_rule_that_permits_it() -> None:
    both = policy(PERMIT + '@id("a") permit(principal == Agent::"ann", action == Action::"fs/read", resource == Server::"fs");')
    decision = decided(both, "fs/read", {"path": "/x"}, budget={"daily": 1, "all": 7})
    assert (decision.verdict, decision.reason, decision.rules) == (Verdict.ALLOW, Reason.OK, ("a", "permit"))
    assert decision.reserve == {"daily": 1, "all": 1}
    assert decided(both, "fs/read", {"path": "/x"}, principal="bob").rules == ("permit",)


def test_a_forbid_beats_every_permit_and_only_forbids_are_named() -> None:
    no = policy(
        PERMIT + '@id("no") forbid(principal, action in Action::"read", resource) when { context.args.path like "/etc/*" };'
    )
    decision = decided(no, "fs/read", {"path": "/etc/passwd"})
    assert (decision.verdict, decision.reason, decision.rules) == (Verdict.DENY, Reason.ERR_POLICY_DENY, ("no",))
    assert decided(no, "fs/read", {"path": "/data"}).verdict is Verdict.ALLOW


def test_an_unknown_tool_and_names_that_look_like_a_known_one_are_denied() -> None:
    for name in [
        "fs/other",
        "FS/read",
        "fs/read ",
        "fs/read\0",
        "fs%2Fread",
        "\u0192s/read",
        "fs\u2215read",
        "fs",
        "",
        "read",
        "fs/" + "x" * 10_000,
    ]:
        assert decide(OPEN, call(name, {"path": "/x"}), facts(OPEN)).reason is Reason.ERR_TOOL_NOT_ALLOWED


def test_without_the_policy_in_force_nothing_is_allowed() -> None:
    asked = call("fs/read", {"path": "/x"})
    for of, known in [(None, facts(None)), (None, facts(OPEN)), (OPEN, facts(None)), (OPEN, facts(policy("")))]:
        assert decide(of, asked, known).reason is Reason.ERR_POLICY_NOT_READY


def test_a_refusal_is_denied_for_its_own_reason_whatever_else_holds() -> None:
    refusal = Refusal(Reason.ERR_JSON_NOT_IJSON, "dup_key", b"{}", hint="send each key once")
    for of in (None, OPEN):
        decision = decide(of, refusal, facts(None, hold=LEAF, claim=Claim(LEAF, ClaimState.DONE, True), budget={"b": 0}))
        assert (decision.verdict, decision.reason, decision.sub) == (Verdict.DENY, Reason.ERR_JSON_NOT_IJSON, "dup_key")
        assert decision.hint.startswith("send each key once; ")


# The order of the questions: each row alone decides when everything above it is in order and everything below it is not.
RULES = (
    PERMIT
    + """
@id("no") forbid(principal == Agent::"mallory", action, resource);
@id("broken") forbid(principal == Agent::"eve", action == Action::"fs/rm", resource)
    when { context.now + 9223372036854775807 > 0 };
"""
)
TABLE = [
    ("policy", Verdict.DENY, Reason.ERR_POLICY_NOT_READY, (), ""),
    ("hold", Verdict.DENY, Reason.ERR_TOOL_HALTED, (), ""),
    ("error", Verdict.DENY, Reason.ERR_POLICY_ERROR, (), "rule broken"),
    ("forbid", Verdict.DENY, Reason.ERR_POLICY_DENY, ("no",), ""),
    ("key", Verdict.DENY, Reason.ERR_IDEMPOTENCY_KEY_REQUIRED, (), ""),
    ("mismatch", Verdict.DENY, Reason.ERR_IDEMPOTENCY_MISMATCH, (), ""),
    ("open", Verdict.DENY, Reason.ERR_IDEMPOTENCY_IN_FLIGHT, (), ""),
    ("unknown", Verdict.DENY, Reason.ERR_OUTCOME_UNKNOWN, (), ""),
    ("done", Verdict.ALLOW, Reason.REPEATED, (), ""),
    ("approval", Verdict.ESCALATE, Reason.ERR_APPROVAL_REQUIRED, ("helm-destructive-needs-approval",), ""),
    ("budget", Verdict.DENY, Reason.ERR_BUDGET_EXHAUSTED, (), "b"),
    ("nothing", Verdict.ALLOW, Reason.OK, ("permit",), ""),
]


@pytest.mark.parametrize(("first", "verdict", "reason", "rules", "sub"), TABLE, ids=[row[0] for row in TABLE])
def test_the_first_question_that_fails_gives_the_reason(
    first: str, verdict: Verdict, reason: Reason, rules: tuple[str, ...], sub: str
) -> None:
    order = [row[0] for row in TABLE]
    wrong = set(order[order.index(first) :])  # this one and everything after it is out of order
    of = policy(RULES)
    claims = [Claim(LEAF, ClaimState.OPEN, False)] * ("mismatch" in wrong)
    claims += [Claim(LEAF, state, True) for state in ClaimState if state.value in wrong]
    by_state = {"open": ClaimState.OPEN, "unknown": ClaimState.UNKNOWN, "done": ClaimState.DONE}
    claim = next((c for c in claims if first not in by_state or (c.same_args and c.state is by_state[first])), None)
    decision = decide(
        of,
        call("fs/rm" if "approval" in wrong else "fs/write", {"path": "/x"}, key_required="key" in wrong),
        facts(
            None if "policy" in wrong else of,
            principal="eve" if "error" in wrong else "mallory" if "forbid" in wrong else "ann",
            hold=LEAF if "hold" in wrong else None,
            claim=claim,
            budget={"a": 1, "b": 0, "c": 0} if "budget" in wrong else {"a": 1},
        ),
    )
    assert (decision.verdict, decision.reason, decision.rules, decision.sub) == (verdict, reason, rules, sub)
    assert decision.repeats == (LEAF if reason is Reason.REPEATED else None)
    assert decision.reserve == ({"a": 1} if reason is Reason.OK else {})
    assert reason.value in decision.hint


def test_a_key_that_is_required_and_empty_is_absent() -> None:
    for key, reason in [(None, Reason.ERR_IDEMPOTENCY_KEY_REQUIRED), ("", Reason.ERR_IDEMPOTENCY_KEY_REQUIRED), ("k", Reason.OK)]:
        assert decide(OPEN, call("fs/read", {"path": "/x"}, key=key, key_required=True), facts(OPEN)).reason is reason


# Rules that fail to evaluate.
OVERFLOW = "context.args has n && context.args.n + 9223372036854775807 > 0"


@pytest.mark.parametrize("effect", ["permit", "forbid"])
def test_a_rule_that_fails_denies_whatever_the_others_say(effect: str) -> None:
    no = '@id("no") forbid(principal == Agent::"mallory", action, resource);'
    of = policy(PERMIT + no + f'@id("bad") {effect}(principal, action == Action::"fs/read", resource) when {{ {OVERFLOW} }};')
    for principal in ("ann", "mallory"):
        decision = decided(of, "fs/read", {"path": "/x", "n": 1}, principal=principal)
        assert (decision.verdict, decision.reason, decision.sub) == (Verdict.DENY, Reason.ERR_POLICY_ERROR, "rule bad")
    assert decided(of, "fs/write", {"path": "/x", "n": 1}).verdict is Verdict.ALLOW


def test_an_approval_rule_that_fails_denies_and_does_not_escalate() -> None:
    of = policy(
        PERMIT
        + f'@id("ask") @require("approval") forbid(principal, action == Action::"fs/read", resource) when {{ {OVERFLOW} }};'
    )
    assert decided(of, "fs/read", {"path": "/x", "n": 1}).sub == "rule ask"
    assert decided(of, "fs/read", {"path": "/x"}).verdict is Verdict.ALLOW


@dataclass(frozen=True)
class Broken:
    """An engine's handle that is none: what it is given to raises."""


def engine(answer: Any) -> Policy:
    """A policy whose compiled rules are replaced by `answer`."""
    slices = {name: replace(one, base=Rules(answer, one.base.want)) for name, one in OPEN.slices.items()}
    return replace(OPEN, slices=slices)


@pytest.mark.parametrize("answer", [Broken(), None, 7, "permit(", "", b"", [], object()])
def test_an_engine_that_raises_or_has_no_verdict_denies(answer: Any) -> None:
    decision = decide(engine(answer), call("fs/read", {"path": "/x"}), facts(OPEN))
    assert decision.verdict is Verdict.DENY
    assert decision.reason is (Reason.ERR_TOOL_NOT_ALLOWED if answer == "" else Reason.ERR_POLICY_ERROR)


CLEAN: dict[str, Any] = {"reason": ["b", "a"], "errors": []}


@pytest.mark.parametrize(
    "answer",
    [
        None, True, "Allow", [], {}, {"decision": "Allow"}, {"diagnostics": CLEAN}, {"decision": "Allow", "diagnostics": None},
        {"decision": "NoDecision", "diagnostics": CLEAN}, {"decision": "allow", "diagnostics": CLEAN},
        {"decision": True, "diagnostics": CLEAN}, {"decision": ["Allow"], "diagnostics": CLEAN},
        {"decision": None, "diagnostics": CLEAN},
        {"decision": "Allow", "diagnostics": {"reason": ["a"]}}, {"decision": "Allow", "diagnostics": {"errors": []}},
        {"decision": "Allow", "diagnostics": {"reason": ["a"], "errors": ["x"]}},
        {"decision": "Allow", "diagnostics": {"reason": "a", "errors": []}},
        {"decision": "Allow", "diagnostics": {"reason": ["a"], "errors": None}},
    ],
)  # fmt: skip
def test_anything_but_a_clean_verdict_is_none(answer: Any) -> None:
    with pytest.raises(Refused) as refused:
        read_verdict(answer)
    assert (refused.value.reason, refused.value.sub) == (Reason.ERR_POLICY_ERROR, "engine")
    assert read_verdict({"decision": "Allow", "diagnostics": CLEAN}) == (True, ("a", "b"))
    assert read_verdict({"decision": "Deny", "diagnostics": CLEAN}) == (False, ("a", "b"))


def test_a_principal_or_a_time_that_cedar_cannot_hold_denies() -> None:
    timed = policy(PERMIT + '@id("t") forbid(principal, action, resource) when { context.now < 5 };')
    for more in ({"principal": "\ud800"}, {"clock": replace(CLOCK, wall_ms=2**63)}, {"clock": replace(CLOCK, wall_ms=2**70)}):
        assert decided(timed, "fs/read", {"path": "/x"}, **more).reason is Reason.ERR_POLICY_ERROR


# Values that Cedar cannot hold, and keys that it would take for something else.
LIMIT = policy(
    PERMIT + '@id("limit") forbid(principal, action == Action::"fs/read", resource) when'
    ' { context.args has rate && context.args.rate.greaterThan(decimal("100.0")) };'
)


def test_a_forbid_cannot_be_escaped_with_a_value_that_cedar_cannot_hold() -> None:
    for rate, reason in [
        (1, Reason.OK),
        (99.9999, Reason.OK),
        (100.0001, Reason.ERR_POLICY_DENY),
        (100.00001, Reason.ERR_POLICY_ERROR),
        (1e300, Reason.ERR_POLICY_ERROR),
        (922337203685478, Reason.ERR_POLICY_ERROR),
        ("101", Reason.ERR_POLICY_ERROR),
        (None, Reason.ERR_POLICY_ERROR),
        (True, Reason.ERR_POLICY_ERROR),
        ([101], Reason.ERR_POLICY_ERROR),
    ]:
        assert decided(LIMIT, "fs/read", {"path": "/x", "rate": rate}).reason is reason
    assert decided(LIMIT, "fs/read", {"path": "/x", "rate": 100.00001}).sub == "unheld args.rate"


def test_of_several_faults_the_first_by_name_is_reported_whatever_the_order_of_rules_and_arguments() -> None:
    reads = "".join(
        f'@id("r-{name}") forbid(principal, action == Action::"fs/read", resource) when {{ context.args has {name} }};'
        for name in ("rate", "n")
    )
    fails = "".join(
        f'@id("{name}") forbid(principal, action == Action::"fs/read", resource) when {{ {OVERFLOW} }};' for name in "zyxabcdefg"
    )
    of = policy(PERMIT + reads + fails)
    assert decided(of, "fs/read", {"path": "/x", "rate": None, "n": None}).sub == "unheld args.n"
    assert decided(of, "fs/read", {"n": None, "rate": None, "path": "/x"}).sub == "unheld args.n"
    assert decided(of, "fs/read", {"path": "/x", "n": 1}).sub == "rule a"


def test_only_the_beginning_of_an_error_names_the_rule_that_failed() -> None:
    errors = ["error while evaluating policy `b`: cannot read `error while evaluating policy `a`: x`", "other policy `a`"]
    with pytest.raises(Refused) as refused:
        read_verdict({"decision": "Allow", "diagnostics": {"reason": ["c"], "errors": errors}})  # type: ignore[dict-item]
    assert refused.value.sub == "rule b"


def test_a_value_that_no_rule_reads_hinders_nothing() -> None:
    assert decided(LIMIT, "fs/write", {"path": "/x", "rate": 100.00001}).verdict is Verdict.ALLOW
    assert decided(LIMIT, "fs/read", {"path": "/x", "n": None, "more": {"deep": 1.5}}).verdict is Verdict.ALLOW


def test_a_required_argument_that_is_not_there_denies_where_a_rule_reads_it() -> None:
    of = policy(PERMIT + '@id("no") forbid(principal, action == Action::"fs/read", resource) when { context.args.path == "/x" };')
    assert decided(of, "fs/read", {}).sub == "rule no"


def test_an_argument_beyond_an_open_schema_denies_where_a_rule_asks_for_it() -> None:
    tools = catalog(Tool("a/x", Effect.READ, {"type": "object"}), Tool("a/y", Effect.READ, obj({"force": {"type": "boolean"}})))
    of = policy(
        PERMIT + '@id("no") forbid(principal, action, resource) when { context.args has force && context.args.force };', tools
    )
    assert decide(of, call("a/x", {"force": True}, tools), facts(of)).sub == "unheld args.force"
    assert decide(of, call("a/x", {"other": True}, tools), facts(of)).verdict is Verdict.ALLOW
    assert decide(of, call("a/y", {"force": True}, tools), facts(of)).rules == ("no",)


@pytest.mark.parametrize(
    "args",
    [
        {"path": {"__entity": {"type": "Agent", "id": "root"}}},
        {"path": {"__extn": {"fn": "decimal", "arg": "1.0"}}},
        {"path": {"__expr": "true"}},
        {"path": "/x", "__entity": 1},
        {"path": "/x", "more": [{"a": {"__x": 1}}]},
    ],
)
def test_no_value_becomes_an_entity_or_an_extension(args: dict[str, Any]) -> None:
    for of in (OPEN, LIMIT):
        decision = decided(of, "fs/read", args)
        assert (decision.verdict, decision.reason, decision.sub) == (Verdict.DENY, Reason.ERR_POLICY_ERROR, "reserved_key")


def test_text_that_looks_like_cedar_stays_text() -> None:
    of = policy('@id("p") permit(principal, action == Action::"fs/read", resource) when { context.args.path == "/x" };')
    for path in ['/x" || true || "', 'Agent::"root"', '{"__entity":{}}', "/x\0", "*", "/X", "/x "]:
        assert decided(of, "fs/read", {"path": path}).verdict is Verdict.DENY


def test_the_kernels_own_directories_are_forbidden_to_every_tool_by_a_rule_that_cannot_be_left_out() -> None:
    for tool, args in [
        ("fs/read", {"path": HOME + "/x"}),
        ("web/get", {"url": "file://" + HOME}),
        ("fs/rm", {"path": "/x", "note": [HOME]}),
    ]:
        decision = decided(OPEN, tool, args)
        assert (decision.reason, decision.rules) == (Reason.ERR_POLICY_DENY, ("helm-kernel-directories",))


def test_a_destructive_tool_waits_for_an_approval_also_where_everything_is_permitted() -> None:
    of = policy(PERMIT + '@id("ask") @require("approval") forbid(principal, action, resource) when { context.args has n };')
    assert decided(of, "fs/rm", {"path": "/x"}).rules == ("helm-destructive-needs-approval",)
    assert decided(of, "fs/rm", {"path": "/x", "n": 1}).rules == ("ask", "helm-destructive-needs-approval")
    assert decided(of, "fs/read", {"path": "/x", "n": 1}).verdict is Verdict.ESCALATE
    assert decided(policy(""), "fs/rm", {"path": "/x"}).reason is Reason.ERR_TOOL_NOT_ALLOWED


def test_the_class_of_a_tool_is_the_one_of_the_catalogue_and_not_of_the_call() -> None:
    claimed = replace(call("fs/rm", {"path": "/x"}), effect=Effect.READ)
    assert decide(OPEN, claimed, facts(OPEN)).verdict is Verdict.ESCALATE


def test_rules_see_door_labels_destinations_and_time() -> None:
    seen = '@id("{0}") forbid(principal, action, resource) when {{ {1} }};'
    text = PERMIT + "".join(
        seen.format(*pair)
        for pair in [
            ("door", 'context.door == "mcp"'),
            ("label", 'context.labels.contains("pii")'),
            ("to", 'context.destinations.contains("example.org")'),
            ("time", f"context.now == {CLOCK.wall_ms + 1}"),
        ]
    )
    of, asked = policy(text), call("fs/read", {"path": "/x"}, labels=("a", "pii"), destinations=("example.org",))
    assert decide(of, asked, facts(of, door="mcp", clock=replace(CLOCK, wall_ms=CLOCK.wall_ms + 1))).rules == (
        "door",
        "label",
        "time",
        "to",
    )
    assert decided(of, "fs/read", {"path": "/x"}).verdict is Verdict.ALLOW


def test_a_denial_teaches_the_rule_its_words_and_the_next_command() -> None:
    text = (
        PERMIT
        + '@id("etc") {note}forbid(principal, action == Action::"fs/read", resource) when {{ context.args.path like "/etc/*" }};'
    )
    plain = decided(policy(text.format(note="")), "fs/read", {"path": "/etc/x"}).hint
    assert 'rule `etc` of `main.cedar` forbids this call: when { context.args.path like "/etc/*" }' in plain
    said = decided(policy(text.format(note='@description("use /data instead") ')), "fs/read", {"path": "/etc/x"}).hint
    assert "use /data instead" in said and "like" not in said
    assert all("helm-ai-kernel explain ERR_POLICY_DENY" in hint for hint in (plain, said))


# A model of what random rules mean, and Cedar itself on the whole policy at once.
NAMES = sorted(FILES.tools)
SCOPES = [
    "action",
    *(f'action == Action::"{name}"' for name in NAMES),
    'action in Action::"read"',
    'action in [Action::"write", Action::"web/get"]',
]
SERVERS = ["resource", 'resource == Server::"fs"', 'resource in Server::"web"', "resource is Server"]
CONDITIONS = [
    "",
    'when { context.args has path && context.args.path like "/a*" }',
    "unless { context.args has n && context.args.n > 2 }",
    'when { context.args has rate && context.args.rate.lessThan(decimal("1.5")) }',
    f"when {{ {OVERFLOW} }}",
    'when { action == Action::"fs/read" && context.args.path == "/a" }',
    'unless { principal == Agent::"ann" }',
    "when { context.touches_kernel || context.now < 5 }",
]
RULE = st.tuples(
    st.sampled_from(["permit", "forbid", '@require("approval") forbid']),
    st.sampled_from(["principal", 'principal == Agent::"ann"']),
    st.sampled_from(SCOPES),
    st.sampled_from(SERVERS),
    st.sampled_from(CONDITIONS),
)
ARGS = st.fixed_dictionaries(
    {"path": st.sampled_from(["/a", "/b", HOME])},
    optional={"n": st.integers(0, 4), "rate": st.sampled_from([1, 1.25, 2.5])},
)


@cache
def holds(rule: tuple[str, ...]) -> bool:
    """Many a scope and condition do not go together; such rules are refused, and other tests say so."""
    try:
        policy("\n".join(written([rule])))
    except Refused:
        return False
    return True


def written(rules: list[tuple[str, ...]]) -> list[str]:
    texts = []
    for at, (effect, principal, action, resource, condition) in enumerate(rules):
        texts.append(f'@id("r{at}") {effect}({principal}, {action}, {resource}) {condition};')
    return texts


def whole(of: Policy, tool: str, args: dict[str, Any], principal: str) -> dict[str, tuple[str, list[str], bool]]:
    """Cedar's own answers on all rules in one piece, through its public interface: (decision, ids, whether a rule failed)."""
    exact = {
        name: {"__extn": {"fn": "decimal", "arg": f"{value:.4f}"}} if name == "rate" else value for name, value in args.items()
    }
    context = {"args": exact, "touches_kernel": HOME in args["path"], "now": CLOCK.wall_ms}
    request = {"principal": {"type": "Agent", "id": principal}, "action": {"type": "Action", "id": tool}, "context": context}
    request["resource"] = {"type": "Server", "id": tool.partition("/")[0]}
    entities = [
        {"uid": {"type": "Action", "id": t.name}, "attrs": {}, "parents": [{"type": "Action", "id": t.effect.value}]}
        for t in FILES.tools.values()
    ]
    text = cedarpy.policies_to_json_str("\n".join(content.decode() for content in of.files.values()))
    everything = json.loads(text)["staticPolicies"]
    answers = {}
    for name, asking in (("base", False), ("asking", True)):
        some = {one["annotations"]["id"]: one for one in everything.values() if ("require" in one["annotations"]) is asking}
        handle = cedarpy.PolicySet.from_json_str(json.dumps({"staticPolicies": some, "templates": {}, "templateLinks": []}))
        result = cedarpy.is_authorized(request, handle, entities)
        answers[name] = (result.decision.value, sorted(result.diagnostics.reasons), bool(result.diagnostics.errors))
    return answers


def expected(answers: dict[str, tuple[str, list[str], bool]]) -> tuple[Reason, tuple[str, ...]]:
    decision, ids, failed = answers["base"]
    if failed:
        return Reason.ERR_POLICY_ERROR, ()
    if decision != "Allow":
        return (Reason.ERR_POLICY_DENY if ids else Reason.ERR_TOOL_NOT_ALLOWED), tuple(ids)
    _, asking, failed = answers["asking"]
    if failed:
        return Reason.ERR_POLICY_ERROR, ()
    return (Reason.ERR_APPROVAL_REQUIRED, tuple(asking)) if asking else (Reason.OK, tuple(ids))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(RULE.filter(holds), max_size=8),
    st.sampled_from(NAMES[:3]),
    ARGS,
    st.sampled_from(["ann", "bob"]),
    st.randoms(use_true_random=False),
)
def test_the_sliced_policy_decides_as_cedar_does_on_the_whole_one_in_any_order(
    rules: list[tuple[str, ...]], tool: str, args: dict[str, Any], principal: str, shuffle: random.Random
) -> None:
    texts = written(rules)
    of = policy("\n".join(texts))
    decision = decided(of, tool, args, principal=principal)
    assert (decision.reason, decision.rules) == expected(whole(of, tool, args, principal))
    shuffle.shuffle(texts)
    cut = shuffle.randint(0, len(texts))
    again = decided(policy("\n".join(texts[:cut]), another="\n".join(texts[cut:])), tool, args, principal=principal)
    assert again == replace(decision, hint=again.hint)


def test_a_thousand_rules_for_many_tools_decide_sliced_as_unsliced() -> None:
    dice = random.Random(20_26)
    pool = [*filter(holds, product(["permit", "forbid"], ["principal"], SCOPES[1:], SERVERS[:1], CONDITIONS[:4]))]
    of = policy("\n".join(written([dice.choice(pool) for _ in range(1_000)])))
    assert len(of.rules) == 1_002
    assert all(len(one.base.handle) < 500 for one in of.slices.values())
    for tool, n in product(NAMES[:3], (0, 3)):
        args = {"path": dice.choice(["/a", "/b"]), "n": n}
        decision = decided(of, tool, args)
        assert (decision.reason, decision.rules) == expected(whole(of, tool, args, "ann"))


@settings(deadline=None)
@given(st.lists(st.sampled_from(["permit", "forbid"]), max_size=6), st.lists(st.booleans(), min_size=6, max_size=6))
def test_allow_means_some_permit_and_no_forbid_matches(effects: list[str], matches: list[bool]) -> None:
    """The theorem in one line, with rules whose conditions are constants."""
    cases = list(zip(effects, matches, strict=False))
    text = "".join(
        f'@id("r{at}") {effect}(principal, action, resource) when {{ {str(match).lower()} }};'
        for at, (effect, match) in enumerate(cases)
    )
    allowed = ("permit", True) in cases and ("forbid", True) not in cases
    assert (decided(policy(text), "fs/read", {"path": "/x"}).verdict is Verdict.ALLOW) == allowed


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["path", "n", "rate", "x", "__y"]),
        st.none() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text() | st.lists(st.integers(0, 3)),
    ),
    st.sampled_from(NAMES),
    st.sampled_from([OPEN, LIMIT]),
)
def test_any_arguments_get_a_decision_and_never_an_exception(args: dict[str, Any], tool: str, of: Policy) -> None:
    try:
        asked = call(tool, args)
    except Refused:
        return  # a lone surrogate has no canonical form: there is no such call
    assert decide(of, asked, facts(of)).verdict in tuple(Verdict)
