"""`agents.json`: who may call, and what their credentials look like from outside. Written whole, read strictly, its owner's only.

No secret is in it: of a token there is its SHA-256. A running kernel looks at the file before each request, so that what is taken
away here opens nothing from the next request on; a file that cannot be read lets nobody in.
"""

import base64
import fcntl
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

from helm_ai_kernel.credentials import files
from helm_ai_kernel.disk import durable
from helm_ai_kernel.gateway.identity import CONCURRENT, TOKEN, Agent, Agents, Limits
from helm_ai_kernel.tcb import fields
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.digest import digest
from helm_ai_kernel.tcb.errors import EvidenceError, OutsideError, Refused
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.tcb.process import KERNEL

from .config import Paths

AGENTS_MAX = 1024  # each is looked at when the file is read; more than that are not people's programs on one machine
BYTES_MAX = 1 << 20  # an agent is 300 bytes
TOKEN_BYTES = 32
RATE_MAX = 1_000_000  # a second: no kernel answers as many
CONCURRENT_MAX = 4096  # tasks, with their arguments in memory
UID_MAX = 2**32 - 2
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}\Z")  # nothing that a policy or a terminal would have to escape

_OPTIONAL = frozenset({"token", "uid", "certificate", "owner", "per_s", "burst", "concurrent", "unattended", "subject"})

T = TypeVar("T")


def from_bytes(data: bytes) -> list[Agent]:
    """The agents of such a file; raises `EvidenceError`."""
    body = fields.document(data.removesuffix(b"\n"), "agents", {"agents"}, bytes_max=BYTES_MAX)
    listed = [_agent(item) for item in fields.typed(body, "agents", list)]
    if len(listed) > AGENTS_MAX:
        raise fields.wrong(f"more than {AGENTS_MAX} agents")
    names = [agent.name for agent in listed]
    if names != sorted(set(names)):
        raise fields.wrong("the agents are not sorted by name, each once")
    for what in ("token", "uid", "certificate", "subject"):
        values = [value for value in (getattr(agent, what) for agent in listed) if value is not None]
        if len(values) != len(set(values)):
            raise fields.wrong(f"two agents have the same `{what}`")
    return listed


def to_bytes(listed: list[Agent]) -> bytes:
    """The inverse of `from_bytes`."""
    rows: list[Json] = [_json(agent) for agent in sorted(listed, key=lambda agent: agent.name)]
    return canonical({"v": 1, "kind": "agents", "agents": rows}) + b"\n"


def _agent(value: Json) -> Agent:
    body = fields.exact(value, {"name"}, _OPTIONAL)
    name = fields.text(body, "name")
    if not NAME.match(name) or name == KERNEL:
        raise fields.wrong(f"`{name[:64]}` is no name of an agent")
    if "unattended" in body and body["unattended"] is not True:
        raise fields.wrong("a false `unattended` is left out")
    return Agent(
        name,
        token=fields.digest(body, "token") if "token" in body else None,
        uid=_number(body, "uid", 1, UID_MAX) if "uid" in body else None,
        certificate=fields.digest(body, "certificate") if "certificate" in body else None,
        owner=_filled(body, "owner") if "owner" in body else None,
        limits=_limits(body),
        unattended="unattended" in body,
        subject=_filled(body, "subject") if "subject" in body else None,
    )


def _limits(body: Mapping[str, Json]) -> Limits:
    per_s = _number(body, "per_s", 1, RATE_MAX) if "per_s" in body else None
    burst = _number(body, "burst", 1, RATE_MAX) if "burst" in body else None
    if burst is not None and per_s is None:
        raise fields.wrong("a `burst` without `per_s`")
    return Limits(per_s, burst, _number(body, "concurrent", 1, CONCURRENT_MAX) if "concurrent" in body else CONCURRENT)


def _json(agent: Agent) -> dict[str, Json]:
    limits = agent.limits
    told: dict[str, Json] = {"name": agent.name, "token": agent.token, "uid": agent.uid, "certificate": agent.certificate}
    told |= {
        "subject": agent.subject,
        "owner": agent.owner,
        "per_s": limits.per_s,
        "burst": limits.burst,
        "unattended": agent.unattended or None,
    }
    told["subject"] = agent.subject
    told["concurrent"] = None if limits.concurrent == CONCURRENT else limits.concurrent
    return {name: value for name, value in told.items() if value is not None}


def _number(body: Mapping[str, Json], name: str, least: int, most: int) -> int:
    value = fields.count(body, name)
    if not least <= value <= most:
        raise fields.wrong(f"field `{name}` is not a number from {least} to {most}")
    return value


def _filled(body: Mapping[str, Json], name: str) -> str:
    value = fields.text(body, name, bytes_max=256)
    if not value:
        raise fields.wrong(f"field `{name}` is empty")
    return value


