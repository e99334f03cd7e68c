"""An access token opens this kernel where its issuer signed it, for this resource alone, for now; no other one does."""

import hmac
import json
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from credentials.issuing import ISSUER, NOW, RESOURCE, Signing, b64, compact
from helm_ai_kernel.credentials.access import Access, Terms, access
from helm_ai_kernel.credentials.jws import ALGORITHMS, KEYS_MAX, TOKEN_CHARS_MAX, keys
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.keys import FORBIDDEN

SIGNING, OTHER = Signing(), Signing()
KNOWN = keys(SIGNING.document)
TERMS = Terms(ISSUER, RESOURCE, frozenset(ALGORITHMS))
GOOD = SIGNING.token()
PEM = SIGNING.modulus.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def why(token: str, terms: Terms = TERMS, known: Any = KNOWN, at: float = NOW) -> str:
    try:
        access(token, known, terms, at)
    except Refused as refused:
        told = any(part and part in refused.detail for part in token.split("."))
        return refused.sub if refused.reason is Reason.ERR_UNAUTHENTICATED and not told else str(refused)
    return ""


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_token_that_its_issuer_made_for_this_kernel_says_whose_it_is(algorithm: str) -> None:
    assert access(SIGNING.token(algorithm), KNOWN, TERMS, NOW) == Access("agent-7", frozenset({"mcp:tools", "mcp:read"}))


def with_secret(key: bytes) -> str:
    head, body = (b64(json.dumps(part).encode()) for part in ({"alg": "HS256", "kid": "RS256", "typ": "at+jwt"}, {"iss": ISSUER}))
    return f"{head}.{body}.{b64(hmac.digest(key, f'{head}.{body}'.encode(), sha256))}"


def changed(**header: Any) -> str:
    return SIGNING.token(header=header)


