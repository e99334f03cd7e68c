"""The keys of whoever sits here: in their ssh-agent, or in files that open with a passphrase. Each signs what asks for it."""

import argparse
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from helm_ai_kernel.app.trust import Draft
from helm_ai_kernel.credentials import agent, keyfile
from helm_ai_kernel.tcb.keys import PublicKey, Purpose, SecretKey, Signer

from .signing import passphrase

PEOPLE = (Purpose.ROOT, Purpose.APPROVAL, Purpose.RELEASE)  # what a person's key can be for
Opened = Callable[[PublicKey], Signer]


@dataclass(frozen=True, slots=True)
class New:
    """A key that an event brings. `make` puts its file there once a person agreed: not where it is there, or somebody else's."""

    public: PublicKey
    make: Callable[[], object] = lambda: None
    signer: Signer | None = None  # the machine's own, which asks nobody


def new_key(args: argparse.Namespace, purpose: Purpose, path: Path) -> New:
    """The key of `--public`, or the one in the file at `path`."""
    public = args.public or path.with_name(path.name + ".pub")
    if args.public or public.exists():
        return New(keyfile.read_public(public, purpose))
    args.key_file, seed = path, os.urandom(32)
    said = SecretKey.from_seed(seed, purpose).public
    return New(said, lambda: keyfile.write_person(path, seed, purpose, _phrase(args, path, new=True)))


def signed_here(args: argparse.Namespace, draft: Draft, folder: Path) -> Draft:
    """With every signature that can be made here; `folder` is where a person's keys are."""
    for raw, opened in _secrets(args, folder):
        for public in (PublicKey(purpose, raw) for purpose in PEOPLE):
            if public.id in draft.missing:
                draft = draft.signed(opened(public))
    return draft


def held(args: argparse.Namespace, folder: Path) -> list[PublicKey]:
    """What could be root keys, unopened."""
    return [PublicKey(Purpose.ROOT, raw) for raw, _ in _secrets(args, folder)]


def _secrets(args: argparse.Namespace, folder: Path) -> Iterator[tuple[bytes, Opened]]:
    if args.ssh_agent:
        own = agent.Agent.from_environment(os.environ)
        yield from ((identity.raw, lambda public: agent.AgentSigner(own, public)) for identity in own.identities())
    named = getattr(args, "key_file", None)
    for raw, path in keyfile.people(folder, *([] if named is None else [named])).items():
        yield raw, _opener(args, path)


def _opener(args: argparse.Namespace, path: Path) -> Opened:
    return lambda public: keyfile.read_person(path, public.purpose, _phrase(args, path))


def _phrase(args: argparse.Namespace, path: Path, *, new: bool = False) -> bytes:
    """Asked once for each file; what a file or a pipe says is for all of them."""
    kept: dict[str, bytes] = args.__dict__.setdefault("phrases", {})
    name = "" if args.passphrase_file or os.environ.get("HELM_PASSPHRASE_FILE") else str(path)
    if name not in kept:
        kept[name] = passphrase(args, f"`{path}`", new=new)
    return kept[name]
