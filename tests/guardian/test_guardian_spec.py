"""The page of the specification is executed: its example, its built-in rules, its table of questions."""

import json
import re
from pathlib import Path

import pytest
from guardian_faces import A_CATALOG, Tool, call, catalog, facts

from helm_ai_kernel.guardian import bundle, check, protect, rules, schema
from helm_ai_kernel.guardian.policy import Policy, decide
from helm_ai_kernel.tcb.call import Effect
from helm_ai_kernel.tcb.ceremony import APPROVERS_MAX, WAIT_MS_MAX, Requirement
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.jcs import canonical

PAGE = (Path(__file__).resolve().parents[2] / "docs/spec/policy.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def block(language: str, at: int = 0) -> str:
    return [text for name, text in BLOCKS if name == language][at]


TOOL = json.loads(block("json"))
TOOLS = catalog(Tool(TOOL["name"], Effect(TOOL["effect"]), TOOL["input_schema"]))
POLICY = Policy.from_files({"main.cedar": block("cedar").encode()}, TOOLS, ["/home/ann/.local/share/helm-ai-kernel"])
ROWS = [[cell.strip() for cell in line.split("|")[1:-1]] for line in PAGE.splitlines() if line.startswith('| `{"path"')]


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_the_example_decides_as_the_page_says(row: list[str]) -> None:
    args, verdict, reason, sub, named = row
    decision = decide(POLICY, call(TOOL["name"], json.loads(args.strip("`")), TOOLS), facts(POLICY))
    assert [decision.verdict.value, decision.reason.value, decision.sub, " ".join(decision.rules)] == [
        verdict,
        reason,
        sub,
        named,
    ]


def test_the_rule_about_approvals_asks_for_what_the_page_says() -> None:
    (rule,) = rules.parse("main.cedar", block("cedar", 1))
    assert rule.requires == Requirement(2, 600_000, 3_600_000)
    said = dict(re.findall(r"^\| `@(\w+)` \| [^|]+ \| ([^|]+) \|$", PAGE, re.MULTILINE))
    assert set(said) == set(rules._ASKS) and said["approvers"] == str(Requirement().approvers)
    assert said["expires"] == "`1h`" and Requirement().expires_ms == 3_600_000 and Requirement().timelock_ms == 0
    assert f"1 to {APPROVERS_MAX}, in ASCII digits" in PAGE and f"at most {WAIT_MS_MAX // 86_400_000} days" in PAGE
    both = Policy.from_files({"main.cedar": (block("cedar") + block("cedar", 1)).encode()}, TOOLS, [])
    decision = decide(both, call(TOOL["name"], {"path": "/data/x", "rate": 0.8}, TOOLS), facts(both))
    assert (decision.rules, decision.requires) == (("large-writes", "slowly"), Requirement(2, 600_000, 3_600_000, ("ann",)))


def test_the_page_has_its_examples() -> None:
    assert len(ROWS) == 10 and {row[2] for row in ROWS} == {
        "OK", "ERR_TOOL_NOT_ALLOWED", "ERR_POLICY_DENY", "ERR_POLICY_ERROR", "ERR_APPROVAL_REQUIRED"
    }  # fmt: skip


def test_the_builtin_rules_on_the_page_are_the_ones_in_force() -> None:
    assert block("builtin").encode() == bundle.BUILTIN


def test_the_manifest_on_the_page_has_the_fields_of_the_manifest() -> None:
    example = json.loads(block("json", 1))
    made = json.loads(bundle.Bundle.of({"main.cedar": b""}, A_CATALOG, example["protected"]).manifest)
    assert example.keys() == made.keys() and example["files"].keys() == made["files"].keys()
    assert (example["v"], example["protected"]) == (made["v"], made["protected"])
    assert canonical(made) == bundle.Bundle.of({"main.cedar": b""}, A_CATALOG, example["protected"]).manifest


def test_the_bounds_on_the_page_are_those_of_the_code() -> None:
    flat = " ".join(PAGE.split())
    for said in [
        f"At most {bundle.FILES_MAX} files, {bundle.FILE_BYTES_MAX >> 10} KiB each, {bundle.BUNDLE_BYTES_MAX >> 20} MiB together",
        f"{check.RULES_MAX} rules, {check.RULES_PER_TOOL_MAX} that can apply to one tool",
        f"each once, at most {bundle.PROTECTED_MAX}.",
        f"one printable line, at most {rules.DESCRIPTION_MAX} characters",
        f"at most {rules.RULE_TOKENS_MAX} words and signs, not counting strings and commas",
        f"and at most {rules.NESTING_MAX} brackets inside each other",
        f"nesting beyond {schema.TYPE_DEPTH_MAX}, what comes after {schema.TYPE_NODES_MAX} subschemas",
    ]:
        assert said in flat
    assert protect.DECODES_MAX == 8 and "up to eight times" in flat


def test_the_vocabulary_on_the_page_is_the_context() -> None:
    assert set(re.findall(r"^\| `context\.(\w+)` \|", PAGE, re.MULTILINE)) == {"args", *schema.CONTEXT}


def test_every_code_on_the_page_is_a_reason() -> None:
    assert set(re.findall(r"\bERR_[A-Z_]+\b", PAGE)) <= {reason.value for reason in Reason}
