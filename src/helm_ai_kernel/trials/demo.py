"""The main job on real parts: an agent at the HTTP door, real services, every verdict, an approval, a crash, and the proof.

Nothing here is scripted output: every line is read from the answer, the receipt or the command that it tells of.
"""

import asyncio
import http.client
import json
import os
import secrets
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helm_ai_kernel.app import agents, home, operate
from helm_ai_kernel.app.config import Config
from helm_ai_kernel.credentials import keyfile
from helm_ai_kernel.executor.replay import replay
from helm_ai_kernel.gateway.identity import Agent
from helm_ai_kernel.tcb import pack
from helm_ai_kernel.tcb.decision import Status
from helm_ai_kernel.tcb.digest import Digest
from helm_ai_kernel.tcb.envelope import Record
from helm_ai_kernel.tcb.graph import ProofGraph, draw
from helm_ai_kernel.tcb.ijson import parse
from helm_ai_kernel.tcb.keys import Purpose, Signer
from helm_ai_kernel.tcb.receipt import Kind, Receipt
from helm_ai_kernel.tcb.statement import Statement

from .desk import EFFECTS, OPERATIONS, Desk, serving
from .places import Places
from .resident import LISTEN, Up, up
from .story import PROGRAM, Say, Story

AGENT = "coder"
POLICY = """\
@id("time-is-free")
permit (principal == Agent::"coder", action in Action::"read", resource == Server::"time");

@id("desk-is-open")
permit (principal == Agent::"coder", action, resource == Server::"desk");

@id("mail-stays-inside")
@description("mail goes to example.com only")
forbid (principal, action == Action::"desk/send_mail", resource)
unless { context.args.to like "*@example.com" };

@id("large-payments")
@description("a person looks at payments of more than 100.00")
@require("approval")
forbid (principal, action == Action::"desk/pay", resource)
when { context.args.cents > 10000 };
"""


def run(upstream: str, folder: Path | None, say: Say) -> dict[str, Any]:
    """The whole story; `upstream` is the command of the official MCP time server. Returns what `demo --format json` prints."""
    places = Places.within(Path(tempfile.mkdtemp(prefix="helm-demo-")) if folder is None else folder.absolute())
    story = Story(say, places, secrets.token_hex(16).encode(), Desk(places.desk))
    say(f"A new kernel in {places.home}")
    made = home.init(places.paths, lambda: story.phrase)
    say(f"  genesis  {made.genesis}  (all that a verifier needs to know beforehand)")
    story.token = agents.add(places.paths, Agent(AGENT), token=True).token or ""
    with serving(story.desk) as url:
        _configure(places, url, upstream)
        with up(places) as kernel:
            say(f"  agents   at http://{kernel.data}, operators at http://{kernel.control}")
            _set_up(kernel, story)
            _calls(kernel, story)
            _approval(kernel, story)
            _drift(kernel, story)
            _freeze(kernel, story)
            _crash(kernel, story)
        with up(places) as kernel:
            _after_crash(kernel, story)
            size = kernel.export(places.paths.packs / "demo.tar")
            if code := kernel.end():
                raise RuntimeError(f"the kernel ended with {code}")
    return _prove(story, made.genesis, size)


def _configure(places: Places, url: str, upstream: str) -> None:
    """What an operator writes into `helm.toml`: where the services are, and where to listen."""
    command = json.dumps([upstream, "--local-timezone", "UTC"])
    desk = f'[upstream.desk]\nurl = "{url}"\noperations = "desk.json"\naddresses = ["loopback"]\n'
    with places.paths.config.open("a", encoding="utf-8") as file:
        file.write(f"[upstream.time]\ncommand = {command}\n{desk}{LISTEN}")
    (places.home / "desk.json").write_text(json.dumps(OPERATIONS, indent=1), encoding="utf-8")


def _set_up(kernel: Up, story: Story) -> None:
    story.say("Before anything is pinned or allowed, nothing runs")
    story.call(kernel, "a call on the first day", "desk/append_note", {"text": "hello"})
    story.say("A person pins the tools and puts a policy into force, each signed with their approval key")
    paths, config = story.places.paths, story.config
    (paths.policy / "main.cedar").write_text(POLICY, encoding="utf-8")
    person = keyfile.read_person(paths.people_keys / "approval", Purpose.APPROVAL, story.phrase)
    for server, effects in (("time", ["read"]), ("desk", EFFECTS)):
        proposed, _ = asyncio.run(operate.ask(server, config.upstreams[server]))
        operate.classify(proposed, effects, [])
        _sign(config, lambda now, doc=proposed: operate.propose_pins(now, doc), person, story)  # type: ignore[misc]
    _sign(config, operate.propose_policy, person, story)


def _sign(config: Config, propose: Callable[[operate.InForce], operate.Proposal], person: Signer, story: Story) -> None:
    """Signed here, and sent to the kernel over its control socket: the key never reaches it."""
    receipt = asyncio.run(operate.enact(config, propose(operate.standing(config)), propose, [person]))
    signed = Statement.from_record(Record.from_json(receipt.body["statement"]))
    if signed.policy is not None and signed.catalog is not None:
        policy, catalog = signed.policy.after[7:19], signed.catalog.after[7:19]
        story.say(f"  receipt {receipt.index}: {signed.kind}, policy {policy} over catalogue {catalog}")