BAD = {
    "unsigned, alg none": (compact(b'{"alg":"none","typ":"at+jwt"}', b"{}", b"x"), "jwt_alg"),
    "alg none with no third part": (f"{b64(b'{}')}.{b64(b'{}')}.", "jwt_form"),
    "alg NoNe": (changed(alg="NoNe"), "jwt_alg"),
    "no alg": (changed(alg=None), "jwt_alg"),
    "alg is a list": (changed(alg=["ES256"]), "jwt_alg"),
    "HS256 with the public key as its secret": (with_secret(PEM), "jwt_alg"),
    "HS256 with the key set as its secret": (with_secret(SIGNING.document), "jwt_alg"),
    "signed by another issuer's key": (OTHER.token(), "jwt_signature"),
    "the algorithm of another key": (changed(alg="RS256"), "jwt_signature"),
    "the key of another algorithm": (changed(kid="RS256"), "jwt_signature"),
    "ES256 as DER": (
        compact(
            b'{"typ":"at+jwt","alg":"ES256","kid":"ES256"}', b"{}", b"\x30\x06\x02\x01\x01\x02\x01\x01"
        ),
        "jwt_signature",
    ),
    "ES256 of zeros (psychic)": (compact(b'{"typ":"at+jwt","alg":"ES256","kid":"ES256"}', b"{}", bytes(64)), "jwt_signature"),
    "EdDSA of zeros": (compact(b'{"typ":"at+jwt","alg":"EdDSA","kid":"EdDSA"}', b"{}", bytes(64)), "jwt_signature"),
    "unknown kid": (changed(kid="other"), "jwt_kid"),
    "no kid": (changed(kid=None), "jwt_kid"),
    "kid that is a path": (changed(kid="../../keys/execution"), "jwt_kid"),
    "kid that is a number": (changed(kid=1), "jwt_kid"),
    "a key of its own": (changed(jwk=SIGNING.jwks()["keys"][1]), "jwt_header"),
    "the place of its key": (changed(jku="https://evil.example/keys"), "jwt_header"),
    "a certificate": (changed(x5c=["MII"]), "jwt_header"),
    "crit": (changed(crit=["exp"]), "jwt_header"),
    "an empty crit": (changed(crit=[]), "jwt_header"),
    "duplicate keys in the header": (
        SIGNING.raw(b'{"alg":"none","alg":"ES256","kid":"ES256","typ":"at+jwt"}', b"{}"), "jwt_json"
    ),
    "duplicate keys in the claims": (
        SIGNING.raw(b'{"alg":"ES256","kid":"ES256","typ":"at+jwt"}', b'{"sub":"a","sub":"b"}'), "jwt_json"
    ),
    "claims that are a list": (SIGNING.raw(b'{"alg":"ES256","kid":"ES256","typ":"at+jwt"}', b"[]"), "jwt_json"),
    "an id token": (changed(typ="JWT"), "jwt_typ"),
    "no typ": (changed(typ=None), "jwt_typ"),
    "another issuer": (SIGNING.token(iss="https://other.example"), "jwt_iss"),
    "an issuer with a slash more": (SIGNING.token(iss=f"{ISSUER}/"), "jwt_iss"),
    "no issuer": (SIGNING.token(iss=None), "jwt_iss"),
    "another audience": (SIGNING.token(aud="https://other.example/mcp"), "jwt_aud"),
    "another audience in a list": (SIGNING.token(aud=["https://other.example/mcp"]), "jwt_aud"),
    "another audience beside ours": (SIGNING.token(aud=[RESOURCE, "https://other.example/mcp"]), "jwt_aud"),
    "an audience that ours begins": (SIGNING.token(aud=f"{RESOURCE}/more"), "jwt_aud"),
    "an audience that begins ours": (SIGNING.token(aud="https://kernel.example"), "jwt_aud"),
    "an empty list of audiences": (SIGNING.token(aud=[]), "jwt_aud"),
    "no audience": (SIGNING.token(aud=None), "jwt_aud"),
    "expired": (SIGNING.token(exp=NOW - 30), "jwt_exp"),
    "without an end": (SIGNING.token(exp=None), "jwt_exp"),
    "an end that is text": (SIGNING.token(exp=str(NOW + 300)), "jwt_exp"),
    "an end that is true": (SIGNING.token(exp=True), "jwt_exp"),
    "not yet": (SIGNING.token(nbf=NOW + 31), "jwt_nbf"),
    "made tomorrow": (SIGNING.token(iat=NOW + 86_400), "jwt_nbf"),
    "bound to a key": (SIGNING.token(cnf={"jkt": "x"}), "jwt_cnf"),
    "nobody's": (SIGNING.token(sub=None), "jwt_subject"),
    "of an empty name": (SIGNING.token(sub=""), "jwt_subject"),
    "of a list": (SIGNING.token(sub=["agent-7"]), "jwt_subject"),
    "huge": (SIGNING.token(more="x" * TOKEN_CHARS_MAX), "jwt_form"),
    "opaque": ("A" * 43, "jwt_form"),
    "encrypted": (GOOD + ".a.b", "jwt_form"),
    "padded": (GOOD + "=", "jwt_form"),
    "with a blank": (GOOD.replace(".", " .", 1), "jwt_form"),
    "with a newline at the end": (GOOD + "\n", "jwt_form"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_token_is_refused_for_what_is_bad_about_it(name: str) -> None:
    token, sub = BAD[name]
    assert why(token) == sub


@given(st.integers(0, len(GOOD) - 1), st.sampled_from("ABCDEFGHabcdefgh0123456789-_"))
def test_a_token_in_which_one_character_is_another_opens_nothing(at: int, char: str) -> None:
    other = GOOD[:at] + char + GOOD[at + 1 :]
    assert (why(other) == "") == (other == GOOD)


@pytest.mark.parametrize(("at", "sub"), [(NOW - 30, ""), (NOW - 31, "jwt_nbf"), (NOW + 329, ""), (NOW + 330, "jwt_exp")])
def test_clocks_may_differ_by_so_much(at: float, sub: str) -> None:
    assert why(GOOD, at=at) == sub


def test_an_algorithm_that_is_not_listed_is_not_accepted() -> None:
    assert why(GOOD, Terms(ISSUER, RESOURCE, frozenset({"RS256"}))) == "jwt_alg"


def test_tokens_of_type_jwt_count_only_where_a_person_said_so() -> None:
    terms = Terms(ISSUER, RESOURCE, frozenset(ALGORITHMS), frozenset({"at+jwt", "jwt"}))
    assert why(changed(typ="JWT"), terms) == "" and why(changed(typ="application/at+jwt")) == ""


def test_another_claim_may_say_whose_it_is() -> None:
    terms = Terms(ISSUER, RESOURCE, frozenset(ALGORITHMS), claim="client_id")
    assert access(GOOD, KNOWN, terms, NOW).subject == "c"


def one(number: int, **changes: Any) -> bytes:
    jwk = {**SIGNING.jwks()["keys"][number], **changes}
    return json.dumps({"keys": [{name: value for name, value in jwk.items() if value is not None}]}).encode()


@pytest.mark.parametrize(
    "document",
    [
        b'{"keys":[]}',
        b'{"keys":[{"kty":"oct","kid":"k","k":"c2VjcmV0","alg":"HS256"}]}',
        one(0, use="enc"),
        one(0, key_ops=["encrypt"]),
        one(0, kid=None),
        one(0, alg="RS512"),
        one(0, alg="PS256"),
        one(0, d="AQAB"),
        one(0, n="AQAB"),  # 17 bits
        one(0, n=b64(((1 << 1023) + 1).to_bytes(128, "big"))),
        one(0, e="AQ"),  # 1: everything is its own signature
        one(0, e=None),
        one(1, crv="P-521"),
        one(1, x=b64(bytes(32))),  # no point of the curve
        one(2, crv="X25519"),
        *(one(2, x=b64(raw)) for raw in sorted(FORBIDDEN)[:8]),
        json.dumps({"keys": 2 * SIGNING.jwks()["keys"]}).encode(),  # each twice
    ],
)  # fmt: skip
def test_a_key_that_cannot_be_trusted_with_a_signature_is_nobodys(document: bytes) -> None:
    assert keys(document) == {}


@pytest.mark.parametrize(
    "document", [b"", b"[]", b'{"keys":{}}', b'{"keys":[],"keys":[]}', json.dumps({"keys": [{}] * (KEYS_MAX + 1)}).encode()]
)
def test_what_is_no_key_set_is_refused_whole(document: bytes) -> None:
    with pytest.raises(Refused):
        keys(document)
