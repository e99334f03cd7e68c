import pytest
from guardian_faces import FILES, Catalog, Tool, catalog, obj, policy

from helm_ai_kernel.guardian.bundle import Bundle
from helm_ai_kernel.guardian.check import RULES_PER_TOOL_MAX
from helm_ai_kernel.guardian.policy import Policy
from helm_ai_kernel.tcb.call import Effect
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.digest import digest
from helm_ai_kernel.tcb.errors import Refused

WRITE = 'action == Action::"fs/write", resource'


def refusal(text: str, tools: Catalog = FILES, **files: str) -> Refused:
    with pytest.raises(Refused) as refused:
        policy(text, tools, **files)
    assert refused.value.reason is Reason.ERR_POLICY_ERROR
    assert refused.value.hint
    return refused.value


@pytest.mark.parametrize(
    ("scope", "condition"),
    [
        (WRITE, 'context.args.pth == "/x"'),
        (WRITE, "context.args has pth"),
        (WRITE, "context.args.path == 1"),
        (WRITE, "context.args.n > 1"),  # optional: may be absent
        (WRITE, 'context.args.path like "/x" && context.args.rate > 1'),
        (WRITE, 'context.session == "x"'),
        (WRITE, "context has approval"),
        (WRITE, "principal has role"),
        (WRITE, 'resource.owner == "x"'),
        (WRITE, 'principal.hasTag("x")'),
        ("action, resource", 'context.args.path == "/x"'),  # not every tool has it
        ('action == Action::"fs/wriet", resource', "true"),
        ('action == Action::"read", resource', "true"),
        ('action in Action::"reed", resource', "true"),
        ('action in [Action::"read", Action::"fs/wriet"], resource', "true"),
        ('action, resource == Server::"f5"', "true"),
        ('action, resource == Agent::"fs"', "true"),
        (WRITE, "context.touches_kernel == 1"),
        (WRITE, "context.labels.contains(1)"),
    ],
)
def test_a_mistake_fails_when_the_policy_is_made_and_not_in_a_call(scope: str, condition: str) -> None:
    error = refusal(
        f'@id("fine") permit(principal, action, resource);\n@id("wrong") forbid(principal, {scope}) when {{ {condition} }};'
    )
    assert error.sub == "types"
    assert "`main.cedar`" in error.detail and "`wrong`" in error.detail


def test_what_is_right_passes() -> None:
    policy(
        """
        @id("a") permit(principal == Agent::"ann", action in Action::"read", resource == Server::"fs");
        @id("b") forbid(principal, action in [Action::"fs/read", Action::"fs/write"], resource)
            when { context.args.path like "/etc/*" || (context.args has n && context.args.n > 5) };
        @id("c") forbid(principal, action == Action::"fs/read", resource)
            when { context.args has rate && context.args.rate.greaterThan(decimal("1.5")) };
        @id("d") forbid(principal, action, resource) when { context.args has path && context.args.path like "/proc/*" };
        @id("e") forbid(principal, action in Action::"payment", resource);
        @id("f") forbid(principal, action, resource)
            when { context.door == "library" && context.now > 5 && context.labels.contains("x") }
            unless { context.destinations.isEmpty() };
        """
    )


def test_a_class_without_tools_can_be_ruled_and_an_empty_catalogue_too() -> None:
    text = "".join(f'@id("{effect}") forbid(principal, action in Action::"{effect.value}", resource);' for effect in Effect)
    assert len(policy(text).rules) == len(policy(text, Catalog()).rules) == 7


OPTIONAL = {"anyOf": [{"type": "string"}, {"type": "null"}]}
LOOSE = catalog(
    Tool("x/a", Effect.READ, obj({"maybe": OPTIONAL, "path": {"type": "string"}})),
    Tool("x/b", Effect.READ, obj({"path": {"type": "string"}})),
)


@pytest.mark.parametrize(
    "condition", ['context.args.maybe == "x"', "context.args has maybe", 'context.args has maybe && context.args.maybe == "x"']
)
def test_an_argument_that_cedar_cannot_hold_cannot_be_read(condition: str) -> None:
    error = refusal(f'@id("r") forbid(principal, action == Action::"x/a", resource) when {{ {condition} }};', LOOSE)
    assert error.sub == "types"


def test_a_rule_for_all_tools_may_ask_for_what_some_of_them_have() -> None:
    text = '@id("r") forbid(principal, action{scope}, resource) when {{ context.args has {name} }};'
    policy(text.format(scope="", name="path"), LOOSE)
    assert "`x/a`" in refusal(text.format(scope="", name="maybe"), LOOSE).detail
    assert "no tool" in refusal(text.format(scope="", name="pth"), LOOSE).detail


def test_arguments_as_a_whole_are_read_only_where_all_of_them_have_a_type() -> None:
    text = '@id("r") forbid(principal, action == Action::"x/{}", resource) when {{ context.args == context.args }};'
    policy(text.format("b"), LOOSE)
    assert refusal(text.format("a"), LOOSE).sub == "types"


def test_one_name_for_two_rules_is_refused_across_files() -> None:
    one = '@id("same") forbid(principal, action, resource);'
    for more in ({"more": one}, {"ceiling": one}, {"overlays__x": one}):
        error = refusal(one, **more)
        assert "`same`" in error.detail and "`main.cedar`" in error.detail
    assert "builtin.cedar" in refusal('@id("helm-kernel-directories") forbid(principal, action, resource);').detail
    assert refusal(one + one).sub == "annotation"


def test_a_permit_in_an_overlay_is_refused_with_its_file() -> None:
    error = refusal("", overlays__team='@id("p") permit(principal, action, resource);')
    assert (error.sub, "`overlays/team.cedar`" in error.detail) == ("layer", True)


def test_more_rules_for_one_tool_than_a_receipt_can_name_are_refused() -> None:
    many = "".join(f'@id("r{n}") forbid(principal, action, resource);' for n in range(RULES_PER_TOOL_MAX))
    assert refusal(many).sub == "size"
    spread = many.replace("action,", 'action == Action::"fs/read",')
    assert refusal(spread).sub == "size"


@pytest.mark.parametrize("name", ["read", "/read", "fs/", ""])
def test_a_tool_without_a_server_is_refused(name: str) -> None:
    assert refusal("", catalog(Tool(name, Effect.READ, obj({})))).sub == "catalog"


def test_a_bundle_holds_for_its_catalogue_only() -> None:
    bundle = Bundle.of({}, digest(b"another"), [])
    with pytest.raises(Refused) as refused:
        Policy.from_bundle(bundle, FILES)
    assert refused.value.sub == "catalog"
