"""Policy bundles between their three places: files that a person edits, documents in the store, and the value that decides."""

from collections.abc import Callable
from pathlib import Path

from helm_ai_kernel.guardian.bundle import FILE_BYTES_MAX, Bundle
from helm_ai_kernel.guardian.policy import Policy
from helm_ai_kernel.ledger.statements import Document
from helm_ai_kernel.pep.catalog import Catalog
from helm_ai_kernel.tcb.bundle import PolicyManifest
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.digest import Digest, digest
from helm_ai_kernel.tcb.errors import Refused

_PLACES = ((".", ".cedar"), ("overlays", ".cedar"), ("tests", ".json"))


def read_files(folder: Path) -> dict[str, bytes]:
    """`*.cedar` and `overlays/*.cedar` as a person left them. All else is refused: a misspelt folder must not lose a rule.

    Tests (`tests/*.json`) may be there, and are no part of the bundle (`cases.py`).
    """
    files = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if name.as_posix() not in ("overlays", "tests") and (name.parent.as_posix(), name.suffix) not in _PLACES:
            detail = f"`{path}` is no policy file: `*.cedar`, `overlays/*.cedar` and `tests/*.json` are"
            raise Refused(Reason.ERR_POLICY_ERROR, detail, hint=f"move it out of `{folder}`")
    for path in sorted(folder.glob("*.cedar")) + sorted(folder.glob("overlays/*.cedar")):
        if path.stat().st_size > FILE_BYTES_MAX:
            raise Refused(Reason.ERR_POLICY_ERROR, f"`{path}` is larger than {FILE_BYTES_MAX} bytes", hint="split the file")
        files[path.relative_to(folder).as_posix()] = path.read_bytes()
    return files


def stored_policy(document: Callable[[Digest], bytes], policy: Digest, catalog: Catalog) -> Policy:
    """The policy in force, from its manifest and files in the store, checked against their digests."""
    manifest = document(policy)
    files = {name: document(digest) for name, digest in PolicyManifest.from_bytes(manifest).files.items()}
    return Policy.from_bundle(Bundle.from_bytes(manifest, files), catalog)


def documents(policy: Policy, catalog: Catalog) -> dict[Digest, Document]:
    """Everything that a pack needs to decide again under this policy."""
    files = {digest(content): Document("file", content) for content in policy.files.values()}
    return {**files, policy.digest: Document("policy", policy.manifest), catalog.digest: Document("catalog", catalog.document)}
