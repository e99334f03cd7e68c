"""What a person changes: pins, policy, releases. Prepared and checked here, signed with their key, enacted by the ledger.

A change is prepared against what is in force, shown, and agreed to without the lock; it is made again under the lock, and
signed only if it is still the same.
"""

import json
import os
import re
import shlex
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from helm_ai_kernel.disk import durable
from helm_ai_kernel.executor.boundary import Boundary
from helm_ai_kernel.guardian.policy import Policy
from helm_ai_kernel.ledger.ledger import LOCK
from helm_ai_kernel.ledger.statements import Document
from helm_ai_kernel.ledger.store import Lock
from helm_ai_kernel.pep.catalog import BYTES_MAX, EMPTY, Catalog
from helm_ai_kernel.pep.methods import METHODS
from helm_ai_kernel.pep.tool import LIST_MAX
from helm_ai_kernel.tcb.call import Effect
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.digest import Digest
from helm_ai_kernel.tcb.errors import OutsideError, Refused
from helm_ai_kernel.tcb.ijson import Json, parse
from helm_ai_kernel.tcb.keys import Signer
from helm_ai_kernel.tcb.receipt import Receipt
from helm_ai_kernel.tcb.statement import Change, Statement, StatementKind, sign

from . import operations, proposals
from .beside import Beside, is_resident
from .bundles import documents, read_files
from .config import SERVER, AnyUpstream, Config, HttpUpstream, Paths
from .home import now
from .identities import Identities
from .runtime import Runtime, open_ledger

_ACCEPTED = re.compile(r"`--accept-format ([^`]{1,64})`")  # in the hint of a schema that could be pinned with it


@dataclass(frozen=True, slots=True)
class Proposal:
    """A catalogue and a policy that could come into force together; nothing is in force yet."""

    kind: StatementKind
    catalog: Catalog
    policy: Policy


class InForce(Protocol):
    """What a proposal is made against: a running kernel, or a store that is only read."""

    @property
    def config(self) -> Config: ...

    @property
    def boundary(self) -> Boundary: ...


class Desk(InForce, Protocol):
    """What a statement is signed against, and where it takes effect: a kernel in this process, or a resident one."""

    @property
    def origin(self) -> str: ...

    @property
    def in_force(self) -> tuple[Digest | None, Digest | None]: ...

    async def enact(self, statement: Statement, documents: Mapping[Digest, Document]) -> Receipt: ...

    async def challenge(self, call: Digest, key: str) -> str: ...

    async def freeze(self, scope: str, by: str) -> Receipt: ...


def standing(config: Config) -> Beside:
    return Beside.open(config)


def check_unlocked(paths: Paths) -> None:
    """Raises `OutsideError(ERR_STORE_LOCKED)` before a person is asked for anything that could not be done then."""
    Lock(paths.store / LOCK).release()


def check_reachable(paths: Paths) -> None:
    """`check_unlocked`, for what a resident kernel does as well."""
    if not is_resident(paths):
        check_unlocked(paths)


def protected(paths: Paths) -> list[str]:
    """The directories that no governed tool may name."""
    return sorted({str(paths.home), str(paths.people), str(paths.home.resolve()), str(paths.people.resolve())})


def propose_pins(now: InForce, server: dict[str, Any]) -> Proposal:
    """`server` is a catalogue document of one server. The policy in force is bound to the new catalogue, unchanged."""
    catalog = now.boundary.catalog.with_server(server)
    files = {} if now.boundary.policy is None else now.boundary.policy.files
    return Proposal(StatementKind.PIN, catalog, Policy.from_files(files, catalog, protected(now.config.paths)))


def propose_policy(now: InForce) -> Proposal:
    """The policy files as they are edited now, bound to the catalogue in force."""
    catalog = now.boundary.catalog
    files = read_files(now.config.paths.policy)
    return Proposal(StatementKind.ACTIVATION, catalog, Policy.from_files(files, catalog, protected(now.config.paths)))


async def enact(config: Config, agreed: Proposal, propose: Callable[[InForce], Proposal], signers: Sequence[Signer]) -> Receipt:
    """Sign what a person agreed to, unless something else came into force meanwhile."""

    async def work(desk: Desk) -> Receipt:
        proposal = propose(desk)
        if (proposal.catalog.digest, proposal.policy.digest) != (agreed.catalog.digest, agreed.policy.digest):
            detail = "what is in force, or the files, changed meanwhile"
            raise Refused(Reason.ERR_APPROVAL_INTENT_MISMATCH, detail, hint="look again, then agree")
        return await activate(desk, proposal, signers)

    return await at_desk(config, work)


async def enact_release(config: Config, tool: str, hold: Digest, signers: Sequence[Signer]) -> Receipt:
    return await at_desk(config, lambda desk: release(desk, tool, hold, signers))


async def enact_erasure(config: Config, subject: bytes, count: int, signers: Sequence[Signer]) -> Receipt:
    """Destroy what is kept about a subject: so many attachments, as the person was shown."""
    return await at_desk(config, lambda desk: erase(desk, subject, count, signers))


