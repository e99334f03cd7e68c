"""What a person changes: it is prepared against what is in force, and signed only if that is still so."""

import asyncio
import json
from typing import Any

import pytest

from app.kernels import OPEN, Place, mcp
from helm_ai_kernel.app import operate
from helm_ai_kernel.app.config import Upstream
from helm_ai_kernel.pep.catalog import entry, server_doc
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError, Refused

RAW = {"name": "note", "description": "", "inputSchema": {"type": "object", "properties": {}}}


def document(*raws: dict[str, Any]) -> dict[str, Any]:
    return server_doc("python", {"kind": "python"}, [entry(raw["name"], raw) for raw in raws])


def test_what_is_in_force_is_read_beside_a_running_kernel(place: Place) -> None:
    def note() -> None:
        pass

    before = operate.standing(place.config).boundary
    assert (dict(before.catalog.tools), before.policy) == ({}, None)
    with place.program(note) as program:
        now = operate.standing(place.config).boundary
        assert list(now.catalog.tools) == ["python/note"]
        assert now.policy is not None
        assert now.policy.files["main.cedar"] == OPEN
        with pytest.raises(OutsideError, match="ERR_STORE_LOCKED"):
            operate.check_unlocked(place.paths)
        assert program["note"]() is None
    operate.check_unlocked(place.paths)


def test_what_was_agreed_to_is_signed_and_nothing_else(place: Place) -> None:
    doc = document(RAW)
    agreed = operate.propose_pins(operate.standing(place.config), doc)
    other = document({**RAW, "description": "another"})
    with pytest.raises(Refused, match="ERR_APPROVAL_INTENT_MISMATCH"):
        asyncio.run(operate.enact(place.config, agreed, lambda now: operate.propose_pins(now, other), [place.approver]))
    assert place.told("statement") == []
    receipt = asyncio.run(operate.enact(place.config, agreed, lambda now: operate.propose_pins(now, doc), [place.approver]))
    assert place.receipts()[receipt.index].leaf == receipt.leaf
    assert operate.standing(place.config).boundary.catalog.digest == agreed.catalog.digest
    place.check()


def test_a_proposal_is_made_again_over_what_came_into_force_meanwhile(place: Place) -> None:
    doc, late = document(RAW), server_doc("other", {"kind": "python"}, [entry("note", RAW)])
    standing = operate.standing(place.config)
    agreed = operate.propose_pins(standing, doc)
    other = operate.propose_pins(standing, late)
    asyncio.run(operate.enact(place.config, other, lambda now: operate.propose_pins(now, late), [place.approver]))
    with pytest.raises(Refused, match="changed meanwhile"):
        asyncio.run(operate.enact(place.config, agreed, lambda now: operate.propose_pins(now, doc), [place.approver]))
    assert list(operate.standing(place.config).boundary.catalog.tools) == ["other/note"]


def test_a_proposal_on_disk_is_ascii_and_comes_back_the_same(place: Place) -> None:
    doc = document({**RAW, "description": "\x1b[31m red \u202e evil \U0001f600"})
    operate.save_catalog(place.paths, doc)
    assert (place.paths.catalog / "python.json").read_bytes().isascii()
    assert operate.read_catalog(place.config, "python") == doc
    assert [path.name for path in place.paths.catalog.iterdir()] == ["python.json"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "is not JSON"),
        ('{"a":1,"a":1}', "is not JSON"),
        ("[]", "is no catalogue document of `python`"),
        ("{}", "is no catalogue document of `python`"),
        (json.dumps({**document(RAW), "server": "other"}), "is no catalogue document of `python`"),
        (json.dumps({**document(RAW), "tools": [{"name": "note"}]}), "is no catalogue document of `python`"),
        (json.dumps({**document(RAW), "source": {"kind": "wasi"}}), "the source kind `wasi` is not known"),
        (json.dumps({**document(RAW), "v": 2}), "field `v` is not 1"),
    ],
)
def test_a_file_that_is_no_proposal_is_refused(place: Place, content: str, says: str) -> None:
    (place.paths.catalog / "python.json").write_text(content)
    with pytest.raises(Refused, match="ERR_SCHEMA_UNSAFE") as caught:
        operate.read_catalog(place.config, "python")
    assert says in caught.value.detail


@pytest.mark.parametrize("name", ["none", "../home/helm", "/etc/passwd", "", "a/b", "A"])
def test_where_nothing_is_proposed_the_hint_says_how_to(place: Place, name: str) -> None:
    place.configure('[upstream.none]\ncommand = ["none"]\n')
    with pytest.raises(OutsideError, match="no tools are proposed") as caught:
        operate.read_catalog(place.config, name)
    assert ("tools inspect none" if name == "none" else f"add [upstream.{name}] to ") in caught.value.hint


def test_effects_and_formats_are_set_for_all_and_then_for_one() -> None:
    doc = document(RAW, {**RAW, "name": "other"})
    operate.classify(doc, ["other=write", "read"], ["iban"])
    assert [(tool["effect"], tool["accept_formats"]) for tool in doc["tools"]] == [("read", ["iban"]), ("write", ["iban"])]
    for wrong, hint in (("reed", "one of: read, write, destructive"), ("nobody=read", "one of: note, other")):
        with pytest.raises(OutsideError) as caught:
            operate.classify(doc, [wrong], [])
        assert caught.value.hint.startswith(hint)
    operate.leave_out(doc, ["note"])
    assert [tool["name"] for tool in doc["tools"]] == ["other"]
    with pytest.raises(OutsideError, match="`note` is no proposed tool"):
        operate.leave_out(doc, ["note"])


def test_what_a_person_said_is_kept_only_for_the_definition_that_they_said_it_of() -> None:
    said = document(RAW, {**RAW, "name": "other"})
    operate.classify(said, ["read"], [])
    catalog = operate.EMPTY.with_server(said)
    fresh = document(RAW, {**RAW, "name": "other", "description": "another"})
    kept = operate.as_said_before(fresh, catalog)
    assert [tool["effect"] for tool in kept["tools"]] == ["read", "destructive"]


def test_a_server_that_does_not_start_is_named_with_what_to_try(place: Place) -> None:
    for command in (("/nonexistent",), ("cat",), ("sh", "-c", "exit 3")):
        with pytest.raises(OutsideError, match=r"^ERR_CONNECTOR_FAILED: `x`: ") as caught:
            asyncio.run(operate.ask("x", Upstream(command)))
        assert caught.value.reason is Reason.ERR_CONNECTOR_FAILED
        assert caught.value.hint


def test_one_tool_that_cannot_be_pinned_does_not_hide_the_others(place: Place) -> None:
    command = mcp(place, good="a", bad="b")
    file = place.folder / "tools.json"
    good, bad = json.loads(file.read_text())
    bad["inputSchema"] = {"type": "object", "properties": {"a": {"$ref": "https://evil.test/schema"}}}
    file.write_text(json.dumps([good, bad, good | {"name": "dup"}, good | {"name": "dup"}]))
    doc, refused = asyncio.run(operate.ask("tools", Upstream(tuple(command))))
    assert [tool["name"] for tool in doc["tools"] if "/" not in tool["name"]] == ["bad", "good"]
    assert "listed twice" in refused["dup"].detail
    why = operate.pinnable(doc, doc["tools"][0])
    assert why is not None
    assert why.reason is Reason.ERR_SCHEMA_UNSAFE
    assert operate.pinnable(doc, doc["tools"][1]) is None
