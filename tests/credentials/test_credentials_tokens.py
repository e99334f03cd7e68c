"""What the kernel holds of OAuth for a server: its owner's alone, for that URL alone, and shown by nothing that prints it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helm_ai_kernel.credentials.tokens import Grant, Held, TokenFile
from helm_ai_kernel.tcb.errors import EvidenceError, OutsideError
from helm_ai_kernel.wire.oauth import Client

URL = "https://shop.example/mcp"
SECRETS = ("canary-access", "canary-refresh", "canary-secret")
HELD = Held(
    URL,
    Grant("https://as.example", "c", URL, SECRETS[0], SECRETS[1], 1_800_000_000, ("a", "b")),
    {"https://as.example": Client("c", SECRETS[2], "client_secret_post", "http://127.0.0.1:5/callback", 5)},
    ("wanted",),
    'Bearer scope="a"',
)
texts = st.text(st.characters(codec="ascii", min_codepoint=32), max_size=20)


@given(texts, texts, st.none() | texts, st.none() | st.integers(0, 2**40), st.lists(texts, max_size=3))
def test_what_is_written_is_what_is_read(
    url: str, access: str, refresh: str | None, expires: int | None, scopes: list[str]
) -> None:
    grant = Grant(url, access, url, access, refresh, expires, tuple(scopes))
    held = Held(url, grant, {url: Client(access, refresh, "none", refresh, expires)}, tuple(scopes), access)
    assert Held.from_bytes(held.to_bytes()) == held
    assert Held.from_bytes(Held(url).to_bytes()) == Held(url)


def test_the_file_is_its_owners_alone_and_nothing_shows_what_is_in_it(tmp_path: Path) -> None:
    file = TokenFile(tmp_path / "oauth/shop.json", URL)
    assert file.read() == Held(URL)
    file.write(HELD)
    assert file.read() == HELD
    assert (file.path.stat().st_mode & 0o777, file.path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert not any(secret in repr(HELD) for secret in SECRETS)
    assert file.forget() and not file.forget() and file.read() == Held(URL)


def test_under_another_url_nothing_in_it_counts(tmp_path: Path) -> None:
    TokenFile(tmp_path / "shop.json", URL).write(HELD)
    other = "https://evil.example/mcp"
    assert TokenFile(tmp_path / "shop.json", other).read() == Held(other)


def test_a_file_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    file = TokenFile(tmp_path / "shop.json", URL)
    file.write(HELD)
    file.path.chmod(0o640)
    with pytest.raises(OutsideError, match="open to others"):
        file.read()


@pytest.mark.parametrize("data", [b"", b"{}", HELD.to_bytes()[:-9], HELD.to_bytes().replace(b'"v":1', b'"v":2')])
def test_a_file_that_is_not_as_it_was_written_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(EvidenceError):
        Held.from_bytes(data)
    path = tmp_path / "shop.json"
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.raises(OutsideError):
        TokenFile(path, URL).read()