def _calls(kernel: Up, story: Story) -> None:
    story.say("An agent calls, with its token and a plain HTTP client: verdict and status, reason, outcome, what was tried")
    noon = {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}
    story.call(kernel, "the official MCP time server", "time/convert_time", noon)
    story.call(kernel, "a note, really written", "desk/append_note", {"text": "buy milk"})
    story.say(f"                notes.txt now has {story.desk.count('notes.txt')} line")
    story.call(kernel, "a tool that nobody pinned", "desk/format_disk", {"path": "/"})
    story.call(kernel, "a number where the schema says text", "time/convert_time", {**noon, "time": 12})
    story.call(kernel, "mail to a stranger", "desk/send_mail", {"to": "eve@evil.test", "subject": "keys"})
    story.call(kernel, "a destructive tool: waits for a person", "desk/wipe", {"path": "/tmp/x"})
    story.say(f"                effects of the refused calls: {story.desk.count('outbox.txt') + story.desk.count('wiped.txt')}")


def _approval(kernel: Up, story: Story) -> None:
    story.say("A large payment waits for a person, who sees exactly the bytes that would be sent, and approves them")
    payment = ("desk/pay", {"to": "alice", "cents": 420000}, "invoice-7")
    held = story.call(kernel, "4,200.00 to alice", *payment)
    call = str(held.helm["receipt"]["index"])
    story.type("approvals", "show", call, shows=lambda line: not line.startswith("next: "))
    story.type("approvals", "approve", call, "--yes", shows=lambda line: line.startswith("approve"))
    story.call(kernel, "the same request again", *payment)
    story.call(kernel, "and a retry, answered from the record", *payment)
    story.say(f"                payments.txt has {story.desk.count('payments.txt')} line")


def _drift(kernel: Up, story: Story) -> None:
    story.say("A tool breaks its contract: its output is withheld, and it is held until a person releases it")
    story.call(kernel, "pinned to return a whole number, returned text", "desk/temperature", {"city": "Pompeii"})
    story.call(kernel, "the same tool again", "desk/temperature", {"city": "Naples"})
    story.type("tools", "release", "desk/temperature", "--yes", shows=lambda line: "is released" in line)
    story.call(kernel, "after the release", "desk/temperature", {"city": "Naples"})


def _freeze(kernel: Up, story: Story) -> None:
    story.say("One word stops everything; a signature lets it go on")
    story.type("freeze", "all")
    story.call(kernel, "what was allowed a moment ago", "desk/append_note", {"text": "buy bread"})
    story.type("release", "all", "--yes", shows=lambda line: line.startswith("released"))
    story.call(kernel, "after the release", "desk/append_note", {"text": "buy bread"})


def _crash(kernel: Up, story: Story) -> None:
    story.say("The kernel is killed with SIGKILL between an effect and its record")
    story.desk.behind_an_effect = kernel.kill
    try:
        kernel.execute(story.token, "desk/pay", {"to": "bob", "cents": 500}, "invoice-8")
        raise RuntimeError("the kernel answered after it was killed")
    except (http.client.HTTPException, OSError) as error:
        story.say(f"  the agent's connection ended ({type(error).__name__}), the kernel with {kernel.process.wait()}")


def _after_crash(kernel: Up, story: Story) -> None:
    with story.reader() as reader:
        recovery = [receipt for receipt in reader.receipts() if receipt.kind is Kind.RECOVERY][-1]
        outcome = next(receipt for receipt in reader.receipts() if receipt.status is Status.UNKNOWN)
        decision = reader.find(str(outcome.body["decision"]))
    count = story.desk.count("payments.txt")
    story.say(
        f"  the next start closed {recovery.body['open']} open intent as UNKNOWN; payments.txt has {count} lines, one of it"
    )
    verdict = "" if decision.verdict is None else decision.verdict.value
    story.tell("desk/pay", verdict, outcome.reason.value, "UNKNOWN", "the call that was lost, as the log now has it")
    story.remember("desk/pay", verdict, outcome.reason.value, "UNKNOWN", _named(outcome))
    again = ("desk/pay", {"to": "bob", "cents": 500}, "invoice-8")
    story.call(kernel, "a retry with the same key: not run again", *again)
    story.say(f"                payments.txt has {story.desk.count('payments.txt')} lines")


def _named(receipt: Receipt) -> dict[str, Any]:
    return {"leaf": receipt.leaf, "index": receipt.index, "session": receipt.session, "seq": receipt.seq}


def _prove(story: Story, genesis: Digest, size: int) -> dict[str, Any]:
    places, say = story.places, story.say
    out = places.paths.packs / "demo.tar"
    with story.reader() as reader:
        receipts = list(reader.receipts())
    say("The ProofGraph of the agent's first session")
    for line in draw(ProofGraph.of(receipts), str(story.calls[0]["receipt"]["session"])):
        say("  " + line)
    verify = _verified(out, genesis)
    again = replay(pack.read(out.read_bytes()))
    say(f"Evidence pack {out}, taken over the control plane: {size} bytes, {verify['receipts']} receipts")
    say(f"  verified offline against the genesis: {verify['verdict']} (exit {verify['exit']})")
    say(f"  decisions derived again from policy, catalogue and facts: {again.decisions}, {len(again.differs)} differ")
    say("Look yourself:")
    command = shlex.quote(os.path.relpath(Path(sys.argv[0]).absolute())) if sys.argv[0].endswith(PROGRAM) else PROGRAM
    say(f"  {command} pack verify {shlex.quote(str(out))} --genesis {genesis}")
    say(f"  {command} receipts list --home {shlex.quote(str(places.home))}")
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
