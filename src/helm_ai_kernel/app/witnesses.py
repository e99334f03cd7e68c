"""Asking the witnesses of the policy about the newest checkpoint, and what it means when one of them has seen another history.

Everything here may wait, and so runs in threads of its own, never on a call's path. A witness that is down costs nothing but its
cosignature. One that cosigned what this store does not have is heard: somebody signed a second history with this log's key, and
which of the two is the right one is for people to say.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue

from helm_ai_kernel.ledger import trustlog
from helm_ai_kernel.ledger.ledger import TRUST
from helm_ai_kernel.ledger.proofs import consistency
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.ledger.witnessed import Witnessed
from helm_ai_kernel.net.witness import Conflict, Cosigned, Inconsistent, check_url, submit
from helm_ai_kernel.tcb.checkpoint import Checkpoint, signature_line
from helm_ai_kernel.tcb.codes import Finding, Reason
from helm_ai_kernel.tcb.cosign import POLICY_BYTES_MAX, VerifierKey, Witness, WitnessPolicy, cosigned_at
from helm_ai_kernel.tcb.errors import EvidenceError, OutsideError
from helm_ai_kernel.tcb.keys import Purpose
from helm_ai_kernel.tcb.merkle import EMPTY_ROOT, Frontier
from helm_ai_kernel.wire.submission import Submission

from . import trust
from .config import Config, Paths

PART = 500  # leaf hashes that are folded at a stretch: 1 ms of work, for which the event loop may have to wait
REST_S = 0.0005  # between two parts: a first proof over a million receipts takes three seconds and disturbs no call
TRIES_MAX = 4  # with one witness in one round: to learn its size, and again where somebody else asked it meanwhile


@dataclass(frozen=True, slots=True)
class Round:
    """What came of asking everybody about one checkpoint."""

    note: Checkpoint  # with the cosignatures that are there, each verified
    seen: Mapping[str, int]  # label to seconds
    since: str | None  # the quorum's time; None where it was not reached
    failed: Mapping[str, OutsideError]  # by label


class Witnesses:
    """Those of one kernel's policy. It remembers which size each has, so that a round is one request each."""

    def __init__(self, paths: Paths, policy: WitnessPolicy) -> None:
        self.policy = policy
        self._store = paths.store
        self._kept = Witnessed(paths.store)
        self._enough: Callable[[], None] = lambda: None
        self._sizes: dict[str, int] = {}
        self._frontier = Frontier()  # of a tree that was proven from last: the next proof goes on from there
        try:
            newest = self._kept.newest()
        except OutsideError:  # no note: the next one takes its place
            newest = None
        if newest is not None:
            own = {witness.label: newest.lines_of(witness.vkey.name, witness.vkey.hash) for witness in policy.witnesses}
            self._sizes = {label: newest.size for label, lines in own.items() if lines}  # a guess: a wrong one costs a request

    def round(self, note: bytes) -> Round:
        """Ask everybody at once, keep what a quorum cosigned; raises `OutsideError(ERR_STORE_ROLLBACK)` for another history."""
        head = Checkpoint.from_bytes(note)
        lines: dict[str, bytes] = {}
        failed: dict[str, OutsideError] = {}
        for label, said in self._answers(head):
            if not isinstance(said, OutsideError):
                lines[label] = said
            elif said.reason is not Reason.ERR_STORE_ROLLBACK:
                failed[label] = said
            else:  # at once: it does not wait for those who say nothing
                with suppress(OSError):  # a disk that fails must not hide it: whoever asked is told, and seals
                    self._kept.mark(f"{said.detail}\nhere:\n{head.note.decode()}")
                raise said
        cosigned = head.with_lines(b"".join(lines[one.label] for one in self.policy.witnesses if one.label in lines))
        seen = self.policy.seen(cosigned)
        since = self.policy.since(seen)
        if since is not None:
            self._kept.add(cosigned, self._believed)
        return Round(cosigned, seen, since, failed)

    def _believed(self, note: Checkpoint) -> bool:
        """A quorum cosigned it, and so each of them the log's signature."""
        try:
            return self.policy.since(self.policy.seen(note)) is not None
        except EvidenceError:
            return False

    def _answers(self, head: Checkpoint) -> Iterator[tuple[str, bytes | OutsideError]]:
        """What `_ask` comes to, by label, as it comes: each witness is asked by a thread of its own, for which no exit waits."""
        answers: SimpleQueue[tuple[str, bytes | OutsideError] | None] = SimpleQueue()
        self._enough = lambda: answers.put(None)

        def ask(witness: Witness) -> None:
            said: bytes | OutsideError
            try:
                said = self._ask(witness, head)
            except OutsideError as error:
                said = error
            except Exception as error:  # a bug of ours must not look like a witness that agreed, nor end the other questions
                said = OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, f"{type(error).__name__}: {error}")
            answers.put((witness.label, said))

        for one in self.policy.witnesses:
            threading.Thread(target=ask, args=(one,), name="helm-witness", daemon=True).start()
        left = {witness.label: witness for witness in self.policy.witnesses}
        while left and (answer := answers.get()) is not None:
            del left[answer[0]]
            yield answer
        for label, witness in left.items():
            yield label, _silent(witness, "it had not answered when the process ended")

    def enough(self) -> None:
        """The round that is under way ends with what has been answered; from any thread."""
        self._enough()

    def _ask(self, witness: Witness, head: Checkpoint) -> bytes:
        """Its cosignature line for `head`, verified."""
        if not witness.url:
            raise _silent(witness, "the policy has no URL for it")
        old = min(self._sizes.get(witness.label, 0), head.size)
        for _ in range(TRIES_MAX):
            before, proof = self._proof(old, head)
            said = submit(witness.url, Submission(old, proof, head))
            if isinstance(said, Cosigned):
                line = _verified(witness, head, said.lines)
                self._sizes[witness.label] = head.size
                return line
            if isinstance(said, Inconsistent) or said.size == old == head.size:
                theirs = f"size {old} with another root than the {before.hex()} that it has here"
                raise _split(witness, head, theirs)  # a verdict already: nothing more is read that could fail
            if said.size > head.size:
                raise self._ahead(witness, head, said)
            old = said.size
        raise _silent(witness, "its size changes faster than it can be asked")

    def _proof(self, old: int, head: Checkpoint) -> tuple[bytes, tuple[bytes, ...]]:
        """The root of size `old`, and what leads from there to `head`.

        Reads the leaf hashes that were never read for a proof before; holds those behind `old`.
        """
        if old in (0, head.size):
            return (head.root if old else EMPTY_ROOT), ()
        before = self._frontier  # once: another thread may put a larger one in its place
        with Reader(self._store) as reader:
            self._frontier = before = _grown(reader, before if before.size <= old else Frontier(), old)
            return before.root(), consistency(before, list(reader.leaves(old, head.size)))

    def _ahead(self, witness: Witness, head: Checkpoint, said: Conflict) -> OutsideError:
        """No signature leaves before its receipts are stored: what this log signed by now is no larger than what is there now."""
        with Reader(self._store) as reader:
            stored = reader.size
        if said.size > stored:
            return _split(witness, head, f"size {said.size}, which is more than was ever appended here")
        return _silent(
            witness, f"it has cosigned size {said.size} of this log already; the next round is about a newer checkpoint"
        )


