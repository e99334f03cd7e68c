"""Two readers of witness policies, one verdict: what one refuses the other refuses, at the same line (`docs/spec/witness.md`)."""

import hashlib
import re
from base64 import b64encode
from collections.abc import Iterator, Sequence
from itertools import islice
from random import Random

import pytest

from helm_ai_kernel.tcb.cosign import POLICY_BYTES_MAX, VerifierKey
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.keys import FORBIDDEN, Purpose
from pack_case import Made
from packs import key
from verifier.judge import asked


def vkey(name: str, purpose: Purpose = Purpose.WITNESS, *, as_name: str | None = None) -> str:
    return str(VerifierKey(as_name or f"{name}.example", key(name, purpose).public))


def odd_key(type_: int, raw: bytes, name: str = "odd") -> str:
    """A verifier key with a true hash of whatever it says."""
    data = bytes([type_]) + raw
    hashed = hashlib.sha256(name.encode() + b"\n" + data).hexdigest()[:8]
    return f"{name}+{hashed}+{b64encode(data).decode()}"


def log(name: str) -> str:
    return f"log {vkey(name, Purpose.LOG)}"


def witness(name: str) -> str:
    return f"witness {name} {vkey(name)}"


A, B, C = witness("a"), witness("b"), witness("c")
ABC = (A, B, C)
ODD = (*sorted(FORBIDDEN), *(y.to_bytes(32, "little") for y in range(2, 26)))  # the last are no points, or of mixed order
MANY = tuple(witness(f"w{n}") for n in range(65))
NESTED = (A, *(f"group g{n} any {'a' if not n else f'g{n - 1}'}" for n in range(65)))
RIGHT: tuple[tuple[str, ...], ...] = (
    (A, "quorum a"),
    (log("l"), f"{log('m')} https://log.example/", *ABC, "group g 2 a b c", "quorum g"),
    ("", " \t# nothing", "#", f"\t{A}  https://a.example/ ", "quorum\ta"),
    (*ABC, "group g all a b", "group h any g c", "quorum h"),
    (*MANY[:64], "quorum w63"),
    (*NESTED[:65], "quorum g63"),
    ("witness \u00e9 " + vkey("a", as_name="\u212a"), "quorum \u00e9"),
    (f"log {vkey('l', Purpose.LOG, as_name='n' * 256)}", A, "quorum a"),
    (A, "quorum a", B),
    (f"witness a {vkey('a')} x\x80y", "quorum a"),
    (*(log(f"l{n}") for n in range(64)), A, "quorum a"),
)
WRONG: tuple[tuple[str, ...], ...] = (
    (),
    ABC,
    (*ABC, "quorum none"),
    (*ABC, "quorum a", "quorum b"),
    (*ABC, "quorum a", "quorum a"),
    (*ABC, "quorum x"),
    (*ABC, "quorum a b"),
    (*ABC, "quorum"),
    ("quorum a", *ABC),
    (*ABC, "Quorum a"),
    (*ABC, "quorum\xa0a"),
    (*ABC, "\ufeffquorum a"),
    (*ABC, "quorum a #"),
    (*ABC, "constructor a"),
    (*ABC, "quorum a\r"),
    (*ABC, "quorum a", "#\x0b"),
    (*ABC, "quorum a", "#\x7f"),
    (*ABC, "group g any", "quorum a"),
    (*ABC, "group g", "quorum a"),
    (*ABC, "group g any x", "quorum a"),
    (*ABC, "group g any g", "quorum a"),
    (*ABC, "group g any none", "quorum a"),
    (*ABC, "group g any a a", "quorum a"),
    (*ABC, "group g any a", "group h any a", "quorum a"),
    (*ABC, "group a any b", "quorum a"),
    (*ABC, "group none any b", "quorum a"),
    (*ABC, "group g 0 a", "quorum a"),
    (*ABC, "group g 2 a", "quorum a"),
    (*ABC, "group g 01 a", "quorum a"),
    (*ABC, "group g +1 a", "quorum a"),
    (*ABC, "group g 1.0 a", "quorum a"),
    (*ABC, "group g \u0661 a", "quorum a"),
    (*ABC, "group g ALL a", "quorum a"),
    (*ABC, "group g constructor a", "quorum a"),
    (A, f"witness a {vkey('b')}", "quorum a"),
    (f"witness none {vkey('a')}", "quorum none"),
    (A, f"witness x {vkey('a')}", "quorum a"),
    (A, f"witness x {vkey('a', as_name='other')}", "quorum a"),
    (log("l"), log("l"), A, "quorum a"),
    (f"log {vkey('l', Purpose.LOG)}", f"log {vkey('l', Purpose.LOG, as_name='other')}", A, "quorum a"),
    (f"log {odd_key(1, key('a', Purpose.WITNESS).public.raw)}", A, "quorum a"),
    (A, f"log {odd_key(1, key('a', Purpose.WITNESS).public.raw)}", "quorum a"),
    (f"log {vkey('a')}", B, "quorum b"),
    (f"witness a {vkey('l', Purpose.LOG)}", "quorum a"),
    (f"{log('l')} u v", A, "quorum a"),
    ("log", A, "quorum a"),
    (f"{A} u v", "quorum a"),
    ("witness a", "quorum a"),
    ("witness a nonsense", "quorum a"),
    (A[:-1], "quorum a"),
    (f"{A}=", "quorum a"),
    (A.replace("+", " ", 1), "quorum a"),
    (A.replace("a.example", "b.example"), "quorum a"),
    (f"witness a {vkey('a', as_name='n' * 257)}", "quorum a"),
    ("witness a " + vkey("a", as_name="x\u2003y"), "quorum a"),
    (f"witness a {vkey('a').replace('+', '+' * 2, 1)}", "quorum a"),
    (f"witness a {vkey('a').upper()}", "quorum a"),
    (f"witness a {odd_key(6, bytes(1312))}", "quorum a"),
    (f"witness a {odd_key(4, bytes(31))}", "quorum a"),
    (f"witness a {odd_key(4, bytes(33))}", "quorum a"),
    (f"witness a {odd_key(4, b'')}", "quorum a"),
    *((f"{line} {odd_key(kind, raw)}", *ABC, "quorum a") for line, kind in (("log", 1), ("witness x", 4)) for raw in ODD),
    (*MANY, "quorum w0"),
    (*NESTED, "quorum a"),
    (*(log(f"l{n}") for n in range(65)), A, "quorum a"),
    (A, "quorum a", "#" * POLICY_BYTES_MAX),
)


