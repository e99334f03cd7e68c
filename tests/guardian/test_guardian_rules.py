import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helm_ai_kernel.guardian.rules import NESTING_MAX, NOWHERE, RULE_TOKENS_MAX, Read, Rule, parse
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused


def rule(text: str, file: str = "main.cedar") -> Rule:
    (found,) = parse(file, text)
    return found


def when(condition: str) -> Rule:
    return rule(f'@id("r") forbid(principal, action, resource) when {{ {condition} }};')


@pytest.mark.parametrize(
    ("condition", "reads"),
    [
        ("true", set()),
        ("context.now > 5", {(("now",), True)}),
        ('context.args.path like "/x/*"', {(("args", "path"), True)}),
        ('context["args"]["pa th"] == ""', {(("args", "pa th"), True)}),
        ("context.args has n && context.args.n > 1", {(("args", "n"), False), (("args", "n"), True)}),
        ("context has args.a.b", {(("args",), False), (("args", "a"), False), (("args", "a", "b"), False)}),
        ("context.args == {a: context.now}", {(("args",), True), (("now",), True)}),
        ("(if true then context.args else context.args.a).b", {(("args",), True), (("args", "a"), True)}),
        ("[1, context.args.n].contains(2)", {(("args", "n"), True)}),
        ("principal has role", {((NOWHERE, "role"), False)}),
        ('principal.hasTag("x")', {((NOWHERE, "tags"), False)}),
        ("{a: context.args.b} has a", {((NOWHERE, "a"), False), (("args", "b"), True)}),
        ("!(-context.args.n > 0) || context.args.x is Agent", {(("args", "n"), True), (("args", "x"), True)}),
    ],
)
def test_what_a_rule_reads_is_every_longest_path_of_the_context(condition: str, reads: set[tuple[tuple[str, ...], bool]]) -> None:
    assert when(condition).reads == {Read(path, whole) for path, whole in reads}


def test_unless_and_further_conditions_are_read_too() -> None:
    text = '@id("r") permit(principal, action, resource) when { context.a } unless { context.b } when { context.c };'
    assert {read.path for read in rule(text).reads} == {("a",), ("b",), ("c",)}


@pytest.mark.parametrize(
    ("scope", "applies"),
    [
        ("action, resource", True),
        ('action == Action::"fs/read", resource', True),
        ('action == Action::"fs/write", resource', False),
        ('action == Action::"FS/read", resource', False),
        ('action in Action::"read", resource', True),
        ('action in Action::"write", resource', False),
        ('action in Action::"fs/read", resource', True),
        ('action in [Action::"write", Action::"fs/read"], resource', True),
        ('action in [Action::"write", Action::"web/get"], resource', False),
        ("action in [], resource", False),
        ('action, resource == Server::"fs"', True),
        ('action, resource == Server::"web"', False),
        ('action, resource in Server::"web"', False),
        ("action, resource is Server", True),
        ('action, resource is Server in Server::"fs"', True),
        ('action, resource is Server in Server::"f"', False),
    ],
)
def test_a_scope_that_cannot_match_a_tool_keeps_its_rule_away_from_it(scope: str, applies: bool) -> None:
    assert rule(f'@id("r") permit(principal, {scope});').applies("fs/read", "read") is applies


