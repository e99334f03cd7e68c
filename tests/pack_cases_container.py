"""Cases about the container, the manifest, the registry, attachments and known heads: V1 to V3, V12, V14."""

import base64
from collections.abc import Mapping

from helm_ai_kernel.tcb import checkpoint, container, pack
from helm_ai_kernel.tcb.codes import Finding, Reason
from helm_ai_kernel.tcb.decision import Verdict
from helm_ai_kernel.tcb.digest import PREFIX, digest
from helm_ai_kernel.tcb.digest import text as digest_text
from helm_ai_kernel.tcb.envelope import seal
from helm_ai_kernel.tcb.findings import Exit
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.tcb.keys import Purpose
from helm_ai_kernel.tcb.statement import Change, StatementKind
from pack_case import Made, case, of
from packs import AT, Body, Deployment, Log, edited, key, relined, repack, seed, short, story

BLOCK = 512


def raw_tar(entries: list[tuple[str, bytes]], end: bytes = bytes(2 * BLOCK)) -> bytes:
    """The container without its rules: any order, any repetition."""
    blocks = [container.header(name, len(data)) + data + bytes(-len(data) % BLOCK) for name, data in entries]
    return b"".join(blocks) + end


def rechecked(header: bytes) -> bytes:
    """The header with the checksum that it should have."""
    blank = header[:148] + b" " * 8 + header[156:]
    return blank[:148] + b"%06o\0 " % sum(blank) + blank[156:]


# VALID


@case(Exit.VALID)
def least() -> Made:
    """A start, a policy, one call with its outcome, an end."""
    return of(short())


@case(Exit.VALID)
def whole_story() -> Made:
    """Every flow once: allowed, repeated, refused in three ways, escalated, drifted and held and released, crashed."""
    return of(story())


@case(Exit.VALID)
def attachments_held() -> Made:
    """The arguments and the output of the one call are in the pack."""
    log = short()
    return of(log, log.pack(withhold=False))


@case(Exit.VALID)
def attachments_partly() -> Made:
    """The output is in the pack, the arguments are withheld, and the manifest says so."""
    log = short()
    output = str(log.receipts[4].body["output_hash"])
    log.attachments = {name: data for name, data in log.attachments.items() if name == output}
    return of(log, log.pack(withhold=False))


@case(Exit.VALID)
def nothing_yet() -> Made:
    """A log of size 0 with its signed checkpoint."""
    return of(Log())


@case(Exit.VALID)
def earlier_checkpoint() -> Made:
    """Cut exactly at a genuine earlier checkpoint: an earlier export, valid as of its size. Freshness is unknown."""
    log = short()
    log.lines = log.lines[:5]
    return of(log)


@case(Exit.VALID)
def second_execution_key() -> Made:
    """A second execution key joins the registry, and receipts that rely on the larger registry are signed with it."""
    log = short()
    second = key("second execution", Purpose.EXECUTION)
    log.deployment.enrol(second, "kernel", log.deployment.origin)
    log.deployment.execution = second
    log.start()
    return of(log)


@case(Exit.VALID)
def known_head_same() -> Made:
    """The verifier knows the head of exactly this log: fresh."""
    log = short()
    return of(log, known_head=log.checkpoint())


@case(Exit.VALID)
def known_head_earlier() -> Made:
    """The verifier knows an earlier head, and the pack extends it."""
    log = short()
    return of(log, known_head=log.checkpoint(3))


# V1


@case(Exit.INVALID, Finding.PACK_MALFORMED)
def container_not_a_tar() -> Made:
    """Something else than a tar archive."""
    return of(short(), b"PK\x03\x04" + bytes(1020))


@case(Exit.INVALID, Finding.PACK_MALFORMED)
def container_trailing_data() -> Made:
    """One byte more after the end."""
    log = short()
    return of(log, log.pack() + b"\0")


@case(Exit.INVALID, Finding.PACK_MALFORMED)
def container_cut() -> Made:
    """The last 600 bytes are missing."""
    log = short()
    return of(log, log.pack()[:-600])


