"""The policy bundle: named files, the catalogue that they were written against, and the directories that they protect.

One digest commits to all of it, so that "which policy decided this?" has one answer. The layer of a file is its place:
`ceiling.cedar` (P0) and `overlays/*.cedar` (P2) may only forbid, `*.cedar` (P1) may also permit, and `builtin.cedar` (P0) is
ours and in every bundle (`docs/spec/policy.md`).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from helm_ai_kernel.tcb.bundle import PolicyManifest
from helm_ai_kernel.tcb.codes import Finding, Reason
from helm_ai_kernel.tcb.digest import Digest, digest
from helm_ai_kernel.tcb.errors import EvidenceError, Refused
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.tcb.jcs import canonical

FILES_MAX = 64  # one per server and a few more; each is read by a person
FILE_BYTES_MAX = 256 << 10  # 1,000 rules of 250 bytes
BUNDLE_BYTES_MAX = 1 << 20  # parsed and type-checked in about a second
PROTECTED_MAX = 16  # home, people's keys, head mirror; each is looked for in every string of every call
PATH_MAX = 4096  # Linux's PATH_MAX

_NAME = re.compile(r"(overlays/)?[a-z0-9][a-z0-9_.-]{0,63}\.cedar\Z")

BUILTIN_NAME = "builtin.cedar"
CEILING_NAME = "ceiling.cedar"
BUILTIN = b"""\
// Part of every bundle. A file of this name with any other content is refused.
@id("helm-kernel-directories")
@description("no governed tool may name the kernel's own directories")
forbid (principal, action, resource)
when { context.touches_kernel };

@id("helm-destructive-needs-approval")
@description("a destructive tool runs only with a person's approval")
@require("approval")
forbid (principal, action in Action::"destructive", resource);
"""

STARTER_NAME = "main.cedar"
STARTER = b"""\
// The policy of this kernel, in Cedar (https://docs.cedarpolicy.com). As it stands it allows nothing: what no rule permits
// is denied.
//
// Edit it, then `helm-ai-kernel policy check` and `helm-ai-kernel policy apply`: an edited file alone changes nothing.
// Every rule has an @id of its own, and every decision names the rules that determined it. A `forbid` beats every `permit`,
// and the order of rules does not matter. Rules that nothing may override go to `ceiling.cedar` (`forbid` only).
//
// Permit one tool:
//
//   @id("time-now")
//   permit (principal, action == Action::"time/get_current_time", resource);
//
// Permit every tool of one effect class (read, write, destructive, network, payment), here of one server and one agent:
//
//   @id("local-reads-files")
//   permit (principal == Agent::"local", action in Action::"read", resource == Server::"files");
//
// Look at the arguments. They are typed from the tool's pinned schema, so a misspelt one fails `policy check`; one that
// callers may leave out is asked for with `has`:
//
//   @id("convert-from-utc-only")
//   @description("conversions start from UTC")
//   forbid (principal, action == Action::"time/convert_time", resource)
//   unless { context.args.source_timezone == "UTC" };
//
// Ask a person first (whatever is destructive asks already):
//
//   @id("mail-needs-approval")
//   @require("approval")
//   forbid (principal, action == Action::"mail/send", resource);
"""


class Layer(StrEnum):
    """Where a rule stands; P0 cannot be overridden, P2 may only narrow."""

    BUILTIN = "builtin"
    CEILING = "P0"
    BASE = "P1"
    OVERLAY = "P2"


def layer_of(name: str) -> Layer:
    if name == BUILTIN_NAME:
        return Layer.BUILTIN
    if name == CEILING_NAME:
        return Layer.CEILING
    return Layer.OVERLAY if name.startswith("overlays/") else Layer.BASE


@dataclass(frozen=True, slots=True)
class Bundle:
    """`files` by name, `builtin.cedar` among them; `manifest` is the JCS that `digest` names. Nothing in here is parsed Cedar."""

    files: Mapping[str, bytes]
    catalog: Digest
    protected: tuple[str, ...]  # absolute, normal, sorted
    manifest: bytes
    digest: Digest

    @classmethod
    def of(cls, files: Mapping[str, bytes], catalog: Digest, protected: Sequence[str]) -> "Bundle":
        """Raises `Refused(ERR_POLICY_ERROR)` for a name, a size or a path that no bundle has."""
        if files.get(BUILTIN_NAME, BUILTIN) != BUILTIN:
            raise refused(f"`{BUILTIN_NAME}` is the kernel's own", "files", "use another name, for example `ceiling.cedar`")
        everything = {**files, BUILTIN_NAME: BUILTIN}
        for name, content in everything.items():
            _check_file(name, content)
        if len(everything) > FILES_MAX or sum(map(len, everything.values())) > BUNDLE_BYTES_MAX:
            raise refused(f"more than {FILES_MAX} files or {BUNDLE_BYTES_MAX} bytes", "size")
        paths = tuple(sorted({_path(path) for path in protected}))
        if len(paths) > PROTECTED_MAX:
            raise refused(f"more than {PROTECTED_MAX} protected directories", "size")
        body: dict[str, Json] = {
            "v": 1,
            "catalog": catalog,
            "files": {name: digest(content) for name, content in everything.items()},
            "protected": list(paths),
        }
        manifest = canonical(body)
        ordered = MappingProxyType({name: everything[name] for name in sorted(everything)})
        return cls(ordered, catalog, paths, manifest, digest(manifest))

    @classmethod
    def from_bytes(cls, manifest: bytes, files: Mapping[str, bytes]) -> "Bundle":
        """A bundle as it was kept as evidence; raises `EvidenceError` where files and manifest are not the same bundle."""
        said = PolicyManifest.from_bytes(manifest)
        try:
            bundle = cls.of(files, said.catalog, said.protected)
        except Refused as no:
            raise EvidenceError(Finding.MANIFEST_MISMATCH, f"no policy bundle: {no.detail}") from None
        if bundle.manifest != manifest:
            raise EvidenceError(Finding.MANIFEST_MISMATCH, "the policy files are not the ones that the manifest names")
        return bundle

    def to_bytes(self) -> bytes:
        return self.manifest


def refused(detail: str, sub: str, hint: str = "") -> Refused:
    """The refusal of a bundle; `sub` says which check, `hint` what to type."""
    return Refused(Reason.ERR_POLICY_ERROR, detail, sub=sub, hint=hint or "helm-ai-kernel policy check")


def _check_file(name: str, content: bytes) -> None:
    if not _NAME.match(name) or name == f"overlays/{BUILTIN_NAME}":
        hint = "policy files are `NAME.cedar` and `overlays/NAME.cedar`, in lower case"
        raise refused(f"`{name[:100]}` is not the name of a policy file", "files", hint)
    if len(content) > FILE_BYTES_MAX:
        raise refused(f"`{name}` is longer than {FILE_BYTES_MAX} bytes", "size", "split it into several files")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise refused(f"`{name}` is not utf-8 at byte {error.start}", "encoding") from None
    if text.startswith("\ufeff") or "\0" in text:
        raise refused(f"`{name}` has a byte order mark or a NUL in it", "encoding")


def _path(path: str) -> str:
    """A directory as it is compared: absolute, with nothing in it that could be written in another way."""
    parts = path.split("/")[1:]
    if not path.startswith("/") or len(path) > PATH_MAX or "\0" in path or not all(p not in ("", ".", "..") for p in parts):
        raise refused(f"`{path[:200]}` is not an absolute, normal path below `/`", "protected")
    return path
