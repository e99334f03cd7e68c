"""The demo's own service: a real HTTP API on this machine, whose effects are lines in files that anyone can count.

What it is asked for, it does, and asks nobody: whoever stands in front of it decides.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from helm_ai_kernel.tcb.ijson import parse

BODY_BYTES_MAX = 1 << 16  # what the pinned tools send has some 100 bytes

_TEXT, _COUNT = {"type": "string"}, {"type": "integer", "minimum": 1}


def _operation(
    name: str, says: str, method: str, properties: dict[str, Any], answers: dict[str, Any] | None, **more: Any
) -> dict[str, Any]:
    """A definition as `docs/spec/connector-http.md` has it; its path is its name."""
    operation = {"method": method, "path": f"/{name}", "query": [], "headers": {}, "body": "rest", "retry": False, **more}
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    made = {"name": name, "description": says, "inputSchema": schema, "operation": operation}
    return made if answers is None else {**made, "outputSchema": answers}


# What the operator writes down of it, to be pinned: `desk.json` beside `helm.toml`.
OPERATIONS = [
    _operation("append_note", "Append one line to notes.txt.", "POST", {"text": _TEXT}, None),
    _operation("send_mail", "Put a mail into the outbox.", "POST", {"to": _TEXT, "subject": _TEXT}, None),
    _operation(
        "pay", "Move money.", "POST", {"to": _TEXT, "cents": _COUNT}, None, idempotency_header="idempotency-key"
    ),
    _operation("wipe", "Delete a folder.", "POST", {"path": _TEXT}, None),
    _operation(
        "temperature", "The temperature in a city, in whole degrees.", "GET", {"city": _TEXT},
        {"type": "object", "properties": {"degrees": {"type": "integer"}}, "required": ["degrees"]},
        query=["city"], body="none", retry=True,
    ),
]  # fmt: skip
EFFECTS = ["append_note=write", "send_mail=network", "pay=payment", "wipe=destructive", "temperature=read"]


class Desk:
    """The effects, and what happens right behind the next one, before it is answered."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.behind_an_effect: Callable[[], None] | None = None  # in the demo: the kernel dies here
        self._alone = threading.Lock()

    def count(self, name: str) -> int:
        """How often an effect really happened."""
        path = self.folder / name
        return len(path.read_text(encoding="utf-8").splitlines()) if path.exists() else 0

    def answer(self, name: str, said: dict[str, Any]) -> Any:
        match name:
            case "append_note":
                return {"notes": self._effect("notes.txt", str(said["text"]))}
            case "send_mail":
                return {"mails": self._effect("outbox.txt", f"{said['to']} {said['subject']}")}
            case "pay":
                return {"payment": self._effect("payments.txt", f"{said['to']} {said['cents']}")}
            case "wipe":
                return {"wiped": self._effect("wiped.txt", str(said["path"]))}
            case "temperature":  # once, for Pompeii, it breaks its promise: the lie that the contract check must catch
                return {"degrees": 21 if said["city"] != "Pompeii" else "hot"}
        return None

    def _effect(self, name: str, line: str) -> int:
        with self._alone:
            with (self.folder / name).open("a", encoding="utf-8") as file:
                file.write(line.replace("\n", " ") + "\n")
            count, behind, self.behind_an_effect = self.count(name), self.behind_an_effect, None
        if behind is not None:
            behind()
        return count


@contextmanager
def serving(desk: Desk) -> Iterator[str]:
    """Its URL, on a free port of this machine, until the block ends."""

    class Handler(_Handler):
        answers = staticmethod(desk.answer)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 5.0  # a connection that asks nothing more is let go of
    answers: Callable[[str, Any], Any]

    def handle(self) -> None:
        with suppress(ConnectionError):  # who asked is gone
            super().handle()

    def do_GET(self) -> None:
        target = urlsplit(self.path)
        self._answer(target.path, {name: values[0] for name, values in parse_qs(target.query).items()})

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length", "0"))
        self._answer(self.path, parse(self.rfile.read(min(length, BODY_BYTES_MAX))))

    def _answer(self, path: str, said: Any) -> None:
        value = type(self).answers(path.removeprefix("/"), said)
        body = json.dumps({"error": "no such thing"} if value is None else value).encode()
        self.send_response(404 if value is None else 200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """What was asked is in the kernel's log."""
