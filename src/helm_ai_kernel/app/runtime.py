"""The kernel in one event loop: ledger, boundary and connectors put together, and the calls that are under way.

A call runs in a task of its own: a caller that hangs up erases neither the intent nor its outcome.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from helm_ai_kernel import __version__
from helm_ai_kernel.connectors.python import PythonConnector
from helm_ai_kernel.credentials.subjects import Subjects
from helm_ai_kernel.executor.boundary import Boundary
from helm_ai_kernel.executor.execute import execute, offer, report
from helm_ai_kernel.executor.host import Answer, Connector, Decide, Patience, Relay, Reply, ReplyKind
from helm_ai_kernel.executor.recover import recover
from helm_ai_kernel.executor.relay import Counted
from helm_ai_kernel.guardian import reasons
from helm_ai_kernel.ledger import store, succession, trustlog
from helm_ai_kernel.ledger.caused import Cause
from helm_ai_kernel.ledger.ledger import LOCK, TRUST, Ledger
from helm_ai_kernel.ledger.statements import Document
from helm_ai_kernel.ledger.transaction import Ink, Session
from helm_ai_kernel.ledger.witnessed import Witnessed
from helm_ai_kernel.ledger.writer import end_process
from helm_ai_kernel.pep.catalog import EMPTY, Catalog
from helm_ai_kernel.tcb.approvals import held_call
from helm_ai_kernel.tcb.call import Admitted, Call
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Outcome, Verdict
from helm_ai_kernel.tcb.digest import Digest
from helm_ai_kernel.tcb.errors import OutsideError, Refused
from helm_ai_kernel.tcb.keys import Purpose
from helm_ai_kernel.tcb.receipt import EffectBy, Receipt
from helm_ai_kernel.tcb.statement import Statement

from . import trust, witnesses
from .bundles import stored_policy
from .config import Asked, Config
from .hands import Hands, Place
from .heartbeat import Heartbeat
from .identities import Identities
from .offers import Offer, Offers
from .quarantine import Quarantine
from .sessions import Sessions
from .waiting import Waiting

SETTLE_S = 5.0  # in a bounded close, for what was cut off to be written down on a slow disk; then it is cancelled


NONE = Patience()


@dataclass(frozen=True, slots=True)
class Beside:
    """What a door brings beside the bytes of a call."""

    relay: Relay | None = None
    inputs: bytes | None = None
    causes: tuple[Cause, ...] = ()
    place: Place | None = None  # of the caller's client; None: of the principal alone
    given_up: asyncio.Event | None = None  # set where nobody wants the call any more


ALONE = Beside()


def open_ledger(config: Config, end: Callable[[str], None] = end_process) -> Ledger:
    """Take the lock and check what is there; nothing is answered before `begin`."""
    lock = store.Lock(config.paths.store / LOCK)  # first: no event comes between the registry's reading and the first receipt
    try:
        return open_locked(config, lock, end)
    except BaseException:
        lock.release()
        raise


def open_locked(config: Config, lock: store.Lock, end: Callable[[str], None] = end_process) -> Ledger:
    """`open_ledger` for whoever has the lock, who gives it away; it stays theirs where this raises."""
    folder = config.paths.store
    succession.finish(folder, config.paths.keys)
    Witnessed(folder).check()  # behind that: another log that takes the place of this one is a way out
    registry = trustlog.load(folder / TRUST)
    execution, log = (trust.machine_key(config.paths, registry, purpose) for purpose in (Purpose.EXECUTION, Purpose.LOG))
    vault = Subjects(config.paths.subjects)
    vault.sweep()
    vault.destroy(*succession.erased(folder, registry))
    ink = Ink(execution, registry, __version__, vault, config.insecure)
    return Ledger.open(folder, ink=ink, log_key=log, lock=lock, heads=config.paths.heads, budgets=config.budgets, end=end)


class Runtime:
    """Open it inside the loop that will use it. One process per home: the ledger holds the lock."""

    def __init__(self, config: Config, ledger: Ledger, connectors: Mapping[str, PythonConnector]) -> None:
        self.config = config
        self.ledger = ledger
        self.recovered = 0
        self._witnessed = Witnessed(config.paths.store)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closing = self._closed = False  # no new calls; no new processes
        self.sessions = Sessions(ledger.session, ledger.end_session, self.keep)
        self.boundary = Boundary(EMPTY, None)
        self.offers = Offers()
        self._changing = asyncio.Lock()
        self.waiting = Waiting(ledger)
        self._quarantine = Quarantine(self)
        self.hands = Hands(
            connectors,
            keep=self.keep,
            on_late=record_late,
            ears=self._quarantine.ears,
            bearers=Identities(config).bearer,
        )
        self.terms: Callable[[str], Asked] = lambda principal: config.asked
        self.heartbeat: Heartbeat | None = None

    @classmethod
    async def open(
        cls,
        config: Config,
        *,
        connectors: Mapping[str, PythonConnector] | None = None,
        client: str = "",
        end: Callable[[str], None] = end_process,
    ) -> "Runtime":
        """Take the lock, verify registry and tail, close what a crash left open, load what is in force."""
        asked = witnesses.of_config(config) if config.heartbeat_s else None
        ledger = open_ledger(config, end)
        runtime = cls(config, ledger, connectors or {})
        try:
            clean = await ledger.begin(client or "helm-ai-kernel " + __version__)
            runtime.recovered = await recover(ledger, clean=clean)
            runtime.reload()
            runtime.waiting.start()
        except BaseException:
            ledger.abandon()
            raise
        if asked is not None:
            runtime.heartbeat = Heartbeat(ledger, asked, config.heartbeat_s)
        return runtime

    def reload(self) -> None:
        """Put into force what the log says is in force. A server whose pins or command changed ends after its calls."""
        state = self.ledger.writer.state
        catalog = EMPTY if state.catalog is None else Catalog.from_bytes(self.ledger.document(state.catalog))
        policy = None if state.policy is None else stored_policy(self.ledger.document, state.policy, catalog)
        self.boundary = Boundary(catalog, policy)
        self.hands.reload(catalog)

    async def call(
        self,
        raw: bytes,
        *,
        principal: str,
        door: str,
        session: str | None = None,
        patience: Patience = NONE,
        beside: Beside = ALONE,
    ) -> Answer:
        """Execute one request to its end, even when the caller is cancelled meanwhile.

        `session`: the one that the caller believes to be in; raises `Refused(ERR_SESSION_ENDED)` where it is not.
        A call that is held for a person is decided again, whenever something was said of it, while its caller waits.
        """
        return await self._patiently(
            lambda waited_for: self._execute(raw, principal, door, session, waited_for, beside), patience
        )  # fmt: skip

    async def offer(
        self, raw: bytes, *, principal: str, door: str, session: str | None = None, patience: Patience = NONE,
        causes: Sequence[Cause] = (),
    ) -> Answer:  # fmt: skip
        """The verdict on a call on which the caller acts, once, if it is ALLOW: it claims, reserves and uses up as `call`."""
        beside = Beside(causes=tuple(causes))
        return await self._patiently(
            lambda waited_for: self._offer(raw, principal, door, session, waited_for, beside), patience
        )  # fmt: skip

    async def report(self, decision: Receipt, output: bytes | None, ms: int, *, principal: str, sub: str = "") -> Answer:
        """What came of a call that `offer` allowed to that principal, durable when it is answered; raises `Refused`.

        None: the caller says that nothing came of it, and `sub` why. The answer's `output` are the bytes that may go on: none
        where they break the tool's contract. It is taken as long as calls under way are.
        """
        offer = self.offers.find(decision.leaf, principal)
        kind = ReplyKind.FAILED if output is None else ReplyKind.OUTPUT
        return await self._once(self._report(offer, Reply(kind, ms, output=output, sub=sub)), closed=self._closed)

    async def _patiently(self, work: Callable[[Digest | None], Coroutine[Any, Any, Answer]], patience: Patience) -> Answer:
        """`work` on the call, and again on the call that it was held as, while its caller waits."""
        until, answer = time.monotonic() + patience.seconds, await self._once(work(None))
        while True:
            held, left_s = held_call(answer.decision), until - time.monotonic()
            if held is None or left_s <= 0 or not await self.waiting.moved(held[0], left_s) or not patience.here():
                return answer
            try:
                answer = await self._once(work(held[0]))
            except Refused as no:
                if no.reason is not Reason.ERR_APPROVAL_CONSUMED:
                    raise
                return answer  # another caller went on with it: this one asks nobody for one call more

    async def evaluate(self, raw: bytes, *, principal: str, door: str, session: str | None = None) -> Answer:
        """The verdict on a request, recorded, and nothing else: nothing is dispatched, claimed, reserved or held."""
        return await self._once(self._evaluate(raw, principal, door, session))

    async def _once(self, work: Coroutine[Any, Any, Answer], *, closed: bool | None = None) -> Answer:
        if self._closing if closed is None else closed:
            work.close()
            raise OutsideError(Reason.ERR_SEALED, "the kernel is closing", hint="start it again")
        try:
            self._look()
        except BaseException:
            work.close()
            raise
        task = asyncio.create_task(work)
        self.keep(task)
        return await asyncio.shield(task)

    @property
    def origin(self) -> str:
        return self.ledger.origin

    @property
    def catalog(self) -> Catalog:
        return self.boundary.catalog

    @property
    def in_force(self) -> tuple[Digest | None, Digest | None]:
        """The digests of policy and catalogue."""
        return self.ledger.writer.state.policy, self.ledger.writer.state.catalog

    async def probe(self) -> None:
        """Raises `OutsideError` where a call would not be executed now, because of what keeps its evidence."""
        self._look()
        await self.ledger.probe()

    def _look(self) -> None:
        """What somebody beside us found (`checkpoint --witness`) stops this kernel, too. Before each call: a `stat`."""
        try:
            self._witnessed.check()
        except OutsideError as error:
            if error.reason is not Reason.ERR_STORE_ROLLBACK:
                raise
            self.ledger.writer.seal(error.detail)  # what is refused from now on says so

    async def _execute(
        self, raw: bytes, principal: str, door: str, named: str | None, waited_for: Digest | None, beside: Beside
    ) -> Answer:
        await self.ledger.sure_of(principal)
        async with self.sessions.of(principal, door, named) as session:
            boundary = self.boundary  # nothing waits between here and the queue of decisions: replay relies on their order
            return await execute(raw, boundary, SessionHost(self, session, boundary, waited_for, beside))

    async def _offer(
        self, raw: bytes, principal: str, door: str, named: str | None, waited_for: Digest | None, beside: Beside
    ) -> Answer:
        await self.ledger.sure_of(principal)
        async with self.sessions.of(principal, door, named) as session:
            boundary = self.boundary
            return await offer(raw, boundary, SessionHost(self, session, boundary, waited_for, beside))

    async def _report(self, told: Offer, reply: Reply) -> Answer:
        answer = await report(told.call, told.decision, reply, told.boundary, told.host)
        self.offers.done(told)
        return answer

    async def _evaluate(self, raw: bytes, principal: str, door: str, named: str | None) -> Answer:
        async with self.sessions.of(principal, door, named) as session:
            host = SessionHost(self, session, self.boundary)
            return host.verdict(await host.commit(self.boundary.admit(raw), self.boundary.decide, EffectBy.NONE))

    def keep(self, task: "asyncio.Task[Any]") -> None:
        """A task that `close` waits for."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def challenge(self, call: Digest, key: str) -> str:
        """A nonce with which that key may say one thing of that held call, soon; raises `Refused`."""
        return self.ledger.challenge(call, key)

    async def freeze(self, scope: str, by: str) -> Receipt:
        """Stop everything, a server, an agent or a session, from the next decision on; raises `Refused`."""
        self._look()
        receipt = await self.ledger.freeze(scope, by)
        self.waiting.wake()
        return receipt

    async def quarantine(self, server: str, tool: str | None, reason: Reason, sub: str) -> Receipt | None:
        """Stop a pinned tool, or with None the server, for what was seen of it; nothing where it is stopped already."""
        return await self._quarantine.hold(server, tool, reason, sub)

    async def enact(self, statement: Statement, documents: Mapping[Digest, Document]) -> Receipt:
        """Let a person's statement take effect, and act on it from the next call on, also when the caller is cancelled."""
        self._look()
        task = asyncio.create_task(self._enact(statement, documents))
        self.keep(task)
        return await asyncio.shield(task)

    async def _enact(self, statement: Statement, documents: Mapping[Digest, Document]) -> Receipt:
        async with self._changing:  # one after the other: a call on its way sees at most one boundary come (`executor/replay.py`)
            receipt = await self.ledger.enact(statement, documents)
            self.reload()
            self.waiting.wake()
            return receipt

    async def close(self, *, within_s: float | None = None) -> None:
        """Wait for the calls under way, each to its deadline, or so long: the rest becomes UNKNOWN. Then end every session."""
        self._closing = True
        await self.waiting.close()
        await self._ended(within_s)
        self._closed = True
        await self.hands.close()
        if not await self._ended(None if within_s is None else SETTLE_S):  # what lost its hands only writes down that it did
            for task in self._under_way():
                task.cancel()
            await self._ended(SETTLE_S)
        if self.heartbeat is not None:
            await self.heartbeat.stop(within_s)
        await self.ledger.close()

    async def _ended(self, within_s: float | None) -> bool:
        """Whether nothing is under way any more, also nothing that came of it, in that time."""
        until = None if within_s is None else time.monotonic() + within_s
        while under_way := self._under_way():
            left = None if until is None else max(0.0, until - time.monotonic())
            await asyncio.wait(under_way, timeout=left)
            if left == 0.0:
                break
        return not self._under_way()

    def _under_way(self) -> "set[asyncio.Task[Any]]":
        return self._tasks - {asyncio.current_task()}


