"""What a policy is, by its manifest: the catalogue that it was made for, and the digest of each of its files.

The digest of the manifest names the policy (`docs/spec/policy.md`). Whether its files are rules is the guardian's question.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from . import fields
from .codes import Finding
from .digest import Digest
from .errors import EvidenceError
from .ijson import parse_evidence

BYTES_MAX = 64 << 10  # 64 files, each with a name and a digest, and as many directories
_FIELDS = frozenset({"v", "catalog", "files", "protected"})


@dataclass(frozen=True, slots=True)
class PolicyManifest:
    catalog: Digest
    files: Mapping[str, Digest]
    protected: tuple[str, ...]

    @classmethod
    def from_bytes(cls, data: bytes) -> "PolicyManifest":
        """Raises `EvidenceError`: PACK_MALFORMED or UNSUPPORTED."""
        body = fields.exact(parse_evidence(data, bytes_max=BYTES_MAX), _FIELDS)
        if fields.count(body, "v") != 1:
            raise EvidenceError(Finding.UNSUPPORTED, "this version reads policies of version 1 only")
        listed = fields.typed(body, "files", dict)
        files = {name: fields.digest(listed, name) for name in listed}
        return cls(fields.digest(body, "catalog"), files, fields.strings(body, "protected"))
