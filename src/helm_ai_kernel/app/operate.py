"""What a person changes: pins, policy, releases. Prepared and checked here, signed with their key, enacted by the ledger."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from helm_ai_kernel.connectors.mcp_stdio import McpStdioConnector
from helm_ai_kernel.guardian.policy import Policy
from helm_ai_kernel.ledger.statements import Document
from helm_ai_kernel.ledger.trustlog import sync_directory
from helm_ai_kernel.pep.catalog import Catalog, entry, server_doc
from helm_ai_kernel.tcb.call import Effect
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.digest import Digest
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.ijson import parse
from helm_ai_kernel.tcb.keys import Signer
from helm_ai_kernel.tcb.receipt import Receipt
from helm_ai_kernel.tcb.statement import Change, StatementKind, sign

from .bundles import documents, read_files
from .config import Config, Paths, Upstream
from .home import now
from .runtime import Runtime


@dataclass(frozen=True, slots=True)
class Proposal:
    """A catalogue and a policy that could come into force together; nothing is in force yet."""

    kind: StatementKind
    catalog: Catalog
    policy: Policy


def protected(paths: Paths) -> list[str]:
    """The directories that no governed tool may name."""
    return sorted({str(paths.home), str(paths.people), str(paths.home.resolve()), str(paths.people.resolve())})


def propose_pins(runtime: Runtime, server: dict[str, Any]) -> Proposal:
    """`server` is a catalogue document of one server. The policy in force is bound to the new catalogue, unchanged."""
    boundary = runtime.boundary
    catalog = boundary.catalog.with_server(server)
    files = {} if boundary.policy is None else boundary.policy.files
    return Proposal(StatementKind.PIN, catalog, Policy.from_files(files, catalog, protected(runtime.config.paths)))


def propose_policy(runtime: Runtime) -> Proposal:
    """The policy files as they are edited now, bound to the catalogue in force."""
    catalog = runtime.boundary.catalog
    files = read_files(runtime.config.paths.policy)
    return Proposal(StatementKind.ACTIVATION, catalog, Policy.from_files(files, catalog, protected(runtime.config.paths)))


async def activate(runtime: Runtime, proposal: Proposal, signers: Sequence[Signer]) -> Receipt:
    """Sign the change from what is in force to the proposal, and let it take effect."""
    state = runtime.ledger.writer.state
    content: dict[str, Any] = {
        "policy": Change(state.policy, proposal.policy.digest).to_json(),
        "catalog": Change(state.catalog, proposal.catalog.digest).to_json(),
    }
    docs: dict[Digest, Document] = documents(proposal.policy, proposal.catalog)
    return await _enact(runtime, proposal.kind, content, signers, docs)


async def release(runtime: Runtime, tool: str, hold: Digest, signers: Sequence[Signer]) -> Receipt:
    """Let a held tool be called again."""
    return await _enact(runtime, StatementKind.RELEASE, {"tool": tool, "hold": hold}, signers, {})


def save_catalog(paths: Paths, server: dict[str, Any]) -> None:
    """Write `catalog/<server>.json` for a person to read and edit; an edited file alone changes nothing."""
    path = paths.catalog / f"{server['server']}.json"
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(server, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.rename(partial, path)
    sync_directory(path.parent)


def read_catalog(config: Config, server: str) -> dict[str, Any]:
    """The proposed document of one server; raises `Refused` where there is none."""
    path = config.paths.catalog / f"{server}.json"
    try:
        value = parse(path.read_bytes())
    except FileNotFoundError:
        hint = f"helm-ai-kernel tools inspect {server}"
        raise Refused(Reason.ERR_TOOL_NOT_ALLOWED, f"no tools are proposed for `{server}`", hint=hint) from None
    except Refused as e:
        raise Refused(
            Reason.ERR_SCHEMA_UNSAFE, f"`{path}` is not JSON: {e.detail}", hint=f"helm-ai-kernel tools inspect {server}"
        ) from None
    if not isinstance(value, dict):
        raise Refused(Reason.ERR_SCHEMA_UNSAFE, f"`{path}` is not an object", hint=f"helm-ai-kernel tools inspect {server}")
    return value


async def _enact(
    runtime: Runtime, kind: StatementKind, content: dict[str, Any], signers: Sequence[Signer], docs: dict[Digest, Document]
) -> Receipt:
    origin = runtime.ledger.origin
    statement = sign(kind, content, log=origin, at=now(), nonce=os.urandom(16).hex(), signers=signers)
    return await runtime.enact(statement, docs)


async def ask(server: str, upstream: Upstream) -> dict[str, Any]:
    """Start the server, take its tools as they stand, end it. Every tool is `destructive` until a person says otherwise."""
    connector = McpStdioConnector(upstream.command, named=upstream.env)
    try:
        await connector.start()
        entries = [entry(name, raw) for name, raw in sorted(connector.definitions.items())]
        refused = connector.refused
    finally:
        await connector.close()
    if refused:
        name, why = sorted(refused.items())[0]
        raise Refused(
            why.reason, f"`{server}/{name}`: {why.detail}", hint="the server's definition is outside what can be pinned"
        )
    return server_doc(server, {"kind": "mcp-stdio", "command": list(upstream.command), "env": list(upstream.env)}, entries)


def classify(server: dict[str, Any], effects: Sequence[str], accept_formats: Sequence[str]) -> None:
    """Set effect classes (`class` for every tool, `tool=class` for one) and accepted formats in a proposed document."""
    tools = {tool["name"]: tool for tool in server["tools"]}
    for text in sorted(effects, key=lambda item: "=" in item):
        name, _, effect = text.rpartition("=")
        if effect not in tuple(Effect) or (name and name not in tools):
            known = ", ".join(tools) if name and name not in tools else ", ".join(Effect)
            raise Refused(
                Reason.ERR_SCHEMA_UNSAFE, f"`--effect {text}` names no tool or no effect class", hint=f"one of: {known}"
            )
        for tool in [tools[name]] if name else tools.values():
            tool["effect"] = effect
    for tool in tools.values():
        tool["accept_formats"] = sorted({*tool.get("accept_formats", []), *accept_formats})