class SessionHost:
    """The executor's `Host`, bound to one session."""

    def __init__(
        self,
        runtime: Runtime,
        session: Session,
        boundary: Boundary,
        waited_for: Digest | None = None,
        beside: Beside = ALONE,
    ) -> None:
        self._runtime = runtime
        self._ledger = runtime.ledger
        self._session = session
        self._waited_for = waited_for
        self._beside = beside
        self._boundary = boundary  # the one that admits, decides and judges this call, whatever comes into force meanwhile

    async def commit(self, admitted: Admitted, decide: Decide, effect_by: EffectBy = EffectBy.KERNEL) -> Receipt:
        principal = self._session.principal
        terms = self._runtime.terms(principal)
        decision = await self._ledger.commit(
            self._session,
            admitted,
            decide,
            effect_by=effect_by,
            not_by=terms.not_by,
            alone=terms.alone,
            waited_for=self._waited_for,
            causes=self._beside.causes,
            more=self._beside.inputs is not None,
        )
        if decision.is_offer and isinstance(admitted, Call):
            self._runtime.offers.keep(Offer(decision, principal, admitted, self._boundary, self))
        return decision

    async def dispatch(self, call: Call, intent: Receipt) -> Reply:
        server, name = call.tool.split("/", 1)
        if self._repinned(call.tool):
            return Reply(ReplyKind.FAILED, 0, reason=Reason.ERR_CONNECTOR_FAILED, sub="repinned")
        if self._beside.given_up is not None and self._beside.given_up.is_set():
            return Reply(ReplyKind.FAILED, 0, reason=Reason.ERR_CONNECTOR_FAILED, sub="cancelled")
        place = self._beside.place or Place(self._session.principal)
        try:
            connector = self._runtime.hands.of(server, place)
        except OutsideError as error:
            return Reply(ReplyKind.FAILED, 0, reason=error.reason, sub="no_room")
        if connector is None:
            return Reply(ReplyKind.FAILED, 0, reason=Reason.ERR_CONNECTOR_FAILED, sub="no connector in this process")
        under_way = [(self, call, intent, asyncio.current_task())]
        _UNDER_WAY.set(under_way)
        relay = None if self._beside.relay is None else Counted(self._beside.relay)
        reply = await self._called(connector, name, call, relay)
        if reply.kind is not ReplyKind.UNKNOWN:
            under_way.clear()  # nothing comes late; timers that were cancelled keep their context, and all that is in it
        return reply if relay is None else replace(reply, interim=relay.end(), questions=relay.capabilities != b"{}")

    async def _called(self, connector: Connector, name: str, call: Call, relay: Counted | None) -> Reply:
        started, limits = time.monotonic(), {"wall_ms": call.wall_ms, "output_bytes": call.output_bytes}
        work = connector.call(name, call.args, key=call.key, **limits, relay=relay, inputs=self._beside.inputs)
        try:
            return await _unless(work, self._beside.given_up)
        except asyncio.CancelledError:  # its caller gave it up; or a close in a hurry, where its function does not let go
            sub = "closed" if self._beside.given_up is None or not self._beside.given_up.is_set() else "cancelled"
            return Reply(ReplyKind.UNKNOWN, int(1000 * (time.monotonic() - started)), sub=sub)
        except Exception as e:  # a connector's own bug: it may have acted, so the outcome is unknown, never a failure
            return Reply(ReplyKind.UNKNOWN, int(1000 * (time.monotonic() - started)), sub=type(e).__name__[:64])

    def _repinned(self, name: str) -> bool:
        """Whether another operation came into force while the call was on its way: it was admitted for this one."""
        then, now, server = self._boundary.catalog, self._runtime.boundary.catalog, name.split("/", 1)[0]
        mine, other = then.tools[name], now.tools.get(name)
        if then is now:
            return False
        return other is None or (mine.pin, mine.effect, then.sources[server]) != (other.pin, other.effect, now.sources[server])

    def keep(self, task: "asyncio.Task[None]") -> None:
        self._runtime.keep(task)

    async def late(self, call: Call, intent: Receipt, reply: Reply, task: "asyncio.Task[Answer] | None") -> None:
        """Record what came after the deadline, once the UNKNOWN that it comes after is durable."""
        if task is not None:
            await asyncio.wait({task})
        judged = self._boundary.judge(call, reply)
        await self._ledger.late(self._session, intent, judged)

    async def settle(self, intent: Receipt, outcome: Outcome) -> Receipt:
        return await self._ledger.settle(self._session, intent, outcome)

    async def report(self, offer: Receipt, outcome: Outcome) -> Receipt:
        return await self._ledger.report(self._session, offer, outcome)

    def verdict(self, decision: Receipt) -> Answer:
        """Of a question: nothing was dispatched, and of a repeated call nothing is released."""
        return self._answer(decision, None, None, None)

    async def answer(self, decision: Receipt, outcome: Receipt | None, output: bytes | None) -> Answer:
        output_salt = None if outcome is None or output is None else outcome.salt
        if decision.repeats is not None:
            outcome, output_salt, output = self._ledger.first_outcome(decision)
        return self._answer(decision, outcome, output, output_salt)

    def _answer(self, decision: Receipt, outcome: Receipt | None, output: bytes | None, output_salt: bytes | None) -> Answer:
        return Answer(
            verdict=decision.verdict or Verdict.DENY,
            reason=decision.reason if outcome is None else _final(decision, outcome),
            decision=decision,
            outcome=outcome,
            output=output,
            output_salt=output_salt,
            args_salt=decision.salt or None,
            checkpoint=self._ledger.checkpoint,
            hint=decision.hint if outcome is None or outcome.reason is Reason.OK else reasons.hint(outcome.reason),
        )


_UNDER_WAY: ContextVar[list[tuple[SessionHost, Call, Receipt, "asyncio.Task[Answer] | None"]]] = ContextVar("under_way")


def record_late(reply: Reply) -> None:
    """What connectors call, in the context of the call that it answers."""
    for host, call, intent, task in _UNDER_WAY.get():
        host.keep(asyncio.ensure_future(host.late(call, intent, reply, task)))


async def _unless(work: Coroutine[Any, Any, Reply], given_up: asyncio.Event | None) -> Reply:
    """What comes of it; cancelled, and `CancelledError` raised, where it is given up before that."""
    if given_up is None:
        return await work
    task, stop = asyncio.ensure_future(work), asyncio.ensure_future(given_up.wait())
    try:
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
        return await task
    finally:
        stop.cancel()
        task.cancel()


def _final(decision: Receipt, outcome: Receipt) -> Reason:
    """The reason a caller acts on: the outcome's when there is something to say, else the decision's."""
    return decision.reason if outcome.reason is Reason.OK else outcome.reason


def _strings(value: object) -> Sequence[str]:
    return [str(item) for item in value] if isinstance(value, list) else []
