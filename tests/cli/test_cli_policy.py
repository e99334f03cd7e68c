"""Rules from files to force: checked against the pins, shown, signed; an edited file alone changes nothing."""

import pytest

from app.kernels import OPEN
from cli.terminal import Terminal
from helm_ai_kernel.app import operate

RULE = '@id("notes") permit (principal, action == Action::"python/note", resource) when { context.args.text == "a" };\n'


def note(text: str) -> str:
    return text


@pytest.fixture
def pinned(terminal: Terminal) -> Terminal:
    with terminal.place.program(note):
        pass
    return terminal


def write(terminal: Terminal, text: str, name: str = "main.cedar") -> None:
    (terminal.place.paths.policy / name).write_text(text, encoding="utf-8", errors="surrogateescape")


def test_a_policy_is_checked_shown_signed_and_in_force(pinned: Terminal) -> None:
    write(pinned, RULE)
    said = pinned.done("policy", "check", "--format", "json").json
    assert (said["changed"], said["tools"]) == (True, 1)
    assert "next: helm-ai-kernel policy apply" in pinned.done("policy", "check").out
    applied = pinned.sign("policy", "apply")
    assert "  ~ main.cedar\n" in applied.out
    assert '      +@id("notes") permit' in applied.out
    assert '      -@id("open") permit' in applied.out
    assert f"in force: {said['policy']} (receipt " in applied.out
    assert pinned.done("policy", "check", "--format", "json").json["changed"] is False
    assert pinned.sign("policy", "apply", "--format", "json").json == {"policy": said["policy"], "changed": False}
    pinned.place.check()


def test_what_is_applied_is_also_a_json_document(pinned: Terminal) -> None:
    write(pinned, RULE)
    said = pinned.sign("policy", "apply", "--format", "json")
    assert set(said.json) == {"policy", "changed", "receipt"}
    assert "  ~ main.cedar" in said.err


def test_without_consent_nothing_is_signed(pinned: Terminal) -> None:
    write(pinned, RULE)
    before = len(pinned.place.receipts())
    said = pinned("policy", "apply")
    assert (said.code, said.error, said.hint) == (1, "policy apply: nothing was signed", "helm-ai-kernel policy apply --yes")
    assert len(pinned.place.receipts()) == before


def test_an_edited_file_alone_changes_nothing(pinned: Terminal) -> None:
    write(pinned, "")
    with pinned.place.program(note) as program:  # which signs its own policy again
        assert program["note"]("b") == "b"
    write(pinned, RULE)
    policy = operate.standing(pinned.place.config).boundary.policy
    assert policy is not None
    assert policy.files["main.cedar"] == OPEN


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("permit (principal, action, resource);", "without a usable @id"),
        ('@id("a") permit (principal, action == Action::"python/nota", resource);', "python/nota"),
        ('@id("a") permit (principal, action == Action::"python/note", resource) when { context.args.txt == "" };', "txt"),
        ('@id("a") permit (principal, action == Action::"python/note", resource) when { context.args.text == 1 };', "rule `a`"),
        ('@id("a") permit (principal, action, resource == Server::"nobody");', "no pinned tool is of the server `nobody`"),
        ('@id("a") permit (', "main.cedar"),
        ("\x1b[31m\u202e", "main.cedar"),
        ("// \udcff", "main.cedar"),
    ],
)
def test_a_mistake_is_named_by_file_and_rule_and_stays_out(pinned: Terminal, text: str, says: str) -> None:
    write(pinned, text)
    before = len(pinned.place.receipts())
    for argv in (("policy", "check"), ("policy", "apply", "--yes")):
        said = pinned(*argv)
        assert (said.code, said.out) == (1, "")
        assert says in said.error
        assert said.error.endswith("(ERR_POLICY_ERROR)")
    assert len(pinned.place.receipts()) == before


def test_a_permit_in_the_ceiling_or_an_overlay_is_refused(pinned: Terminal) -> None:
    for name in ("ceiling.cedar", "overlays/team.cedar"):
        write(pinned, RULE.replace("notes", "other"), name)
        said = pinned("policy", "check")
        assert said.code == 1
        assert name in said.error
        (pinned.place.paths.policy / name).unlink()
    write(pinned, RULE.replace("notes", "never").replace("permit", "forbid"), "ceiling.cedar")
    assert pinned("policy", "check").code == 0


def test_hostile_text_in_a_policy_is_shown_harmless(pinned: Terminal) -> None:
    write(pinned, "// \x1b]0;owned\x07 \u202e evil\n" + RULE)
    assert "\\u{1b}]0;owned" in pinned.sign("policy", "apply").out
