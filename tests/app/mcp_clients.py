"""Clients of MCP as raw bytes, in both eras: over HTTP, and over lines as `mcp wrap` does it. Nothing of the product is here."""

import http.client
import json
import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

from app.residents import END_S, Up

META = "io.modelcontextprotocol/"
CAN = {"elicitation": {}, "sampling": {}, "roots": {}}
NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
BOTH = "application/json, text/event-stream"


@dataclass
class Client:
    """`answers`: what it says to questions, by method; without one it is an error."""

    modern: bool = False
    capabilities: dict[str, Any] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)
    said: list[Any] = field(default_factory=list)  # notices that came
    asked: list[Any] = field(default_factory=list)
    count: int = 0

    def begin(self) -> Any:
        """A session, where there are any; what was answered."""
        if self.modern:
            return self.ask("server/discover")
        params = {"protocolVersion": "2025-11-25", "capabilities": self.capabilities, "clientInfo": {"name": "c", "version": "1"}}
        answer = self.ask("initialize", **params)
        self.notice("notifications/initialized")
        return answer

    def message(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self.count += 1
        if self.modern:
            own = {f"{META}protocolVersion": "2026-07-28", f"{META}clientCapabilities": self.capabilities}
            params = {**params, "_meta": {**own, **params.get("_meta", {})}}
        return {"jsonrpc": "2.0", "id": self.count, "method": method, "params": params}

    def ask(self, method: str, **params: Any) -> Any:
        """Its response, questions answered on the way; of a stateless client also those that are results."""
        while True:
            answer = self.exchange(self.message(method, params))
            result = answer.get("result", {})
            if not self.modern or result.get("resultType") != "input_required":
                return answer
            self.asked += result["inputRequests"].values()
            said = {
                name: self.answers[one["method"]]
                for name, one in result["inputRequests"].items()
                if one["method"] in self.answers
            }
            params = {**params, "inputResponses": said, "requestState": result["requestState"]}

    def call(self, name: str, **arguments: Any) -> Any:
        return self.ask("tools/call", name=name, arguments=arguments)

    def exchange(self, message: dict[str, Any]) -> Any:
        raise NotImplementedError

    def notice(self, method: str, **params: Any) -> None:
        raise NotImplementedError

    def raw(self, data: bytes) -> list[Any]:
        """What comes for bytes that may be no message."""
        raise NotImplementedError

    def heard(self, message: Any) -> Any:
        """The answer to a question, where that is one."""
        if "method" not in message:
            return None
        if "id" not in message:
            self.said.append(message)
            return None
        self.asked.append(message)
        said = self.answers.get(message["method"])
        error = {"error": {"code": -1, "message": "no"}}
        return {"jsonrpc": "2.0", "id": message["id"], **(error if said is None else {"result": said})}

    def close(self) -> None:
        pass

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass
class OverHttp(Client):
    up: Up = None  # type: ignore[assignment]
    token: str | None = None
    path: str = "/mcp"
    session: str | None = None
    status: int = 0

    def fields(self, message: Any) -> dict[str, str]:
        named = {"content-type": "application/json", "accept": BOTH}
        if self.token is not None:
            named["authorization"] = f"Bearer {self.token}"
        if self.session is not None:
            named["mcp-session-id"] = self.session
        if self.modern and isinstance(message, dict):
            method, params = str(message.get("method")), message.get("params") or {}
            named |= {"mcp-protocol-version": "2026-07-28", "mcp-method": method}
            if method in NAMED and NAMED[method] in params:
                named["mcp-name"] = str(params[NAMED[method]])
        return named

    @contextmanager
    def open(self, data: bytes, fields: dict[str, str], method: str = "POST") -> Iterator[http.client.HTTPResponse]:
        """The response, its body unread; its connection is closed with it."""
        with closing(self.up.connection("data")) as connection:
            connection.request(method, self.path, data if method == "POST" else None, fields)
            with connection.getresponse() as response:
                self.status = response.status
                yield response

    def send(self, value: Any, **fields: str) -> tuple[int, list[Any]]:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        named = self.fields(value) | {name.replace("_", "-"): text for name, text in fields.items()}
        with self.open(data, named) as response:
            self.session = response.getheader("mcp-session-id") or self.session
            return response.status, list(messages(response))

    def exchange(self, message: dict[str, Any]) -> Any:
        with self.open(json.dumps(message).encode(), self.fields(message)) as response:
            self.session = response.getheader("mcp-session-id") or self.session
            for one in messages(response):
                if (answer := self.heard(one)) is not None:
                    self.send(answer)
                elif "id" in one and "method" not in one:
                    return one
        return {"nothing": self.status}

    def notice(self, method: str, **params: Any) -> None:
        status, _ = self.send({"jsonrpc": "2.0", "method": method, "params": params})
        assert status == 202, status

    def raw(self, data: bytes) -> list[Any]:
        try:
            value = json.loads(data)
        except ValueError:
            value = None
        with self.open(data, self.fields(value)) as response:
            return list(messages(response))


def messages(response: http.client.HTTPResponse) -> Iterator[Any]:
    if "event-stream" not in (response.getheader("content-type") or ""):
        data = response.read()
        if data:
            yield json.loads(data)
        return
    lines: list[str] = []
    while line := response.readline():
        text = line.decode().rstrip("\n")
        if text.startswith("data:"):
            lines.append(text[5:].removeprefix(" "))
        elif not text:
            if any(lines):
                yield json.loads("\n".join(lines))
            lines = []


@dataclass
class OverLines(Client):
    """As `mcp wrap` does it."""

    up: Up = None  # type: ignore[assignment]
    server: str = "tools"
    command: list[str] = field(default_factory=lambda: ["x"])
    agent: str | None = None
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(END_S)
        self.sock.connect(str(self.up.place.paths.wrap_socket))
        self.file = self.sock.makefile("rb")
        hello = {"v": 1, "server": self.server, "agent": self.agent, "command": self.command, "env": [], "cwd": os.getcwd()}
        hello |= {"url": None}
        self.write(hello)
        self.told = self.read()
        if "error" not in self.told:
            self.write({"env": self.env})

    def write(self, value: Any) -> None:
        self.sock.sendall((value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n")

    def read(self) -> Any:
        line = self.file.readline()
        assert line, "the kernel closed the connection"
        return json.loads(line)

    def exchange(self, message: dict[str, Any]) -> Any:
        self.write(message)
        return self.answer(message["id"])

    def answer(self, number: Any) -> Any:
        while True:
            one = self.read()
            if (answer := self.heard(one)) is not None:
                self.write(answer)
            elif "method" not in one and one.get("id") == number:
                return one

    def notice(self, method: str, **params: Any) -> None:
        self.write({"jsonrpc": "2.0", "method": method, "params": params})

    def raw(self, data: bytes) -> list[Any]:
        """What came before the answer to a request behind it."""
        self.write(data)
        self.count += 1
        number = f"behind-{self.count}"
        behind = {"jsonrpc": "2.0", "id": number, "method": "server/discover"}
        self.write({**behind, "params": {"_meta": {f"{META}protocolVersion": "2026-07-28", f"{META}clientCapabilities": {}}}})
        came = []
        while (one := self.read()).get("id") != number:
            came.append(one)
        return came

    def close(self) -> None:
        self.file.close()
        self.sock.close()
