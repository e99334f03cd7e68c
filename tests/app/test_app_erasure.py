"""After an erasure neither content nor name is anywhere in what remains, and nobody can test a guess: not of four digits."""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.kernels import Place, Program
from helm_ai_kernel.app import operate
from helm_ai_kernel.app.runtime import Runtime
from helm_ai_kernel.executor.host import Answer
from helm_ai_kernel.ledger.export import whole
from helm_ai_kernel.ledger.reader import Reader
from helm_ai_kernel.ledger.store import connect
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Verdict

NAME, PIN, CANARY = "customer-4711", "4821", "c4n4ry of an argument"
LABELS = (b"", b"mark\0", b"name\0")  # what the product puts before what it marks
PINS = [f"{number:04}" for number in range(10_000)]


def unlock(pin: str) -> bool:
    return True


def note(text: str) -> str:
    return text


def call(program: Program, tool: str, subject: str | None = NAME, key: str | None = None, **arguments: str) -> Answer:
    answer = program.kernel.call(f"python/{tool}", dict(arguments), key=key, subject=subject)
    assert answer.verdict is Verdict.ALLOW and answer.output is not None, answer
    return answer


def erase(place: Place, program: Program, name: str = NAME) -> None:
    subject = place.vault.find(name)
    assert subject is not None

    async def work(runtime: Runtime) -> None:
        with Reader(place.paths.store) as reader:
            count, _ = reader.about()[subject.id]
        await operate.erase(runtime, subject.id, count, [place.approver])

    program.kernel.run(work)


# -- what could be tried


@dataclass
class Remains:
    """Everything in a home and its pack that a guess could be tried against, or with."""

    secrets: set[bytes] = field(default_factory=set)  # keys, seeds, and salts that can be read
    hashes: set[bytes] = field(default_factory=set)  # every 32 bytes that somewhere stand for something
    sealed: list[tuple[bytes, bytes]] = field(default_factory=list)  # ciphertexts, each with its place
    plain: list[bytes] = field(default_factory=list)

    def guessed(self) -> set[str]:
        """The codes that some remaining hash, mark or ciphertext confirms."""
        contents = [*self.plain, *self._decrypted()]
        salts = self.secrets | {content[:32] for content in contents}
        found = {pin for content in contents for pin in PINS if pin.encode() in content}
        tried = [b"", b"\0", bytes(32), *salts, *self.hashes, *(sealed[:32] for _, sealed in self.sealed)]
        for pin in PINS:
            forms = (pin.encode(), json.dumps({"pin": pin}, separators=(",", ":")).encode())
            if any(hashlib.sha256(salt + form).digest() in self.hashes for salt in tried for form in forms):
                found.add(pin)
            marks = (hmac.digest(key, label + form, "sha256") for key in salts for label in LABELS for form in forms)
            if not self.hashes.isdisjoint(marks):
                found.add(pin)
        return found

    def _decrypted(self) -> Iterator[bytes]:
        for key in self.secrets:
            for place, sealed in self.sealed:
                try:
                    yield AESGCM(key).decrypt(sealed[:12], sealed[12:], place)
                except (InvalidTag, ValueError):
                    continue


def remains(place: Place) -> Remains:
    """As an attacker with a copy of the home and of a pack puts them together."""
    left = Remains()
    for path in files(place):
        data = path.read_bytes()
        left.hashes |= {bytes.fromhex(found.decode()) for found in re.findall(rb"[0-9a-f]{64}", data + path.name.encode())}
        if path.is_relative_to(place.paths.keys):
            left.secrets |= {base64.b64decode(found) for found in re.findall(rb'"(?:key|seed)":"([^"]+)"', data)} or {data}
    with closing(connect(place.paths.store / "ledger.db", read_only=True)) as conn:
        ((origin,),) = conn.execute("SELECT origin FROM log").fetchall()
        for index, slot, sealed in conn.execute("SELECT idx, slot, content FROM attachments"):
            left.sealed.append((f"{origin} {index} {slot}".encode(), sealed))
        for table in ("receipts", "claims", "intents", "holds", "documents", "log", "attachments"):
            for row in conn.execute(f"SELECT * FROM {table}"):
                left.hashes |= {value for value in row if isinstance(value, bytes) and len(value) == 32}
    with Reader(place.paths.store, vault=place.vault) as reader:
        data = b"".join(whole(reader))
    left.hashes |= {bytes.fromhex(found.decode()) for found in re.findall(rb"sha256:([0-9a-f]{64})", data)}
    left.plain = [content for receipt in place.receipts() for content in attachments(place, receipt.index) if content is not None]
    return left


