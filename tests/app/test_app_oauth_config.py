"""What a person says of a login binds; what would show a secret to somebody else is refused when it is read."""

from pathlib import Path
from typing import Any

import pytest

from helm_ai_kernel.app.oauth_config import OAuthClient, oauth_client
from helm_ai_kernel.tcb.errors import OutsideError

URL = "https://shop.example/mcp"


def test_nothing_has_to_be_said() -> None:
    assert oauth_client(Path("/home"), "shop", {"mcp": URL}) == OAuthClient(URL)


@pytest.mark.parametrize(
    "said",
    [
        {"client_id": "x"},  # of no issuer
        {"client_secret": "X", "issuer": "https://as.example"},
        {"ca": "ca.pem"},
        {"issuer": "http://as.example"},
        {"issuer": "as.example"},
        {"client_metadata": "https://kernel.example"},
        {"client_metadata": "http://127.0.0.1/c.json"},
        {"client_id": 5, "issuer": "https://as.example"},
        {"scopes": "a"},
        {"scopes": ["a b"]},
        {"opener": "xdg-open"},
        {"redirect_port": 70_000},
        {"redirect_port": True},
        {"client": "x"},
    ],
)
def test_what_is_half_said_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(OutsideError):
        oauth_client(Path("/home"), "shop", {"mcp": URL, "oauth": said})
