"""What a pack holds beside the receipts, each piece under the digest that names it: attachments, and boundaries made again."""

from collections.abc import Mapping

from helm_ai_kernel.guardian.bundle import Bundle
from helm_ai_kernel.guardian.policy import Policy
from helm_ai_kernel.pep.catalog import EMPTY, Catalog
from helm_ai_kernel.tcb import digest as hashes
from helm_ai_kernel.tcb.codes import Finding
from helm_ai_kernel.tcb.digest import PREFIX, SALT_BYTES, Digest
from helm_ai_kernel.tcb.errors import EvidenceError, Refused

from .boundary import Boundary

InForce = tuple[Digest | None, Digest | None]  # policy and catalogue


class Evidence:
    """`EvidenceError(NOT_REPLAYABLE)` for what is not there, `EvidenceError(REPLAY_DIFFERS)` for what is not what it says."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files
        self._boundaries: dict[InForce, Boundary] = {}
        self._policies: dict[str, dict[str, bytes]] = {}
        for name, content in files.items():
            if name.startswith("policy/"):
                _, policy, file = name.split("/", 2)
                self._policies.setdefault(policy, {})[file] = content

    def attachment(self, name: Digest) -> bytes:
        held = self._held(f"attachments/{name.removeprefix(PREFIX)}", name)
        return held[SALT_BYTES:]

    def boundary(self, in_force: InForce) -> Boundary:
        if in_force not in self._boundaries:
            self._boundaries[in_force] = self._rebuilt(*in_force)
        return self._boundaries[in_force]

    def _rebuilt(self, policy: Digest | None, catalog: Digest | None) -> Boundary:
        try:
            held = None if catalog is None else self._held(f"catalog/{catalog.removeprefix(PREFIX)}.json", catalog)
            tools = EMPTY if held is None else Catalog.from_bytes(held)
            if policy is None:
                return Boundary(tools, None)
            files = dict(self._policies.get(policy.removeprefix(PREFIX), {}))
            manifest = files.pop("manifest.json", None)
            if manifest is None:
                raise EvidenceError(Finding.NOT_REPLAYABLE, f"the policy `{policy}` is not in the pack")
            if hashes.digest(manifest) != policy:
                raise EvidenceError(Finding.REPLAY_DIFFERS, f"what is there is not the policy `{policy}`")
            return Boundary(tools, Policy.from_bundle(Bundle.from_bytes(manifest, files), tools))
        except Refused as refused:
            raise EvidenceError(Finding.REPLAY_DIFFERS, f"no policy or catalogue: {refused.detail}") from None

    def _held(self, entry: str, name: Digest) -> bytes:
        held = self._files.get(entry)
        if held is None:
            raise EvidenceError(Finding.NOT_REPLAYABLE, f"`{entry}` is not in the pack")
        if hashes.digest(held) != name:
            raise EvidenceError(Finding.REPLAY_DIFFERS, f"`{entry}` has another digest than its name says")
        return held
