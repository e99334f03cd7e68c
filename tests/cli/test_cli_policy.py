"""Rules from files to force: checked against the pins, shown, signed; an edited file alone changes nothing."""

import json
from typing import Any

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


def cases(terminal: Terminal, *said: Any, file: str = "notes.json") -> None:
    folder = terminal.place.paths.policy / "tests"
    folder.mkdir(exist_ok=True)
    (folder / file).write_text(json.dumps(list(said)), encoding="utf-8")


def case(name: str, text: object, expect: str, **more: object) -> dict[str, object]:
    return {"name": name, "tool": "python/note", "arguments": {"text": text}, "expect": expect, **more}


A, B = case("an a", "a", "ALLOW", rules=["notes"]), case("a b", "b", "DENY", reason="ERR_TOOL_NOT_ALLOWED", rules=[])


def test_cases_are_decided_by_the_files_as_they_are_and_nothing_is_written(pinned: Terminal) -> None:
    before = len(pinned.place.receipts())
    write(pinned, RULE)
    cases(pinned, A, B)
    cases(pinned, case("a number", 1, "DENY", reason="ERR_SCHEMA_VIOLATION"), file="shapes.json")
    said = pinned.done("policy", "test")
    assert said.out.splitlines() == [
        "ok       tests/notes.json: an a",
        "ok       tests/notes.json: a b",
        "ok       tests/shapes.json: a number",
        "3 cases, none of them decided otherwise",
    ]
    assert len(pinned.place.receipts()) == before
    listed = pinned.done("policy", "test", "--format", "json").json
    assert [one["ok"] for one in listed["cases"]] == [True] * 3 and listed["differ"] == 0
    assert listed["cases"][0]["got"] == {"verdict": "ALLOW", "reason": "OK", "sub": "", "rules": ["notes"]}


def test_a_case_that_differs_is_shown_and_nobody_is_asked_to_sign(pinned: Terminal) -> None:
    write(pinned, RULE)
    cases(pinned, A, {**B, "expect": "ALLOW", "reason": "OK"}, {**A, "name": "x", "rules": ["other"]}, file="b.json")
    before = len(pinned.place.receipts())
    said = pinned("policy", "test")
    assert (said.code, said.err) == (1, "")
    differs = [
        "DIFFERS  tests/b.json: a b: expected ALLOW OK, got DENY ERR_TOOL_NOT_ALLOWED",
        "DIFFERS  tests/b.json: x: expected ALLOW other, got ALLOW OK notes",
    ]
    assert said.out.splitlines()[1:] == [*differs, "3 cases, 2 of them decided otherwise"]
    applied = pinned.sign("policy", "apply")
    assert (applied.code, applied.out.splitlines()) == (1, differs)
    assert applied.error == "policy apply: 2 of 3 policy tests are decided otherwise, and nothing was signed"
    assert pinned.type(applied.hint).code == 1
    assert len(pinned.place.receipts()) == before
    cases(pinned, A, B, file="b.json")
    assert pinned.sign("policy", "apply").code == 0


ASKS = (
    '@id("open") permit (principal, action, resource);\n@id("ask") @require("approval") @approvers("2") @timelock("10m") '
    "forbid (principal, action, resource);\n"
)
NIGHT = (
    '@id("day") permit (principal == Agent::"ann", action, resource) when { context.now < 1000 && context.door == "execute" };'
)


def test_a_case_can_say_that_people_approved_who_asks_where_and_when(pinned: Terminal) -> None:
    write(pinned, ASKS)
    held = case("held", "a", "ESCALATE", reason="ERR_APPROVAL_REQUIRED", rules=["ask"])
    cases(pinned, held, case("approved", "a", "ALLOW", approved=True, rules=["open"]), case("wrong", 1, "DENY", approved=True))
    assert pinned("policy", "test").code == 0
    write(pinned, NIGHT)
    ann: dict[str, object] = {"principal": "ann", "door": "execute", "now": 999}
    others = ({"now": 1000}, {"principal": "bob"}, {"door": "library"})
    cases(pinned, case("ann", "a", "ALLOW", **ann), *(case(str(at), "a", "DENY", **{**ann, **o}) for at, o in enumerate(others)))
    assert pinned("policy", "test").code == 0