@case(Exit.INVALID, Finding.PACK_MALFORMED)
def container_unsorted() -> Made:
    """Two entries are in the wrong order."""
    log = short()
    return of(log, raw_tar(sorted(log.files().items(), reverse=True)))


@case(Exit.INVALID, Finding.PACK_MALFORMED)
def container_entry_twice() -> Made:
    """An entry occurs twice; extracting would keep the second."""
    log = short()
    entries = sorted(log.files().items())
    return of(log, raw_tar([*entries, entries[-1]]))


@case(Exit.INVALID, Finding.PACK_MALFORMED)
def container_climbs() -> Made:
    """An entry's name leads out of the folder."""
    log = short()
    return of(log, raw_tar([("../evil", b""), *sorted(log.files().items())]))


@case(Exit.INVALID, Finding.PACK_MALFORMED)
def container_absolute() -> Made:
    """An entry has an absolute path."""
    log = short()
    return of(log, raw_tar([("/etc/evil", b""), *sorted(log.files().items())]))


@case(Exit.INVALID, Finding.PACK_MALFORMED)
def container_case_twins() -> Made:
    """Two names of policy files differ only in case."""
    log = short()
    files = log.files()
    folder = next(name for name in files if name.startswith("policy/")).rpartition("/")[0]
    return of(log, container_with(files, {f"{folder}/Rules.cedar": b""}))


@case(Exit.INVALID, Finding.PACK_MALFORMED)
def container_other_entry() -> Made:
    """An entry with a name that no pack has, listed in the manifest."""
    log = short()
    return of(log, container_with(log.files(), {"readme.txt": b"VALID\n"}))


@case(Exit.INVALID, Finding.PACK_MALFORMED)
def container_symlink() -> Made:
    """An entry is a symbolic link; its checksum is right."""
    log = short()
    data = log.pack()
    link = data[:156] + b"2" + b"/etc/passwd".ljust(100, b"\0") + data[257:BLOCK]
    return of(log, rechecked(link) + data[BLOCK:])


@case(Exit.INVALID, Finding.PACK_MALFORMED)
def container_time() -> Made:
    """An entry has a time; its checksum is right. A second form of the same content."""
    log = short()
    data = log.pack()
    return of(log, rechecked(data[:136] + b"00000000001\0" + data[148:BLOCK]) + data[BLOCK:])


@case(Exit.INVALID, Finding.PACK_MALFORMED)
def container_padding() -> Made:
    """The padding behind an entry's content is not zero."""
    log = short()
    data = log.pack()
    at = BLOCK + len(log.files()[min(log.files())])
    return of(log, data[:at] + b"\1" + data[at + 1 :])


@case(Exit.INVALID, Finding.PACK_MALFORMED)
def container_without_registry() -> Made:
    """`trust.jsonl` is missing."""
    log = short()
    files = log.files()
    del files[pack.TRUST]
    return of(log, repack(files))


def container_with(files: Mapping[str, bytes], more: Mapping[str, bytes]) -> bytes:
    return repack({**files, **more})


# V2


@case(Exit.INVALID, Finding.MANIFEST_MISMATCH)
def manifest_digest() -> Made:
    """The manifest has another digest of an entry."""
    log = short()
    files = log.files()
    return of(
        log,
        repack(
            {**files, pack.MANIFEST: files[pack.MANIFEST].replace(digest(files[pack.TRUST]).encode(), digest(b"").encode())},
            relist=False,
        ),
    )


@case(Exit.INVALID, Finding.MANIFEST_MISMATCH)
def manifest_unlisted() -> Made:
    """A catalogue is in the pack that neither the manifest nor a receipt names."""
    log = short()
    return of(log, repack({**log.files(), f"catalog/{digest(b'{}').removeprefix(PREFIX)}.json": b"{}"}, relist=False))


@case(Exit.INVALID, Finding.NON_CANONICAL)
def manifest_not_canonical() -> Made:
    """The manifest has a space that its canonical form has not."""
    log = short()
    files = log.files()
    return of(log, container.write({**files, pack.MANIFEST: files[pack.MANIFEST].replace(b'"v":1', b'"v": 1')}))


