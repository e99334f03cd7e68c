"""`setup`: a client's servers, led through the kernel, and back.

First everything is read and every change is made in memory; then, file by file, what was is kept, durable, and the new text takes
its place. Whatever ends this in between leaves the old file or the new one, and a backup that undoes either.
"""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from helm_ai_kernel.tcb.digest import digest

from . import backup, survey
from .document import Document, Syntax
from .entry import Left, Local, Remote, Trace, Wrapped, entries, state, trace, unwrap, wrap
from .names import name
from .places import Found, Places, check_writable, read, replace, wrong
from .survey import Config, Server, governed, identity
from .table import CLIENTS
from .tree import Change, Unknown, Words
from .tree import Path as At

Changes: TypeAlias = list[tuple[At, tuple[Change, ...]]]


@dataclass(frozen=True, slots=True)
class Row:
    """What becomes of one server, or stays."""

    section: tuple[str, ...]
    label: str
    state: str  # "wrap", "wrapped", "left", "elsewhere"; of an undo "undone", "kept"
    name: str = ""
    why: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One file: what it was, what it will be, and what that does."""

    found: Found
    new: bytes
    rows: tuple[Row, ...]
    traces: tuple[Trace, ...] = ()
    kept: tuple[backup.Kept, ...] = ()  # of an undo
    exact: bool = True  # of an undo: as it was, byte for byte

    @property
    def changes(self) -> bool:
        return self.new != self.found.data

    def diff(self) -> Iterator[str]:
        """Without the lines around: keys stand there."""
        old, new = (data.decode().splitlines(keepends=True) for data in (self.found.data, self.new))
        path = str(self.found.path)
        yield from (line.rstrip("\r\n") for line in difflib.unified_diff(old, new, path, path, n=0))


@dataclass(frozen=True, slots=True)
class Twin:
    client: str
    path: Path
    label: str
    name: str  # by which the kernel knows what it starts


@dataclass(frozen=True, slots=True)
class Kernel:
    """How a client starts this kernel, where its home is, and the names that it has for servers."""

    program: Words
    home: Path
    options: Words = ()  # `--home`, where the home is not the one that is found by itself
    upstreams: Mapping[str, Words] | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    client: str
    steps: tuple[Step, ...]
    twins: tuple[Twin, ...] = ()
    unread: tuple[tuple[str, str], ...] = ()  # a client, and why a file of it was not read


def plan(client: str, places: Places, kernel: Kernel) -> Plan:
    """Raises `OutsideError(ERR_CLIENT_CONFIG)` for a file of this client that may not be changed; nothing is written."""
    everything = survey.all_of(places)
    for who, error in everything.unread:
        if who == client:
            raise error
    own = tuple(config for config in everything.configs if config.client == client)
    taken = survey.names(everything, kernel.program, kernel.upstreams or {})
    steps = tuple(_step(config, kernel, taken) for config in own)
    for step in steps:
        if step.changes:
            check_writable(step.found, places)
    through = {identity(one.state): row.name for _, one, row in _rows(own, steps) if row.state in ("wrap", "wrapped")}
    done = [one for _, one, row in _rows(own, steps) if row.state == "wrap"]
    twins = (Twin(c.client, c.found.path, one.entry.label, named) for c, one, named in survey.twins(everything, through, done))
    unread = ((who, error.detail) for who, error in everything.unread)
    return Plan(client, steps, tuple(twins), tuple(unread))


def apply(planned: Plan, kernel: Kernel) -> tuple[Path, ...]:
    """Writes what was planned; returns where the backups are. Raises `OutsideError` where a file changed meanwhile."""
    made = []
    for step in planned.steps:
        if step.changes:
            before, after = digest(step.found.data), digest(step.new)
            record = backup.Record(planned.client, step.found.path, before, after, kernel.program, step.traces)
            made.append(backup.keep(kernel.home, record, step.found.data).content)
            replace(step.found, step.new)
    return tuple(made)


def plan_undo(client: str, places: Places, home: Path) -> Plan:
    """From the backups alone: no kernel is asked, no store is opened. Raises `OutsideError(ERR_CLIENT_CONFIG)`."""
    by_path: dict[Path, list[backup.Kept]] = {}
    for kept in backup.records(home, client):
        by_path.setdefault(kept.record.path, []).append(kept)
    steps, gone = list[Step](), list[tuple[str, str]]()
    for path, of_it in by_path.items():
        found = read(path)
        if found is None:
            gone.append((client, f"`{path}` is gone; what it was is kept in {of_it[-1].content}"))
            continue
        step = _back(client, found, tuple(of_it))
        if step.changes:
            check_writable(found, places)
        steps.append(step)
    return Plan(client, tuple(steps), (), tuple(gone))


def undo(planned: Plan) -> None:
    for step in planned.steps:
        if step.changes:
            replace(step.found, step.new)
        for kept in step.kept:
            kept.forget()


def _rows(own: tuple[Config, ...], steps: tuple[Step, ...]) -> Iterator[tuple[Step, Server, Row]]:
    for config, step in zip(own, steps, strict=True):
        yield from ((step, server, row) for server, row in zip(config.servers, step.rows, strict=True))


def _step(config: Config, kernel: Kernel, taken: dict[str, Words]) -> Step:
    """One file. A server that cannot be changed in its place is left alone, and the others are not."""
    form, rows = CLIENTS[config.client].form, list[Row]()
    todo: list[tuple[Trace, tuple[At, tuple[Change, ...]]]] = []
    for server in config.servers:
        entry, found = server.entry, server.state
        if isinstance(found, Local | Remote) and not config.file.ours:
            found = Left("belongs to an administrator", "tell whoever manages this machine")
        if not isinstance(found, Local | Remote):
            rows.append(_stays(server, found, kernel.program))
            continue
        named = name(entry.label, identity(found), taken)
        taken[named] = identity(found)
        rows.append(Row(entry.section, entry.label, "wrap", named))
        changes = wrap(entry.data, form, found, kernel.program, (*kernel.options, "--name", named))
        todo.append((trace(entry, form, found, named), (entry.at, changes)))
    if _impossible(config.document, [change for _, change in todo]):
        why = {(one.section, one.label): _impossible(config.document, [change]) for one, change in todo}
        rows = [_unplaced(row, why.get((row.section, row.label), "")) for row in rows]
        todo = [(one, change) for one, change in todo if not why[one.section, one.label]]
    new = config.document.edited([change for _, change in todo]).to_bytes() if todo else config.found.data
    return Step(config.found, new, tuple(rows), tuple(one for one, _ in todo))


def _impossible(document: Document, changes: Changes) -> str:
    try:
        document.edited(changes)
    except Unknown as error:
        return str(error)
    return ""


def _unplaced(row: Row, why: str) -> Row:
    return Row(row.section, row.label, "left", "", f"cannot be changed where it stands: {why}") if why else row


def _stays(server: Server, found: Wrapped | Left, program: Words) -> Row:
    section, label = server.entry.section, server.entry.label
    if isinstance(found, Left):
        return Row(section, label, "left", "", found.why, found.hint)
    if governed(found, program):
        return Row(section, label, "wrapped", found.name)
    why = f"goes through `{' '.join(found.program)}`, which is not this program"
    return Row(section, label, "elsewhere", found.name, why, f"helm-ai-kernel setup {server.client} --undo")


def _back(client: str, found: Found, newest_first: tuple[backup.Kept, ...]) -> Step:
    """What undoes every change of one file."""
    path, data, rows, exact = found.path, found.data, list[Row](), True
    for kept in newest_first:
        record, before = kept.record, kept.before()
        if digest(data) == record.before:  # it ended before the new text was in place
            continue
        if digest(data) == record.after and before is not None:
            data = before
            rows += (Row(t.section, t.label, "undone", t.name) for t in record.entries)
            continue
        exact = False
        try:
            data, some = _entries_back(client, path, data, record)
        except Unknown as error:
            hint = f"correct it, or take what it was: {kept.content}"
            raise wrong(path, f"was edited since, and is not understood: {error}", hint) from None
        rows += some
    return Step(found, data, tuple(rows), (), newest_first, exact)


def _entries_back(client: str, path: Path, data: bytes, record: backup.Record) -> tuple[bytes, list[Row]]:
    document, form = Document.from_bytes(data, Syntax.of(path.name)), CLIENTS[client].form
    sections = tuple({trace.section: None for trace in record.entries})
    there = {(entry.section, entry.label): entry for entry in entries(document.data, sections)}
    rows: list[Row] = []
    changes: Changes = []
    for one in record.entries:
        entry = there.get((one.section, one.label))
        now = state(entry.data, form) if entry is not None else None
        if entry is None:
            rows.append(Row(one.section, one.label, "kept", one.name, "is not there any more"))
        elif not isinstance(now, Wrapped) or now.name != one.name or not governed(now, record.program):
            rows.append(Row(one.section, one.label, "kept", one.name, "was changed since, and stays as it is"))
        else:
            changes.append((entry.at, unwrap(entry.data, form, now, one)))
            rows.append(Row(one.section, one.label, "undone", one.name))
    return document.edited(changes).to_bytes(), rows
