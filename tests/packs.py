"""Real logs and packs from fixed seeds, written with `tcb` alone: the same call gives the same bytes on every machine.

`Log` is a kernel without decisions: its methods write what a flow writes, right or wrong, as they are told. `change` edits a
body before it is signed (an insider with the real keys), `edited` a line after it (everybody else).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from helm_ai_kernel.tcb import checkpoint, container, pack
from helm_ai_kernel.tcb import registry as trust_registry
from helm_ai_kernel.tcb.approvals import Approvals
from helm_ai_kernel.tcb.call import Effect
from helm_ai_kernel.tcb.ceremony import Act, Ceremony, Held, Requirement, confirmation
from helm_ai_kernel.tcb.checkpoint import Checkpoint
from helm_ai_kernel.tcb.clock import Clock
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.cosign import VerifierKey, cosign
from helm_ai_kernel.tcb.decision import Claim, ClaimState, Contract, Facts, Granted, Status, Verdict
from helm_ai_kernel.tcb.digest import Digest, attachment_name, digest, sha256
from helm_ai_kernel.tcb.digest import text as digest_text
from helm_ai_kernel.tcb.envelope import seal
from helm_ai_kernel.tcb.events import End
from helm_ai_kernel.tcb.ijson import Json, parse
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.tcb.keys import Purpose, SecretKey
from helm_ai_kernel.tcb.merkle import leaf_hash, root, walk
from helm_ai_kernel.tcb.pack import Manifest
from helm_ai_kernel.tcb.part import Inclusion
from helm_ai_kernel.tcb.receipt import EffectBy, Kind, Receipt
from helm_ai_kernel.tcb.statement import TIMED, Change, Statement, StatementKind
from helm_ai_kernel.tcb.statement import sign as sign_statement

AT = "2026-01-02T03:04:05.678Z"
WALL_MS = 1_767_323_045_678
TOOL = "demo/add"
Body = dict[str, Json]
Edit = Callable[[Body], object]


def seed(name: str) -> bytes:
    """32 bytes that everybody can compute, and that are therefore worth nothing as a secret."""
    return sha256(b"helm test seed: " + name.encode())


def key(name: str, purpose: Purpose) -> SecretKey:
    return SecretKey.from_seed(seed(name), purpose)


def unchanged(_: Body) -> None:
    return None


def after(ms: int = 0, *, wall_ms: int | None = None, boot_ms: int | None = None, boot: str = "boot") -> Clock:
    """So long behind the first moment, by both clocks, or by each as it is told. `boot` is any word for one boot."""
    wall, since = ms if wall_ms is None else wall_ms, ms if boot_ms is None else boot_ms
    return Clock(WALL_MS + wall, seed(boot).hex()[:32], 1000 + since)


NOW = after()


@dataclass
class Deployment:
    """A registry with a root, an approver, and the two machine keys of one log."""

    name: str = "demo"
    registry: trust_registry.Registry = field(init=False)

    def __post_init__(self) -> None:
        self.root = key(f"{self.name} root", Purpose.ROOT)
        self.approval = key(f"{self.name} approval", Purpose.APPROVAL)
        self.execution = key(f"{self.name} execution", Purpose.EXECUTION)
        self.log = key(f"{self.name} log", Purpose.LOG)
        first = trust_registry.genesis([(self.root, "olga")], threshold=1, at=AT, nonce=seed(f"{self.name} nonce").hex()[:32])
        self.registry = trust_registry.Registry.replay([first])
        self.origin = f"{self.registry.deployment}/{seed(f'{self.name} origin').hex()[:16]}"
        self.enrol(self.approval, "olga")
        self.enrol(self.execution, "kernel", self.origin)
        self.enrol(self.log, "kernel", self.origin)

    def enrol(self, secret: SecretKey, principal: str, log: str | None = None) -> None:
        """Add a key to the registry, signed by the root and by the key itself."""
        line = trust_registry.add(self.registry, secret, principal, log, at=AT, roots=[self.root])
        self.registry = self.registry.fold(line)

    def sign(self, body: Body, *signers: SecretKey) -> None:
        """One more event; without `signers` by the root."""
        self.registry = self.registry.fold(seal(body, signers or [self.root]).line)

    def rotate(self, old: SecretKey, new: SecretKey) -> None:
        entry = self.registry.keys[old.public.id]
        self.sign(trust_registry.rotation(self.registry, new.public, entry, at=AT), self.root, new)

    def revoke(self, secret: SecretKey, reason: End, since: str | None = None) -> None:
        self.sign(trust_registry.revocation(self.registry, secret.public.id, reason, at=AT, since=since))


class Log:
    """One log, as its single writer would write it."""

    def __init__(self, deployment: Deployment | None = None) -> None:
        self.deployment = deployment or Deployment()
        self.lines: list[bytes] = []
        self.heads: dict[str, tuple[int, Digest]] = {}
        self.policy: Digest | None = None
        self.catalog: Digest | None = None
        self.policies: dict[Digest, dict[str, bytes]] = {}
        self.catalogs: dict[Digest, bytes] = {}
        self.attachments: dict[Digest, bytes] = {}
        self.receipts: list[Receipt] = []
        self.approvals = Approvals()  # as this kernel believes, who asks nobody whether it may be so
        self.principals: dict[str, str] = {}  # of each session
        self.kernel = ""
        self._drawn = 0

    # what every receipt is written with

    def fresh(self, what: str) -> bytes:
        """The next 32 "random" bytes."""
        self._drawn += 1
        return seed(f"{self.deployment.name} {what} {self._drawn}")

    def attach(self, content: bytes) -> Digest:
        salt = self.fresh("salt")
        name = attachment_name(salt, content)
        self.attachments[name] = salt + content
        return name

    def append(
        self, session: str, kind: Kind, content: Body, parents: Sequence[Digest] = (), *, change: Edit = unchanged,
        signer: SecretKey | None = None,
    ) -> Receipt:  # fmt: skip
        trust = self.deployment.registry
        seq, prev = self.heads.get(session, (-1, trust.head))
        body: Body = {"v": 1, "kind": kind.value, "log": self.deployment.origin, "session": session, "seq": seq + 1, "prev": prev}
        body |= {"at": AT, "parents": list(parents), "trust": {"size": trust.size, "head": trust.head}, "build": {"version": "0"}}
        body |= content
        change(body)
        receipt = Receipt.from_record(seal(body, [signer or self.deployment.execution]), len(self.lines))
        self.lines.append(receipt.line)
        self.receipts.append(receipt)
        self.heads[session] = (receipt.seq, receipt.leaf)
        return receipt

    # sessions

    def start(self, principal: str = "agent", door: str = "mcp-stdio", *, change: Edit = unchanged) -> str:
        session = self.fresh("session").hex()[:32]
        self.principals[session] = principal
        content: Body = {"event": "start", "principal": principal, "door": door, "client": None}
        self.append(session, Kind.SESSION, {**content, "policy": self.policy, "catalog": self.catalog}, change=change)
        return session

    def start_kernel(self) -> str:
        self.kernel = self.start("kernel", "kernel")
        return self.kernel

    def end(self, session: str, *, change: Edit = unchanged) -> Receipt:
        count = self.heads[session][0] + 1
        return self.append(session, Kind.SESSION, {"event": "end", "count": count, "reason": "closed"}, change=change)

    # statements

    def state(
        self, kind: StatementKind, content: Body, *, signer: SecretKey | None = None, nonce: str | None = None,
        log: str | None = None, signers: Sequence[SecretKey] = (), clock: Clock = NOW, parents: Sequence[Digest] = (),
        change: Edit = unchanged,
    ) -> Receipt:  # fmt: skip
        """A person's statement, and its receipt in the kernel's session."""
        statement = sign_statement(
            kind, content, log=log or self.deployment.origin, at=AT, nonce=nonce or self.fresh("nonce").hex()[:32],
            signers=signers or [signer or self.deployment.approval],
        )  # fmt: skip
        said: Body = {"statement": statement.record.to_json()}
        if kind in TIMED:
            said["clock"] = clock.to_json()
        receipt = self.append(self.kernel, Kind.STATEMENT, said, parents, change=change)
        self._take(statement, receipt, clock)
        return receipt

    def _take(self, statement: Statement, receipt: Receipt, clock: Clock) -> None:
        known = self.deployment.registry.keys
        signers = [known[id] for id in statement.signers if id in known]
        if signers and (statement.call is None or statement.call in self.approvals.held):
            self.approvals.take(statement, signers, receipt.leaf, clock)

    def activate(
        self, rules: bytes = b"permit(principal, action, resource);", *, tools: Sequence[str] = ("add", "sum"),
        before: Change | None = None, signer: SecretKey | None = None, nonce: str | None = None, log: str | None = None,
        kind: StatementKind | None = None, bound: Digest | None = None,
    ) -> Receipt:  # fmt: skip
        """A policy, and the catalogue that it is bound to, come into force."""
        catalog = self.add_catalog(tools)
        policy = self.add_policy({"rules.cedar": rules}, bound or catalog)
        default = StatementKind.ACTIVATION if catalog == self.catalog else StatementKind.PIN
        change = Change(self.policy, policy) if before is None else Change(before.before, policy)
        content: Body = {"policy": change.to_json(), "catalog": Change(self.catalog, catalog).to_json()}
        receipt = self.state(kind or default, content, signer=signer, nonce=nonce, log=log)
        self.policy, self.catalog = policy, catalog
        return receipt

    def add_catalog(self, tools: Sequence[str]) -> Digest:
        listed: list[Json] = [{"name": f"demo/{name}"} for name in tools]
        document = canonical({"v": 1, "servers": [{"v": 1, "server": "demo", "source": {"kind": "python"}, "tools": listed}]})
        self.catalogs[digest(document)] = document
        return digest(document)

    def add_policy(self, files: Mapping[str, bytes], catalog: Digest) -> Digest:
        listed: dict[str, Json] = {name: digest(data) for name, data in files.items()}
        manifest = canonical({"v": 1, "catalog": catalog, "files": listed, "protected": []})
        self.policies[digest(manifest)] = {**files, pack.MANIFEST: manifest}
        return digest(manifest)

    # calls

    def facts(self, clock: Clock = NOW, **more: object) -> Json:
        return Facts("", "", None, clock, **more).to_json()  # type: ignore[arg-type]

    def decide(
        self, session: str, verdict: Verdict, reason: Reason = Reason.OK, *, tool: str = TOOL, args: Digest | None = None,
        more: Body | None = None, facts: Mapping[str, object] | None = None, parents: Sequence[Digest] = (),
        change: Edit = unchanged, signer: SecretKey | None = None,
    ) -> Receipt:  # fmt: skip
        content: Body = {
            "tool": tool,
            "args_hash": args or self.attach(canonical({"a": 1, "b": len(self.lines)})),
            "verdict": verdict.value,
            "reason": reason.value,
            "facts": self.facts(**(facts or {})),  # type: ignore[arg-type]
            "policy": self.policy,
            "effect_by": EffectBy.KERNEL.value,
            "pin": digest(tool.encode()),
            "effect": Effect.READ.value,
        }
        content |= more or {}
        if content["effect_by"] != EffectBy.KERNEL.value:  # nobody here waits for it
            content.pop("deadline_ms", None)
        made = self.append(session, Kind.DECISION, content, parents, change=change, signer=signer)
        self.approvals.follow(made, self.principals.get(session, ""))
        return made

    def allow(self, session: str, *, tool: str = TOOL, more: Body | None = None, change: Edit = unchanged) -> Receipt:
        content: Body = {"deadline_ms": WALL_MS + 30_000, "rules": ["allow-all"], **(more or {})}
        return self.decide(session, Verdict.ALLOW, tool=tool, more=content, change=change)

    def offer(self, session: str, *, more: Body | None = None, change: Edit = unchanged, **how: object) -> Receipt:
        """A call that the client acts on."""
        said: Body = {"rules": ["allow-all"], "effect_by": EffectBy.CLIENT.value, **(more or {})}
        return self.decide(session, Verdict.ALLOW, more=said, change=change, **how)  # type: ignore[arg-type]

    def deny(self, session: str, reason: Reason = Reason.ERR_POLICY_DENY, **facts: object) -> Receipt:
        return self.decide(session, Verdict.DENY, reason, facts=facts)

    # what waits for people: the methods read what this kernel believes, unless they are told what to read

    def escalate(
        self, session: str, *, clock: Clock = NOW, before: Held | None = None, requires: Requirement | None = None,
        change: Edit = unchanged, parents: Sequence[Digest] | None = None, more: Body | None = None, tool: str = TOOL,
        **asked: int,
    ) -> Receipt:  # fmt: skip
        """A call is held from now on; `before`: once more, because more is asked for."""
        needed = requires or Requirement(**asked, not_by=(self.principals[session],))
        more = {"rules": ["ask-a-person"], "requires": needed.to_json(), **(more or {})}
        facts: dict[str, object] = {"clock": clock} | ({} if before is None else {"approval": before})
        named = ([] if before is None else [before.call]) if parents is None else parents
        reason = Reason.ERR_APPROVAL_REQUIRED
        return self.decide(
            session, Verdict.ESCALATE, reason, more=more, facts=facts, parents=named, change=change, tool=tool
        )  # fmt: skip

    def held(self, call: Receipt) -> Held:
        """As a decision of now reads it."""
        registry = self.deployment.registry
        return self.approvals.held[call.leaf].read(registry.in_force_at(registry.size))

    def ceremony(self, call: Receipt) -> Ceremony:
        return self.approvals.held[call.leaf]

    def say(
        self, act: Act, call: Receipt, by: SecretKey | None = None, *, clock: Clock = NOW, nonce: str | None = None,
        intent: Digest | None = None, answer: Digest | None = None, parents: Sequence[Digest] | None = None, **how: object,
    ) -> Receipt:  # fmt: skip
        """A person's word on a held call. `answer` is another confirmation than the right one."""
        signer, drawn = by or self.deployment.approval, nonce or self.fresh("challenge").hex()[:32]
        named = intent or self.ceremony(call).intent
        confirmed = answer or confirmation(named, drawn, signer.public.id, act)
        content: Body = {"call": call.leaf, "intent": named, "decision": act.value, "confirmation": confirmed}
        about = [call.leaf] if parents is None else parents
        return self.state(
            StatementKind.APPROVAL, content, signer=signer, nonce=drawn, clock=clock, parents=about, **how  # type: ignore[arg-type]
        )  # fmt: skip

    def approve(self, call: Receipt, by: SecretKey | None = None, **how: object) -> Receipt:
        return self.say(Act.APPROVE, call, by, **how)  # type: ignore[arg-type]

    def override(self, call: Receipt, *roots: SecretKey, clock: Clock = NOW, intent: Digest | None = None) -> Receipt:
        content: Body = {"call": call.leaf, "intent": intent or self.ceremony(call).intent}
        signers = roots or [self.deployment.root]
        return self.state(StatementKind.OVERRIDE, content, signers=signers, clock=clock, parents=[call.leaf])

    def poll(
        self, session: str, call: Receipt, reason: Reason | None = None, *, clock: Clock = NOW, held: Held | None = None,
        verdict: Verdict = Verdict.ESCALATE, **how: object,
    ) -> Receipt:  # fmt: skip
        """The same call again, which waits yet; or is denied for what became of it."""
        read = held or self.held(call)
        facts = {"clock": clock, "approval": read}
        args = how.pop("args", Digest(str(call.body["args_hash"])))
        how = {"parents": [call.leaf], "more": {"rules": ["ask-a-person"]}, **how}
        return self.decide(session, verdict, reason or read.conclude(clock), facts=facts, args=args, **how)  # type: ignore[arg-type]

    def resume(
        self, session: str, call: Receipt, *, clock: Clock = NOW, held: Held | None = None, grant: Granted | None = None,
        relies: Sequence[Digest] | None = None, args: Digest | None = None, parents: Sequence[Digest] | None = None,
        more: Body | None = None, **how: object,
    ) -> Receipt:  # fmt: skip
        """The same call again, which is dispatched."""
        read = held or self.held(call)
        rests = list(read.statements if relies is None else relies)
        facts: dict[str, object] = {"clock": clock, "approval": read} | ({} if grant is None else {"grant": grant})
        said: Body = {"rules": ["allow-all"], "deadline_ms": clock.wall_ms + 30_000, "relies": [*rests], **(more or {})}
        named = [call.leaf, *rests] if parents is None else parents
        taken = args or Digest(str(call.body["args_hash"]))
        return self.decide(session, Verdict.ALLOW, args=taken, more=said, facts=facts, parents=named, **how)  # type: ignore[arg-type]

    def grant(
        self, *by: SecretKey, principal: str = "agent", tool: str = TOOL, pin: Digest | None = None, where: Body | None = None,
        calls: int = 1, lasts_ms: int = 3_600_000, clock: Clock = NOW, **how: object,
    ) -> Receipt:  # fmt: skip
        conditions: Body = {"a": {"equals": 1}, "b": {"any": True}} if where is None else where
        content: Body = {"principal": principal, "tool": tool, "pin": pin or digest(tool.encode()), "where": conditions}
        content |= {"calls": calls, "lasts_ms": lasts_ms}
        return self.state(StatementKind.GRANT, content, signers=by, clock=clock, **how)  # type: ignore[arg-type]

    def granted(self, grant: Receipt) -> Granted:
        """As a decision of now reads it."""
        registry = self.deployment.registry
        read = self.approvals.grants[grant.leaf].read(registry.in_force_at(registry.size))
        assert read is not None
        return read

    def use(
        self, session: str, grant: Receipt, *, clock: Clock = NOW, read: Granted | None = None, more: Body | None = None,
        **how: object,
    ) -> Receipt:  # fmt: skip
        """A call that is dispatched because of a grant."""
        facts = {"clock": clock, "grant": read or self.granted(grant)}
        said: Body = {"rules": ["allow-all"], "deadline_ms": clock.wall_ms + 30_000, "relies": [grant.leaf], **(more or {})}
        how = {"parents": [grant.leaf], **how}
        return self.decide(session, Verdict.ALLOW, facts=facts, more=said, **how)  # type: ignore[arg-type]

    def revoke(self, grant: Receipt, by: SecretKey | None = None, **how: object) -> Receipt:
        named = {"parents": [grant.leaf], **how}
        return self.state(StatementKind.REVOCATION, {"grant": grant.leaf}, signer=by, **named)  # type: ignore[arg-type]

    def lapse(self, call: Receipt, *, clock: Clock, parents: Sequence[Digest] | None = None, session: str = "") -> Receipt:
        content: Body = {"call": call.leaf, "clock": clock.to_json(), "reason": Reason.ERR_APPROVAL_EXPIRED.value}
        about = [call.leaf] if parents is None else parents
        self.approvals.end(call.leaf, Reason.ERR_APPROVAL_EXPIRED)
        return self.append(session or self.kernel, Kind.LAPSE, content, about)

    def freeze(self, scope: str = "all", by: str = "olga", *, session: str = "") -> Receipt:
        content: Body = {"scope": scope, "by": by, "reason": Reason.ERR_FROZEN.value}
        return self.append(session or self.kernel, Kind.HOLD, content)

    def thaw(self, freeze: Receipt, scope: str | None = None, **how: object) -> Receipt:
        content: Body = {"scope": scope or freeze.body["scope"], "hold": freeze.leaf}
        return self.state(StatementKind.RELEASE, content, parents=[freeze.leaf], **how)  # type: ignore[arg-type]

    def gap(self, door: str = "mcp-http", *, session: str = "", **counts: int) -> Receipt:
        content: Body = {"door": door, "counts": dict(counts or {Reason.ERR_UPSTREAM_SHAPE.value: 3})}
        return self.append(session or self.kernel, Kind.GAP, content)

    def deny_raw(self, session: str, request: bytes = b'{"tool":') -> Receipt:
        content: Body = {"raw_hash": self.attach(request), "verdict": "DENY", "reason": Reason.ERR_JSON_NOT_IJSON.value}
        content |= {"sub": "syntax", "facts": self.facts(), "policy": self.policy, "effect_by": EffectBy.KERNEL.value}
        return self.append(session, Kind.DECISION, content)

    def repeat(
        self, session: str, first: Receipt, *, state: ClaimState = ClaimState.DONE, change: Edit = unchanged
    ) -> Receipt:  # fmt: skip
        more: Body = {"repeats": first.leaf, "key": first.body["key"], "effect_by": first.body["effect_by"]}
        args, facts = Digest(str(first.body["args_hash"])), {"claim": Claim(first.leaf, state, same_args=True)}
        return self.decide(
            session, Verdict.ALLOW, Reason.REPEATED, args=args, more=more, facts=facts, parents=[first.leaf], change=change
        )  # fmt: skip

    def settle(
        self, session: str, intent: Digest, status: Status = Status.OK, *, more: Body | None = None, change: Edit = unchanged,
        parents: Sequence[Digest] | None = None,
    ) -> Receipt:  # fmt: skip
        content: Body = {"decision": intent, "status": status.value, "ms": 7}
        if status in (Status.OK, Status.REPORTED):
            content |= {"output_hash": self.attach(b"3"), "contract": Contract.SCHEMA.value}
        if status is Status.DRIFT:
            content |= {"output_hash": self.attach(b'"three"'), "reason": Reason.ERR_CONNECTOR_CONTRACT_DRIFT.value}
        if status is Status.UNKNOWN:
            content |= {"reason": Reason.ERR_OUTCOME_UNKNOWN.value, "sub": "crash"}
        named = [intent] if parents is None else parents
        return self.append(session, Kind.OUTCOME, {**content, **(more or {})}, named, change=change)

    def hold(
        self, cause: Digest, tool: str = TOOL, *, reason: Reason = Reason.ERR_CONNECTOR_CONTRACT_DRIFT, session: str = ""
    ) -> Receipt:  # fmt: skip
        return self.append(session or self.kernel, Kind.HOLD, {"tool": tool, "cause": cause, "reason": reason.value}, [cause])

    def see(self, name: str = TOOL, sub: str = "changed", *, session: str = "") -> Receipt:
        """The kernel stops a tool, or a server, for what it saw outside any call."""
        what = "scope" if name.startswith("server:") else "tool"
        content: Body = {what: name, "reason": Reason.ERR_MCP_SCHEMA_DRIFT.value, "sub": sub}
        return self.append(session or self.kernel, Kind.HOLD, content)

    def drift(self, session: str, tool: str = TOOL) -> Receipt:
        """A call whose output broke its contract, and the hold that follows."""
        return self.hold(self.settle(session, self.allow(session, tool=tool).leaf, Status.DRIFT).leaf, tool)

    def release(self, hold: Digest, tool: str = TOOL, **how: object) -> Receipt:
        return self.state(StatementKind.RELEASE, {"tool": tool, "hold": hold}, **how)  # type: ignore[arg-type]

    def erase(self, subject: str, count: int, **how: object) -> Receipt:
        return self.state(StatementKind.ERASURE, {"subject": subject, "count": count}, **how)  # type: ignore[arg-type]

    def recover(self, open_count: int, *, heads: Sequence[str] = (), change: Edit = unchanged) -> Receipt:
        """In the kernel session of the next start."""
        content: Body = {"size": len(self.lines), "root": digest_text(self.root()), "open": open_count}
        if heads:
            content["heads"] = [*heads]
        return self.append(self.kernel, Kind.RECOVERY, content, change=change)

    # what leaves

    def root(self, size: int | None = None) -> bytes:
        return root([leaf_hash(line) for line in self.lines[:size]])

    def checkpoint(self, size: int | None = None) -> bytes:
        size = len(self.lines) if size is None else size
        return checkpoint.sign(self.deployment.origin, size, self.root(size), self.deployment.log).note

    def pack(self, withhold: bool = True, note: bytes | None = None, cosigned: Sequence[bytes] = ()) -> bytes:
        """`withhold`: no attachments, as in an export for someone who may not see arguments. `cosigned` are notes."""
        held = {} if withhold else self.attachments
        trust = self.deployment.registry.lines
        others = {f"cosigned/{Checkpoint.from_bytes(one).size}.txt": one for one in cosigned}
        return pack.build(self.lines, note or self.checkpoint(), trust, self.policies, self.catalogs, held, others)

    def part(self, *places: int, withhold: bool = True, note: bytes | None = None, last: bool = True) -> bytes:
        """The receipts at these places of the log and the last one, with the proof of where they stand."""
        places = tuple(sorted({*places, len(self.lines) - 1} if last else places))
        held = {} if withhold else self.attachments
        trust, lines = self.deployment.registry.lines, [self.lines[place] for place in places]
        others = {pack.INCLUSION: self.inclusion(*places).to_bytes()}
        return pack.build(lines, note or self.checkpoint(), trust, self.policies, self.catalogs, held, others)

    def inclusion(self, *places: int) -> Inclusion:
        ranges: list[tuple[int, int]] = []
        for place in places:
            if ranges and sum(ranges[-1]) == place:
                ranges[-1] = (ranges[-1][0], ranges[-1][1] + 1)
            else:
                ranges.append((place, 1))
        leaves, hashes = [leaf_hash(line) for line in self.lines], []
        own = iter([leaves[place] for place in places])

        def other(start: int, end: int) -> bytes:
            hashes.append(root(leaves[start:end]))
            return hashes[-1]

        walk(len(leaves), ranges, lambda: next(own), other)
        return Inclusion(tuple(ranges), tuple(hashes))

    def cosigned(self, *witnesses: tuple[str, int], size: int | None = None, log: SecretKey | None = None) -> bytes:
        """A checkpoint of the log with a cosignature of each: the witness's name, and when, in seconds."""
        size = len(self.lines) if size is None else size
        note = checkpoint.sign(self.deployment.origin, size, self.root(size), log or self.deployment.log)
        lines = [cosign(note, f"{name}.example", key(name, Purpose.WITNESS), time) for name, time in witnesses]
        return note.note + b"".join(lines)

    def files(self, withhold: bool = True) -> dict[str, bytes]:
        return dict(pack.read(self.pack(withhold)))

    @property
    def genesis(self) -> Digest:
        return self.deployment.registry.genesis


