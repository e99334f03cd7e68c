"""The main job on real parts: a real MCP server, real functions, all three verdicts, a crash, and the proof of it all.

Nothing here is scripted output: every line is read from the answer or the receipt that it tells of.
"""

import asyncio
import os
import secrets
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helm_ai_kernel.app import home, operate
from helm_ai_kernel.app.config import Upstream
from helm_ai_kernel.app.kernel import Kernel
from helm_ai_kernel.app.runtime import Runtime
from helm_ai_kernel.credentials import keyfile
from helm_ai_kernel.credentials.subjects import Subjects
from helm_ai_kernel.executor.host import Answer
from helm_ai_kernel.executor.replay import replay
from helm_ai_kernel.ledger.export import whole
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.tcb import pack
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Facts, Status, Verdict
from helm_ai_kernel.tcb.digest import Digest
from helm_ai_kernel.tcb.envelope import Record
from helm_ai_kernel.tcb.findings import visible
from helm_ai_kernel.tcb.graph import ProofGraph, draw
from helm_ai_kernel.tcb.ijson import Json, parse
from helm_ai_kernel.tcb.keys import Purpose, Signer
from helm_ai_kernel.tcb.receipt import Receipt
from helm_ai_kernel.tcb.statement import Statement

from .desk import Desk
from .places import Places

POLICY = """\
@id("time-is-free")
permit (principal == Agent::"local", action in Action::"read", resource == Server::"time");

@id("desk-is-open")
permit (principal == Agent::"local", action, resource == Server::"desk");

@id("mail-stays-inside")
@description("mail goes to example.com only")
forbid (principal, action == Action::"desk/send_mail", resource)
unless { context.args.to like "*@example.com" };
"""

PROGRAM = "helm-ai-kernel"
Say = Callable[[str], None]


@dataclass
class Story:
    """What the demo tells and what it returns."""

    say: Say
    calls: list[dict[str, Any]] = field(default_factory=list)

    def call(self, kernel: Kernel, what: str, tool: str, arguments: dict[str, Json], key: str | None = None) -> Answer:
        answer = kernel.call(tool, arguments, key=key)
        shown = "" if answer.output is None else f": {_shown(answer.output)}"
        self.tell(tool, answer.verdict, answer.reason, answer.outcome, answer.decision, what + shown)
        return answer

    def tell(self, tool: str, verdict: Verdict, reason: Reason, outcome: Receipt | None, decision: Receipt, what: str) -> None:
        receipt = outcome or decision
        status = None if outcome is None or outcome.status is None else outcome.status.value
        self.calls.append(
            {
                "door": "library",
                "tool": tool,
                "verdict": verdict.value,
                "reason": reason.value,
                "outcome": status,
                "receipt": {"leaf": receipt.leaf, "index": receipt.index, "session": receipt.session, "seq": receipt.seq},
            }
        )
        self.say(f"  {verdict.value:<9}{reason.value:<30}{status or '-':<9}{what}")


def _shown(output: bytes) -> str:
    """The beginning of what was released: of an MCP result its text, in one line."""
    value: Any = parse(output, any_number=True)
    content = value.get("content") if isinstance(value, dict) else None
    text = str(content[0].get("text")) if content else output.decode()
    return visible(" ".join(text.split()), 100)


def run(upstream: str, folder: Path | None, say: Say) -> dict[str, Any]:
    """The whole story; `upstream` is the command of the official MCP time server. Returns what `demo --format json` prints."""
    places = Places.within(Path(tempfile.mkdtemp(prefix="helm-demo-")) if folder is None else folder)
    story = Story(say)
    say(f"A new kernel in {places.home}")
    phrase = secrets.token_hex(16).encode()
    made = home.init(places.paths, lambda: phrase)
    person = keyfile.read_person(places.paths.people_keys / "approval", Purpose.APPROVAL, phrase)
    say(f"  genesis  {made.genesis}  (all that a verifier needs to know beforehand)")
    _set_up(places, upstream, person, story)
    _crash(places, story)
    desk = Desk(places)
    with desk.kernel as kernel:
        _after_crash(kernel, desk, story)
    return _prove(places, story, made.genesis)


def _set_up(places: Places, upstream: str, person: Signer, story: Story) -> None:
    desk = Desk(places)
    with desk.kernel as kernel:
        story.say("Before anything is pinned or allowed, nothing runs")
        story.call(kernel, "a call on the first day", "desk/append_note", {"text": "hello"})
        story.say("A person pins the tools and puts a policy into force, each signed with their approval key")
        time, _ = asyncio.run(operate.ask("time", Upstream((upstream, "--local-timezone", "UTC"))))
        operate.classify(time, ["read"], [])
        (places.paths.policy / "main.cedar").write_text(POLICY, encoding="utf-8")
        for propose in (
            lambda runtime: operate.propose_pins(runtime, time),
            lambda runtime: operate.propose_pins(runtime, kernel.proposal()),
            operate.propose_policy,
        ):
            _sign(kernel, propose, person, story)
        _calls(kernel, desk, story)
        _drift(kernel, person, story)
        _duplicates(kernel, desk, story)


def _sign(kernel: Kernel, propose: Callable[[Runtime], operate.Proposal], person: Signer, story: Story) -> None:
    async def act(runtime: Runtime) -> Receipt:
        return await operate.activate(runtime, propose(runtime), [person])

    receipt = kernel.run(act)
    signed = Statement.from_record(Record.from_json(receipt.body["statement"]))
    if signed.policy is not None and signed.catalog is not None:
        policy, catalog = signed.policy.after[7:19], signed.catalog.after[7:19]
        story.say(f"  receipt {receipt.index}: {signed.kind}, policy {policy} over catalogue {catalog}")