def attachments(place: Place, index: int) -> list[bytes | None]:
    with Reader(place.paths.store, vault=place.vault) as reader:
        return list(reader.attachments(index).values())


def files(place: Place) -> list[Path]:
    """Everything on the disk that is the kernel's, also what it writes outside its home; links are in the names."""
    where = [place.paths.home, place.paths.heads]
    return [path for folder in where for path in sorted(folder.rglob("*")) if path.is_file() or path.is_symlink()]


def test_a_code_of_four_digits_cannot_be_guessed_from_what_remains(place: Place) -> None:
    with place.program(unlock) as program:
        call(program, "unlock", pin=PIN, key="a key of this call")
        call(program, "unlock", subject="customer-4712", pin="none of these")
        before = remains(place)
        erase(place, program)
    place.check()
    after = remains(place)
    assert before.guessed() == {PIN}, "the search finds what can be found"
    before.plain = []
    assert before.guessed() == {PIN}, "also where it has only the key and the ciphertext"
    assert after.guessed() == set()
    kept = {place for place, _ in before.sealed} - {place for place, _ in after.sealed}
    assert kept == set() and len(after.secrets) == len(before.secrets) - 1, "all is there still but one key"


def shown(text: str) -> set[bytes]:
    """The text as it is, and as it could be written."""
    data = text.encode()
    return {data, data.hex().encode(), base64.b64encode(data), text.encode("utf-16-le"), json.dumps(text).encode().strip(b'"')}


def found(place: Place, *texts: str) -> set[str]:
    everything = b"\0".join(part for path in files(place) for part in (path.name.encode(), path.read_bytes()))
    return {text for text in texts if any(form in everything for form in shown(text))}


def test_neither_name_nor_content_is_in_any_byte_of_the_home(place: Place) -> None:
    """Nor is the content before: the store, its WAL and its free pages never held it."""
    texts = (NAME, CANARY, "k3y of a call")
    with place.program(note) as program:
        for number in range(20):
            call(program, "note", text=f"{CANARY} {number}", key=f"k3y of a call {number}")
        assert (place.paths.store / "ledger.db-wal").stat().st_size > 0
        assert found(place, *texts) == {NAME}
        erase(place, program)
        assert found(place, *texts) == set()
        call(program, "note", subject=None, text="something else")
        assert found(place, *texts) == set()
    assert found(place, *texts) == set()
    place.check()


def test_what_a_program_says_about_a_subject_is_kept_under_the_principal_where_it_names_none(place: Place) -> None:
    with place.program(note) as program:
        program["note"](CANARY)
        call(program, "note", text="about a customer")
    assert {one.name for one in place.vault.listed()} == {"local", NAME}
    assert CANARY.encode() in b"".join(content or b"" for r in place.receipts() for content in attachments(place, r.index))


def test_a_subject_that_is_no_name_is_refused_and_nothing_is_made_for_it(place: Place) -> None:
    with place.program(note) as program:
        for subject in ("", "s" * 257):
            answer = program.kernel.call("python/note", {"text": "a"}, subject=subject)
            assert (answer.reason, answer.decision.body["sub"]) == (Reason.ERR_UPSTREAM_SHAPE, "subject")
    assert {one.name for one in place.vault.listed()} == {"local"}
