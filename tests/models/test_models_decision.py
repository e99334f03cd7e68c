"""`decide` on real Cedar rules against the model, in every world that the model knows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import pytest

from helm_ai_kernel.guardian.policy import Policy, decide
from helm_ai_kernel.tcb.call import Call, Effect, Refusal
from helm_ai_kernel.tcb.clock import Clock
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Claim, ClaimState, Decision, Facts
from helm_ai_kernel.tcb.digest import Digest, digest
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.tcb.jcs import canonical
from models import decision_model
from models.decision_model import Said, World, worlds

SWITCHES = ("permitted", "forbidden", "fails", "asks", "ask_fails")
FAILS = "context.args.big + 9223372036854775807 > 0"  # Cedar's integers overflow, and an overflow is an error
ACT = '(principal, action == Action::"world/act", resource)'
RULES = f"""
@id("permitted") permit {ACT} when {{ context.args.permitted }};
@id("forbidden") forbid {ACT} when {{ context.args.forbidden }};
@id("fails") forbid {ACT} when {{ context.args.fails && {FAILS} }};
@id("asks") @require("approval") forbid {ACT} when {{ context.args.asks }};
@id("ask-fails") @require("approval") forbid {ACT} when {{ context.args.ask_fails && {FAILS} }};
"""
FIRST = digest(b"the first decision")


@dataclass(frozen=True)
class Face:
    """A pinned tool, as far as a policy knows one."""

    name: str
    effect: Effect
    input_schema: Mapping[str, Json]


@dataclass(frozen=True)
class Faces:
    digest: Digest
    tools: Mapping[str, Face]


def policy(rules: str = RULES) -> Policy:
    properties: dict[str, Json] = {name: {"type": "boolean"} for name in SWITCHES}
    properties["big"] = {"type": "integer"}
    schema: dict[str, Json] = {"type": "object", "properties": properties, "required": sorted(properties)}
    tools = {"world/act": Face("world/act", Effect.WRITE, schema)}
    return Policy.from_files({"main.cedar": rules.encode()}, Faces(digest(b"the catalogue"), tools), ["/srv/helm"])


@cache
def call(switches: tuple[bool, ...], key: bool, needs_key: bool) -> Call:
    view: dict[str, Json] = {**dict(zip(SWITCHES, switches, strict=True)), "big": 1}
    args = canonical(view)
    return Call("world/act", digest(b"pin"), Effect.WRITE, args, view, key="k" if key else None, key_required=needs_key)


def decided(real: Policy, world: World) -> Decision:
    """The product's answer in that world."""
    in_force = {"none": None, "another": digest(b"another policy"), "this": real.digest}[world.policy]
    claim = None if world.claim is None else Claim(FIRST, ClaimState(world.claim[0]), world.claim[1])
    hold = digest(b"a hold") if world.held else None
    facts = Facts("agent", "python", in_force, Clock(1_800_000_000_000, "0" * 32, 1), hold, claim, dict(world.budget))
    if world.refusal:
        return decide(None if world.policy == "none" else real, Refusal(Reason(world.refusal), "", b"{}"), facts)
    switches = (world.permitted, world.forbidden, world.fails, world.asks, world.ask_fails)
    return decide(None if world.policy == "none" else real, call(switches, world.key, world.needs_key), facts)


def said(decision: Decision) -> Said:
    """In the model's words."""
    assert decision.repeats in (None, FIRST) and set(decision.reserve.values()) <= {1}
    repeats = decision.repeats is not None
    return Said(
        decision.verdict.value, decision.reason.value, " ".join(decision.rules), decision.sub, repeats, tuple(decision.reserve)
    )


def disagreements(real: Policy) -> Iterator[tuple[World, Said, Said]]:
    for world in worlds():
        model, product = decision_model.decide(world), said(decided(real, world))
        if model != product:
            yield world, model, product


def test_product_and_model_agree_in_every_world() -> None:
    assert next(disagreements(policy()), None) is None


def test_no_order_of_rules_matters() -> None:
    assert next(disagreements(policy("\n".join(reversed(RULES.splitlines())))), None) is None


def test_every_answer_of_the_model_is_reached() -> None:
    """Otherwise agreement could be about nothing."""
    answers = {(answer.verdict, answer.reason) for answer in map(decision_model.decide, worlds())}
    assert len(answers) == 16 and sum(verdict != "DENY" for verdict, _ in answers) == 3


def test_the_model_denies_whatever_is_forbidden_held_failing_or_not_permitted() -> None:
    for world in worlds():
        if world.refusal or world.forbidden or world.fails or world.held or not world.permitted or world.policy != "this":
            assert decision_model.decide(world).verdict == "DENY"


@pytest.mark.parametrize("change", [('@require("approval") ', ""), ("when { context.args.permitted }", ""), ("forbid", "permit")])
def test_a_policy_that_is_one_word_off_disagrees(change: tuple[str, str]) -> None:
    assert next(disagreements(policy(RULES.replace(*change, 1))), None) is not None
