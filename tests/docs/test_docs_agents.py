"""The page about agents is true: its example is read as it stands, its numbers are the code's."""

import re
from pathlib import Path

from helm_ai_kernel.app import agents, sessions
from helm_ai_kernel.gateway.identity import CONCURRENT, TOKEN, Agents

PAGE = (Path(__file__).resolve().parents[2] / "docs/spec/agents.md").read_text(encoding="utf-8")
(EXAMPLE,) = re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_example_is_read_and_its_token_opens_what_the_page_says() -> None:
    listed = agents.from_bytes(EXAMPLE.encode())
    assert agents.to_bytes(listed) == EXAMPLE.encode()
    known = Agents(listed)
    found = re.search(r"sends the token `([^`]+)`", PAGE)
    assert found is not None and TOKEN.match(found[1])
    assert known.of_token(found[1]) == known.by_name["coder"]
    assert known.of_uid(4242) == known.by_name["worker"]
    assert known.by_name["night-shift"].unattended


def test_the_fields_of_the_page_are_the_codes() -> None:
    rows = re.findall(r"^\| (`[^|]+) \|", PAGE, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == {"name", *agents._OPTIONAL}


def test_the_numbers_of_the_page_are_the_codes() -> None:
    assert f"at most {agents.AGENTS_MAX}." in PAGE
    assert f"calls under way at once; {CONCURRENT} where it is not said" in PAGE
    assert (sessions.IDLE_S, sessions.AGE_S) == (30 * 60, 24 * 3600)
    assert agents.TOKEN_BYTES * 8 == 256