def of_config(config: Config) -> Witnesses | None:
    """None where `helm.toml` names no policy; raises `Refused` or `OutsideError` where its witnesses cannot be asked."""
    if config.witnesses is None:
        return None
    try:
        with config.witnesses.open("rb") as file:
            policy = WitnessPolicy.from_bytes(file.read(POLICY_BYTES_MAX + 1))
    except OSError as error:
        detail = f"the witness policy `{config.witnesses}` cannot be read: {(error.strerror or type(error).__name__).lower()}"
        hint = f"write it, or take `witnesses` out of {config.paths.config}"
        raise OutsideError(Reason.ERR_POLICY_NOT_READY, detail, hint=hint) from None
    for witness in policy.witnesses:
        if witness.url:
            check_url(witness.url)
    return Witnesses(config.paths, policy)


def log_vkey(config: Config) -> VerifierKey:
    """The key of this log that is in force, as a witness and a policy name it. The last head may be by one that was stolen."""
    with Reader(config.paths.store) as reader:
        origin = reader.origin
    registry = trustlog.load(config.paths.store / TRUST)
    return VerifierKey(origin, trust.find_key(registry, Purpose.LOG, origin).key)


def _grown(reader: Reader, frontier: Frontier, size: int) -> Frontier:
    """The tree of that size, by what is stored behind `frontier`."""
    for count, leaf in enumerate(reader.leaves(frontier.size, size), 1):
        frontier = frontier.append(leaf)
        if not count % PART:
            time.sleep(REST_S)
    return frontier


def _verified(witness: Witness, head: Checkpoint, lines: bytes) -> bytes:
    try:
        answered = head.with_lines(lines)
        if cosigned_at(answered, witness.vkey) is None:
            raise _silent(witness, "it answered without the cosignature of its key in the policy")
    except EvidenceError as error:
        raise _silent(witness, f"what it answered does not hold: {error.detail}") from None
    (sig,) = answered.lines_of(witness.vkey.name, witness.vkey.hash)
    return signature_line(witness.vkey.name, sig).encode()


def _silent(witness: Witness, cause: str) -> OutsideError:
    detail = f"the witness `{witness.vkey.name}`: {cause}"
    return OutsideError(Reason.ERR_EVIDENCE_UNAVAILABLE, detail, hint="see to the witness, or correct the policy")


def _split(witness: Witness, head: Checkpoint, theirs: str) -> OutsideError:
    """Both heads are evidence; the witness keeps what it was sent, too."""
    detail = (
        f"{Finding.SPLIT_VIEW}: another history of this log was signed with its key."
        f" here: size {head.size}, root {head.root.hex()}; the witness `{witness.vkey.name}` cosigned: {theirs}"
    )
    hint = "end every copy of this kernel and keep each: `helm-ai-kernel pack export` writes this one down"
    return OutsideError(Reason.ERR_STORE_ROLLBACK, detail, hint=hint)
