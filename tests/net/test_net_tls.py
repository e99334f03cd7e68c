"""Who comes through TLS, and with which certificate."""

import asyncio
import datetime
import ipaddress
import ssl
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from helm_ai_kernel.net.listener import Bounds, Head, Reply
from helm_ai_kernel.net.tls import server_context
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.digest import digest
from helm_ai_kernel.tcb.errors import OutsideError
from net.doors import TINY, echo, front, until
from net.test_net_listener import run

PEM = serialization.Encoding.PEM


class Authority:
    """A certificate that signs others, and files of both."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(self._signed(self._name, self._key, ca=True).public_bytes(PEM))

    def issue(self, name: str) -> tuple[Path, Path, str]:
        """The certificate, its key, and the digest of the first."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._signed(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]), key, ca=False)
        certificate, secret = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        certificate.write_bytes(made.public_bytes(PEM))
        private = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        secret.write_bytes(key.private_bytes(PEM, *private))
        return certificate, secret, digest(made.public_bytes(serialization.Encoding.DER))

    def _signed(self, name: x509.Name, key: ec.EllipticCurvePrivateKey, *, ca: bool) -> x509.Certificate:
        alternative = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        return (
            x509.CertificateBuilder(self._name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(datetime.datetime(2020, 1, 1))
            .not_valid_after(datetime.datetime(2120, 1, 1))
            .add_extension(x509.BasicConstraints(ca, None), critical=True)
            .add_extension(x509.SubjectAlternativeName(alternative), critical=False)
            .sign(self._key, SHA256())
        )


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"), "authority")


@pytest.fixture(scope="module")
def server(authority: Authority) -> tuple[Path, Path]:
    return authority.issue("server")[:2]


def client(authority: Authority, *chain: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.path))
    if chain:
        context.load_cert_chain(*chain)
    return context


@run
async def test_a_request_comes_through_tls_in_http_1(authority: Authority, server: tuple[Path, Path]) -> None:
    async with front(tls=server_context(*server)) as up:
        context = client(authority)
        context.set_alpn_protocols(["h2", "http/1.1"])
        wire = await up.wire(context)
        assert wire.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        assert wire.writer.get_extra_info("ssl_object").version() == "TLSv1.3"
        await wire.send(up.post(b"body", f"Origin: https://localhost:{up.port}"))
        assert (await wire.reply())[2] == b"/call body"
        assert up.door.answered[0][2].certificate is None
        await wire.send(up.get("/", f"Origin: http://localhost:{up.port}"))
        assert (await wire.reply())[0] == 403


@run
async def test_who_speaks_http_2_in_tls_or_nothing_of_tls_is_not_read(authority: Authority, server: tuple[Path, Path]) -> None:
    async with front(tls=server_context(*server)) as up:
        context = client(authority)
        context.set_alpn_protocols(["h2"])
        answer = await up.ask(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", context)
        assert answer.startswith(b"HTTP/1.1 501 ")
        assert b"HTTP/" not in await up.ask(up.get())
        assert Reason.ERR_UNAUTHENTICATED in up.door.refusals and not up.door.admitted


@run
async def test_an_old_version_of_tls_is_refused(authority: Authority, server: tuple[Path, Path]) -> None:
    context = client(authority)
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with front(tls=server_context(*server)) as up:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await up.wire(context)


@run
async def test_a_client_is_known_by_its_certificate(authority: Authority, server: tuple[Path, Path]) -> None:
    certificate, key, known = authority.issue("agent")
    async with front(tls=server_context(*server, authority.path)) as up:
        wire = await up.wire(client(authority, certificate, key))
        await wire.send(up.get())
        assert (await wire.reply())[0] == 200
        assert up.door.answered[0][2].certificate == known


@run
async def test_who_shows_no_certificate_or_one_of_somebody_else_is_not_read(
    authority: Authority, server: tuple[Path, Path], tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "stranger").issue("agent")[:2]
    async with front(tls=server_context(*server, authority.path)) as up:
        for context in (client(authority), client(authority, *stranger)):
            with suppress(ssl.SSLError, ConnectionError):
                assert await up.ask(up.get(), context) == b""
        await until(lambda: up.door.refusals == [Reason.ERR_UNAUTHENTICATED] * 2)
        assert not up.door.admitted
    async with front(tls=server_context(*server, authority.path, required=False)) as up:
        wire = await up.wire(client(authority))
        await wire.send(up.get())
        assert (await wire.reply())[0] == 200 and up.door.answered[0][2].certificate is None


@run
async def test_a_caller_that_went_away_is_not_here_in_tls_either(authority: Authority, server: tuple[Path, Path]) -> None:
    for ahead in (b"", b"G"):
        async with front(tls=server_context(*server)) as up:
            go = asyncio.Event()

            async def slow(head: Head, body: bytes, go: asyncio.Event = go) -> Reply:
                await go.wait()
                return await echo(head, body)

            up.door.say, wire = slow, await up.wire(client(authority))
            await wire.send(up.post())
            await until(lambda up=up: bool(up.door.answered))
            peer = up.door.answered[0][2]
            assert peer.here()
            if ahead:
                await wire.send(ahead)
            wire.writer.close()
            await until(lambda peer=peer: not peer.here())
            go.set()
            await until(lambda up=up: not up.listener._books.tasks)


@run
async def test_who_begins_tls_and_does_not_go_on_has_a_place_for_a_short_time(server: tuple[Path, Path]) -> None:
    async with front(TINY, tls=server_context(*server)) as up:
        assert await up.ask(b"\x16\x03\x01") == b""
        await until(lambda: not up.listener._books.members)
    async with front(Bounds(connections=2, peer_connections=2), tls=server_context(*server)) as up:
        wires = [await up.wire() for _ in range(3)]
        assert await wires[0].rest() == b"", "it made room"
        await asyncio.sleep(0)


def test_files_that_are_none_are_said_in_one_line(tmp_path: Path, authority: Authority, server: tuple[Path, Path]) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("nonsense")
    locked = tmp_path / "locked.key"
    key = serialization.load_pem_private_key(server[1].read_bytes(), None)
    secret = serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    locked.write_bytes(key.private_bytes(PEM, *secret))
    for arguments, says in (
        ((tmp_path / "nowhere", server[1]), "no such file"),
        ((wrong, server[1]), "wrong.pem"),
        ((server[0], authority.issue("other")[1]), "key values mismatch"),
        ((server[0], locked), "has a passphrase"),
        ((*server, wrong), "wrong.pem"),
    ):
        with pytest.raises(OutsideError, match=says) as caught:
            server_context(*arguments)
        assert caught.value.hint and "\n" not in caught.value.detail
