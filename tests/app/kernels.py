"""A kernel with people's keys, made once and copied for each test; people who sign; and programs that call it."""

import functools
import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helm_ai_kernel.app import home, operate
from helm_ai_kernel.app.config import Config, Paths, load
from helm_ai_kernel.app.kernel import Kernel
from helm_ai_kernel.app.runtime import Runtime
from helm_ai_kernel.credentials import keyfile
from helm_ai_kernel.credentials.subjects import Subjects
from helm_ai_kernel.ledger import trustlog
from helm_ai_kernel.ledger.export import whole
from helm_ai_kernel.ledger.ledger import TRUST
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.tcb import checklist, pack
from helm_ai_kernel.tcb import registry as trust
from helm_ai_kernel.tcb.envelope import seal
from helm_ai_kernel.tcb.events import End
from helm_ai_kernel.tcb.keys import Purpose, SecretKey
from helm_ai_kernel.tcb.receipt import Receipt

PASSPHRASE = b"correct horse battery"
OPEN = b'@id("open") permit (principal, action, resource);\n'
SERVER = Path(__file__).parent / "mcp_server.py"


@functools.cache
def made(folder: Path) -> SecretKey:
    """`init` in that folder, with keys behind a passphrase as people have them; the approval key."""
    paths = Place(folder).paths
    home.init(paths, lambda: PASSPHRASE)
    (folder / "passphrase").write_bytes(PASSPHRASE + b"\nnot part of it\n")
    (folder / "passphrase").chmod(0o600)
    return keyfile.read_person(paths.people_keys / "approval", Purpose.APPROVAL, PASSPHRASE)


def copy(master: Path, folder: Path) -> "Place":
    shutil.copytree(master, folder / "place")
    return Place(folder / "place", made(master))


@dataclass
class Place:
    """A home, its people, and what happened there."""

    folder: Path
    approver: SecretKey = field(default_factory=lambda: SecretKey.from_seed(b"\x01" * 32, Purpose.APPROVAL))

    @property
    def paths(self) -> Paths:
        return Paths(self.folder / "home", self.folder / "people")

    @property
    def config(self) -> Config:
        return load(self.paths, {})

    @property
    def vault(self) -> Subjects:
        return Subjects(self.paths.subjects)

    @property
    def passphrase(self) -> Path:
        return self.folder / "passphrase"

    def root(self) -> SecretKey:
        return keyfile.read_person(self.paths.people_keys / "root", Purpose.ROOT, PASSPHRASE)

    def adds(self, principal: str) -> SecretKey:
        """A further approval key of that person, in the registry from the next start on."""
        path = self.paths.store / TRUST
        registry = trustlog.load(path)
        key = SecretKey.from_seed(hashlib.sha256(f"{principal} {registry.size}".encode()).digest(), Purpose.APPROVAL)
        line = trust.add(registry, key, principal, None, at=home.now(), roots=[self.root()])
        with path.open("ab") as file:
            file.write(line + b"\n")
        return key

    def revokes(self, key: SecretKey) -> None:
        """That key is in force no more, from the next start on."""
        path = self.paths.store / TRUST
        said = trust.revocation(trustlog.load(path), key.public.id, End.CESSATION, at=home.now())
        trustlog.append(path, seal(said, [self.root()]).line)

    def configure(self, text: str) -> None:
        with self.paths.config.open("a", encoding="utf-8") as file:
            file.write(text)

    def program(self, *functions: Callable[..., Any], effect: str = "write", **said: Any) -> "Program":
        """One that governs these functions; pinned with what a person `said` of all of them, and allowed."""
        kernel = Kernel(config=self.config)
        program = Program(kernel, {function.__name__: kernel.tool(effect=effect)(function) for function in functions})
        proposal = kernel.proposal()
        self.sign(kernel, {**proposal, "tools": [{**tool, **said} for tool in proposal["tools"]]}, OPEN)
        return program

    def sign(self, kernel: Kernel, server: dict[str, Any] | None, policy: bytes | None) -> None:
        """A person pins a server and puts a policy into force."""
        kernel.run(self.signing(server, policy))

    def signing(self, server: dict[str, Any] | None, policy: bytes | None) -> Callable[[Runtime], Any]:
        async def work(runtime: Runtime) -> None:
            if server is not None:
                await operate.activate(runtime, operate.propose_pins(runtime, server), [self.approver])
            if policy is not None:
                (self.paths.policy / "main.cedar").write_bytes(policy)
                await operate.activate(runtime, operate.propose_policy(runtime), [self.approver])

        return work

    def receipts(self) -> list[Receipt]:
        with Reader(self.paths.store) as reader:
            return list(reader.receipts())

    def told(self, *kinds: str) -> list[str]:
        """What happened, in a few words each; without statements and sessions unless asked for."""
        wanted = kinds or ("decision", "outcome", "hold", "recovery")
        names = ("event", "verdict", "status", "reason", "sub", "tool")
        return [
            " ".join([receipt.kind.value, *(str(receipt.body[name]) for name in names if name in receipt.body)])
            for receipt in self.receipts()
            if receipt.kind.value in wanted
        ]

    def check(self) -> None:
        """Everything that was recorded verifies, and every session was ended."""
        self.verify()
        receipts = self.receipts()
        starts, ends = ([r.session for r in receipts if r.body.get("event") == event] for event in ("start", "end"))
        assert sorted(starts) == sorted(ends)

    def verify(self) -> None:
        """Everything that was recorded verifies."""
        with Reader(self.paths.store, vault=self.vault) as reader:
            data = b"".join(whole(reader))
        genesis = home.trusted(self.paths.trust)[0]
        report = checklist.verify(data, checklist.Question(genesis=genesis))
        assert report.exit == 0, report.to_text()
        receipts = self.receipts()
        assert report.receipts == len(receipts) == len(pack.lines(pack.read(data)[pack.RECEIPTS]))


@dataclass
class Program:
    """Governed functions by name, under one kernel."""

    kernel: Kernel
    tools: dict[str, Callable[..., Any]]

    def __getitem__(self, name: str) -> Callable[..., Any]:
        return self.tools[name]

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *_: object) -> None:
        self.kernel.close()


def limits(wall_ms: int) -> dict[str, int]:
    return {"wall_ms": wall_ms, "output_bytes": 1 << 20}


def mcp(place: Place, name: str = "tools", **definitions: str) -> list[str]:
    """The command of a server with these tools and their descriptions; the file beside it may be edited while it runs."""
    tools = [
        {"name": tool, "description": text, "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}}}
        for tool, text in definitions.items()
    ]
    file = place.folder / f"{name}.json"
    file.write_text(json.dumps(tools), encoding="utf-8")
    return [sys.executable, "-I", "-S", str(SERVER), str(file), str(place.folder / f"{name}.pids")]