def test_without_cases_there_is_nothing_to_differ(pinned: Terminal) -> None:
    assert "no cases in" in pinned.done("policy", "test").out


def test_cases_are_no_part_of_the_policys_digest(pinned: Terminal) -> None:
    write(pinned, RULE)
    before = pinned.done("policy", "check", "--format", "json").json["policy"]
    cases(pinned, A)
    assert pinned.done("policy", "check", "--format", "json").json["policy"] == before


@pytest.mark.parametrize(
    ("said", "says", "hint"),
    [
        ([{**A, "tool": "python/nota"}], "case `an a`: no tool `python/nota` is pinned", "did you mean `python/note`?"),
        ([{**A, "tool": "zzz"}], "no tool `zzz` is pinned", "helm-ai-kernel tools list"),
        ([{**A, "expects": "DENY"}], "case `an a`: field `expects` is unknown", "a case has `arguments`, `expect`"),
        ([{"name": "x"}], "case `x`: field `arguments` is missing", "a case has"),
        ([{**A, "name": ""}], "case 1: field `name` is not 1 to 200 characters", "a case has"),
        ([{**A, "expect": "allow"}], "field `expect`: `allow` is not known here", "a case has"),
        ([{**A, "reason": "ERR_NO"}], "field `reason`: `ERR_NO` is not known here", "a case has"),
        ([{**A, "approved": False}], "field `approved` is not true", "a case has"),
        ([{**A, "arguments": "{}"}], "field `arguments` is not dict", "a case has"),
        ([{**A, "now": -1}], "field `now` is negative", "a case has"),
        ([{**A, "rules": "notes"}], "field `rules` is not list", "a case has"),
        ([A, A], "two cases are called `an a`", "give each a name of its own"),
        (["an a"], "case 1: not an object", "a case has"),
        ({}, "is no list of cases", "write ["),
    ],
)
def test_what_is_no_case_is_an_error_with_a_hint(pinned: Terminal, said: Any, says: str, hint: str) -> None:
    write(pinned, RULE)
    cases(pinned)
    (pinned.place.paths.policy / "tests/notes.json").write_text(json.dumps(said))
    for argv in (("policy", "test"), ("policy", "apply", "--yes")):
        got = pinned(*argv)
        assert (got.code, got.out) == (1, "")
        assert "`tests/notes.json`" in got.error and says in got.error and got.error.endswith("(ERR_POLICY_ERROR)")
        assert got.hint.startswith(hint)


def test_a_test_file_that_nobody_would_read_is_refused(pinned: Terminal) -> None:
    cases(pinned, file="notes.jsn")
    for argv in (("policy", "check"), ("policy", "test"), ("policy", "apply", "--yes")):
        assert "is no policy file" in pinned(*argv).error
    (pinned.place.paths.policy / "tests/notes.jsn").rename(pinned.place.paths.policy / "tests/notes.json")
    (pinned.place.paths.policy / "tests/notes.json").write_text('[{"name":1,"name":2}]')
    assert "is not JSON" in pinned("policy", "test").error


def test_the_cases_of_a_policy_are_in_a_backup_as_the_policy_is(pinned: Terminal) -> None:
    write(pinned, RULE)
    cases(pinned, A, B)
    backup, elsewhere = pinned.place.folder / "b.tar", pinned.place.folder / "elsewhere"
    said = pinned.done("backup", str(backup), "--format", "json").json
    assert said["left_out"] == []
    assert pinned.sign("restore", str(backup), "--home", str(elsewhere)).code == 0
    restored, kept = elsewhere / "policy/tests/notes.json", pinned.place.paths.policy / "tests/notes.json"
    assert restored.read_bytes() == kept.read_bytes()