@case(Exit.UNSUPPORTED, Finding.UNSUPPORTED)
def manifest_of_version_2() -> Made:
    """The manifest has a version that is not known yet."""
    log = short()
    files = log.files()
    return of(log, container.write({**files, pack.MANIFEST: files[pack.MANIFEST].replace(b'"v":1', b'"v":2')}))


@case(Exit.INVALID, Finding.MANIFEST_MISMATCH)
def manifest_size() -> Made:
    """The manifest says one receipt more than the checkpoint."""
    log = short()
    return of(log, repack(log.files(), size=len(log.lines) + 1))


@case(Exit.INVALID, Finding.MANIFEST_MISMATCH)
def policy_missing() -> Made:
    """The policy that the decisions name is not in the pack, nor the catalogue that it is bound to."""
    log = short()
    files = {name: data for name, data in log.files().items() if not name.startswith(("policy/", "catalog/"))}
    return of(log, repack(files))


@case(Exit.INVALID, Finding.MANIFEST_MISMATCH)
def policy_edited() -> Made:
    """A file of the policy is not the one that the policy's manifest lists."""
    log = short()
    files = log.files()
    name = next(name for name in files if name.endswith(".cedar"))
    return of(log, repack({**files, name: files[name] + b"\n"}))


@case(Exit.INVALID, Finding.MANIFEST_MISMATCH)
def policy_manifest_not_canonical() -> Made:
    """The policy in force is named by the digest of a manifest with a space at its end."""
    log = Log()
    log.start_kernel()
    catalog = log.add_catalog(["add"])
    manifest = log.policies[log.add_policy({}, catalog)][pack.MANIFEST] + b" "
    change: Body = {"policy": Change(None, digest(manifest)).to_json(), "catalog": Change(None, catalog).to_json()}
    log.state(StatementKind.PIN, change)
    log.end(log.kernel)
    name = f"policy/{digest(manifest).removeprefix(PREFIX)}/{pack.MANIFEST}"
    return of(log, repack({**log.files(), name: manifest}))


@case(Exit.INVALID, Finding.MANIFEST_MISMATCH)
def policy_manifest_edited() -> Made:
    """The policy's own manifest is not the one that its digest names."""
    log = short()
    files = log.files()
    name = next(name for name in files if name.startswith("policy/") and name.endswith("manifest.json"))
    return of(log, repack({**files, name: files[name].replace(b'"protected":[]', b'"protected":["/"]')}))


@case(Exit.INVALID, Finding.MANIFEST_MISMATCH)
def policy_that_no_receipt_names() -> Made:
    """A whole policy that was never in force."""
    log = short()
    files = log.files()
    other = log.add_policy({}, next(iter(log.catalogs)))
    return of(log, repack({**files, f"policy/{other.removeprefix(PREFIX)}/manifest.json": log.policies[other][pack.MANIFEST]}))


@case(Exit.INVALID, Finding.MANIFEST_MISMATCH)
def catalogue_edited() -> Made:
    """The catalogue is not the one that its name says."""
    log = short()
    files = log.files()
    name = next(name for name in files if name.startswith("catalog/"))
    return of(log, repack({**files, name: files[name] + b"\n"}))


@case(Exit.INVALID, Finding.PACK_MALFORMED)
def receipts_torn() -> Made:
    """The last newline of the receipts is missing."""
    log = short()
    files = log.files()
    return of(log, repack({**files, pack.RECEIPTS: files[pack.RECEIPTS][:-1]}))


# V3


@case(Exit.UNANCHORED, Finding.UNANCHORED)
def genesis_not_pinned() -> Made:
    """Nobody told the verifier where the registry begins."""
    return Made(short().pack(), None)


@case(Exit.INVALID, Finding.KEY_UNKNOWN)
def genesis_of_another() -> Made:
    """A whole deployment of somebody else's, consistent in itself."""
    return Made(short().pack(), Deployment("other").registry.genesis)


