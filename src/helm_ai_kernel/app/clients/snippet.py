"""What a person puts into a client's file to add one governed server: as that client writes it, and nothing else."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from .document import Syntax
from .table import CLIENTS, Client
from .tree import Words, quoted

Value: TypeAlias = "str | Words | Literal | dict[str, Value]"
TOKEN = "TOKEN"  # what stands where the agent's token goes


@dataclass(frozen=True, slots=True)
class Literal:
    text: str


def local(client: str, name: str, words: Words) -> str:
    """`words`: all of the command line."""
    form = CLIENTS[client].form
    kind = {form.kind: form.local} if form.kind and (form.says_local or form.local == "stdio") else {}
    command: dict[str, Value] = {form.command: words[0], form.args: words[1:]} if form.args else {form.command: words}
    return _printed(CLIENTS[client], name, {**kind, **command})


def remote(client: str, name: str, url: str) -> str | None:
    """With a token in a header; None where the client can set none."""
    form = CLIENTS[client].form
    if form.remote is None or not form.headers:
        return None
    kind = {form.kind: form.remote} if form.kind and form.remote else {}
    return _printed(CLIENTS[client], name, {**kind, form.urls[0]: url, form.headers: {"Authorization": f"Bearer {TOKEN}"}})


def _printed(client: Client, name: str, entry: dict[str, Value]) -> str:
    form, section = client.form, client.first.sections[0]
    entry = {**({"name": name} if form.listed or form.command == "cmd" else {}), **entry}
    entry |= {key: Literal(text) for key, text in form.more}
    syntax = Syntax.of(client.first.path)
    if syntax.toml:
        head = f"[[{'.'.join(section)}]]" if form.listed else f"[{'.'.join((*section, name))}]"
        return "\n".join([head, *(f"{key} = {_flow(value, ' = ')}" for key, value in entry.items())])
    if syntax.yaml:
        return "\n".join(_yaml(section, name, entry, form.listed))
    for key in (name, *reversed(section)):
        entry = {key: entry}
    return _json(entry, "")


def _flow(value: Value, between: str) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key}{between}{_flow(inner, between)}" for key, inner in value.items()) + " }"
    if isinstance(value, Literal):
        return value.text
    return quoted(value) if isinstance(value, str) else f"[{', '.join(map(quoted, value))}]"


def _yaml(section: Words, name: str, entry: dict[str, Value], listed: bool) -> Iterator[str]:
    for depth, key in enumerate(section if listed else (*section, name)):
        yield f"{'  ' * depth}{key}:"
    indent = "  " * len(section if listed else (*section, name))
    for number, (key, value) in enumerate(entry.items()):
        dash = ("- " if number == 0 else "  ") if listed else ""
        yield f"{indent}{dash}{key}: {_flow(value, ': ')}"


def _json(value: Value, indent: str) -> str:
    if not isinstance(value, dict):
        return _flow(value, ": ")
    inner = indent + "  "
    members = (f"{inner}{json.dumps(key)}: {_json(item, inner)}" for key, item in value.items())
    return "{\n" + ",\n".join(members) + f"\n{indent}}}"