async def at_desk(config: Config, work: Callable[[Desk], Awaitable[Receipt]]) -> Receipt:
    """The one place that says who makes a change: the kernel that is resident, or, where none is, this process under the lock."""
    if is_resident(config.paths):
        return await work(Beside.open(config))
    runtime = await Runtime.open(config)
    try:
        return await work(runtime)
    finally:
        await runtime.close()


async def activate(desk: Desk, proposal: Proposal, signers: Sequence[Signer]) -> Receipt:
    """Sign the change from what is in force to the proposal, and let it take effect."""
    policy, catalog = desk.in_force
    content: dict[str, Any] = {
        "policy": Change(policy, proposal.policy.digest).to_json(),
        "catalog": Change(catalog, proposal.catalog.digest).to_json(),
    }
    docs: dict[Digest, Document] = documents(proposal.policy, proposal.catalog)
    return await signed(desk, proposal.kind, content, signers, docs)


async def release(desk: Desk, tool: str, hold: Digest, signers: Sequence[Signer]) -> Receipt:
    """Let a held tool be called again."""
    return await signed(desk, StatementKind.RELEASE, {"tool": tool, "hold": hold}, signers)


async def erase(desk: Desk, subject: bytes, count: int, signers: Sequence[Signer]) -> Receipt:
    """Sign that what is kept about a subject is destroyed, and destroy its key."""
    return await signed(desk, StatementKind.ERASURE, {"subject": subject.hex(), "count": count}, signers)


def cover_tail(config: Config) -> None:
    """After a crash, sign for what the dead process had committed; where a kernel runs, it does so by itself."""
    try:
        open_ledger(config).abandon()
    except OutsideError as e:
        if e.reason not in (Reason.ERR_STORE_LOCKED, Reason.ERR_STORE_ROLLBACK):  # a store that was put back is evidence, too
            raise


def save_catalog(paths: Paths, server: dict[str, Any]) -> None:
    """Write `catalog/<server>.json` for a person to read and edit, in ASCII; an edited file alone changes nothing."""
    path = paths.catalog / f"{server['server']}.json"
    text = json.dumps(server, indent=1) + "\n"
    durable.write(path, [text.encode("ascii")])


def read_catalog(config: Config, server: str) -> dict[str, Any]:
    """The proposed document of one server, of the right form; whether it can be pinned is for `propose_pins` to say."""
    path = config.paths.catalog / f"{server}.json"
    if not SERVER.match(server) or not path.exists():
        raise OutsideError(Reason.ERR_TOOL_NOT_ALLOWED, f"no tools are proposed for `{server}`", hint=_how(config, server))
    try:
        value = parse(path.read_bytes(), bytes_max=BYTES_MAX)
    except Refused as e:
        raise Refused(Reason.ERR_SCHEMA_UNSAFE, f"`{path}` is not JSON: {e.detail}", hint=_how(config, server)) from None
    tools = value.get("tools") if isinstance(value, dict) else None
    if not isinstance(value, dict) or value.get("server") != server or not isinstance(tools, list) or not all(map(_named, tools)):
        detail = f"`{path}` is no catalogue document of `{server}`"
        raise Refused(Reason.ERR_SCHEMA_UNSAFE, detail, hint=_how(config, server))
    EMPTY.with_server({**value, "tools": []})  # vets the rest of it
    return value


def quarantined(config: Config, catalog: Catalog) -> list[dict[str, Any]]:
    """What was inspected and is not pinned so: listed to no client, and not called. Methods of MCP change with no server."""
    pinned, rows = entries(catalog), []
    for path in sorted(config.paths.catalog.glob("*.json")):
        try:
            doc = read_catalog(config, path.stem)
        except (Refused, OutsideError):
            continue  # no document: `tools pin` says so
        for tool in doc["tools"]:
            name = f"{path.stem}/{tool['name']}"
            if tool["name"] not in METHODS and pinned.get(name, {}).get("pin") != tool["pin"]:
                how = "changed" if name in pinned else "new"
                rows.append({"tool": name, "effect": tool["effect"], "pin": tool["pin"], "held": None, "quarantined": how})
    return rows


def _named(tool: Json) -> bool:
    words = ("name", "pin", "effect")
    return isinstance(tool, dict) and isinstance(tool.get("raw"), dict) and all(isinstance(tool.get(w), str) for w in words)


def _how(config: Config, server: str) -> str:
    """To tools that can be pinned."""
    if server in config.upstreams:
        return config.paths.typed(f"tools inspect {server}")
    return f"add [upstream.{server}] to {config.paths.config}, or run the program that governs functions as `{server}`"


def as_said_before(server: dict[str, Any], catalog: Catalog) -> dict[str, Any]:
    """The same definitions, with what a person said of those that are pinned already: effect, limits, labels and the rest."""
    said, name = entries(catalog), server["server"]
    kept = [(tool, said.get(f"{name}/{tool['name']}", tool)) for tool in server["tools"]]
    return {**server, "tools": [before if before["pin"] == tool["pin"] else tool for tool, before in kept]}