@case(Exit.INVALID, Finding.KEY_UNKNOWN)
def genesis_of_another_and_no_events() -> Made:
    """The registry is somebody else's, and goes on with what is no event: nobody has to read that."""
    log = short()
    files = {**log.files(), pack.TRUST: pack.joined([log.deployment.registry.lines[0], b"no event"])}
    return Made(repack(files), Deployment("other").registry.genesis)


@case(Exit.INVALID, Finding.SIG_INVALID)
def registry_edited() -> Made:
    """Somebody gave a key in the registry to another principal."""
    log = short()
    lines = [line.replace(b'"principal":"kernel"', b'"principal":"mallet"') for line in log.deployment.registry.lines]
    return of(log, repack({**log.files(), pack.TRUST: pack.joined(lines)}))


def registry_event(log: Log, body: dict[str, Json], *signers: Purpose) -> Made:
    """The pack with one more event in its registry, signed by the root and whom `signers` say."""
    registry = log.deployment.registry
    body = {"v": 1, "kind": "trust", "seq": registry.size, "prev": registry.head, "at": AT, **body}
    names = [log.deployment.root, *(key("mallet", purpose) for purpose in signers)]
    lines = [*registry.lines, seal(body, names).line]
    return of(log, repack({**log.files(), pack.TRUST: pack.joined(lines)}))


@case(Exit.INVALID, Finding.REGISTRY_INVALID)
def registry_without_possession() -> Made:
    """A key is added that did not sign its own event."""
    public = base64.b64encode(key("mallet", Purpose.APPROVAL).public.raw).decode()
    added: Json = {"scheme": "ed25519", "purpose": "approval", "public": public, "principal": "mallet", "log": None}
    return registry_event(short(), {"event": "add", "key": added})


@case(Exit.INVALID, Finding.KEY_WEAK)
def registry_weak_key() -> Made:
    """The root adds the identity point, for which one signature verifies every message."""
    public = base64.b64encode(b"\1" + bytes(31)).decode()
    added: Json = {"scheme": "ed25519", "purpose": "approval", "public": public, "principal": "mallet", "log": None}
    return registry_event(short(), {"event": "add", "key": added}, Purpose.APPROVAL)


@case(Exit.UNSUPPORTED, Finding.UNSUPPORTED)
def registry_unknown_event() -> Made:
    """An event of a later version, which could be a revocation: never skipped."""
    return registry_event(short(), {"event": "suspend", "key": "somebody"})


@case(Exit.INVALID, Finding.KEY_UNKNOWN, Finding.ROLLBACK, Finding.CHECKPOINT_SIG)
def registry_cut() -> Made:
    """The registry ends before the events that the receipts rely on."""
    log = short()
    return of(log, repack({**log.files(), pack.TRUST: pack.joined(log.deployment.registry.lines[:2])}))


# V12


@case(Exit.INVALID, Finding.REDACTION_MISMATCH)
def attachment_edited() -> Made:
    """The content of an attachment was changed under its old name."""
    log = short()
    files = log.files(withhold=False)
    name = next(name for name in files if name.startswith("attachments/"))
    return of(log, repack({**files, name: files[name] + b" "}))


@case(Exit.INVALID, Finding.REDACTION_MISMATCH)
def attachment_of_no_receipt() -> Made:
    """An attachment that no receipt names."""
    log = short()
    content = seed("salt") + b"{}"
    return of(log, repack({**log.files(), f"attachments/{digest(content).removeprefix(PREFIX)}": content}))


@case(Exit.INVALID, Finding.REDACTION_MISMATCH)
def attachment_removed() -> Made:
    """An attachment was taken out, and the manifest does not say that it is withheld."""
    log = short()
    files = log.files(withhold=False)
    del files[next(name for name in files if name.startswith("attachments/"))]
    return of(log, repack(files))


def with_arguments(attachment: bytes) -> Made:
    """A denied call whose arguments are this attachment."""
    log = Log()
    log.start_kernel()
    name = digest(attachment)
    log.attachments[name] = attachment
    log.decide(log.start(), Verdict.DENY, Reason.ERR_POLICY_NOT_READY, args=name)
    return of(log, log.pack(withhold=False))


