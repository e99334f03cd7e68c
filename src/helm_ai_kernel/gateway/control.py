"""The control plane: what operators may ask for, and what people signed.

It reads what is recorded and hands on statements; it decides nothing and signs nothing. Who may use it is settled before a byte
of the body is read. A page in a browser finds nothing here but the verifier, which asks nothing of anybody.
"""

import base64
import binascii
import re
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Protocol
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from helm_ai_kernel.net.door import Peer
from helm_ai_kernel.tcb import fields
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.digest import Digest, is_digest
from helm_ai_kernel.tcb.envelope import Record
from helm_ai_kernel.tcb.errors import EvidenceError, OutsideError, Refused
from helm_ai_kernel.tcb.fields import HEX32
from helm_ai_kernel.tcb.ijson import Json, parse
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.tcb.receipt import TEXT_MAX, Kind, Receipt
from helm_ai_kernel.tcb.statement import Statement
from helm_ai_kernel.wire.head import Head
from helm_ai_kernel.wire.reply import Reply, refusal

from .asgi import Exchange
from .gaps import Gaps
from .identity import ControlIdentity
from .openapi import document
from .replies import refused

BODY_BYTES_MAX = 32 << 20  # a statement with a catalogue and a policy, in base64
PAGE_MAX, PAGE = 1000, 100  # receipts in one answer: each has about 1,000 bytes
INDEX_MAX = 2**53 - 1
OPEN = frozenset({"/healthz", "/verify"})  # to whoever reads: these say nothing of this kernel

CSP = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"  # of all that is no page
_POLICY = re.compile(r'http-equiv="Content-Security-Policy"\s+content="([^"]+)"')
_STATEMENT, _DOCUMENT = frozenset({"statement", "documents"}), frozenset({"name", "content"})


class Records(Protocol):
    """What is recorded. Reading waits for the disk, so all of it is asynchronous; raises `OutsideError`."""

    async def receipts(self, *, after: int, limit: int, session: str, kind: str) -> Sequence[Receipt]: ...

    async def receipt(self, leaf: str) -> Receipt: ...

    def tail(self, after: int | None) -> AsyncIterator[Receipt | None]:
        """Every receipt behind that index, or from now on, as it becomes durable; None now and then, while nothing happens."""
        ...

    def pack(self, *, attachments: bool) -> AsyncGenerator[bytes, None]: ...

    async def standing(self, what: str) -> Json:
        """`trust`, `tools`, `policy` or `approvals`, as it is in force."""
        ...


class Desk(Protocol):
    """Where statements take effect, and how the kernel is."""

    async def enact(self, statement: Statement, documents: Sequence[tuple[str, bytes]]) -> Receipt: ...

    async def challenge(self, call: Digest, key: str) -> str: ...

    async def freeze(self, scope: str, by: str) -> Receipt: ...

    def checkpoint(self) -> bytes: ...

    async def ready(self) -> tuple[Reason, str]:
        """OK, or why nothing would be executed now."""
        ...

    def counters(self) -> Mapping[str, Mapping[tuple[tuple[str, str], ...], int]]:
        """Name -> labels -> value; nothing that a caller chose is a label."""
        ...


def application(records: Records, desk: Desk, page: bytes) -> Starlette:
    """The routes of the control plane. `page` is the verifier's."""
    routes = _Routes(records, desk, page)
    listed = [
        Route("/v1/receipts", routes.receipts, methods=["GET"]),
        Route("/v1/receipts/tail", routes.tail, methods=["GET"]),
        Route("/v1/receipts/{leaf}", routes.receipt, methods=["GET"]),
        Route("/v1/evidence/export", routes.export, methods=["POST"]),
        Route("/v1/statements", routes.enact, methods=["POST"]),
        *(Route(f"/v1/{what}", routes.standing, methods=["GET"]) for what in ("trust", "tools", "policy", "approvals")),
        Route("/v1/approvals/{call}/challenge", routes.challenge, methods=["POST"]),
        Route("/v1/freeze", routes.freeze, methods=["POST"]),
        Route("/checkpoint", routes.checkpoint, methods=["GET"]),
        Route("/healthz", routes.health, methods=["GET"]),
        Route("/readyz", routes.ready, methods=["GET"]),
        Route("/metrics", routes.metrics, methods=["GET"]),
        Route("/verify", routes.verify, methods=["GET"]),
        Route("/openapi.json", routes.openapi, methods=["GET"]),
    ]
    app = Starlette(routes=listed, exception_handlers={Refused: _refused, OutsideError: _refused, HTTPException: _absent})
    app.router.redirect_slashes = False
    return app


