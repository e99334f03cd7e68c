"""What an entry of a client's configuration is, and the changes that lead it through the kernel and back.

`{command, args}` becomes `{kernel, mcp wrap --name N -- command args}`; everything else in the entry stays. What is not
understood is left alone, and said: a server that still runs beside the kernel must be seen.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from .table import Form, Section
from .tree import Add, Change, Drop, Other, Path, Prepend, Put, Remove, Rename, Unknown, Words

WRAP: Words = ("mcp", "wrap")

# What an entry with an address may say besides, and keep when it becomes a command.
_KEPT = frozenset({
    "name", "title", "description", "display_name", "enabled", "disabled", "required", "timeout", "timeoutMs",
    "startup_timeout_sec", "startup_timeout_ms", "tool_timeout_sec", "autoApprove", "alwaysAllow", "trust",
    "tools", "includeTools", "excludeTools", "enabled_tools", "disabled_tools", "disabledTools", "available_tools",
    "env", "envs", "env_keys", "environment", "bundled", "gallery", "version",
})  # fmt: skip
_EMPTY = ("", "null", "tag:yaml.org,2002:null ", "tag:yaml.org,2002:null ~", "tag:yaml.org,2002:null null")
_TOKEN = re.compile(r"(?=[^/]*[0-9])(?=[^/]*[A-Za-z])[A-Za-z0-9_-]{20,}")  # a part of a path that may be a secret


@dataclass(frozen=True, slots=True)
class Entry:
    """Where one server stands in a file."""

    section: Section
    label: str
    at: Path
    data: Any


@dataclass(frozen=True, slots=True)
class Local:
    words: Words


@dataclass(frozen=True, slots=True)
class Remote:
    url: str
    key: str


@dataclass(frozen=True, slots=True)
class Wrapped:
    """Led through a kernel already: the one whose program stands there."""

    program: Words
    name: str
    words: Words  # of the server; none where it has an address
    url: str = ""


@dataclass(frozen=True, slots=True)
class Left:
    """What stays as it is, and why."""

    why: str
    hint: str = ""


State: TypeAlias = Local | Remote | Wrapped | Left


@dataclass(frozen=True, slots=True)
class Trace:
    """What undoing one entry needs to know besides what stands there."""

    section: Section
    label: str
    name: str
    key: str  # of the address; empty for a command
    kind: str  # what the transport was called; empty where nothing said it
    args: bool  # whether there was such a list


def entries(data: Any, sections: Sequence[Section]) -> Iterator[Entry]:
    """Every server; raises `Unknown` where a section is no map and no list."""
    if not isinstance(data, dict):
        raise Unknown("it is no map")
    sections_seen: list[Section] = []
    for section in sorted(sections, key=len, reverse=True):  # what is below a section is no server of it
        for path, found in _found(data, section, ()):
            if isinstance(found, dict) and any(isinstance(found.get(key), str | list) for key in ("command", "url")):
                continue  # a server that is called `servers`, where older versions of a client have them
            inner = {seen[len(path)] for seen in sections_seen if seen[: len(path)] == path and len(seen) > len(path)}
            sections_seen.append(path)
            for entry in _of(path, found):
                if entry.label not in inner and (not inner or isinstance(entry.data, dict)):
                    yield entry


def _found(value: Any, section: Section, path: Section) -> Iterator[tuple[Section, Any]]:
    if not section:
        yield path, value
    elif isinstance(value, dict):
        for key in value if section[0] == "*" else [section[0]]:
            if key in value:
                yield from _found(value[key], section[1:], (*path, key))
    elif not _nothing(value):
        raise Unknown(f"`{'.'.join(path)}` is no map, or is there twice")


def _of(path: Section, found: Any) -> Iterator[Entry]:
    if isinstance(found, dict):
        yield from (Entry(path, str(label), (*path, label), data) for label, data in found.items())
    elif isinstance(found, list):
        for index, data in enumerate(found):
            name = data.get("name") if isinstance(data, dict) else None
            yield Entry(path, name if isinstance(name, str) else f"#{index + 1}", (*path, index), data)
    elif not _nothing(found):
        raise Unknown(f"`{'.'.join(path)}` is no map, or is there twice")


def state(data: Any, form: Form) -> State:
    """What this entry is."""
    if not isinstance(data, dict):
        return Left("is no map of its own: something else, there twice, or shared by an anchor")
    kind = data.get(form.kind or "type")
    urls = [key for key in form.urls if not _nothing(data.get(key))]
    command = data.get(form.command)
    if kind in form.own and _nothing(command):
        return Left(f"is a part of the client (`{kind}`), and no server")
    if not _nothing(command) and urls:
        return Left("has a command and an address")
    if not _nothing(command):
        return _local(data, form, command, kind)
    if len(urls) == 1:
        return _remote(data, form, urls[0], kind)
    return Left("has neither a command nor an address that is known here")


def _local(data: dict[str, Any], form: Form, command: Any, kind: Any) -> State:
    args = data.get(form.args) if form.args else []
    words = [command, *([] if _nothing(args) else args if isinstance(args, list) else [[]])] if form.args else command
    if not isinstance(words, list) or not all(_word(word) for word in words) or not words or not isinstance(words[0], str):
        return Left("has a command that is no word, or arguments that are no list of words")
    said = tuple(word.source if isinstance(word, Other) else str(word) for word in words)
    wrapped = _wrapped(said)
    if wrapped is not None:
        return wrapped
    if (kind is not None and kind not in (form.local, "stdio", "local")) or (kind is None and form.says_local):
        return Left(f"has a command, and a `{form.kind or 'type'}` that says something else")
    if form.args and len(said[0].split()) > 1 and not said[0].startswith("/"):
        return Left("has its arguments in the command", f"write them as a list of their own, as `{form.args}`")
    return Local(said)


def _remote(data: dict[str, Any], form: Form, key: str, kind: Any) -> State:
    url, typed = data[key], form.kind or "type"
    if form.remote is None:
        return Left("has an address, which this client does not know")
    if not isinstance(url, str):
        return Left("has an address that is no string")
    if kind == "sse" or (kind is None and not form.untyped and key != "httpUrl") or url.rstrip("/").endswith("/sse"):
        return Left("speaks the HTTP of before 2025 (`sse`)", "ask whoever runs it for the address of its streamable HTTP")
    if kind is not None and kind not in form.remotes:
        return Left(f"has a `{typed}` that is not known here")
    named = "configure it as an upstream of the kernel, and take it out here: [upstream.NAME] with `url` and `secrets`"
    more = sorted(str(k) for k, value in data.items() if k not in _KEPT | {key, typed} and not _nothing(value))
    if more:
        return Left(f"has {', '.join(f'`{k}`' for k in more)}, which the command line must not hold", named)
    if not url.startswith(("http://", "https://")):
        return Left("has an address that is not one of HTTP")
    if _secret(url):
        return Left("has an address that may hold a secret, which the command line must not hold", named)
    return Remote(url, key)


def wrap(data: dict[str, Any], form: Form, found: Local | Remote, program: Words, options: Words) -> tuple[Change, ...]:
    """`options`: `--name N`, and `--home` where the kernel has another home."""
    first, rest = program[0], (*program[1:], *WRAP, *options)
    kind = form.kind or "type"
    if isinstance(found, Remote):
        words: Words = (*rest, "--url", found.url)
        typed = [Put(kind, form.local)] if kind in data and data[kind] != form.local else []
        if not form.args:
            return (Put(found.key, (first, *words)), Rename(found.key, form.command), *typed)
        old = [Remove(form.args)] if form.args in data else []
        return (*old, Add(form.args, words, found.key), Put(found.key, first), Rename(found.key, form.command), *typed)
    if not form.args:
        return (Prepend(form.command, (first, *rest, "--")),)
    words = (*rest, "--", found.words[0])
    if form.args not in data:
        return (Add(form.args, words, form.command), Put(form.command, first))
    if isinstance(data[form.args], list):
        return (Prepend(form.args, words), Put(form.command, first))
    return (Put(form.args, words), Put(form.command, first))


def unwrap(data: dict[str, Any], form: Form, now: Wrapped, trace: Trace) -> tuple[Change, ...]:
    """The way back, whatever else a person changed in the entry since."""
    kind = form.kind or "type"
    if now.url:
        typed = [Put(kind, trace.kind)] if trace.kind and data.get(kind) != trace.kind else []
        args = [Remove(form.args)] if form.args and form.args in data else []
        return (*args, Put(form.command, now.url), Rename(form.command, trace.key), *typed)
    if not form.args:
        return (Drop(form.command, len(data[form.command]) - len(now.words)),)
    if not trace.args and len(now.words) == 1:
        return (Remove(form.args), Put(form.command, now.words[0]))
    return (Drop(form.args, len(data[form.args]) - len(now.words) + 1), Put(form.command, now.words[0]))


def trace(found: Entry, form: Form, what: Local | Remote, name: str) -> Trace:
    kind = found.data.get(form.kind or "type")
    key = what.key if isinstance(what, Remote) else ""
    return Trace(
        found.section, found.label, name, key, kind if isinstance(kind, str) else "", bool(form.args) and form.args in found.data
    )


def _wrapped(words: Words) -> Wrapped | None:
    """`PROGRAM… mcp wrap [--home H] --name N (--url URL | -- CMD…)`."""
    at = next((n for n in range(1, min(4, len(words) - 1)) if words[n : n + 2] == WRAP), None)
    if at is None:
        return None
    options, rest = dict[str, str](), words[at + 2 :]
    while len(rest) > 1 and rest[0].startswith("--") and rest[0] != "--":
        options[rest[0]], rest = rest[1], rest[2:]
    if rest[:1] != ("--",) and (rest or "--url" not in options):
        return None
    return Wrapped(words[:at], options.get("--name", ""), rest[1:], options.get("--url", ""))


def _word(value: Any) -> bool:
    return isinstance(value, str | Other | int | float)


def _nothing(value: Any) -> bool:
    return value is None or value in ("", [], {}) or (isinstance(value, Other) and value.source in _EMPTY)


def _secret(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return True
    inside = parts.query or parts.fragment or "@" in parts.netloc or any(c in url for c in "${}")
    return bool(inside) or _TOKEN.search(parts.path) is not None
