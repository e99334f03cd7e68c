"""A cosignature is the witness's own word about one checkpoint at one time, and a quorum is reached when its policy says so."""

import base64
import hashlib
import itertools
import re
from collections.abc import Mapping

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from helm_ai_kernel.tcb import checkpoint as checkpoints
from helm_ai_kernel.tcb.checkpoint import Checkpoint
from helm_ai_kernel.tcb.codes import Finding, Reason
from helm_ai_kernel.tcb.cosign import LISTED_MAX, TIME_MAX, WITNESSES_MAX, VerifierKey, WitnessPolicy, cosign, log_keys, rfc3339
from helm_ai_kernel.tcb.errors import EvidenceError, Refused
from helm_ai_kernel.tcb.keys import Purpose, SecretKey

ORIGIN = "helm.local/0123456789abcdef/fedcba9876543210"
LOG = SecretKey.from_seed(b"\x01" * 32, Purpose.LOG)
NOTE = checkpoints.sign(ORIGIN, 42, b"\x07" * 32, LOG)
KEYS = [SecretKey.from_seed(bytes([100 + index]) * 32, Purpose.WITNESS) for index in range(LISTED_MAX + 1)]
NAMES = [f"witness.example/w{index}" for index in range(len(KEYS))]
VKEYS = [VerifierKey(name, key.public) for name, key in zip(NAMES, KEYS, strict=True)]
LINES = [f"witness w{index} {vkey}" for index, vkey in enumerate(VKEYS)]
TIME = 1_679_315_147


def policy(*lines: str) -> WitnessPolicy:
    return WitnessPolicy.from_bytes("".join(line + "\n" for line in lines).encode())


def refused(*lines: str) -> str:
    with pytest.raises(Refused) as caught:
        policy(*lines)
    assert caught.value.reason is Reason.ERR_POLICY_NOT_READY
    return caught.value.detail.removeprefix("witness policy: ")


def cosigned(*who: tuple[int, int], note: Checkpoint = NOTE) -> Checkpoint:
    lines = b"".join(cosign(note, NAMES[index], KEYS[index], time) for index, time in who)
    return note.with_lines(lines)


def lies(note: Checkpoint, *lines: str) -> str:
    with pytest.raises(EvidenceError) as caught:
        policy(*(lines or (LINES[0], "quorum w0"))).seen(note)
    assert caught.value.finding is Finding.CHECKPOINT_SIG
    return caught.value.detail


# -- cosignatures


def test_the_bytes_of_a_cosignature_are_those_of_c2sp() -> None:
    match = re.fullmatch("— (\\S+) (\\S+)\n", cosign(NOTE, NAMES[0], KEYS[0], TIME).decode())
    assert match is not None and match[1] == NAMES[0]
    data = base64.b64decode(match[2])
    assert len(data) == 4 + 8 + 64
    raw = KEYS[0].public.raw
    assert data[:4] == hashlib.sha256(NAMES[0].encode() + b"\n\x04" + raw).digest()[:4]
    assert data[4:12] == TIME.to_bytes(8, "big")
    root = base64.b64encode(b"\x07" * 32).decode()
    message = f"cosignature/v1\ntime {TIME}\n{ORIGIN}\n42\n{root}\n"
    Ed25519PublicKey.from_public_bytes(raw).verify(data[12:], message.encode())


def test_the_example_of_c2sp_reads_as_a_time_and_a_key_hash() -> None:
    example = (
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
        "— example.com/behind-the-sofa "
        "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
        "— witness.example.com/w1 "
        "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBI"
        "fZ+qnA==\n"
    )
    note = Checkpoint.from_bytes(example.encode())
    assert int.from_bytes(note.sigs[1][1][4:12], "big") == TIME  # the time that its text shows
    assert policy(LINES[0], "quorum w0").seen(note) == {}


@given(st.integers(0, 5), st.integers(1, TIME_MAX))
def test_a_cosigned_note_reads_back_and_tells_who_and_when(index: int, time: int) -> None:
    note = cosigned((index, time))
    assert Checkpoint.from_bytes(note.note) == note and note.note.startswith(NOTE.note)
    note.verify(ORIGIN, LOG.public)
    assert policy(*LINES[:6], "quorum w0").seen(note) == {f"w{index}": time}