def _calls(kernel: Kernel, desk: Desk, story: Story) -> None:
    story.say("Calls: verdict, reason, outcome, what was tried")
    noon: dict[str, Json] = {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}
    story.call(kernel, "the official MCP time server", "time/convert_time", noon)
    story.call(kernel, "a note, really written", "desk/append_note", {"text": "buy milk"})
    story.say(f"            notes.txt now has {desk.count('notes.txt')} line")
    story.call(kernel, "a tool that nobody pinned", "desk/format_disk", {"path": "/"})
    story.call(kernel, "a number where the schema says text", "time/convert_time", {**noon, "time": 12})
    story.call(kernel, "mail to a stranger", "desk/send_mail", {"to": "eve@evil.test", "subject": "keys"})
    story.call(kernel, "a destructive tool: waits for a person", "desk/wipe", {"path": "/tmp/x"})
    story.say(f"            effects of the refused calls: {desk.count('outbox.txt') + desk.count('wiped.txt')}")


def _drift(kernel: Kernel, person: Signer, story: Story) -> None:
    story.say("A tool breaks its contract: its output is withheld, and it is held until a person releases it")
    story.call(kernel, "pinned to return a whole number, returned text", "desk/temperature", {"city": "Pompeii"})
    held = story.call(kernel, "the same tool again", "desk/temperature", {"city": "Naples"})
    hold = Facts.from_json(held.decision.body["facts"], principal="local", door="library", policy=None).hold
    if hold is None:
        raise RuntimeError("a drifted tool was not held")

    async def act(runtime: Runtime) -> Receipt:
        return await operate.release(runtime, "desk/temperature", hold, [person])

    story.say(f"  receipt {kernel.run(act).index}: released by a signed statement")
    story.call(kernel, "after the release", "desk/temperature", {"city": "Naples"})


def _duplicates(kernel: Kernel, desk: Desk, story: Story) -> None:
    story.say("The same payment twice, as a retry would send it")
    for what in ("the first", "the retry, answered from the record"):
        story.call(kernel, what, "desk/pay", {"to": "alice", "cents": 4200}, "order-7")
    story.say(f"            payments.txt has {desk.count('payments.txt')} line")


def _crash(places: Places, story: Story) -> None:
    story.say("Another process makes a call and is killed with SIGKILL between the effect and its record")
    command = [sys.executable, "-m", "helm_ai_kernel.trials.desk", str(places.home), str(places.people), str(places.desk)]
    ended = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, env={**os.environ})
    story.say(f"  the process ended with {ended.returncode}")


def _after_crash(kernel: Kernel, desk: Desk, story: Story) -> None:
    async def recovered(runtime: Runtime) -> int:
        return runtime.recovered

    count = kernel.run(recovered)
    story.say(f"  the next start closed {count} open intent as UNKNOWN; the effect happened {desk.count('crashes.txt')} time")
    with Reader(kernel.config.paths.store) as reader:
        outcome = next(receipt for receipt in reader.receipts() if receipt.status is Status.UNKNOWN)
        decision = reader.find(str(outcome.body["decision"]))
    story.tell("desk/crash", Verdict.ALLOW, outcome.reason, outcome, decision, "the call that was lost, as the log now has it")
    story.call(kernel, "a retry with the same key: not run again", "desk/crash", {"text": "the effect happened"}, "crash-1")


def _prove(places: Places, story: Story, genesis: Digest) -> dict[str, Any]:
    with Reader(places.paths.store, vault=Subjects(places.paths.subjects)) as reader:
        evidence, receipts = b"".join(whole(reader)), list(reader.receipts())
    out = places.paths.packs / "demo.tar"
    out.write_bytes(evidence)
    session = str(story.calls[0]["receipt"]["session"])
    story.say("The ProofGraph of the first session")
    for line in draw(ProofGraph.of(receipts), session):
        story.say("  " + line)
    verify = _verified(out, genesis)
    again = replay(pack.read(evidence))
    story.say(f"Evidence pack {out}: {len(evidence)} bytes, {verify['receipts']} receipts in {verify['sessions']} sessions")
    story.say(f"  verified offline against the genesis: {verify['verdict']} (exit {verify['exit']})")
    story.say(f"  decisions derived again from policy, catalogue and facts: {again.decisions}, {len(again.differs)} differ")
    story.say("Look yourself:")
    command = shlex.quote(os.path.relpath(Path(sys.argv[0]).absolute())) if sys.argv[0].endswith(PROGRAM) else PROGRAM
    story.say(f"  {command} pack verify {shlex.quote(str(out))} --genesis {genesis}")
    story.say(f"  {command} receipts list --home {shlex.quote(str(places.home))}")
    return {
        "calls": story.calls,
        "pack": str(out),
        "genesis": genesis,
        "verify": verify,
        "replay": {name: again.to_json()[name] for name in ("verdict", "exit", "decisions", "differs")},
        "home": str(places.home),
    }


def _verified(out: Path, genesis: str) -> dict[str, Any]:
    """The outsider's tool, in a process of its own: it gets a file and a digest, and nothing else of ours."""
    command = [sys.executable, "-m", "helm_ai_kernel.verifier", str(out), "--genesis", genesis, "--format", "json"]
    ended = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True)
    report: Any = parse(ended.stdout)
    return dict(report)
