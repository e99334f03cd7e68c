"""What `docs/spec/connector-http.md` says is what is there: its document, its requests, its answers, its addresses, its words."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from helm_ai_kernel.connectors.answer import output
from helm_ai_kernel.pep import address, operation
from helm_ai_kernel.pep.admit import admit
from helm_ai_kernel.pep.catalog import EMPTY, Catalog
from helm_ai_kernel.pep.release import release
from helm_ai_kernel.pep.service import Service
from helm_ai_kernel.tcb.call import Call
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.wire import response
from helm_ai_kernel.wire.response import Response

ROOT = Path(__file__).resolve().parent.parent.parent
TEXT = (ROOT / "docs/spec/connector-http.md").read_text("utf-8")


def rows(header: str) -> list[list[str]]:
    """The cells of the table with that header."""
    table = TEXT[TEXT.index(f"| {header} |") :].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table]


def shop() -> Catalog:
    return EMPTY.with_server(json.loads(re.findall(r"^```json\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)[0]))


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]*)`", cell)


def test_the_example_can_be_pinned() -> None:
    assert set(shop().tools) == {"shop/find_items", "shop/pay"}


@pytest.mark.parametrize("row", rows("tool | arguments | request"), ids=lambda row: row[1])
def test_arguments_become_the_requests_of_the_page(row: list[str]) -> None:
    catalog, ((name,), (text,), (expected,)) = shop(), map(code, row)
    args: Any = json.loads(text)
    admitted = admit(canonical({"tool": f"shop/{name}", "arguments": args}), catalog)
    if row[2].startswith("refused"):
        assert not isinstance(admitted, Call) and admitted.sub == expected
        return
    assert isinstance(admitted, Call)
    of = catalog.tools[f"shop/{name}"].operation
    assert of is not None
    placed = of.place(args)
    body = "" if placed.body is None else f" {placed.body.decode()}"
    assert f"{placed.method} {Service.from_json(catalog.sources['shop']).path}{placed.target}{body}" == expected


@pytest.mark.parametrize("row", rows("answer | output"), ids=lambda row: row[0])
def test_answers_become_the_outputs_of_the_page(row: list[str]) -> None:
    status, kind, body = [*code(row[0]), "", ""][:3]
    kept, sub = output(Response(int(status), kind, body.encode(), True), with_body=True)
    (expected,) = code(row[1])
    pay = shop().tools["shop/pay"]
    if row[1].startswith("withheld"):
        assert sub == expected
        with pytest.raises(Refused):
            release(pay, kept)
        return
    assert (kept.decode(), sub) == (expected, "")
    assert release(pay, kept)[1] is (int(status) >= 300)


def test_the_table_of_addresses_is_the_one_that_is_used() -> None:
    listed = {name: set(code(ranges)) for (name,), ranges in ((code(row[0]), row[1]) for row in rows("class | ranges"))}
    used: dict[str, set[str]] = {}
    for network, kind in {**address._FOUR, **address._SIX}.items():
        used.setdefault(kind.value, set()).add(network)
    assert listed == used
    embedded = TEXT[TEXT.index("An IPv4 address in an IPv6 one") :]
    assert {network for network, _, _ in address._EMBEDDED} <= set(code(embedded))


def test_every_word_of_the_reader_is_explained() -> None:
    source = (ROOT / "src/helm_ai_kernel/wire/response.py").read_text("utf-8")
    words = set(re.findall(r'shape\(\s*"(\w+)"', source)) | {"early_end", "no_answer", "content_encoding"}
    listed = {word for row in rows("word | what was wrong with the answer") for word in code(row[0])}
    assert listed == words - {"broken", "body_bytes"}  # what follows a refusal; and the limit of the contract


def test_the_numbers_of_the_page_are_those_of_the_code() -> None:
    for number in (operation.TARGET_BYTES_MAX, response.HEAD_BYTES_MAX):
        assert f"{number:,} bytes" in TEXT