@pytest.mark.parametrize(
    ("file", "text", "sub"),
    [
        ("main.cedar", "permit(principal, action, resource);", "annotation"),
        ("main.cedar", '@id("") permit(principal, action, resource);', "annotation"),
        ("main.cedar", "@id permit(principal, action, resource);", "annotation"),
        ("main.cedar", '@id("a b") permit(principal, action, resource);', "annotation"),
        ("main.cedar", '@id("\\n") permit(principal, action, resource);', "annotation"),
        ("main.cedar", f'@id("{"a" * 129}") permit(principal, action, resource);', "annotation"),
        ("main.cedar", '@id("p\u0430y") permit(principal, action, resource);', "annotation"),
        ("main.cedar", '@id("a") @id("b") permit(principal, action, resource);', "syntax"),
        ("main.cedar", '@id("a") @note("b") permit(principal, action, resource);', "annotation"),
        ("main.cedar", '@id("a") @description("\\u{1b}[2J") permit(principal, action, resource);', "annotation"),
        ("main.cedar", '@id("a") @require("four-eyes") forbid(principal, action, resource);', "annotation"),
        ("main.cedar", '@id("a") @require forbid(principal, action, resource);', "annotation"),
        ("main.cedar", '@id("a") @require("approval") permit(principal, action, resource);', "annotation"),
        ("ceiling.cedar", '@id("a") @require("approval") forbid(principal, action, resource);', "layer"),
        ("ceiling.cedar", '@id("a") permit(principal, action, resource);', "layer"),
        ("overlays/x.cedar", '@id("a") permit(principal, action, resource);', "layer"),
        ("overlays/x.cedar", '@id("a") @require("approval") permit(principal, action, resource);', "layer"),
        ("main.cedar", '@id("a") permit(principal == ?principal, action, resource);', "template"),
        ("main.cedar", '@id("a") permit(principal, action, resource in ?resource);', "template"),
        ("main.cedar", '@id("a") permit(principal, action, resource)', "syntax"),
        ("main.cedar", '@id("a") permit(principal, action, resource) when { context };', "types"),
        ("main.cedar", '@id("a") permit(principal, action, resource) when { context == {a: 1} };', "types"),
        ("main.cedar", '@id("a") permit(principal, action, resource) when { "unclosed };', "syntax"),
        ("main.cedar", "{}", "syntax"),
        ("main.cedar", ";", "syntax"),
    ],
)
def test_a_rule_that_is_not_ours_is_refused(file: str, text: str, sub: str) -> None:
    with pytest.raises(Refused) as refused:
        parse(file, text)
    assert (refused.value.reason, refused.value.sub) == (Reason.ERR_POLICY_ERROR, sub)
    assert f"`{file}`" in refused.value.detail and refused.value.hint


def test_each_layer_may_say_what_it_may() -> None:
    forbid, asks = (
        '@id("a") forbid(principal, action, resource);',
        '@id("a") @require("approval") forbid(principal, action, resource);',
    )
    for file in ("main.cedar", "ceiling.cedar", "overlays/x.cedar", "builtin.cedar"):
        assert not rule(forbid, file).permits
    for file in ("main.cedar", "overlays/x.cedar", "builtin.cedar"):
        assert rule(asks, file).needs_approval
    assert rule('@id("a") permit(principal, action, resource);').permits


DEEP = {
    "brackets": lambda n: "(" * n + "true" + ")" * n,
    "sets": lambda n: "[" * n + "]" * n + " == []",
    "records": lambda n: '{"a":' * n + "1" + "}" * n + " == {}",
    "chain": lambda n: " && ".join(["true"] * n),
    "sum": lambda n: "1" + "+1" * n + " > 0",
    "ifs": lambda n: "if true then " * n + "true" + " else false" * n,
    "path": lambda n: "context" + ".a" * n,
    "nots": lambda n: "!" * n + "true",
    "minus": lambda n: "-" * n + "1 == 1",
    "both": lambda n: "(1+" * min(n, 60) + "1" + ")" * min(n, 60) + "+1" * n + " > 0",
}


@pytest.mark.parametrize("n", [NESTING_MAX + 1, 120, 400, 5_000, 60_000])
@pytest.mark.parametrize("shape", DEEP)
def test_nesting_that_would_end_the_process_is_refused(shape: str, n: int) -> None:
    if n < 120 and shape in ("chain", "sum", "ifs", "path", "both"):
        return
    with pytest.raises(Refused) as refused:
        when(DEEP[shape](n))
    assert refused.value.sub in ("size", "syntax")


def test_a_long_list_of_values_is_not_nesting() -> None:
    listed = ", ".join(f'"/data/{n}"' for n in range(3_000))
    assert when(f"[{listed}].contains(context.args.path)").reads == {Read(("args", "path"), True)}
    assert RULE_TOKENS_MAX < 3_000


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["// x ;\n", '"', '\\"', ";", "(", ")", "\n", " ", "true", '"a;b"', "//"]), max_size=12).map("".join)
)
def test_text_that_is_split_otherwise_than_cedar_splits_it_is_refused_and_never_mistaken(noise: str) -> None:
    first, last = (
        '@id("a") permit(principal, action, resource);',
        '@id("b") forbid(principal, action, resource) when { context.x };',
    )
    try:
        found = parse("main.cedar", f"{first}{noise}\n{last}")
    except Refused:
        return
    assert [one.id for one in found] == ["a", "b"]
    assert found[1].condition == "when { context.x }"


def test_a_rule_keeps_its_condition_for_the_hint_without_comments() -> None:
    text = '@id("a") forbid(principal, action, resource)\n  // not ; this "\n'
    text += '  when { context.args.path\n    like "/etc/*" }\n  unless { false };'
    assert rule(text).condition == 'when { context.args.path like "/etc/*" } unless { false }'
