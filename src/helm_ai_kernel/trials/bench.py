"""The published benchmarks: each line times the product's own code path, on this machine, and says what it did.

Durable lines fsync; nothing is cached between samples that a real call would not find cached. A line is one number of work
done many times; `p50` and `p99` are over its samples, `n` says how many.
"""

import asyncio
import json
import os
import platform
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from helm_ai_kernel.app import home, operate
from helm_ai_kernel.app.config import Config, load
from helm_ai_kernel.app.runtime import Runtime
from helm_ai_kernel.connectors.python import PythonConnector
from helm_ai_kernel.credentials import keyfile
from helm_ai_kernel.credentials.subjects import Subjects
from helm_ai_kernel.executor.boundary import Boundary
from helm_ai_kernel.guardian.policy import Policy
from helm_ai_kernel.ledger import jobs, trustlog
from helm_ai_kernel.ledger.export import whole
from helm_ai_kernel.ledger.ledger import TRUST
from helm_ai_kernel.ledger.parts import subtree
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.ledger.store import SQLITE, in_memory
from helm_ai_kernel.ledger.transaction import Ink, Session, State, Transaction
from helm_ai_kernel.ledger.writer import now
from helm_ai_kernel.pep.catalog import EMPTY, Catalog, entry, server_doc
from helm_ai_kernel.tcb import checklist
from helm_ai_kernel.tcb.call import Call
from helm_ai_kernel.tcb.clock import Clock
from helm_ai_kernel.tcb.decision import Facts, Verdict
from helm_ai_kernel.tcb.digest import Digest, digest
from helm_ai_kernel.tcb.digests import Digests
from helm_ai_kernel.tcb.ijson import parse
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.tcb.keys import Purpose, SecretKey
from helm_ai_kernel.tcb.merkle import Frontier, leaf_hash, walk
from helm_ai_kernel.tcb.part import Inclusion

from .places import Places

T = TypeVar("T")
TOOLS = 10  # pinned in the durable lines, with one rule each
CALLERS = 64
MILLION = 1_000_000
TEXT = "x" * 120  # with its keys about 200 bytes of arguments, the size that the peers' figures are for


@dataclass(frozen=True, slots=True)
class Line:
    name: str
    unit: str
    p50: float
    p99: float
    n: int
    note: str


def main(*, as_json: bool, full: bool, only: str) -> int:
    """Run the lines one after the other and print them."""
    lines = []
    for one in run(full=full, only=only):
        lines.append(one)
        if not as_json:
            print(f"{one.name:<22}{one.p50:>12.1f}{one.p99:>12.1f}  {one.unit:<8} n={one.n:<7} {one.note}", flush=True)
    if as_json:
        print(json.dumps({"machine": machine(), "lines": [asdict(one) for one in lines]}, indent=1))
    return 0


def run(*, full: bool, only: str) -> Iterator[Line]:
    from . import bench_doors

    makers: list[tuple[str, Callable[[], Iterator[Line]]]] = [
        ("floor", floors),
        *((f"policy_{count}", lambda count=count: policy(count)) for count in (1, 10, 100, 1000)),
        ("canonicalise_200B", canonicalise),
        ("verdict_memory", verdict_memory),
        ("durable_1", durable_1),
        ("durable_64", lambda: durable_64(rounds=30, before=0)),
        ("inclusion_proof", lambda: inclusion(100_000)),
        ("execute_http", bench_doors.execute_http),
        ("cold_start", bench_doors.cold_start),
    ]
    if full:
        makers.append(("inclusion_proof_1m", lambda: inclusion(MILLION)))
        makers.append(("durable_64_at_1m", lambda: durable_64(rounds=30, before=MILLION)))
    for name, maker in makers:
        if any(name.startswith(part) for part in only.split(",")):
            yield from maker()