def repack(files: Mapping[str, bytes], *, relist: bool = True, **changes: object) -> bytes:
    """A pack of these entries. `relist`: the manifest says the digests of what is there; `changes` are fields of the manifest."""
    manifest = Manifest.from_bytes(files[pack.MANIFEST])
    if relist:
        others = {name: data for name, data in files.items() if not name.startswith("attachments/")}
        listed = {name: digest(data) for name, data in others.items() if name != pack.MANIFEST}
        manifest = replace(manifest, files=listed)
    return container.write({**files, pack.MANIFEST: replace(manifest, **changes).to_bytes()})  # type: ignore[arg-type]


def relined(log: Log, lines: Sequence[bytes], note: bytes | None = None, **changes: object) -> bytes:
    """The log's pack with other receipts. Without `note` the real log key signs the tree of these lines."""
    files = log.files()
    files[pack.RECEIPTS] = pack.joined(lines)
    if note is None:
        tree = root([leaf_hash(line) for line in lines])
        note = checkpoint.sign(log.deployment.origin, len(lines), tree, log.deployment.log).note
        changes = {"size": len(lines), "root": digest_text(tree), **changes}
    files[pack.CHECKPOINT] = note
    return repack(files, **changes)


def edited(line: bytes, change: Edit) -> bytes:
    """The line with another body under the old signature."""
    value = parse(line)
    assert isinstance(value, dict) and isinstance(value["body"], dict)
    change(value["body"])
    return canonical(value)