def read(paths: Paths) -> list[Agent]:
    """What the file says; nobody where there is none. Raises `OutsideError`."""
    if not paths.agents.exists() and not paths.agents.is_symlink():
        return []
    try:
        listed = from_bytes(files.read(paths.agents, bytes_max=BYTES_MAX))
    except EvidenceError as error:
        detail = f"`{paths.agents}` is not as it was written: {error.detail}"
        raise OutsideError(Reason.ERR_STORE_CORRUPT, detail, hint=paths.typed("agents list")) from None
    for agent in listed:
        _check_uid(agent, paths)
    return listed


class Watched:
    """The agents as the file says now. One `stat` a request; it is read again where it is another file."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._seen = self._stat()  # before it is read: a change in between is seen with the next look
        self._agents = Agents(read(paths))

    def __call__(self) -> Agents:
        """Raises `OutsideError` while the file cannot be read: then nobody is known."""
        now = self._stat()
        if now != self._seen:
            self._agents = Agents(read(self._paths))
            self._seen = now
        return self._agents

    def reload(self) -> None:
        """Read it with the next request, whatever its times say."""
        self._seen = (0, 0, 0, 0)

    def _stat(self) -> tuple[int, int, int, int] | None:
        try:
            found = os.stat(self._paths.agents, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


@dataclass(frozen=True, slots=True)
class Made:
    """What a change of the file made; the token is nowhere else."""

    agent: Agent
    token: str | None


def add(paths: Paths, agent: Agent, *, token: bool) -> Made:
    """A new agent, with a fresh token if wanted; raises `Refused` where its name or a credential is taken."""
    made, secret = _with_token(agent) if token else (agent, None)
    _check_uid(made, paths)

    def change(listed: dict[str, Agent]) -> None:
        if agent.name in listed:
            hint = paths.typed(f"agents rotate {agent.name}")
            raise Refused(Reason.ERR_UNAUTHENTICATED, f"there is an agent `{agent.name}` already", hint=hint)
        listed[agent.name] = made

    _changed(paths, change)
    return Made(made, secret)


def rotate(paths: Paths, name: str) -> Made:
    """A fresh token for an agent; the one before opens nothing from the next request on."""

    def change(listed: dict[str, Agent]) -> Made:
        made, secret = _with_token(_known(paths, listed, name))
        listed[name] = made
        return Made(made, secret)

    return _changed(paths, change)


def remove(paths: Paths, name: str) -> None:
    """From the next request on nobody is known by its credentials."""

    def change(listed: dict[str, Agent]) -> None:
        del listed[_known(paths, listed, name).name]

    _changed(paths, change)


def operator_token(paths: Paths) -> str:
    """The operator's token, made where there is none. Raises `OutsideError` where others could have read it."""
    if not paths.operator_token.exists() and not paths.operator_token.is_symlink():
        files.create(paths.operator_token, _secret().encode() + b"\n")
    token = files.read(paths.operator_token).decode("ascii", "replace").removesuffix("\n")
    if not TOKEN.match(token):
        detail = f"`{paths.operator_token}` holds no token"
        raise OutsideError(Reason.ERR_SIGNER_UNAVAILABLE, detail, hint=f"rm {paths.operator_token}, then start again")
    return token


def _changed(paths: Paths, change: Callable[[dict[str, Agent]], T]) -> T:
    with _alone(paths):
        listed = {agent.name: agent for agent in read(paths)}
        result = change(listed)
        data = to_bytes(list(listed.values()))
        try:
            from_bytes(data)
        except EvidenceError as error:
            raise Refused(Reason.ERR_UNAUTHENTICATED, error.detail, hint=paths.typed("agents list")) from None
        durable.write(paths.agents, [data], mode=0o600)
    return result


@contextmanager
def _alone(paths: Paths) -> Iterator[None]:
    """Two who change the file at once change it one after the other."""
    fd = os.open(paths.home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _known(paths: Paths, listed: Mapping[str, Agent], name: str) -> Agent:
    if name not in listed:
        raise Refused(Reason.ERR_UNAUTHENTICATED, f"there is no agent `{name}`", hint=paths.typed("agents list"))
    return listed[name]


def _with_token(agent: Agent) -> tuple[Agent, str]:
    secret = _secret()
    return replace(agent, token=digest(secret.encode())), secret


def _secret() -> str:
    return base64.urlsafe_b64encode(os.urandom(TOKEN_BYTES)).decode().rstrip("=")


def _check_uid(agent: Agent, paths: Paths) -> None:
    """The kernel's own user opens its control plane, and root everything: neither can be an agent."""
    if agent.uid is not None and agent.uid == os.stat(paths.home).st_uid:
        detail = f"agent `{agent.name}` has the uid of the kernel's own user, who is its operator"
        raise OutsideError(Reason.ERR_UNAUTHENTICATED, detail, hint="run it as another user, or give it a token")