class ControlDoor:
    """A `Door` of the listener for operators."""

    def __init__(self, app: Starlette, identity: ControlIdentity, gaps: Gaps) -> None:
        self._app = app
        self._identity = identity
        self._gaps = gaps
        self.answers: dict[int, int] = {}

    def admit(self, head: Head, peer: Peer) -> Reply | None:
        try:
            self._bare(head, peer)
        except Refused as error:
            self._gaps.count(error.reason)
            return self._told(refused(error, (("WWW-Authenticate", "Bearer"),)))
        return None

    async def answer(self, head: Head, body: bytes, peer: Peer) -> Reply:
        try:
            return self._told(await Exchange(self._app, self._bare(head, peer), body).reply())
        except Refused as error:
            self._gaps.count(error.reason)
            return self._told(refused(error, (("WWW-Authenticate", "Bearer"),)))
        except Exception as error:  # the door: our own bug fails this one request, and says no word of it outside
            sys.stderr.write(f"error: the control plane failed: {type(error).__name__}\n")
            return self._told(refusal(Reason.ERR_EVIDENCE_UNAVAILABLE, "internal failure", status=500))

    def refused(self, reason: Reason, peer: Peer) -> None:
        self._gaps.count(reason)

    def _bare(self, head: Head, peer: Peer) -> Head:
        """Nobody's body is read who is not known."""
        reads = head.method in ("GET", "HEAD") and not head.has_body
        return head if head.path in OPEN and reads else self._identity.admit(head, peer)

    def _told(self, reply: Reply) -> Reply:
        self.answers[reply.status] = self.answers.get(reply.status, 0) + 1
        return reply


class _Routes:
    def __init__(self, records: Records, desk: Desk, page: bytes) -> None:
        self._records = records
        self._desk = desk
        self._page = page
        own = _POLICY.search(page.decode())
        if own is None:
            raise ValueError("the page has no policy of its own")
        self._page_policy = " ".join(own[1].split()) + "; frame-ancestors 'none'"

    async def receipts(self, request: Request) -> Response:
        asked = _query(request, {"after", "limit", "session", "kind"})
        session, kind = asked.get("session", ""), asked.get("kind", "")
        if "session" in asked and not HEX32.match(session):
            raise _bad("session", "32 hex digits")
        if "kind" in asked and kind not in tuple(Kind):
            raise _bad("kind", ", ".join(Kind))
        limit = _number(asked, "limit", PAGE, 1, PAGE_MAX)
        found = await self._records.receipts(after=_number(asked, "after", -1), limit=limit, session=session, kind=kind)
        rows = b",".join(map(_row, found))
        after = b"%d" % found[-1].index if len(found) == limit else b"null"
        return _json(b'{"after":%b,"receipts":[%b]}' % (after, rows))

    async def receipt(self, request: Request) -> Response:
        leaf = unquote(request.path_params["leaf"])  # a colon may come as `%3A`
        if not is_digest(leaf):
            raise _bad("leaf", "sha256: and 64 hex digits")
        try:
            return _json(_row(await self._records.receipt(leaf)))
        except OutsideError as error:
            if error.reason is not Reason.ERR_EVIDENCE_UNAVAILABLE:
                raise
            raise HTTPException(404) from None

    async def tail(self, request: Request) -> Response:
        """Server-sent events: the index is the id, so that a client that comes back goes on where it was."""
        asked = _query(request, {"after"})
        last = request.headers.get("last-event-id")
        if last is not None:
            asked = {"after": last}
        after = _number(asked, "after", -1) if asked else None

        async def events() -> AsyncIterator[bytes]:
            yield b": helm\n\n"
            async for receipt in self._records.tail(after):
                yield b": \n\n" if receipt is None else b"id: %d\nevent: receipt\ndata: %b\n\n" % (receipt.index, _row(receipt))

        return StreamingResponse(events(), media_type="text/event-stream", headers={"Content-Security-Policy": CSP})

    async def export(self, request: Request) -> Response:
        body = await _object(request, frozenset(), frozenset({"attachments"}))
        attachments = body.get("attachments", True)
        if type(attachments) is not bool:
            raise _bad("attachments", "true or false")
        pieces = self._records.pack(attachments=attachments)
        first = await anext(pieces, b"")  # what cannot be exported is said by a status, not by an answer that ends early

        async def whole() -> AsyncIterator[bytes]:
            async with aclosing(pieces):
                yield first
                async for piece in pieces:
                    yield piece

        named = {"Content-Disposition": 'attachment; filename="evidence.tar"', "Content-Security-Policy": CSP}
        return StreamingResponse(whole(), media_type="application/x-tar", headers=named)

    async def enact(self, request: Request) -> Response:
        body = await _object(request, _STATEMENT)
        try:
            statement = Statement.from_record(Record.from_json(body["statement"]))
            documents = [_document(item) for item in fields.typed(body, "documents", list)]
        except (EvidenceError, binascii.Error, ValueError) as error:
            detail = error.detail if isinstance(error, EvidenceError) else "a document is not base64"
            raise Refused(Reason.ERR_UPSTREAM_SHAPE, detail, hint="send a signed statement and its documents") from None
        return _json(_row(await self._desk.enact(statement, documents)))

    async def challenge(self, request: Request) -> Response:
        body, call = await _object(request, frozenset({"key"})), request.path_params["call"]
        if not is_digest(call):
            raise _bad("call", "sha256: and 64 hex digits")
        return _json(canonical({"nonce": await self._desk.challenge(Digest(call), _word(body, "key"))}))

    async def freeze(self, request: Request) -> Response:
        body = await _object(request, frozenset({"scope", "by"}))
        return _json(_row(await self._desk.freeze(_word(body, "scope"), _word(body, "by"))))

    async def standing(self, request: Request) -> Response:
        return _json(canonical(await self._records.standing(request.url.path.removeprefix("/v1/"))))

    async def checkpoint(self, request: Request) -> Response:
        return _text(self._desk.checkpoint())

    async def health(self, request: Request) -> Response:
        return _json(b'{"alive":true}')

    async def ready(self, request: Request) -> Response:
        reason, detail = await self._desk.ready()
        told: dict[str, Json] = {"ready": reason is Reason.OK, "reason": reason.value, "detail": detail}
        return _json(canonical(told), 200 if reason is Reason.OK else 503)

    async def metrics(self, request: Request) -> Response:
        lines = []
        for name, values in sorted(self._desk.counters().items()):
            lines.append(f"# TYPE {name} counter")
            for labels, value in sorted(values.items()):
                named = ",".join(f'{label}="{text}"' for label, text in labels)
                lines.append(f"{name}{{{named}}} {value}" if named else f"{name} {value}")
        return _text("\n".join([*lines, ""]).encode())

    async def verify(self, request: Request) -> Response:
        return Response(self._page, media_type="text/html; charset=utf-8", headers={"Content-Security-Policy": self._page_policy})

    async def openapi(self, request: Request) -> Response:
        return _json(canonical(document()))


