"""What the doors are given of a running kernel: what the gateway names, and nothing else of it can be reached from there."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from helm_ai_kernel.credentials.subjects import Subjects
from helm_ai_kernel.executor.host import Answer, Patience
from helm_ai_kernel.ledger.export import whole
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.ledger.statements import Document
from helm_ai_kernel.pep.admit import with_key
from helm_ai_kernel.pep.catalog import Tool
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.digest import Digest, digest
from helm_ai_kernel.tcb.errors import OutsideError
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.tcb.receipt import Receipt
from helm_ai_kernel.tcb.statement import Statement

from . import asks, trust
from .runtime import Runtime

TAIL_S = 0.2  # between two looks for new receipts
ALIVE_S = 15.0  # between two words to a tail while nothing happens: proxies end what is silent for a minute
PROBE_S = 2.0  # for the disk to say that it takes a group; one that does not answer takes no evidence
PIECE_MIN = 64 << 10  # of an export, at a time: a switch of threads for each small piece would be most of the work

T = TypeVar("T")
Labels = tuple[tuple[str, str], ...]


class RuntimeGate:
    """The data plane's way to an effect (`gateway/data.py`, `Gate`)."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def execute(
        self, raw: bytes, principal: str, door: str, *, key: str | None, session: str | None, patience: Patience
    ) -> Answer:
        request = raw if key is None else with_key(raw, key)
        return await self._runtime.call(request, principal=principal, door=door, session=session, patience=patience)

    async def evaluate(self, raw: bytes, principal: str, door: str, *, key: str | None, session: str | None) -> Answer:
        request = raw if key is None else with_key(raw, key)
        return await self._runtime.evaluate(request, principal=principal, door=door, session=session)

    async def offer(
        self, raw: bytes, principal: str, door: str, *, key: str | None, session: str | None, patience: Patience
    ) -> Answer:
        request = raw if key is None else with_key(raw, key)
        return await self._runtime.offer(request, principal=principal, door=door, session=session, patience=patience)

    def capabilities(self, principal: str) -> dict[str, Json]:
        """The tools that are pinned and not held. Whether a call of one is allowed is decided when it comes."""
        holds = self._runtime.ledger.writer.state.holds
        tools = self._runtime.boundary.catalog.tools.values()
        return {"principal": principal, "tools": [described(tool) for tool in tools if tool.name not in holds]}


def described(tool: Tool) -> dict[str, Json]:
    """A pinned tool for whoever would call it: the schemas are those that are enforced."""
    told: dict[str, Json] = {"name": tool.name, "effect": tool.effect.value, "pin": tool.pin, "require_key": tool.key_required}
    told["description"] = str(tool.raw.get("description", ""))
    told["inputSchema"] = tool.input.enforced
    return told if tool.output is None else {**told, "outputSchema": tool.output.enforced}


