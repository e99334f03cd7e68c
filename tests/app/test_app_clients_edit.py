"""The editors of other people's files: what they read, that they change what is meant, and that the way back is exact."""

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helm_ai_kernel.app.clients import jsonc, yaml
from helm_ai_kernel.app.clients.document import Document, Syntax
from helm_ai_kernel.app.clients.entry import Local, Trace, Wrapped, entries, state, unwrap, wrap
from helm_ai_kernel.app.clients.table import Form
from helm_ai_kernel.app.clients.tree import Add, Drop, Map, Other, Prepend, Put, Remove, Rename, Unknown, plain, quoted

PROGRAM = ("/opt/helm/bin/helm-ai-kernel",)
OPTIONS = ("--name", "n")

texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=8)
words = st.one_of(
    texts, st.sampled_from(["-y", "--", "//", "/*", "#", '"', "\\", "é", "😀", "\u2028", "\x7f", "\x85", "${X}", "mcp", "wrap"])
)
values = st.recursive(
    st.one_of(words, st.integers(), st.booleans(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(words, inner, max_size=3)),
    max_leaves=6,
)


@st.composite
def gaps(draw: st.DrawFn) -> str:
    """What may stand between two tokens."""
    comment = draw(words).replace("\n", "").replace("\r", "").replace("*/", "").rstrip("*\\")
    return draw(st.sampled_from(["", " ", "\n", "\t", "\r\n  ", f"/*{comment}*/", f"//{comment}\n", f" // {comment}\r\n\t"]))


def rendered(draw: st.DrawFn, value: Any) -> str:
    """The value in JSON with comments, oddly spaced, with a comma too many here and there."""

    def gap() -> str:
        return draw(gaps())

    if isinstance(value, dict):
        parts = [
            f"{gap()}{json.dumps(k, ensure_ascii=draw(st.booleans()))}{gap()}:{gap()}{rendered(draw, v)}{gap()}"
            for k, v in value.items()
        ]
    elif isinstance(value, list):
        parts = [f"{gap()}{rendered(draw, item)}{gap()}" for item in value]
    else:
        return json.dumps(value, ensure_ascii=draw(st.booleans()))
    last = f",{gap()}" if parts and draw(st.booleans()) else "" if parts else gap()
    inside = ",".join(parts) + last
    return f"{{{inside}}}" if isinstance(value, dict) else f"[{inside}]"


entries_of = st.fixed_dictionaries(
    {"command": st.one_of(st.just("npx"), words.filter(lambda word: len(word.split()) == 1))},
    optional={"args": st.lists(words, max_size=4), "env": st.dictionaries(words, words, max_size=2), "x": values},
)


@st.composite
def files(draw: st.DrawFn) -> tuple[dict[str, Any], str]:
    names = words.filter(lambda name: name not in ("command", "url"))
    servers = draw(st.dictionaries(names, entries_of, min_size=1, max_size=3))
    rest = draw(st.dictionaries(words.filter(lambda key: key != "mcpServers"), values, max_size=2))
    value = {**dict(list(rest.items())[:1]), "mcpServers": servers, **dict(list(rest.items())[1:])}
    return value, draw(gaps()) + rendered(draw, value) + draw(gaps())


def model(value: Any) -> Any:
    """As the reader of the files has it."""
    if isinstance(value, dict):
        return {key: model(item) for key, item in value.items()}
    if isinstance(value, list):
        return [model(item) for item in value]
    return value if isinstance(value, str) else Other(json.dumps(value))


@settings(max_examples=30)  # each draws some hundred gaps
@given(files())
def test_json_with_comments_is_read_as_what_it_says(file: tuple[dict[str, Any], str]) -> None:
    value, text = file
    assert plain(jsonc.tree(text)) == model(value)


@settings(max_examples=30)  # each draws some hundred gaps
@given(files(), st.data())
def test_wrapping_changes_the_command_and_its_arguments_and_nothing_else(
    file: tuple[dict[str, Any], str], data: st.DataObject
) -> None:
    value, text = file
    label = data.draw(st.sampled_from(sorted(value["mcpServers"])))
    form, document = Form(), Document.from_bytes(text.encode(), Syntax())
    (entry,) = (one for one in entries(document.data, (("mcpServers",),)) if one.label == label)
    found = state(entry.data, form)
    if not isinstance(found, Local):
        assert isinstance(found, Wrapped), "it was one of ours already"
        return
    new = document.edited([(entry.at, wrap(entry.data, form, found, PROGRAM, OPTIONS))])
    before, after = span(text, label), span(new.text, label)
    assert text[: before.start] == new.text[: after.start] and text[before.end :] == new.text[after.end :]
    assert sources(text, before) == sources(new.text, after), "the other keys are as they were, letter for letter"
    assert comments(text) == comments(new.text)
    there = state(new.data["mcpServers"][label], form)
    assert there == Wrapped(PROGRAM, "n", found.words)
    trace = Trace(("mcpServers",), label, "n", "", "", "args" in entry.data, ())
    back = new.edited([(entry.at, unwrap(new.data["mcpServers"][label], form, there, trace))])
    assert back.data == document.data
    assert sources(back.text, span(back.text, label)) == sources(text, before)


def span(text: str, label: str) -> Map:
    node = jsonc.tree(text)
    for key in ("mcpServers", label):
        (found,) = (member.value for member in node.members if member.key.value == key)
        assert isinstance(found, Map)
        node = found
    return node


def sources(text: str, node: Map) -> list[str]:
    return [text[m.key.start : m.value.end] for m in node.members if m.key.value not in ("command", "args")]


def comments(text: str) -> list[str]:
    tokens = re.findall(r'"(?:[^"\\]|\\.)*"|/\*.*?\*/|//[^\r\n]*', text, re.DOTALL)
    return [token for token in tokens if token.startswith("/")]


@given(st.binary(max_size=40))
def test_bytes_are_read_or_refused_and_nothing_else(data: bytes) -> None:
    for syntax in (Syntax(), Syntax(toml=True), Syntax(yaml=True)):
        try:
            document = Document.from_bytes(data, syntax)
        except Unknown:
            continue
        assert document.to_bytes() == data


@given(st.text(max_size=30))
def test_a_string_is_the_same_in_all_three_syntaxes(word: str) -> None:
    try:
        word.encode()
    except UnicodeEncodeError:
        return
    source = quoted(word)
    assert json.loads(source) == word
    for text, syntax in (
        (f"{{{source}: {source}}}", Syntax()),
        (f"a = {source}", Syntax(toml=True)),
        (f"a: {source}", Syntax(yaml=True)),
    ):
        assert Document.from_bytes(text.encode(), syntax).data in ({word: word}, {"a": word})


EDITS = [
    ('{"a": {"k": ["x", "y"]}}', [Drop("k", 2)], '{"a": {"k": []}}'),
    ('{"a": {"k": ["x", "y",]}}', [Drop("k", 2)], '{"a": {"k": []}}'),
    ('{"a": {"k": [\n  "x",\n  "y" // y\n]}}', [Prepend("k", ("w",))], '{"a": {"k": [\n  "w",\n  "x",\n  "y" // y\n]}}'),
    ('{"a": {"k": [/* no */]}}', [Prepend("k", ("w", "v"))], '{"a": {"k": ["w", "v"/* no */]}}'),
    ('{"a": {"k": 1, "b": [2], }}', [Remove("b")], '{"a": {"k": 1, }}'),
    ('{"a": {"b": [2], "k": 1}}', [Remove("b")], '{"a": {"k": 1}}'),
    ('{"a": {"b": [2]}}', [Remove("b")], '{"a": {}}'),
    ('{"a": {\r\n\t"k" : "v", // k\r\n}}', [Add("b", ("w",), "k")], '{"a": {\r\n\t"b" : ["w"],\r\n\t"k" : "v", // k\r\n}}'),
    ('{"a": {"k" /* k */ : "v"}}', [Add("b", ("w",), "k")], '{"a": {"b": ["w"], "k" /* k */ : "v"}}'),
    ('{"a": {"u": "v"}}', [Put("u", ("w",)), Rename("u", "k")], '{"a": {"k": ["w"]}}'),
]  # fmt: skip
YAML = [
    ("a:\n  k:\n  - x\n  - y  # y\nb: 1\n", [Prepend("k", ("w",))], 'a:\n  k:\n  - "w"\n  - x\n  - y  # y\nb: 1\n'),
    ("a:\n  k:\n    - x\n    - y  # y\nb: 1\n", [Drop("k", 1)], "a:\n  k:\n    - y  # y\nb: 1\n"),
    ("a:\n  k:\n    - x\n    - y  # y\nb: 1\n", [Drop("k", 2)], "a:\n  k:\n    []  # y\nb: 1\n"),
    ("a:\n  k: x   # k\n", [Add("b", ("w",), "k")], 'a:\n  b: ["w"]\n  k: x   # k\n'),
    ("a:\n  b: [w]\n  k: x\n", [Remove("b")], "a:\n  k: x\n"),
    ("a:\n  k: x\n  b: [w]", [Remove("b")], "a:\n  k: x\n"),
    ("a: {k: x, b: [w]}\n", [Remove("b")], "a: {k: x}\n"),
    ("a:\n  k: |\n    x\n  b: 1\n", [Put("k", "w")], 'a:\n  k: "w"\n  b: 1\n'),
    ("a:\r\n  k: x\r\n", [Add("b", ("w",), "k")], 'a:\r\n  b: ["w"]\r\n  k: x\r\n'),
]  # fmt: skip
TOML = [
    ('[a]\nk = "x"  # k\n', [Add("b", ("w",), "k")], '[a]\nb = ["w"]\nk = "x"  # k\n'),
    ('[a]\r\n  "k"= \'x\'\r\n', [Add("b", ("w",), "k")], '[a]\r\n  "b"= ["w"]\r\n  "k"= \'x\'\r\n'),
    ('a = { k = "x", b = ["w"] }\n', [Remove("b")], 'a = { k = "x" }\n'),
    ('[a]\nb = [\n  "w", # w\n]\nk = 1', [Remove("b")], "[a]\nk = 1"),
    ('[a]\nk = [ "x", # x\n "y" ]\n', [Drop("k", 1)], '[a]\nk = [ "y" ]\n'),
    ("a.k = '''\nx'''\n", [Put("k", "w")], 'a.k = "w"\n'),
    ('a.k = "x"\n', [Add("b", ("w",), "k")], 'a.b = ["w"]\na.k = "x"\n'),
    ('[a]\nk = "x"\n[c]\n[a.b]\nz = 1\n', [Put("k", "w")], '[a]\nk = "w"\n[c]\n[a.b]\nz = 1\n'),
]  # fmt: skip
ALL = [
    *((Syntax(), *one) for one in EDITS),
    *((Syntax(yaml=True), *one) for one in YAML),
    *((Syntax(toml=True), *one) for one in TOML),
]


@pytest.mark.parametrize(("syntax", "old", "changes", "new"), ALL)
def test_an_edit_changes_these_characters(syntax: Syntax, old: str, changes: list[Any], new: str) -> None:
    document = Document.from_bytes(old.encode(), syntax)
    assert document.edited([(("a",), changes)]).text == new


IMPOSSIBLE = [
    (Syntax(yaml=True), "a:\n  k:\n  - x\nb: 1\n", [Drop("k", 1)]),  # `[]` where a dash may stand is not in the list
    (Syntax(), '{"a": {"k": "x"}}', [Prepend("k", ("w",))]),
    (Syntax(), '{"a": {"k": "x"}}', [Remove("b")]),
    (Syntax(toml=True), '[a]\nk = "helm-mark-1"\n', [Put("b", "w")]),
    (Syntax(), '{"a": {"k": ["x"]}}', [Prepend("k", ("w",)), Drop("k", 1)]),
]  # fmt: skip


@pytest.mark.parametrize(("syntax", "old", "changes"), IMPOSSIBLE)
def test_what_cannot_be_changed_in_its_place_is_refused(syntax: Syntax, old: str, changes: list[Any]) -> None:
    with pytest.raises((Unknown, KeyError, TypeError)):
        Document.from_bytes(old.encode(), syntax).edited([(("a",), changes)])


def test_an_edit_that_would_say_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check behind every editor: break one, and nothing is written."""
    from helm_ai_kernel.app.clients import document, tree

    def too_far(text: str, node: Map, changes: Any) -> list[tuple[int, int, str]]:
        return [(start, end + 1 if new == '"w"' else end, new) for start, end, new in tree.edits(text, node, changes)]

    monkeypatch.setattr(document, "edits", too_far)
    with pytest.raises(Unknown):
        Document.from_bytes(b'{"a": {"k": "x", "b": 1}}', Syntax()).edited([(("a",), [Put("k", "w")])])


def test_a_bomb_of_aliases_is_not_followed() -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    assert all(isinstance(value, Other) for value in plain(yaml.tree("\n".join(lines))).values())
