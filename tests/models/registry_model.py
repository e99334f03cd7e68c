"""What a trust registry is, said a second time and as plainly as possible. Imports nothing of the product.

An event is a plain dict. Signatures are true here: `signers` are the names of the keys that really signed. A key is
`{"name", "purpose", "principal", "log"}`. The answer is what is in force, or that the event may not happen.
"""

from dataclasses import dataclass, field
from typing import Any

Key = dict[str, Any]


@dataclass
class Model:
    """Every key ever, with the sizes from which on and up to which it is in force."""

    threshold: int
    size: int = 0
    keys: dict[str, Key] = field(default_factory=dict)
    since: dict[str, int] = field(default_factory=dict)
    until: dict[str, int] = field(default_factory=dict)
    stolen: dict[str, str] = field(default_factory=dict)

    def at(self, size: int) -> set[str]:
        """The names of the keys in force at that size."""
        return {name for name, since in self.since.items() if since <= size and size < self.until.get(name, 10**9)}

    def people(self, names: set[str], roots: set[str]) -> int:
        return len({self.keys[name]["principal"].lower() for name in names & roots})

    def roots(self, size: int) -> set[str]:
        return {name for name in self.at(size) if self.keys[name]["purpose"] == "root"}


def begin(roots: list[Key], threshold: int) -> Model:
    model = Model(threshold, 1)
    for key in roots:
        model.keys[key["name"]] = key
        model.since[key["name"]] = 1
    return model


def apply(model: Model, event: dict[str, Any]) -> bool:
    """Whether the event may happen; if so it has."""
    what, signers = event["event"], set(event["signers"])
    now, before = model.at(model.size), model.roots(model.size)
    new: Key | None = event.get("key") if what in ("add", "rotate") else None
    old = {"rotate": event.get("replaces"), "revoke": event.get("key")}.get(what)
    if event["seq"] != model.size:
        return False
    if new is not None and (new["name"] in model.keys or new["name"] not in signers):
        return False
    if (event.get("since") is not None) != (event.get("reason") == "compromise"):
        return False
    if old is not None and not ends(model, old, new, event.get("since"), now):
        return False
    after = Model(event.get("threshold", model.threshold), model.size + 1, dict(model.keys), dict(model.since), dict(model.until))
    after.stolen = dict(model.stolen)
    if new is not None:
        after.keys[new["name"]] = new
        after.since[new["name"]] = after.size
    if old is not None:
        after.until.setdefault(old, after.size)
        if event.get("since"):
            after.stolen[old] = event["since"]
    if not signed(model, after, signers, new, old if what == "revoke" else None, before):
        return False
    if not 1 <= after.threshold <= after.people(after.roots(after.size), after.roots(after.size)):
        return False
    for purpose in ("execution", "log"):
        had, has = (any(m.keys[n]["purpose"] == purpose for n in m.at(m.size)) for m in (model, after))
        if had and not has:
            return False
    model.__dict__.update(after.__dict__)
    return True


def ends(model: Model, old: str, new: Key | None, since: str | None, now: set[str]) -> bool:
    """A rotation replaces like with like. What is over can only turn out to have been stolen, and that once."""
    if old not in model.keys:
        return False
    if new is not None:
        same = all(model.keys[old][name] == new[name] for name in ("purpose", "principal", "log"))
        return old in now and same
    return old in now or (since is not None and old not in model.stolen)


def signed(before: Model, after: Model, signers: set[str], new: Key | None, revoked: str | None, roots: set[str]) -> bool:
    """Nobody signs who may not. The roots before reach the old threshold; those after a rotation or a raise, the new one."""
    may = (roots - {revoked}) | ({new["name"]} if new else set())
    if not signers <= may:
        return False
    counted = signers - ({new["name"]} if new else set())
    if before.people(counted, roots) < before.threshold:
        return False
    if after.threshold != before.threshold:
        return after.people(counted, after.roots(after.size)) >= after.threshold
    if new is not None and new["purpose"] == "root" and new["name"] in after.keys and len(after.roots(after.size)) == len(roots):
        return after.people(signers, after.roots(after.size)) >= after.threshold  # a root was rotated: TUF 5.3, both
    return True