def written(lines: Sequence[str]) -> bytes:
    return "".join(line + "\n" for line in lines).encode()


def changed(seed: int) -> Iterator[bytes]:
    """Policies in which somebody moved, doubled or took away words and lines, or turned a bit. Without end."""
    draw = Random(seed)
    while True:
        lines = [line.split(" ") for line in draw.choice(RIGHT)[:6]]
        for _ in range(draw.choice((0, 1, 1, 2))):
            words, others = draw.choice(lines), draw.choice(lines)
            at, to = draw.randrange(len(words)), draw.randrange(len(others))
            how = draw.choice(("word", "word", "word", "more", "less", "line", "order"))
            if how == "word":
                words[at] = draw.choice((others[to], "any", "all", "2", "none", "", "\t", "#"))
            elif how == "more":
                words.insert(at, others[to])
            elif how == "less" and len(words) > 1:
                del words[at]
            elif how == "line":
                lines.insert(draw.randrange(len(lines) + 1), list(words))
            elif how == "order":
                draw.shuffle(lines)
        data = bytearray(written([" ".join(words) for words in lines]))
        if draw.random() < 0.3:
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        yield bytes(data)


def refusals(policies: Sequence[bytes]) -> Iterator[tuple[bytes, str | None, str | None]]:
    """Of each policy the line at which either refuses it: empty for the file as a whole, None where it does not."""
    questions = [Made(b"", None, witnesses=policy) for policy in policies]
    reports = asked(questions)()
    for made, policy, report in zip(questions, policies, reports, strict=True):
        ours = None
        try:
            made.question()
        except Refused as error:
            ours = line_of(error.detail)
        yield policy, ours, line_of(report["usage"]) if report["verdict"] == "USAGE" else None


def line_of(refusal: str) -> str:
    found = re.match(r"[a-z ]*: line ([0-9]+): ", refusal)
    return found[1] if found else ""


def test_what_is_right_is_read_by_both_and_what_is_wrong_by_neither() -> None:
    found = list(refusals([written(lines) for lines in (*RIGHT, *WRONG)]))
    assert [policy for policy, *lines in found[: len(RIGHT)] if lines != [None, None]] == []
    assert [(policy, *lines) for policy, *lines in found[len(RIGHT) :] if lines[0] is None or lines[0] != lines[1]] == []


def test_bytes_that_are_no_text_are_refused_by_both_unless_a_comment_holds_them() -> None:
    right = written((A, "quorum a"))
    found = refusals([right + b"#\xff\n", right + b"\xff", right + b"#" * (POLICY_BYTES_MAX - len(right)), right[:-1]])
    assert [lines for _, *lines in found] == [[None, None], ["3", "3"], [None, None], [None, None]]


def test_changed_policies_are_refused_by_both_at_the_same_line_or_by_neither() -> None:
    some = list(refusals(list(islice(changed(seed=1), 300))))
    assert [(policy, *lines) for policy, *lines in some if lines[0] != lines[1]] == []
    assert sum(ours is None for _, ours, _ in some) > 20


@pytest.mark.whole
@pytest.mark.parametrize("seed", range(2, 12))
def test_thousands_of_changed_policies_are_refused_by_both_at_the_same_line_or_by_neither(seed: int) -> None:
    some = refusals(list(islice(changed(seed), 1000)))
    assert [(policy, *lines) for policy, *lines in some if lines[0] != lines[1]] == []