def short() -> Log:
    """The least that a kernel does: a start, a policy, one call with its outcome."""
    log = Log()
    log.start_kernel()
    log.activate()
    session = log.start()
    log.settle(session, log.allow(session).leaf)
    log.end(session)
    return log


def story(log: Log | None = None) -> Log:
    """Every flow once, the last with a crash before its outcome and the start that follows."""
    log = log or Log()
    log.start_kernel()
    log.activate()
    agent = log.start()
    first = log.allow(agent, more={"key": log.attach(b"key-1"), "reserved": {"calls": 1}})
    log.settle(agent, first.leaf, more={"spent": {"calls": 1}})
    log.repeat(agent, first)
    log.deny_raw(agent)
    log.deny(agent)
    ceremony(log, agent)
    hold = log.drift(agent)
    log.deny(agent, Reason.ERR_TOOL_HALTED, hold=hold.leaf)
    log.release(hold.leaf)
    crashed = log.allow(agent)
    log.start_kernel()
    log.recover(1)
    log.settle(log.kernel, crashed.leaf, Status.UNKNOWN)
    return log


def ceremony(log: Log, agent: str, timelock_ms: int = 60_000) -> Receipt:
    """A call that a person approves, from its ESCALATE to its outcome; a retry at every step. Returns the dispatch."""
    call = log.escalate(agent, timelock_ms=timelock_ms)
    log.poll(agent, call, clock=after(1000))
    log.approve(call, clock=after(2000))
    log.poll(agent, call, clock=after(3000))
    went = log.resume(agent, call, clock=after(2000 + timelock_ms))
    log.settle(agent, went.leaf)
    return went


def policy(quorum: int, *names: str) -> bytes:
    """A witness policy: so many of these have to agree."""
    listed = [f"witness {name} {VerifierKey(f'{name}.example', key(name, Purpose.WITNESS).public)}" for name in names]
    return "\n".join([*listed, f"group all-of-them {quorum} {' '.join(names)}", "quorum all-of-them", ""]).encode()
