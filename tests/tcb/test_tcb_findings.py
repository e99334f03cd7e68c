"""The report: the worst finding decides, no code is hidden, and no text of a pack reaches a terminal as it is."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helm_ai_kernel.tcb.codes import Finding
from helm_ai_kernel.tcb.findings import EACH_MAX, PRECEDENCE, Axis, Exit, Findings, Standing, visible


def test_the_precedence_is_the_documented_one_and_whole() -> None:
    assert [int(exit) for exit in PRECEDENCE] == [64, 40, 30, 50, 25, 20, 12, 10, 0]
    assert set(PRECEDENCE) == set(Exit)


@settings(deadline=None)
@given(st.lists(st.sampled_from(PRECEDENCE), min_size=1, max_size=30))
def test_the_worst_finding_decides_in_any_order(exits: list[Exit]) -> None:
    found = Findings()
    for exit in exits:
        found.add(1, Finding.FLOW_INVALID, "", exit=exit)
    assert found.report().exit is min(exits, key=PRECEDENCE.index)


def test_a_flood_of_findings_is_short_and_hides_no_code() -> None:
    found = Findings()
    for _ in range(1000):
        found.add(10, Finding.FLOW_INVALID, "again")
    found.add(12, Finding.REDACTION_MISMATCH, "once")
    report = found.report()
    assert {item.code for item in report.findings} == {Finding.FLOW_INVALID, Finding.REDACTION_MISMATCH}
    assert len(report.findings) == EACH_MAX + 1 and report.omitted == 1000 - EACH_MAX
    assert f"and {1000 - EACH_MAX} more" in report.to_text()


def test_the_exit_code_counts_findings_that_are_not_listed() -> None:
    found = Findings()
    for exit in [Exit.STALE] * EACH_MAX + [Exit.INVALID]:
        found.add(14, Finding.ROLLBACK, "", exit=exit)
    assert found.report().exit is Exit.INVALID


def test_findings_are_listed_by_step() -> None:
    found = Findings()
    for step in (13, 2, 10):
        found.add(step, Finding.FLOW_INVALID, "")
    assert [item.step for item in found.report().findings] == ["V2", "V10", "V13"]


@pytest.mark.parametrize(
    ("step", "code", "axes"),
    [
        (7, Finding.CHAIN_GAP, {Axis.INTEGRITY: Standing.FAILED}),
        (5, Finding.SIG_INVALID, {Axis.INTEGRITY: Standing.FAILED}),
        (5, Finding.KEY_UNKNOWN, {Axis.SIGNERS: Standing.FAILED, Axis.INTEGRITY: Standing.UNKNOWN}),
        (3, Finding.UNANCHORED, {Axis.SIGNERS: Standing.UNKNOWN}),
        (4, Finding.UNSUPPORTED, {Axis.INTEGRITY: Standing.UNKNOWN}),
        (15, Finding.OPEN_INTENT, {Axis.COMPLETENESS: Standing.FAILED}),
        (8, Finding.TRUNCATED, {Axis.COMPLETENESS: Standing.FAILED}),
        (14, Finding.ROLLBACK, {Axis.FRESHNESS: Standing.FAILED}),
        (14, Finding.SPLIT_VIEW, {Axis.FRESHNESS: Standing.FAILED}),
        (13, Finding.ROLLBACK, {Axis.INTEGRITY: Standing.FAILED}),
        (14, Finding.CHECKPOINT_SIG, {}),
    ],
)
def test_a_finding_marks_its_axis(step: int, code: Finding, axes: dict[Axis, Standing]) -> None:
    before = Findings().report().axes
    found = Findings()
    found.add(step, code, "")
    assert found.report().axes == {**before, **axes}


def test_without_a_known_head_freshness_is_unknown_and_witnesses_were_not_asked() -> None:
    axes = Findings().report().axes
    assert (axes[Axis.FRESHNESS], axes[Axis.WITNESSES]) == (Standing.UNKNOWN, Standing.NOT_ASKED)
    assert {axes[axis] for axis in (Axis.INTEGRITY, Axis.SIGNERS, Axis.COMPLETENESS)} == {Standing.OK}


def test_what_failed_is_not_called_unknown_later() -> None:
    found = Findings()
    found.add(7, Finding.CHAIN_GAP, "")
    found.leave_open(Axis.INTEGRITY)
    found.close(Axis.INTEGRITY)
    assert found.report().axes[Axis.INTEGRITY] is Standing.FAILED


@settings(deadline=None)
@given(st.text(max_size=400), st.text(max_size=400), st.text(max_size=400))
def test_a_report_is_printable_ascii_whatever_the_pack_says(where: str, detail: str, log: str) -> None:
    found = Findings()
    found.add(4, Finding.PACK_MALFORMED, detail, where)
    report = found.report(log=log, size=0, root="")
    lines = report.to_text().split("\n")
    assert all(line.isascii() and line.isprintable() for line in lines)
    assert lines[0] == "INVALID (exit 40)" and sum("VALID (exit 0)" in line for line in lines) <= 3
    values = json.dumps(report.to_json(), ensure_ascii=False)
    assert values.isascii() and values.isprintable()


@settings(deadline=None)
@given(st.text(max_size=200))
def test_the_visible_form_is_injective_and_leaves_plain_text_alone(text: str) -> None:
    shown = visible(text)
    back, rest = "", shown
    while rest:
        if rest.startswith("\\u{"):
            hexes, _, rest = rest[3:].partition("}")
            back += chr(int(hexes, 16))
        else:
            back, rest = back + rest[0], rest[1:]
    assert back == text
    if text.isascii() and text.isprintable() and "\\" not in text:
        assert shown == text


def test_a_long_text_is_cut() -> None:
    assert visible("x" * 300, 10) == "x" * 10 + "..."


def test_what_is_not_proven_ends_every_report() -> None:
    found = Findings()
    assert found.report(log="l", size=7, root="r").to_text().endswith("  - anything after size 7\n")
    assert "not proven:" in found.report().to_text()


def test_what_only_a_replay_and_what_nobody_can_derive_is_not_proven() -> None:
    said = Findings().report().not_proven
    assert any("budget" in line and "nobody signs" in line for line in said)
    assert any("key" in line and "output" in line and "replay" in line for line in said)
