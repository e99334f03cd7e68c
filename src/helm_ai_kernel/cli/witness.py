"""`witness`: run one for other people's logs. It needs no kernel, and should not share its machine with those that it watches."""

import argparse
import asyncio
import os
import shlex
import signal
import sys
from pathlib import Path

from helm_ai_kernel.credentials import keyfile
from helm_ai_kernel.gateway import witness_memory
from helm_ai_kernel.gateway.witness import BOUNDS, Witness, plainly
from helm_ai_kernel.gateway.witness_memory import Memory
from helm_ai_kernel.net.listener import Listener
from helm_ai_kernel.net.tls import server_context
from helm_ai_kernel.tcb.checkpoint import NAME
from helm_ai_kernel.tcb.cosign import POLICY_BYTES_MAX, VerifierKey, cosigned_at, log_keys, rfc3339
from helm_ai_kernel.tcb.errors import EvidenceError
from helm_ai_kernel.tcb.findings import visible
from helm_ai_kernel.tcb.keys import PublicKey, Purpose, SecretKey

from .output import PROGRAM, Commands, Declined, command, emit, group

KEY, LOGS = "key", "logs.txt"
PORT = 8795
END_S = 5.0  # for answers that are being made: one takes a write to the disk


def add(commands: Commands) -> None:
    witness = group(commands, "witness", "cosign other logs' checkpoints, so that nobody can show two histories")
    init = command(witness, "init", "make a witness", f"{PROGRAM} witness init --dir w1 --name witness.example/w1", home=False)
    init.add_argument("--name", required=True, type=_name, help="a URL without its scheme: it stands in every cosignature")
    init.set_defaults(run=run_init)
    serve = command(witness, "serve", "answer add-checkpoint", f"{PROGRAM} witness serve --dir w1 --logs logs.txt", home=False)
    serve.add_argument(
        "--listen", type=_address, default=("127.0.0.1", PORT), metavar="HOST:PORT", help=f"default 127.0.0.1:{PORT}"
    )
    serve.add_argument("--log", type=_vkey, action="append", default=[], metavar="VKEY", help="a log to watch; may be repeated")
    serve.add_argument("--logs", type=Path, metavar="FILE", help=f"lines `log VKEY`, as in a policy (default: {LOGS} in DIR)")
    serve.add_argument(
        "--host", action="append", default=[], metavar="NAME", help="also answer to this `Host`, of a proxy with TLS"
    )
    serve.add_argument("--tls-certificate", type=Path, metavar="FILE", help="PEM; other machines are answered only through TLS")
    serve.add_argument("--tls-key", type=Path, metavar="FILE", help="PEM, of that certificate")
    serve.set_defaults(run=run_serve)
    vkey = command(witness, "vkey", "the line that others put in their policies", f"{PROGRAM} witness vkey --dir w1", home=False)
    vkey.set_defaults(run=run_vkey)
    log = command(witness, "log", "what it has cosigned last, for each log", f"{PROGRAM} witness log --dir w1", home=False)
    log.set_defaults(run=run_log)
    for parser in (init, serve, vkey, log):
        parser.add_argument(
            "--dir", required=True, type=Path, help="its key, and what it remembers: back it up, never put it back"
        )


def run_init(args: argparse.Namespace) -> int:
    args.dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    public = keyfile.write_machine(args.dir / KEY, os.urandom(32), Purpose.WITNESS, args.name)
    vkey = str(VerifierKey(args.name, public))
    serve = f"{PROGRAM} witness serve --dir {shlex.quote(str(args.dir))} --log VKEY"
    lines = [f"vkey  {vkey}", f"next, with the key of a log (`{PROGRAM} checkpoint --vkey`): {serve}"]
    emit(args, {"dir": str(args.dir), "vkey": vkey}, lines)
    return 0


def run_serve(args: argparse.Namespace) -> int:
    if (args.tls_certificate is None) is not (args.tls_key is None):
        raise Declined("TLS needs a certificate and its key", f"{PROGRAM} witness serve --help")
    name, key = _key(args)
    logs = [*args.log, *_logs(args)]
    if not logs:
        raise Declined("no log is named, so nothing would be cosigned", f"{PROGRAM} witness serve --help")
    memory = Memory.open(args.dir, VerifierKey(name, key.public))
    try:
        asyncio.run(_serve(args, Witness(name, key, logs, memory)))
    finally:
        memory.close()
    return 0


async def _serve(args: argparse.Namespace, witness: Witness) -> None:
    tls = None if args.tls_certificate is None else server_context(args.tls_certificate, args.tls_key)
    # It asks nobody for a credential, and needs none: what it cosigns is signed by a log that it was given.
    listener = Listener(witness, BOUNDS, hosts=args.host, tls=tls, authenticates=True, types=frozenset(), error=plainly)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    host, port = await listener.start_tcp(*args.listen)
    url = f"{'http' if tls is None else 'https'}://{host}:{port}"
    emit(args, {"url": url, "vkey": str(witness.vkey)}, [f"listening at {url}", f"vkey {witness.vkey}"])
    sys.stdout.flush()
    await ended.wait()
    await listener.close(within_s=END_S)


def run_vkey(args: argparse.Namespace) -> int:
    vkey = str(VerifierKey(*_public(args)))
    emit(args, {"vkey": vkey}, [vkey])
    return 0


def run_log(args: argparse.Namespace) -> int:
    vkey = VerifierKey(*_public(args))
    rows = [
        {"log": note.origin, "size": note.size, "root": note.root.hex(), "at": rfc3339(cosigned_at(note, vkey) or 0)}
        for note in witness_memory.remembered(args.dir, vkey)
    ]
    kept, suspected = ([str(path) for path in find(args.dir)] for find in (witness_memory.evidence, witness_memory.suspected))
    lines = [f"{row['at']}  size {row['size']}  {visible(str(row['log']))}  root {row['root']}" for row in rows]
    lines += [f"evidence of another history: {visible(path)}" for path in kept]
    lines += [f"suspicion of another history, no proof: {visible(path)}" for path in suspected]
    emit(args, {"logs": rows, "evidence": kept, "suspected": suspected}, lines)
    return 0


def _key(args: argparse.Namespace) -> tuple[str, SecretKey]:
    return keyfile.read_named(args.dir / KEY, Purpose.WITNESS)


def _public(args: argparse.Namespace) -> tuple[str, PublicKey]:
    name, key = _key(args)
    return name, key.public


def _logs(args: argparse.Namespace) -> tuple[VerifierKey, ...]:
    path: Path = args.logs or args.dir / LOGS
    if args.logs is None and not path.exists():
        return ()
    with path.open("rb") as file:
        return log_keys(file.read(POLICY_BYTES_MAX + 1))


def _vkey(text: str) -> VerifierKey:
    try:
        found = VerifierKey.from_text(text)
    except EvidenceError as error:
        raise argparse.ArgumentTypeError(error.detail) from None
    if found.key.purpose is not Purpose.LOG:
        raise argparse.ArgumentTypeError(f"the key of a {found.key.purpose}, not of a log: {PROGRAM} checkpoint --vkey")
    return found


def _name(text: str) -> str:
    if not NAME.match(text) or not text.isascii() or not text.isprintable():
        raise argparse.ArgumentTypeError("a name has no spaces and no `+`: witness.example/w1")
    return text


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or len(port) > 5 or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"`{text}` is not HOST:PORT, as 127.0.0.1:{PORT}")
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)
