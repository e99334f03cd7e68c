"""What the demo tells: each line as it happens, and each call for the document that it returns."""

import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from helm_ai_kernel.app.config import Config, load
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.tcb.findings import visible

from .desk import Desk
from .places import Places
from .resident import Answered, Up, typed

PROGRAM = "helm-ai-kernel"
Say = Callable[[str], None]


@dataclass
class Story:
    """What the demo tells and what it returns; who takes part in it."""

    say: Say
    places: Places
    phrase: bytes
    desk: Desk
    token: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)

    @property
    def config(self) -> Config:
        return load(self.places.paths, {})

    def call(self, kernel: Up, what: str, tool: str, arguments: Mapping[str, Any], key: str | None = None) -> Answered:
        """As the agent calls; what it is told is what is told here."""
        answer = kernel.execute(self.token, tool, arguments, key)
        helm = answer.helm
        outcome = helm.get("outcome") or {}
        shown = f": {_shown(answer.body['result'])}" if "result" in answer.body else ""
        self.tell(tool, f"{helm['verdict']:<9}{answer.status}", helm["reason"], outcome.get("status"), what + shown)
        self.remember(tool, helm["verdict"], helm["reason"], outcome.get("status"), outcome or helm["receipt"])
        return answer

    def tell(self, tool: str, verdict: str, reason: str, status: str | None, what: str) -> None:
        self.say(f"  {verdict:<13}{reason:<30}{status or '-':<9}{what}")

    def remember(self, tool: str, verdict: str, reason: str, status: str | None, receipt: Mapping[str, Any]) -> None:
        named = {name: receipt[name] for name in ("leaf", "index", "session", "seq")}
        call = {"door": "execute", "tool": tool, "verdict": verdict, "reason": reason, "outcome": status, "receipt": named}
        self.calls.append(call)

    def type(self, *words: str, shows: Callable[[str], bool] = lambda line: True) -> None:
        """What a person types, and what they see."""
        self.say(f"  $ {shlex.join((PROGRAM, *words))}")
        for line in filter(shows, typed(self.places, self.phrase, *words)):
            self.say(f"    {line}")

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        with Reader(self.places.paths.store) as reader:
            yield reader


def _shown(value: Any) -> str:
    """The beginning of what was released: of an MCP result its text, of an HTTP answer its body, in one line."""
    content = value.get("content") if isinstance(value, dict) else None
    body = value.get("body", value) if isinstance(value, dict) else value
    text = str(content[0].get("text")) if content else json.dumps(body)
    return visible(" ".join(text.split()), 100)
