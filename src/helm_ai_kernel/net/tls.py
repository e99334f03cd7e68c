"""TLS of a door: version 1.2 or newer, HTTP/1.1 alone, and clients by certificates of one authority where that is configured."""

import ssl
from collections.abc import Callable
from pathlib import Path

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.digest import digest
from helm_ai_kernel.tcb.errors import OutsideError

ALPN = ["http/1.1"]


def server_context(certificate: Path, key: Path, client_ca: Path | None = None, *, required: bool = True) -> ssl.SSLContext:
    """PEM files: the chain, its key without a passphrase, and the authority of clients; `required`: nobody comes without one.

    Raises `OutsideError`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(ALPN)
    _load(certificate, lambda: context.load_cert_chain(certificate, key, password=_no_passphrase))
    if client_ca is not None:
        _load(client_ca, lambda: context.load_verify_locations(client_ca))
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    return context


def certificate_digest(transport_ssl: ssl.SSLObject | None) -> str | None:
    """Of the client's certificate, which was verified; None where it showed none."""
    shown = transport_ssl.getpeercert(binary_form=True) if transport_ssl is not None else None
    return digest(shown) if shown else None


def _load(path: Path, load: Callable[[], object]) -> None:
    try:
        load()
    except (OSError, ValueError) as error:  # ssl.SSLError is one of the first; ValueError: a passphrase is asked for
        cause = (getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)).lower().replace("_", " ")
        detail = f"TLS cannot be configured with `{path}`: {cause}"
        raise OutsideError(Reason.ERR_POLICY_NOT_READY, detail, hint="openssl verify, or name other PEM files") from None


def _no_passphrase() -> str:
    raise ValueError("its key has a passphrase, and nobody is there to type it")
