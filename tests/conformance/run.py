"""`make conformance-mcp`: the official suite, both legs, both revisions, through the gateway; exits 0 if all of it is whole.

`--direct` leaves the gateway out and shows that what counts here counts right: the official server and client are whole.
"""

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from conformance import fixture, gateway, suite
from needs import ROOT

OUT = ROOT / ".envs/results"
SERVER = "everything"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--direct", action="store_true", help="without a gateway")
    parser.add_argument("--leg", choices=suite.LEGS, action="append", help="only this leg")
    parser.add_argument("--revision", choices=suite.REVISIONS, action="append", help="only this revision")
    parser.add_argument("--at-once", type=int, default=os.cpu_count() or 1, metavar="N", help="client scenarios at a time")
    args = parser.parse_args()
    began, results, balances = time.monotonic(), [], []
    for leg in args.leg or suite.LEGS:
        for revision in args.revision or suite.REVISIONS:
            wanted = suite.required(revision)[leg]
            if leg == "server":
                result, balance = server(wanted, direct=args.direct)
                balances += [balance] if balance is not None else []
            else:
                result = client(wanted, direct=args.direct, at_once=args.at_once)
            results.append(result)
            print(f"{result.line} after {time.monotonic() - began:.0f} s", file=sys.stderr)
    return told(results, balances)


def server(wanted: suite.Required, *, direct: bool) -> tuple[suite.Result, tuple[int, int] | None]:
    """The result, and how many receipts and calls there are."""
    with tempfile.TemporaryDirectory(prefix="helm-conformance-") as named:
        folder = Path(named)
        with fixture.everything(folder / "fixture.log") as url:
            if direct:
                return suite.server(wanted, url, OUT), None
            with fixture.tapped(url) as tap, governed(folder, tap.url) as (home, door):
                tap.seen.clear()
                result = suite.server(wanted, door, OUT)
            receipts, calls = gateway.dispatched(home, SERVER), gateway.reached(tap.seen)
            for method in sorted(receipts.keys() | calls.keys()):
                if receipts.get(method) != calls.get(method):
                    print(f"{method}: {receipts.get(method, 0)} receipts, {calls.get(method, 0)} calls", file=sys.stderr)
            return result, (sum(receipts.values()), sum(calls.values()))


@contextmanager
def governed(folder: Path, url: str) -> Iterator[tuple[gateway.Home, str]]:
    """A kernel in front of the fixture that allows what the suite calls, by name, and nothing else."""
    home = gateway.made(folder / "kernel")
    home.configure(gateway.over_http(SERVER, url))
    home.govern(SERVER)
    home.allow(gateway.POLICY.read_bytes())
    with gateway.up(home, folder / "up.log") as door:
        yield home, door


def client(wanted: suite.Required, *, direct: bool, at_once: int) -> suite.Result:
    if direct:
        return suite.client(wanted, shlex.join([str(fixture.PYTHON), str(fixture.CLIENT)]), OUT, dict(os.environ))
    with tempfile.TemporaryDirectory(prefix="helm-conformance-") as named:
        places = Path(named) / "places"
        places.mkdir()
        for number in range(at_once):
            (places / str(number)).touch()
        master = gateway.made(Path(named) / "master")
        master.allow(gateway.EVERYTHING_MAY)
        peer = [sys.executable, str(Path(__file__).parent / "peer.py"), "--places", str(places), "--master", str(master.folder)]
        skip = ["--skip", ",".join(wanted.extensions)] if wanted.extensions else []
        return suite.client(wanted, shlex.join([*peer, *skip]), OUT, dict(os.environ))


def told(results: list[suite.Result], balances: list[tuple[int, int]]) -> int:
    """What was not whole first; the lines that count last."""
    for result in results:
        folder = (OUT / f"{result.required.leg}-{result.required.revision}").relative_to(ROOT)
        for one in (*result.scored, *result.also):
            for why in (*one.failed, *(f"(warning) {text}" for text in one.warned)):
                print(f"{result.required.leg} {result.required.revision} {one.scenario}: {why}")
        if not result.whole:
            print(f"  what the suite wrote down: {folder}")
    for result in results:
        for one in result.also:
            state = "whole" if one.whole else "NOT WHOLE"
            print(f"not scored: {result.required.leg} {result.required.revision} {one.scenario} {state}")
    receipts, calls = (sum(one[side] for one in balances) for side in (0, 1))
    balanced = all(one[0] == one[1] for one in balances)
    if balances:
        print(f"receipts {receipts} {'=' if balanced else 'ARE NOT'} calls {calls}")
    for result in results:
        print(result.line)
    return 0 if balanced and all(result.whole for result in results) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (gateway.CommandFailed, RuntimeError, subprocess.SubprocessError) as e:
        print(f"error: {e}", file=sys.stderr)
        sys.exit(2)
