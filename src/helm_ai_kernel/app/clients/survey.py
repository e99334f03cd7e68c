"""Every server that every known client has, in every file of the table: which are led through this kernel, and which are not."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from helm_ai_kernel.tcb.errors import OutsideError

from . import entry
from .document import Document, Syntax
from .entry import Entry, Left, Local, Remote, State, Wrapped
from .places import Found, Places, read, wrong
from .table import CLIENTS, File
from .tree import Unknown, Words


@dataclass(frozen=True, slots=True)
class Server:
    client: str
    entry: Entry
    state: State


@dataclass(frozen=True, slots=True)
class Config:
    """One file of one client that is there."""

    client: str
    file: File
    found: Found
    document: Document
    servers: tuple[Server, ...]


@dataclass(frozen=True, slots=True)
class Survey:
    configs: tuple[Config, ...]
    unread: tuple[tuple[str, OutsideError], ...]  # client, and why a file of it could not be read


def of(client: str, places: Places) -> Iterator[Config]:
    """The files of one client that are there; raises `OutsideError(ERR_CLIENT_CONFIG)`."""
    seen = set()
    for file in CLIENTS[client].files:
        found = read(places.path(file))
        if found is not None and found.target not in seen:
            seen.add(found.target)
            yield _config(client, file, found)


def all_of(places: Places) -> Survey:
    configs: list[Config] = []
    unread: list[tuple[str, OutsideError]] = []
    for client in CLIENTS:
        try:
            configs += of(client, places)
        except OutsideError as error:
            unread.append((client, error))
    return Survey(tuple(configs), tuple(unread))


def identity(state: State) -> Words:
    """What two entries have in common that start the same server, or reach it; empty where nobody knows."""
    match state:
        case Local(words) | Wrapped(_, _, words, "") if words:
            return (PurePath(words[0]).name, *words[1:])
        case Remote(url, _) | Wrapped(_, _, _, url) if url:
            return ("--url", url.rstrip("/"))
    return ()


def governed(state: State, program: Words) -> bool:
    """Through this program: another one that is called like it proves nothing."""
    return isinstance(state, Wrapped) and state.program == program


def names(survey: Survey, program: Words, upstreams: Mapping[str, Words]) -> dict[str, Words]:
    """The names that the kernel has already, and what each is."""
    taken = dict(upstreams)
    for config in survey.configs:
        for server in config.servers:
            if isinstance(server.state, Wrapped) and governed(server.state, program):
                taken.setdefault(server.state.name, identity(server.state))
    return taken


def twins(survey: Survey, through: Mapping[Words, str], but: Sequence[Server]) -> Iterator[tuple[Config, Server, str]]:
    """Entries that start beside the kernel what goes through it elsewhere, and the name that it has there."""
    for config in survey.configs:
        for server in config.servers:
            name = through.get(identity(server.state))
            if name is not None and isinstance(server.state, Local | Remote | Left) and server not in but:
                yield config, server, name


def _config(client: str, file: File, found: Found) -> Config:
    try:
        document = Document.from_bytes(found.data, Syntax.of(found.path.name))
        listed = tuple(entry.entries(document.data, file.sections))
    except Unknown as error:
        hint = f"correct it as {CLIENTS[client].title} reads it, then try again"
        raise wrong(found.path, f"is not understood: {error}", hint) from None
    form = CLIENTS[client].form
    servers = (Server(client, one, entry.state(one.data, form)) for one in listed)
    return Config(client, file, found, document, tuple(servers))