class RuntimeRecords:
    """What is recorded (`gateway/control.py`, `Records`): read beside the kernel's writer, in threads, each view for itself."""

    def __init__(self, runtime: Runtime, ending: asyncio.Event) -> None:
        """`ending`: the kernel stops, and tails with it."""
        self._runtime = runtime
        self._paths = runtime.config.paths
        self._ending = ending

    async def receipts(self, *, after: int, limit: int, session: str, kind: str) -> Sequence[Receipt]:
        return await self._read(lambda reader: list(reader.page(after=after, limit=limit, session=session, kind=kind)))

    async def receipt(self, leaf: str) -> Receipt:
        return await self._read(lambda reader: reader.find(leaf))

    async def tail(self, after: int | None) -> AsyncIterator[Receipt | None]:
        state = self._runtime.ledger.writer
        seen, still = (state.state.frontier.size - 1 if after is None else after), 0.0
        while not self._ending.is_set():
            found = (
                await self.receipts(after=seen, limit=256, session="", kind="") if state.state.frontier.size > seen + 1 else []
            )
            for receipt in found:
                yield receipt
                seen, still = receipt.index, 0.0
            if not found:
                if still >= ALIVE_S:
                    yield None
                    still = 0.0
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._ending.wait(), TAIL_S)
                still += TAIL_S

    async def pack(self, *, attachments: bool) -> AsyncGenerator[bytes, None]:
        """One snapshot, read by one thread of its own, a piece whenever the last one was taken."""
        loop, thread = asyncio.get_running_loop(), ThreadPoolExecutor(1, "helm-export")
        pieces = _gathered(self._export(attachments))
        try:
            while piece := await loop.run_in_executor(thread, next, pieces, b""):
                yield piece
        finally:
            thread.submit(pieces.close)
            thread.shutdown(wait=False)

    async def standing(self, what: str) -> Json:
        if what == "trust":
            return await asyncio.to_thread(self._trust)
        if what == "approvals":
            return await asyncio.to_thread(self._approvals)
        boundary, holds = self._runtime.boundary, self._runtime.ledger.writer.state.holds
        if what == "tools":
            tools: list[Json] = [{**described(tool), "held": holds.get(tool.name)} for tool in boundary.catalog.tools.values()]
            return {"catalog": boundary.catalog.digest, "tools": tools}
        if boundary.policy is None:
            return {"policy": None, "files": {}}
        files: dict[str, Json] = {name: data.decode("utf-8", "replace") for name, data in boundary.policy.files.items()}
        return {"policy": boundary.policy.digest, "catalog": boundary.catalog.digest, "files": files}

    async def _read(self, work: Callable[[Reader], T]) -> T:
        def read() -> T:
            with Reader(self._paths.store) as reader:
                return work(reader)

        return await asyncio.to_thread(read)

    def _export(self, attachments: bool) -> Iterator[bytes]:
        with Reader(self._paths.store, vault=Subjects(self._paths.subjects)) as reader:
            yield from whole(reader, attachments=attachments)

    def _approvals(self) -> Json:
        now = asks.standing(self._runtime.config, self._runtime.ledger.writer.state.approvals)
        held: list[Json] = [asks.to_json(one) for one in now.waiting]
        granted: list[Json] = [asks.grant_json(one) for one in now.grants]
        frozen: list[Json] = [{"scope": scope, "hold": leaf} for scope, leaf in now.frozen.items()]
        unasked: list[Json] = [asks.unasked_json(one) for one in now.unasked]
        return {"held": held, "grants": granted, "frozen": frozen, "unasked": unasked}

    def _trust(self) -> Json:
        known = trust.known(self._paths)
        keys: list[Json] = [trust.facts(entry) for entry in known.keys.values()]
        return {"genesis": known.genesis, "size": known.size, "head": known.head, "threshold": known.threshold, "keys": keys}


class RuntimeDesk:
    """Where statements take effect, and how the kernel is (`gateway/control.py`, `Desk`)."""

    def __init__(self, runtime: Runtime, counters: Callable[[], Mapping[str, Mapping[Labels, int]]]) -> None:
        """`counters`: those of the doors."""
        self._runtime = runtime
        self._counters = counters

    async def enact(self, statement: Statement, documents: Sequence[tuple[str, bytes]]) -> Receipt:
        carried = {digest(content): Document(name, content) for name, content in documents}
        return await self._runtime.enact(statement, carried)

    async def challenge(self, call: Digest, key: str) -> str:
        return await self._runtime.challenge(call, key)

    async def freeze(self, scope: str, by: str) -> Receipt:
        return await self._runtime.freeze(scope, by)

    def checkpoint(self) -> bytes:
        return self._runtime.ledger.checkpoint

    async def ready(self) -> tuple[Reason, str]:
        """Proven, not remembered: what a witness found is looked at, and an empty group is written as a call's would be."""
        try:
            await asyncio.wait_for(self._runtime.probe(), PROBE_S)
        except OutsideError as error:
            return error.reason, error.detail
        except TimeoutError:
            return Reason.ERR_EVIDENCE_UNAVAILABLE, "the store does not answer"
        if self._runtime.boundary.policy is None:
            return Reason.ERR_POLICY_NOT_READY, "no policy is in force"
        return Reason.OK, ""

    def counters(self) -> Mapping[str, Mapping[Labels, int]]:
        return {**self._counters(), "helm_receipts_total": {(): self._runtime.ledger.writer.state.frontier.size}}


def _gathered(pieces: Iterator[bytes]) -> Generator[bytes, None, None]:
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= PIECE_MIN:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


class RuntimeGaps:
    """Where refusals are kept that were only counted (`gateway/gaps.py`, `GapLog`)."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def gap(self, door: str, counts: Mapping[str, int]) -> None:
        await self._runtime.ledger.gap(door, counts)