def entries(catalog: Catalog) -> dict[str, dict[str, Any]]:
    """Every pinned tool as it stands in the catalogue's document, by `server/tool`."""
    return {f"{name}/{tool['name']}": tool for name, server in servers(catalog).items() for tool in server["tools"]}


def servers(catalog: Catalog) -> dict[str, dict[str, Any]]:
    """Every pinned server as it stands in the catalogue's document, by name."""
    body: Any = parse(catalog.document, bytes_max=BYTES_MAX)
    return {server["server"]: server for server in body["servers"]}


async def signed(
    desk: Desk, kind: StatementKind, content: dict[str, Any], signers: Sequence[Signer],
    docs: Mapping[Digest, Document] | None = None, *, nonce: str = "",
) -> Receipt:  # fmt: skip
    """Sign it for the desk's log, and let it take effect. `nonce`: of a challenge that it answers; else a new one."""
    statement = sign(kind, content, log=desk.origin, at=now(), nonce=nonce or os.urandom(16).hex(), signers=signers)
    return await desk.enact(statement, docs or {})


async def ask(
    server: str, upstream: AnyUpstream, identities: Identities | None = None
) -> tuple[dict[str, Any], dict[str, Refused]]:
    """Start the server, take its tools as they stand, end it: what may be pinned, and what has no one meaning, by name.

    An HTTP API is asked nothing: its operations are in a file. Every tool is `destructive` until a person says otherwise.
    `identities`: who the kernel is at servers that want to know.
    """
    if isinstance(upstream, HttpUpstream):
        return operations.read(server, upstream)
    return await proposals.ask(server, upstream, identities)


def pinnable(server: dict[str, Any], tool: dict[str, Any]) -> Refused | None:
    """Why this tool of the proposed document cannot be pinned as it stands there."""
    try:
        EMPTY.with_server({**server, "tools": [tool]})
    except Refused as refused:
        return refused
    return None


def needed(server: dict[str, Any]) -> list[str]:
    """The flags of `tools pin` with which the proposed document can be pinned: every format that cannot be checked, else the tool
    left out. Nobody is spared to look at what they accept so."""
    flags: list[str] = []
    for tool in server["tools"]:
        accepted = {**tool, "accept_formats": list(tool.get("accept_formats", []))}
        for _ in range(LIST_MAX):
            no = pinnable(server, accepted)
            found = None if no is None else _ACCEPTED.search(no.hint)
            if no is None or found is None:
                break
            accepted["accept_formats"] = sorted({*accepted["accept_formats"], found[1]})
        if pinnable(server, accepted) is not None:
            flags.append(f"--without {shlex.quote(tool['name'])}")
        else:
            new = [name for name in accepted["accept_formats"] if name not in tool.get("accept_formats", [])]
            flags += [f"--accept-format {shlex.quote(name)}" for name in new]
    return sorted(set(flags))


def classify(
    server: dict[str, Any], effects: Sequence[str], accept_formats: Sequence[str], opened: Sequence[str] = (),
    nullable: Sequence[str] = (),
) -> None:  # fmt: skip
    """Set effect classes (`class` for every tool, `tool=class` for one) and accepted formats in a proposed document.

    A method of MCP keeps its class unless it is named. `opened`: tools that take arguments which they do not describe.
    """
    tools = {tool["name"]: tool for tool in server["tools"]}
    for text in sorted(effects, key=lambda item: "=" in item):
        name, _, effect = text.rpartition("=")
        if effect not in tuple(Effect):
            raise _no_such("effect class", effect, list(Effect))
        if name and name not in tools:
            raise _no_such("proposed tool", name, sorted(tools))
        for tool in [tools[name]] if name else [tool for tool in tools.values() if tool["name"] not in METHODS]:
            tool["effect"] = effect
    if accept_formats:
        for tool in tools.values():
            tool["accept_formats"] = sorted({*tool.get("accept_formats", []), *accept_formats})
    for name in nullable:
        if name not in tools:
            raise _no_such("proposed tool", name, sorted(tools))
        schema = tools[name]["raw"].get("inputSchema", {})
        left_out = schema.get("properties", {}).keys() - set(schema.get("required", []))
        tools[name] |= {"nullable": sorted(left_out)} if left_out else {}
    for name in opened:
        if name not in tools:
            raise _no_such("proposed tool", name, sorted(tools))
        tools[name]["closed"] = False


def leave_out(server: dict[str, Any], names: Sequence[str]) -> None:
    """Take tools out of a proposed document; one that is pinned is then not pinned any more."""
    there = [tool["name"] for tool in server["tools"]]
    for name in names:
        if name not in there:
            raise _no_such("proposed tool", name, there)
    server["tools"] = [tool for tool in server["tools"] if tool["name"] not in names]


def _no_such(what: str, name: str, known: Sequence[str]) -> OutsideError:
    return OutsideError(Reason.ERR_TOOL_NOT_ALLOWED, f"`{name}` is no {what}", hint=f"one of: {', '.join(known)}")