def machine() -> dict[str, object]:
    model = next((row for row in Path("/proc/cpuinfo").read_text().splitlines() if row.startswith("model name")), ": unknown")
    return {
        "cpu": model.split(":", 1)[1].strip(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "sqlite": SQLITE,
        "kernel": platform.release(),
        "load": os.getloadavg()[0],
    }


def floors() -> Iterator[Line]:
    """What this machine's disk and library need for the parts that nobody can leave out: read every other line beside these."""
    key, message = SecretKey.from_seed(b"b" * 32, Purpose.EXECUTION), b"m" * 1000
    signature = key.sign(message)
    yield line("floor_sign", "us", _timed(lambda: key.sign(message), 3000), "Ed25519 signature over 1,000 bytes")
    yield line("floor_verify", "us", _timed(lambda: key.public.verify(message, signature), 3000), "Ed25519 verification of it")
    with tempfile.TemporaryFile(dir=on_disk()) as file:

        def synced() -> None:
            os.write(file.fileno(), message)
            os.fdatasync(file.fileno())

        yield line("floor_fdatasync", "us", _timed(synced, 500), "1,000 bytes appended and synced")


def policy(rules: int) -> Iterator[Line]:
    """One decision, Cedar included, under so many rules; a tool meets only the rules that can apply to it."""
    catalog = _catalog(rules)
    boundary = Boundary(catalog, _policy(catalog, rules))
    call = boundary.admit(request(f"bench/t{rules - 1}", 1))
    if not isinstance(call, Call) or boundary.policy is None:
        raise RuntimeError("the benchmark's own request was refused")
    facts = Facts("local", "library", boundary.policy.digest, Clock(0, "0" * 32, 0))
    if boundary.decide(call, facts).verdict is not Verdict.ALLOW:
        raise RuntimeError("the benchmark's own call was denied")
    samples = _timed(lambda: boundary.decide(call, facts), 3000)
    yield line(f"policy_{rules}", "us", samples, f"decide() on an admitted call, {rules} rules, one per tool")


def canonicalise() -> Iterator[Line]:
    raw = canonical({"text": TEXT, "to": "alice@example.com", "count": 7, "list": [1, 2, 3], "nested": {"b": True, "a": None}})
    yield line(
        "canonicalise_200B",
        "us",
        _timed(lambda: digest(canonical(parse(raw))), 20000),
        f"parse, JCS, SHA-256 of {len(raw)} bytes",
    )


def verdict_memory() -> Iterator[Line]:
    """Everything but the disk: admit, decide, receipt, chain, tree, signature, on SQLite in memory, never committed."""
    with tempfile.TemporaryDirectory(prefix="helm-bench-") as folder:
        config = home_of_ten(Path(folder))
        registry = trustlog.load(config.paths.store / TRUST)
        execution = keyfile.read_machine(config.paths.keys / "execution", Purpose.EXECUTION)
        vault = Subjects(config.paths.subjects)
        yield _verdicts(Ink(execution, registry, "bench", vault))


def _verdicts(ink: Ink) -> Line:
    catalog = _catalog(10)
    boundary = Boundary(catalog, _policy(catalog, 10))
    if boundary.policy is None:
        raise RuntimeError("no policy")
    state = State("bench/0", Frontier(), {}, boundary.policy.digest, catalog.digest)
    frontier = Frontier()
    tx = Transaction(in_memory(), state, ink, now(), None)
    session, raw = Session("0" * 32, "local", "library"), request("bench/t3", 1)
    jobs.start_session(tx, session, None)

    def verdict() -> None:
        nonlocal tx, frontier
        jobs.decide(tx, session, boundary.admit(raw), boundary.decide, jobs.Terms())
        if tx.index - tx.start.frontier.size >= CALLERS:  # a group ends; the next one starts from its state
            for leaf in tx.leaves:
                frontier = frontier.append(leaf)
            tx = Transaction(tx.conn, tx.ended(frontier), tx.ink, now(), None)

    samples = _timed(verdict, 3000)
    return line("verdict_memory", "us", samples, "verdict, schema, JCS, hashes, chain, Merkle leaf, Ed25519, an allowed call")


def durable_1() -> Iterator[Line]:
    async def work(runtime: Runtime) -> list[float]:
        samples = []
        for number in range(1000):
            raw = request("bench/nothing", number)
            began = time.perf_counter()
            await runtime.call(raw, principal="local", door="library")
            samples.append(time.perf_counter() - began)
        return samples[50:]

    with tempfile.TemporaryDirectory(prefix="helm-bench-", dir=on_disk()) as folder:
        yield line(
            "durable_1",
            "us",
            asyncio.run(with_runtime(home_of_ten(Path(folder)), work)),
            "one caller, a refused call: one receipt, one fsync",
        )


def durable_64(*, rounds: int, before: int) -> Iterator[Line]:
    """64 callers, allowed calls with intent and outcome; then the same log is exported and verified."""
    suffix = "_at_1m" if before else ""
    with tempfile.TemporaryDirectory(prefix="helm-bench-", dir=on_disk()) as folder:
        config = home_of_ten(Path(folder))
        rates, latencies = asyncio.run(with_runtime(config, lambda runtime: _callers(runtime, rounds, before)))
        note = f"{CALLERS} callers, two receipts a call, group commit" + (f", {before} receipts in the log" if before else "")
        yield Line(f"durable_64{suffix}", "calls/s", at(rates, 0.5), at(rates, 0.01), len(rates), note + "; p99 is the slow end")
        yield line(f"durable_64{suffix}_latency", "us", latencies, "what one of the 64 callers waits")
        if not before:
            yield from _evidence(config)


async def _callers(runtime: Runtime, rounds: int, before: int) -> tuple[list[float], list[float]]:
    latencies: list[float] = []

    async def caller(calls: int, number: int) -> None:
        for turn in range(calls):
            began = time.perf_counter()
            await runtime.call(request("bench/t3", 1000 * number + turn), principal="local", door="library")
            latencies.append(time.perf_counter() - began)

    while runtime.ledger.writer.state.frontier.size < before:
        await asyncio.gather(*(caller(50, number) for number in range(CALLERS)))
    rates = []
    for _ in range(rounds):
        began = time.perf_counter()
        await asyncio.gather(*(caller(8, number) for number in range(CALLERS)))
        rates.append(8 * CALLERS / (time.perf_counter() - began))
    return rates, latencies[-rounds * 8 * CALLERS :]


def inclusion(size: int) -> Iterator[Line]:
    """The proof that one receipt stands in a log of so many, from the store's leaf hashes."""
    suffix, leaves = "_1m" if size == MILLION else "", Digests()
    for number in range(size):
        leaves.append(leaf_hash(number.to_bytes(8, "big")))
    place, made = size // 3, list[bytes]()
    signed = subtree(leaves.__getitem__, 0, size)

    def make() -> bytes:
        made.clear()

        def other(start: int, end: int) -> bytes:
            made.append(subtree(leaves.__getitem__, start, end))
            return made[-1]

        return walk(size, [(place, 1)], lambda: leaves[place], other)

    if make() != signed:
        raise RuntimeError("the benchmark's own proof leads elsewhere")
    note = f"one receipt in a log of {size}"
    yield line(f"inclusion_proof{suffix}_make", "us", _timed(make, 5), f"{note}: every other leaf is hashed once")
    proof = Inclusion(((place, 1),), tuple(made)).to_bytes()

    def check() -> None:
        if Inclusion.from_bytes(proof, 1).root(size, [leaves[place]]) != signed:
            raise RuntimeError("the benchmark's own proof does not verify")

    yield line(f"inclusion_proof{suffix}_verify", "us", _timed(check, 2000), f"{note}: parse, and {len(made)} hashes")


def _evidence(config: Config) -> Iterator[Line]:
    with Reader(config.paths.store, vault=Subjects(config.paths.subjects)) as reader:
        sizes = [float(len(receipt.line) + 1) for receipt in reader.receipts()]
        rates = []
        for _ in range(5):
            began = time.perf_counter()
            written = sum(map(len, whole(reader)))
            rates.append(written / 1e6 / (time.perf_counter() - began))
        pack = b"".join(whole(reader))
    text = f"a pack of {written / 1e6:.1f} MB made from the store, not written; p99 is the slow end"
    yield Line("export", "MB/s", round(at(rates, 0.5), 2), round(at(rates, 0.01), 2), len(rates), text)
    genesis = trustlog.load(config.paths.store / TRUST).genesis
    samples = []
    for _ in range(5):
        began = time.perf_counter()
        report = checklist.verify(pack, checklist.Question(genesis=genesis))
        samples.append((time.perf_counter() - began) / report.receipts)
        if report.exit:
            raise RuntimeError(f"the benchmark's own log does not verify: {report.to_text()}")
    yield line("verify_record", "us", samples, f"the whole checklist over {report.receipts} receipts, per receipt, one core")
    yield from _verified(pack, genesis, report.receipts)
    yield Line(
        "receipt_bytes",
        "bytes",
        at(sizes, 0.5),
        at(sizes, 0.99),
        len(sizes),
        f"mean {sum(sizes) / len(sizes):.0f}; a call has two",
    )


def _verified(pack: bytes, genesis: Digest, receipts: int) -> Iterator[Line]:
    """As an outsider does it: the verifier as a command, from its start to its verdict, on one core and on two."""
    with tempfile.NamedTemporaryFile(dir=on_disk(), suffix=".tar") as file:
        file.write(pack)
        file.flush()
        for cores in (1, 2):
            command = [sys.executable, "-m", "helm_ai_kernel.verifier", file.name, "--genesis", genesis, "--cores", str(cores)]
            rates = []
            for _ in range(3):
                began = time.perf_counter()
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
                rates.append(receipts / (time.perf_counter() - began))
            note = f"`python -m helm_ai_kernel.verifier` on a pack of {receipts} receipts; p99 is the slow end"
            yield Line(f"verify_{cores}_core", "rec/s", round(at(rates, 0.5)), round(at(rates, 0.01)), len(rates), note)


async def with_runtime(config: Config, work: Callable[[Runtime], Awaitable[T]]) -> T:
    runtime = await Runtime.open(config, connectors={"bench": PythonConnector(_tools(TOOLS))}, client="bench")
    try:
        return await work(runtime)
    finally:
        await runtime.close()


def home_of_ten(folder: Path) -> Config:
    """A new kernel with ten pinned tools and one rule for each."""
    places = Places.within(folder)
    phrase = secrets.token_hex(16).encode()
    home.init(places.paths, lambda: phrase)
    person = keyfile.read_person(places.paths.people_keys / "approval", Purpose.APPROVAL, phrase)
    (places.paths.policy / "main.cedar").write_text(_rules(TOOLS), encoding="utf-8")
    config = load(places.paths)

    async def activate(runtime: Runtime) -> None:
        await operate.activate(runtime, operate.propose_pins(runtime, _server(TOOLS)), [person])
        await operate.activate(runtime, operate.propose_policy(runtime), [person])

    asyncio.run(with_runtime(config, activate))
    return config


def _tools(count: int) -> list[Callable[..., Awaitable[bool]]]:
    """So many functions that do nothing, each with a name of its own."""
    made: list[Callable[..., Awaitable[bool]]] = []
    for number in range(count):

        async def tool(text: str, to: str, count: int) -> bool:
            """Return at once."""
            return True

        tool.__name__ = f"t{number}"
        made.append(tool)
    return made


def _server(tools: int) -> dict[str, Any]:
    definitions = PythonConnector(_tools(tools)).definitions
    return server_doc("bench", {"kind": "python"}, [entry(name, raw, effect="read") for name, raw in definitions.items()])


def _catalog(tools: int) -> Catalog:
    return EMPTY.with_server(_server(tools))


def _policy(catalog: Catalog, rules: int) -> Policy:
    return Policy.from_files({"main.cedar": _rules(rules).encode()}, catalog, [])


def _rules(count: int) -> str:
    return "".join(
        f'@id("r{n}") permit (principal == Agent::"local", action == Action::"bench/t{n}", resource) '
        f'when {{ context.args.count >= 0 && context.args.to like "*@example.com" }};\n'
        for n in range(count)
    )


def request(tool: str, number: int) -> bytes:
    return canonical({"tool": tool, "arguments": {"text": TEXT, "to": "alice@example.com", "count": number}})


def _timed(work: Callable[[], object], n: int) -> list[float]:
    for _ in range(n // 10):
        work()
    samples = []
    for _ in range(n):
        began = time.perf_counter()
        work()
        samples.append(time.perf_counter() - began)
    return samples


def line(name: str, unit: str, samples: list[float], note: str) -> Line:
    return Line(name, unit, round(1e6 * at(samples, 0.5), 2), round(1e6 * at(samples, 0.99), 2), len(samples), note)


def at(samples: list[float], share: float) -> float:
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def on_disk() -> str:
    """Where durable lines write: a real disk; a temporary folder in memory would make fsync free."""
    return str(Path.cwd())
