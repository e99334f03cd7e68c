"""Commands beside a resident kernel: it holds the store, and takes what a person signed over its control socket.

A person signs in the client; their key never reaches the kernel. What it does with a statement is what it does with one that is
signed in its own process: the same checks, in the same transaction.
"""

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from helm_ai_kernel.executor.boundary import Boundary
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.ledger.statements import Document
from helm_ai_kernel.net import local
from helm_ai_kernel.pep.catalog import EMPTY, Catalog
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.digest import Digest
from helm_ai_kernel.tcb.envelope import Record
from helm_ai_kernel.tcb.errors import EvidenceError, OutsideError, Refused
from helm_ai_kernel.tcb.ijson import Json, parse
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.tcb.receipt import Receipt
from helm_ai_kernel.tcb.statement import Statement

from .bundles import stored_policy
from .config import Config, Paths


@dataclass(frozen=True, slots=True)
class Beside:
    """What is in force, read beside a running kernel or without one; and, where one is resident, the way to change it."""

    config: Config
    boundary: Boundary
    origin: str
    in_force: tuple[Digest | None, Digest | None]

    @classmethod
    def open(cls, config: Config) -> "Beside":
        with Reader(config.paths.store) as reader:
            catalog = EMPTY if reader.catalog is None else Catalog.from_bytes(reader.document(reader.catalog))
            policy = None if reader.policy is None else stored_policy(reader.document, reader.policy, catalog)
            return cls(config, Boundary(catalog, policy), reader.origin, (reader.policy, reader.catalog))

    async def enact(self, statement: Statement, documents: Mapping[Digest, Document]) -> Receipt:
        """Raises what the kernel says; the same as `Runtime.enact`."""
        carried: list[Json] = [
            {"name": one.name, "content": base64.b64encode(one.content).decode()} for one in documents.values()
        ]  # fmt: skip
        body: dict[str, Json] = {"statement": statement.record.to_json(), "documents": carried}
        return _receipt(self.config.paths, await self._asked("/v1/statements", body))

    async def challenge(self, call: Digest, key: str) -> str:
        """The same as `Runtime.challenge`."""
        return str((await self._asked(f"/v1/approvals/{call}/challenge", {"key": key}))["nonce"])

    async def freeze(self, scope: str, by: str) -> Receipt:
        """The same as `Runtime.freeze`."""
        return _receipt(self.config.paths, await self._asked("/v1/freeze", {"scope": scope, "by": by}))

    async def _asked(self, target: str, body: dict[str, Json]) -> dict[str, Any]:
        return await asyncio.to_thread(_sent, self.config.paths, target, canonical(body))


def is_resident(paths: Paths) -> bool:
    """Whether a kernel is there that takes statements: what listens on its control socket is looked at when it is asked."""
    return local.listens(paths.control_socket)


def _sent(paths: Paths, target: str, body: bytes) -> dict[str, Any]:
    """What the kernel answers; raises what it refuses with."""
    status, said = local.ask(paths.control_socket, "POST", target, body)
    try:
        value: Any = parse(said, bytes_max=local.ANSWER_BYTES_MAX)
        if status == 200 and isinstance(value, dict):
            return value
        reason, detail, hint = Reason(value["error"]["code"]), str(value["error"]["message"]), str(value["helm"]["hint"])
    except (Refused, ValueError, KeyError, TypeError):
        raise _unknown(paths, status) from None
    raise (OutsideError if status >= 500 else Refused)(reason, detail, hint=hint)


def _receipt(paths: Paths, value: dict[str, Any]) -> Receipt:
    try:
        record = Record.from_json(value["record"])
        receipt = Receipt.from_bytes(record.line, int(value["index"]))
        if receipt.leaf == value["leaf"]:
            return receipt
    except (EvidenceError, ValueError, KeyError, TypeError):
        pass
    raise _unknown(paths, 200)


def _unknown(paths: Paths, status: int) -> OutsideError:
    detail = f"the kernel at `{paths.control_socket}` answered {status}, and nothing that is known here"
    return OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, detail, hint=paths.typed("receipts list"))
