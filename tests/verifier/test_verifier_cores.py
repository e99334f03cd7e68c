"""Many cores say what one says, in the same order; and a file that changes while it is read is no evidence."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from helm_ai_kernel.tcb.checklist import Question, verify
from helm_ai_kernel.tcb.codes import Finding
from helm_ai_kernel.tcb.container import Held
from helm_ai_kernel.tcb.findings import Exit
from helm_ai_kernel.tcb.vetting import Vetted, Vetter, vet_here
from helm_ai_kernel.verifier import cores
from helm_ai_kernel.verifier.files import PackFile
from pack_cases_trust import again, before, rotated
from pack_cases_witness import TWO_OF_THREE, stolen_key_that_witnesses_saw_before
from packs import edited, relined, story


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "WORTH", 4)
    monkeypatch.setattr(cores, "LINES", 3)


def test_several_processes_give_the_report_that_one_gives() -> None:
    log = story()

    def change(body: dict[str, object]) -> None:
        body["seq"] = 7

    lines = [edited(line, change) if at in (5, 9) else b"{}" if at == 14 else line for at, line in enumerate(log.lines)]  # type: ignore[arg-type]
    for pack, question in (
        (log.pack(withhold=False), Question(log.genesis)),
        (relined(log, lines), Question(log.genesis)),
        (again(rotated(before())).pack(), Question(log.genesis)),
        (log.pack(), Question(None)),
        ((made := stolen_key_that_witnesses_saw_before()).pack, made.question()),
    ):
        assert verify(pack, question, vet=cores.vet_on(2)) == verify(pack, question)
    assert TWO_OF_THREE


def test_a_small_pack_and_one_core_start_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "_vet", None)
    log = story()
    assert verify(log.pack(), Question(log.genesis), vet=cores.vet_on(1)).exit is Exit.VALID
    monkeypatch.setattr(cores, "WORTH", 1000)
    assert verify(log.pack(), Question(log.genesis), vet=cores.vet_on(2)).exit is Exit.VALID


def test_long_lines_are_not_held_by_the_thousand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the lines of a hostile pack are: what is read ahead has a size."""
    monkeypatch.setattr(cores, "BYTES", 3000)
    monkeypatch.setattr(cores, "WORTH_BYTES", 5000)
    monkeypatch.setattr(cores, "WORTH", 10**6)
    monkeypatch.setattr(cores, "LINES", 10**6)
    read = 0

    def lines() -> Iterator[bytes]:
        nonlocal read
        for read in range(1, 200):  # noqa: B007
            yield b"x" * 1000

    found = cores.vet_on(2)(Vetter("a/b", None, []), lines())
    assert not next(iter(found)).receipt and read <= 5 + 3 * cores.AHEAD * 2
    assert sum(1 for _ in found) == 198


def test_a_pack_that_changes_between_its_two_readings_is_refused() -> None:
    log = story()
    pack = log.pack()

    def swapped(vetter: Vetter, lines: Iterable[bytes]) -> Iterator[Vetted]:
        held = list(lines)
        return vet_here(vetter, [held[0], held[2], held[1], *held[3:]])

    report = verify(Held(pack), Question(log.genesis), vet=swapped)
    assert report.exit is Exit.INVALID and Finding.PACK_MALFORMED in {found.code for found in report.findings}


def test_a_file_is_read_as_the_bytes_that_it_has(tmp_path: Path) -> None:
    data = story().pack(withhold=False)
    path = tmp_path / "evidence.tar"
    path.write_bytes(data)
    with PackFile(path) as source:
        assert source.size == len(data)
        for at, count in ((0, 512), (100, 10), (len(data) - 5, 100), (len(data), 1), (0, len(data)), (512, 300_000), (7, 0)):
            assert source.read(at, count) == data[at : at + count]
