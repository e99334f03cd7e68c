"""Access tokens that an authorization server made for this kernel, and for nobody else (RFC 9068).

A token counts where the issuer signed it, for exactly this resource, for now, and for whoever holds it. One that names other
resources besides is refused: each of them could use it here.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.wire.challenge import scopes

from .jws import Keys, verified

SUBJECT_CHARS_MAX = 256
SKEW_S_MAX = 300  # clocks that differ by more are wrong


@dataclass(frozen=True, slots=True)
class Terms:
    """What a token has to be. `claim` says whose it is; `types` in lower case, without `application/`."""

    issuer: str
    resource: str
    algorithms: frozenset[str]
    types: frozenset[str] = frozenset({"at+jwt"})
    claim: str = "sub"
    skew_s: int = 30


@dataclass(frozen=True, slots=True)
class Access:
    subject: str
    scopes: frozenset[str]


def access(token: str, known: Keys, terms: Terms, at: float) -> Access:
    """`at`: seconds since 1970. Raises `Refused(ERR_UNAUTHENTICATED)`, whose words hold nothing of the token."""
    header, claims = verified(token, known, terms.algorithms)
    kind = header.get("typ")
    if type(kind) is not str or kind.lower().removeprefix("application/") not in terms.types:
        raise _no("typ", "the token is none for a resource")
    if claims.get("iss") != terms.issuer:
        raise _no("iss", "the token is of another issuer")
    audience = claims.get("aud")
    if audience not in (terms.resource, [terms.resource]):
        raise _no("aud", "the token is not for this resource, or not for it alone")
    _check_time(claims, terms.skew_s, at)
    if "cnf" in claims:  # RFC 7800: whoever shows it has to prove more than having it
        raise _no("cnf", "the token is bound to a key, and that is not looked at here")
    subject, scope = claims.get(terms.claim), claims.get("scope", "")
    if type(subject) is not str or not 0 < len(subject) <= SUBJECT_CHARS_MAX:
        raise _no("subject", "the token does not say whose it is")
    return Access(subject, frozenset(scopes(scope) if type(scope) is str else ()))


def _check_time(claims: Mapping[str, Json], skew_s: int, at: float) -> None:
    ends, begins, made = (_moment(claims, name) for name in ("exp", "nbf", "iat"))
    if ends is None or at >= ends + skew_s:
        raise _no("exp", "the token's time is over, or has no end")
    if any(moment is not None and at < moment - skew_s for moment in (begins, made)):
        raise _no("nbf", "the token's time has not come")


def _moment(claims: Mapping[str, Json], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if type(value) is not int and type(value) is not float:
        raise _no(name, "the token has a time that is none")
    return value


def _no(sub: str, detail: str) -> Refused:
    return Refused(Reason.ERR_UNAUTHENTICATED, detail, sub=f"jwt_{sub}")
