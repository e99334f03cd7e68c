"""The routes of the HTTP page are those that are served, and its statuses those of the table."""

import json
import re
from pathlib import Path

from helm_ai_kernel.app import planes, resident
from helm_ai_kernel.gateway import control, openapi
from helm_ai_kernel.gateway.data import METHODS
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.wire.status import STATUS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/spec/http.md").read_text(encoding="utf-8").partition("\n## Routes\n")[2]
DATA, CONTROL = PAGE.split("### The control plane")


def routes(text: str) -> set[tuple[str, str]]:
    found = set()
    for row in re.findall(r"^\| (`(?:GET|POST) .*?) \|", text, re.MULTILINE):
        method = row[1:].split()[0]
        found |= {(method, path) for path in re.findall(r"(/[^`\s]*)`", row)}
    return found


def test_the_routes_of_the_page_are_those_that_are_documented_for_programs() -> None:
    for text, said in ((DATA, openapi.DATA), (CONTROL, openapi.CONTROL)):
        assert routes(text) == {(method.upper(), path) for path, methods in said.items() for method in methods}
    assert routes(DATA) == {(method, path) for path, method in METHODS.items()}


def test_the_example_of_an_answer_has_the_form_that_is_documented() -> None:
    import jsonschema_rs

    (example,) = re.findall(r"^```json\n(.*?)^```", DATA, re.MULTILINE | re.DOTALL)
    said = openapi.document()
    schema = {"$ref": "#/components/schemas/Answer", "components": said["components"]}
    assert not list(jsonschema_rs.validator_for(schema).iter_errors(json.loads(example)))


def test_the_statuses_of_the_page_are_the_tables() -> None:
    rows = dict(re.findall(r"^\| (.+?) \| ([0-9, ]+) \|", DATA, re.MULTILINE))
    named = {int(status) for cell in rows.values() for status in cell.split(", ")}
    decided = {
        Reason.OK, Reason.REPEATED, Reason.ERR_APPROVAL_REQUIRED, Reason.ERR_POLICY_DENY, Reason.ERR_TOOL_HALTED,
        Reason.ERR_BUDGET_EXHAUSTED, Reason.ERR_JSON_NOT_IJSON, Reason.ERR_UPSTREAM_SHAPE, Reason.ERR_SCHEMA_VIOLATION,
        Reason.ERR_IDEMPOTENCY_MISMATCH, Reason.ERR_IDEMPOTENCY_IN_FLIGHT, Reason.ERR_OUTCOME_UNKNOWN, Reason.ERR_SESSION_ENDED,
        Reason.ERR_CONNECTOR_CONTRACT_DRIFT, Reason.ERR_CONNECTOR_FAILED, Reason.ERR_SEALED, Reason.ERR_RATE_LIMITED,
    }  # fmt: skip
    assert named == {STATUS[reason] for reason in decided} | {404, 405}


def test_the_numbers_of_the_page_are_the_codes() -> None:
    assert (planes.DATA_PORT, planes.CONTROL_PORT) == (8790, 8791)
    assert control.BODY_BYTES_MAX == 32 << 20
    assert f"`limit` ({control.PAGE}, at most {control.PAGE_MAX})" in PAGE
    assert resident.OPEN_LOOPBACK == "--insecure-open-loopback"