@case(Exit.INVALID, Finding.REDACTION_MISMATCH)
def attachment_without_salt() -> Made:
    """Arguments are named by their bare hash: whoever guesses them can prove it without having seen them."""
    return with_arguments(b"{}")


@case(Exit.INVALID, Finding.REDACTION_MISMATCH)
def arguments_not_canonical() -> Made:
    """Arguments with a space: what was decided on is not what a connector gets."""
    return with_arguments(seed("salt") + b'{"a": 1}')


@case(Exit.INVALID, Finding.REDACTION_MISMATCH)
def arguments_no_object() -> Made:
    """Arguments that are a list."""
    return with_arguments(seed("salt") + b"[1]")


@case(Exit.INVALID, Finding.REDACTION_MISMATCH)
def arguments_no_json() -> Made:
    """Arguments that nobody can read."""
    return with_arguments(seed("salt") + b"{")


@case(Exit.INVALID, Finding.REDACTION_MISMATCH)
def withheld_too_many() -> Made:
    """The manifest counts one attachment more than receipts name."""
    log = short()
    return of(log, repack(log.files(), withheld=3))


# V8: checkpoints, and V14: known heads


@case(Exit.INVALID, Finding.CHECKPOINT_SIG)
def checkpoint_by_a_stranger() -> Made:
    """The checkpoint is signed by a log key that the registry does not know."""
    log = short()
    note = checkpoint.sign(log.deployment.origin, len(log.lines), log.root(), key("mallet", Purpose.LOG)).note
    return of(log, relined(log, log.lines, note))


@case(Exit.INVALID, Finding.TRUNCATED, Finding.INCLUSION_FAIL)
def cut_behind_the_checkpoint() -> Made:
    """The last receipt is missing, and the checkpoint still signs it."""
    log = short()
    return of(log, relined(log, log.lines[:-1], log.checkpoint()))


@case(Exit.INVALID, Finding.INCLUSION_FAIL)
def receipts_beyond_the_checkpoint() -> Made:
    """A receipt that no checkpoint covers."""
    log = short()
    return of(log, relined(log, log.lines, log.checkpoint(5), size=5, root=digest_text(log.root(5))))


@case(Exit.DIVERGED, Finding.SPLIT_VIEW)
def known_head_contradicts() -> Made:
    """Somebody with the real keys wrote the history again: only the head that the verifier kept tells."""
    log, other = short(), short()
    log.start()
    other.start("somebody-else")
    return of(other, known_head=log.checkpoint())


@case(Exit.STALE, Finding.ROLLBACK)
def known_head_is_newer() -> Made:
    """A genuine earlier export, and the verifier knows that the log went on."""
    log = short()
    head = log.checkpoint()
    log.lines = log.lines[:5]
    return of(log, known_head=head)


@case(Exit.INVALID, Finding.CHECKPOINT_SIG)
def known_head_by_a_stranger() -> Made:
    """The head that the verifier kept is not signed by the log key of this registry."""
    log = short()
    return of(log, known_head=checkpoint.sign(log.deployment.origin, 3, log.root(3), key("mallet", Purpose.LOG)).note)


@case(Exit.USAGE, Finding.DOMAIN_MISMATCH)
def known_head_of_another_log() -> Made:
    """The verifier brings the head of another log."""
    return of(short(), known_head=Log(Deployment("other")).checkpoint())


@case(Exit.USAGE, Finding.CHECKPOINT_SIG)
def known_head_is_no_checkpoint() -> Made:
    """The verifier brings a file that is no checkpoint."""
    return of(short(), known_head=b"size 3\n")


@case(Exit.INVALID, Finding.SIG_INVALID, Finding.INCLUSION_FAIL, Finding.SPLIT_VIEW)
def invalid_beats_diverged() -> Made:
    """An edited last receipt, and a head that contradicts the pack: INVALID goes before DIVERGED."""
    log, other = short(), Log()
    other.start("somebody-else")
    last = edited(log.lines[-1], lambda body: body.update(reason="other"))
    return of(log, relined(log, [*log.lines[:-1], last], log.checkpoint()), known_head=other.checkpoint())
