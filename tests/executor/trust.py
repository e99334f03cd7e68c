"""Whose keys the kernels of these tests trust: the same in every run, and so worth nothing anywhere else."""

from functools import cache

from helm_ai_kernel.tcb import registry
from helm_ai_kernel.tcb.keys import Purpose, SecretKey

AT = "2026-11-20T09:00:00.000Z"

ROOT, APPROVAL, EXECUTION, LOG = (
    SecretKey.from_seed(bytes([n]) * 32, purpose)
    for n, purpose in enumerate((Purpose.ROOT, Purpose.APPROVAL, Purpose.EXECUTION, Purpose.LOG), 1)
)


@cache
def trust(log: str = "11" * 16) -> tuple[registry.Registry, str]:
    """A registry with one key for each purpose, and the origin of the log that the machine's keys are for."""
    known = registry.Registry.replay([registry.genesis([(ROOT, "ann")], threshold=1, at=AT, nonce="00" * 16)])
    origin = f"{known.deployment}/{log}"
    for key, principal, of in ((APPROVAL, "ann", None), (EXECUTION, "kernel", origin), (LOG, "kernel", origin)):
        known = known.fold(registry.add(known, key, principal, of, at=AT, roots=[ROOT]))
    return known, origin