async def _object(
    request: Request, required: frozenset[str], optional: frozenset[str] = frozenset()
) -> dict[str, Json]:  # fmt: skip
    data = await request.body()
    value = parse(data, bytes_max=BODY_BYTES_MAX) if data or required else {}
    try:
        return fields.exact(value, required, optional)
    except EvidenceError as error:
        raise Refused(Reason.ERR_UPSTREAM_SHAPE, error.detail, hint="see /openapi.json") from None


def _word(body: Mapping[str, Json], name: str) -> str:
    value = body[name]
    if type(value) is not str or not 0 < len(value) <= TEXT_MAX or not value.isprintable():
        raise _bad(name, f"1 to {TEXT_MAX} printable characters")
    return value


def _document(item: Json) -> tuple[str, bytes]:
    body = fields.exact(item, _DOCUMENT)
    content = fields.text(body, "content", bytes_max=BODY_BYTES_MAX)
    return fields.text(body, "name", bytes_max=16), base64.b64decode(content, validate=True)


def _query(request: Request, known: set[str]) -> dict[str, str]:
    pairs = request.query_params.multi_items()
    asked = dict(pairs)
    if len(asked) != len(pairs) or asked.keys() - known:
        raise _bad("query", f"each of {', '.join(sorted(known))} at most once")
    return asked


def _number(asked: Mapping[str, str], name: str, otherwise: int, least: int = 0, most: int = INDEX_MAX) -> int:
    text = asked.get(name)
    if text is None:
        return otherwise
    if not text.isascii() or not text.isdecimal() or len(text) > 16 or not least <= int(text) <= most:
        raise _bad(name, f"a number from {least} to {most}")
    return int(text)


def _bad(name: str, what: str) -> Refused:
    return Refused(Reason.ERR_UPSTREAM_SHAPE, f"`{name}` is not {what}", hint="see /openapi.json")


def _row(receipt: Receipt) -> bytes:
    """The record stands in it as it was signed."""
    return b'{"index":%d,"leaf":"%b","record":%b}' % (receipt.index, receipt.leaf.encode(), receipt.line)


def _json(data: bytes, status: int = 200) -> Response:
    return Response(data, status, media_type="application/json", headers={"Content-Security-Policy": CSP})


def _text(data: bytes) -> Response:
    return Response(data, media_type="text/plain; charset=utf-8", headers={"Content-Security-Policy": CSP})


def _refused(request: Request, error: Exception) -> Response:
    """An operator is told the detail: it names the kernel's own state, and what stands in a statement that they sent."""
    if not isinstance(error, Refused | OutsideError):
        raise error
    return _plain(refusal(error.reason, error.detail, hint=error.hint))


def _absent(request: Request, error: Exception) -> Response:
    code = error.status_code if isinstance(error, HTTPException) else 500
    message = {404: "there is nothing of that name here", 405: "this path takes another method"}.get(code, "no")
    named = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    return _plain(refusal(Reason.ERR_UNMEDIATED_TRANSPORT, message, status=code, hint="GET /openapi.json"), named)


def _plain(reply: Reply, named: Mapping[str, str] | None = None) -> Response:
    body = reply.body if isinstance(reply.body, bytes) else b""
    return Response(body, reply.status, headers={**dict(reply.fields), **(named or {})})