def test_no_changed_bit_of_a_cosignature_counts() -> None:
    line = cosign(NOTE, NAMES[0], KEYS[0], TIME)
    data = base64.b64decode(line.decode().split(" ")[2])
    listed = policy(LINES[0], "quorum w0")
    for place in range(len(data) * 8):
        changed = bytearray(data)
        changed[place // 8] ^= 1 << place % 8
        note = NOTE.with_lines(f"— {NAMES[0]} {base64.b64encode(changed).decode()}\n".encode())
        if place < 32:  # another key's hash: a line of nobody listed
            assert listed.seen(note) == {}
        else:
            assert lies(note)


def test_a_cosignature_of_another_checkpoint_is_refused() -> None:
    other = checkpoints.sign(ORIGIN, 43, b"\x07" * 32, LOG)
    assert "did not sign this" in lies(NOTE.with_lines(cosign(other, NAMES[0], KEYS[0], TIME)))


def test_a_second_line_of_one_witness_is_refused() -> None:
    assert "2 times" in lies(cosigned((0, TIME), (0, TIME + 1)))


@pytest.mark.parametrize("time", [0, TIME_MAX + 1, 1 << 63])
def test_a_time_that_cannot_be_written_is_refused(time: int) -> None:
    stamp = time.to_bytes(8, "big")
    sig = KEYS[0].sign(b"cosignature/v1\ntime %d\n" % time + NOTE.text)
    data = checkpoints.key_hash(NAMES[0], KEYS[0].public) + stamp + sig
    assert "no time" in lies(NOTE.with_lines(checkpoints.signature_line(NAMES[0], data).encode()))
    with pytest.raises(ValueError, match="at a time"):
        cosign(NOTE, NAMES[0], KEYS[0], time)


def test_lines_of_nobody_listed_are_ignored_even_where_they_are_nonsense() -> None:
    note = cosigned((0, TIME), (1, TIME)).with_lines(f"— {NAMES[0]} AAAAAAAA\n— x AAAAAAA=\n".encode())
    assert policy(LINES[0], "quorum w0").seen(note) == {"w0": TIME}


def test_only_a_witness_key_cosigns() -> None:
    for purpose in set(Purpose) - {Purpose.WITNESS}:
        with pytest.raises(ValueError, match="witness key"):
            cosign(NOTE, NAMES[0], SecretKey.from_seed(b"\x09" * 32, purpose), TIME)


def test_what_is_added_to_a_note_is_signature_lines_and_nothing_else() -> None:
    for added in (b"no line\n", b"\n" + cosign(NOTE, NAMES[0], KEYS[0], TIME), cosign(NOTE, NAMES[0], KEYS[0], TIME)[:-1]):
        with pytest.raises(EvidenceError, match="CHECKPOINT_SIG"):
            NOTE.with_lines(added)
    with pytest.raises(EvidenceError, match="CHECKPOINT_SIG"):
        cosigned(*((index, TIME) for index in range(64)))  # with the log's own 65 lines


# -- verifier keys


def test_a_verifier_key_reads_back_for_a_log_and_for_a_witness() -> None:
    for vkey in (VKEYS[0], VerifierKey(ORIGIN, LOG.public)):
        text = str(vkey)
        name, hash_, data = text.split("+", 2)
        assert VerifierKey.from_text(text) == vkey and base64.b64decode(data)[1:] == vkey.key.raw
        assert hashlib.sha256(name.encode() + b"\n" + base64.b64decode(data)).hexdigest()[:8] == hash_


def test_the_verifier_key_of_gos_note_package_reads() -> None:
    vkey = VerifierKey.from_text("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    assert (vkey.name, vkey.key.purpose) == ("PeterNeumann", Purpose.LOG)


@pytest.mark.parametrize(
    "text",
    [
        "", "name", "name+00000000", str(VKEYS[0])[:-1], str(VKEYS[0]) + "=", str(VKEYS[0]).replace("+", " ", 1),
        str(VKEYS[0]).upper(), f"other{VKEYS[0]}", f"+{str(VKEYS[0]).partition('+')[2]}", f"{VKEYS[0]}\n",
        "\udce2" + str(VKEYS[0]),
        "n+00000000+" + base64.b64encode(b"\x01" + bytes(31)).decode(),
        "n+00000000+" + base64.b64encode(b"\x01" + bytes(33)).decode(),
    ],
)  # fmt: skip
def test_a_verifier_key_has_one_form(text: str) -> None:
    with pytest.raises(EvidenceError):
        VerifierKey.from_text(text)


def test_a_weak_key_and_an_unknown_type_are_refused_as_such() -> None:
    weak = b"\x01" + (1).to_bytes(32, "little")
    hashed = hashlib.sha256(b"n\n" + weak).hexdigest()[:8]
    with pytest.raises(EvidenceError, match="KEY_WEAK"):
        VerifierKey.from_text(f"n+{hashed}+{base64.b64encode(weak).decode()}")
    with pytest.raises(EvidenceError, match="UNSUPPORTED"):
        VerifierKey.from_text("n+00000000+" + base64.b64encode(b"\x06" + bytes(1312)).decode())


# -- policies


def test_the_shape_of_c2sps_example_is_read() -> None:
    found = policy(
        f"log {VerifierKey(ORIGIN, LOG.public)}  https://log.example/", "", " \t# a comment", "#another",
        *(f"  witness\t{name} {vkey}" for name, vkey in zip(("X1", "X2", "X3", "Y1", "Y2", "Y3"), VKEYS, strict=False)),
        "group X-witnesses 2 X1 X2 X3", "group Y-witnesses any Y1 Y2 Y3", "group X-and-Y all X-witnesses Y-witnesses",
        "quorum X-and-Y",
    )  # fmt: skip
    assert [vkey.name for vkey in found.logs] == [ORIGIN]
    assert found.groups[0] == ("X-witnesses", 2, ("X1", "X2", "X3"))
    assert found.since({"X1": 1, "X2": 2}) is None
    assert found.since({"X1": 1, "X2": 2, "X3": 3, "Y2": 9}) == "1970-01-01T00:00:09.000Z"
    assert found.until({"X1": 1, "X2": 2, "X3": 3, "Y2": 9}) == "1970-01-01T00:00:02.000Z"


def test_times_are_written_up_to_the_year_9999() -> None:
    one = policy(LINES[0], "quorum w0")
    assert one.since({"w0": TIME}) == one.until({"w0": TIME}) == "2023-03-20T12:25:47.000Z"
    assert one.since({"w0": TIME_MAX}) == "9999-12-31T23:59:59.000Z"
    assert one.since({"w1": TIME}) is None


W = (LINES[0], LINES[1], LINES[2])


@pytest.mark.parametrize(
    ("lines", "cause"),
    [
        ((*W, "quorum none"), "line 4: `quorum none` asks nobody"),
        (W, "there is no `quorum` line"),
        ((*W, "quorum w0", "quorum w1"), "line 5: a second `quorum` line"),
        ((*W, "quorum w9"), "line 4: `w9` is no witness"),
        (("quorum w0", *W), "line 1: `w0` is no witness"),
        ((*W, "group g any w0 w9", "quorum g"), "line 4: `w9` is no witness"),
        ((*W, "group g any w0 g", "quorum g"), "line 4: `g` is no witness"),
        ((*W, "group g any w0 w0", "quorum g"), "line 4: `w0` is no witness or group of a line before, or is in a group"),
        ((*W, "group g any w0", "group h any w0", "quorum g"), "line 5: `w0` is no witness or group"),
        ((*W, "group g any none", "quorum g"), "line 4: `none` is no witness"),
        ((*W, "group w2 any w0", "quorum w0"), "line 4: the name `w2` is taken"),
        ((*W, "group none any w0", "quorum w0"), "line 4: the name `none` is taken"),
        ((*W, f"witness w1 {VKEYS[5]}", "quorum w0"), "line 4: the name `w1` is taken"),
        ((*W, f"witness other {VKEYS[0]}", "quorum w0"), "line 4: the key of `witness.example/w0` is there twice"),
        ((*W, f"witness other {VerifierKey('o', KEYS[0].public)}", "quorum w0"), "line 4: the key of `o` is there twice"),
        (
            (f"witness w {VerifierKey(ORIGIN, LOG.public)}", "quorum w"),
            f"line 1: the key of `{ORIGIN}` is of a log, not of a wit",
        ),
        ((f"log {VKEYS[0]}", *W[1:], "quorum w1"), "line 1: the key of `witness.example/w0` is of a witness, not of a log"),
        ((*W, "group g 0 w0", "quorum g"), "line 4: `0` is not"),
        ((*W, "group g 2 w0", "quorum g"), "line 4: `2` is not `any`, `all` or a number from 1 to 1"),
        ((*W, "group g 01 w0", "quorum g"), "line 4: `01` is not"),
        ((*W, "group g most w0", "quorum g"), "line 4: `most` is not"),
        ((*W, "group g any", "quorum g"), "line 4: `group` is not a line of a policy, or has too few"),
        ((*W, "quorum"), "line 4: `quorum` is not a line"),
        ((f"{LINES[0]} url more", "quorum w0"), "line 1: `witness` is not a line"),
        ((*W, "Quorum w0"), "line 4: `Quorum` is not a line"),
        ((*W, "quorum\xa0w0"), "line 4: `quorum\\xa0w0` is not a line"),
        ((*W, "quorum w0\x0b"), "line 4: a control character"),
        ((*W, "quorum w0\r"), "line 4: a control character"),
        (("witness w0 nonsense", "quorum w0"), "line 1: a verifier key is a name"),
        ((*LINES[:64], "quorum w0"), "line 64: there are more than 63"),
        (
            (*LINES[:63], *(f"group g{n} any {'w0' if n == 0 else f'g{n - 1}'}" for n in range(65)), "quorum w0"),
            "line 128: there are more than 64",
        ),
        (("#" * (1 << 16),), "it has more than 65536 bytes"),
    ],
)
def test_a_wrong_policy_is_refused_with_its_line_and_the_cause(lines: tuple[str, ...], cause: str) -> None:
    assert refused(*lines).startswith(cause)


def test_as_many_witnesses_as_a_policy_may_list_all_fit_into_one_note() -> None:
    most = policy(*LINES[:WITNESSES_MAX], "group all all " + " ".join(f"w{n}" for n in range(WITNESSES_MAX)), "quorum all")
    note = Checkpoint.from_bytes(cosigned(*((n, TIME) for n in range(WITNESSES_MAX))).to_bytes())
    assert most.since(most.seen(note)) == rfc3339(TIME)


def test_a_last_line_without_a_newline_is_a_line() -> None:
    assert WitnessPolicy.from_bytes(f"{LINES[0]}\nquorum w0".encode()).quorum == "w0"


def test_names_are_bytes_and_look_alikes_are_two() -> None:
    data = f"witness K {VKEYS[0]}\nwitness \u212a {VKEYS[1]}\ngroup both all K \u212a\n".encode() + b"quorum both\n"
    found = WitnessPolicy.from_bytes(data)
    assert found.since({"K": 5}) is None and found.since({"K": 5, "\u212a": 6}) is not None
    raw = b"#\xff\n" + f"witness w {VKEYS[0]}\n".encode()
    assert WitnessPolicy.from_bytes(raw + b"quorum w\n").quorum == "w"
    with pytest.raises(Refused, match="line 3: it is not UTF-8"):
        WitnessPolicy.from_bytes(raw + b"quorum \xff\n")


def test_the_logs_of_a_file_need_no_quorum() -> None:
    data = f"# what I watch\nlog {VerifierKey(ORIGIN, LOG.public)}\n".encode()
    assert [vkey.name for vkey in log_keys(data)] == [ORIGIN]
    with pytest.raises(Refused, match=r"line 3: the key of .* twice"):
        log_keys(data + data.splitlines(keepends=True)[1])


@st.composite
def policies(draw: st.DrawFn) -> tuple[WitnessPolicy, dict[str, tuple[int, list[str]]]]:
    """A policy over six witnesses with random groups, and the same groups for the model."""
    free, lines, groups = [f"w{index}" for index in range(6)], list(LINES[:6]), {}
    for number in range(draw(st.integers(0, 4))):
        members = draw(st.lists(st.sampled_from(free), min_size=1, unique=True))
        threshold = draw(st.integers(1, len(members)))
        said = draw(st.sampled_from(["k", "any", "all"]))
        threshold = {"k": threshold, "any": 1, "all": len(members)}[said]
        lines.append(f"group g{number} {threshold if said == 'k' else said} {' '.join(members)}")
        groups[f"g{number}"] = (threshold, members)
        free = [label for label in free if label not in members] + [f"g{number}"]
    names = [f"w{index}" for index in range(6)] + list(groups)
    return policy(*lines, f"quorum {draw(st.sampled_from(names))}"), groups


def satisfied(label: str, groups: Mapping[str, tuple[int, list[str]]], who: set[str]) -> bool:
    if label not in groups:
        return label in who
    threshold, members = groups[label]
    return sum(satisfied(member, groups, who) for member in members) >= threshold


@given(policies(), st.dictionaries(st.sampled_from([f"w{n}" for n in range(6)]), st.integers(1, 8)))
def test_the_times_of_a_quorum_agree_with_trying_every_time(
    drawn: tuple[WitnessPolicy, dict[str, tuple[int, list[str]]]], seen: dict[str, int]
) -> None:
    found, groups = drawn
    by = [t for t in range(10) if satisfied(found.quorum, groups, {w for w, at in seen.items() if at <= t})]
    after = [t for t in range(10) if satisfied(found.quorum, groups, {w for w, at in seen.items() if at >= t})]
    spoken = {t: f"1970-01-01T00:00:0{t}.000Z" for t in range(10)}
    assert found.since(seen) == (spoken[min(by)] if by else None)
    assert found.until(seen) == (spoken[max(after)] if after else None)


def test_every_set_of_cosigners_of_a_note_is_told_apart() -> None:
    found = policy(*W, "group two 2 w0 w1 w2", "quorum two")
    for count in range(4):
        for who in itertools.combinations(range(3), count):
            seen = found.seen(cosigned(*((index, 5 + index) for index in who)) if who else NOTE)
            assert set(seen) == {f"w{index}" for index in who}
            assert (found.since(seen) is not None) == (count >= 2)
