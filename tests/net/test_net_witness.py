"""A witness that lies, stalls, floods or sends us elsewhere costs a bounded time and is believed nothing."""

import datetime
import ipaddress
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.witnessing import VKEY, History, serving, witness
from helm_ai_kernel.net import witness as client
from helm_ai_kernel.net.witness import Conflict, Cosigned, Inconsistent, submit
from helm_ai_kernel.tcb.cosign import cosigned_at
from helm_ai_kernel.tcb.errors import OutsideError
from helm_ai_kernel.wire.submission import Submission

TRUE = History()
SENT = Submission.from_bytes(TRUE.sent(0, 5))


@contextmanager
def scripted(*parts: bytes, wrap: ssl.SSLContext | None = None, stay: bool = False) -> Iterator[tuple[int, list[bytes]]]:
    """A server that answers one connection with these bytes, whatever it is asked; what it was asked."""
    asked: list[bytes] = []
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)

        def run() -> None:
            try:
                connection, _ = listener.accept()
                with connection, wrap.wrap_socket(connection, server_side=True) if wrap else connection as channel:
                    channel.settimeout(10)
                    asked.append(whole(channel))
                    for part in parts:
                        channel.sendall(part)
                    if stay:
                        done.wait(10)
            except OSError:
                pass

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield listener.getsockname()[1], asked
        done.set()
        thread.join(10)


def whole(channel: socket.socket) -> bytes:
    """A request: who closes before the last byte of one was read resets the connection, and the answer is lost on its way."""
    request = b""
    while True:
        head, end, body = request.partition(b"\r\n\r\n")
        length = re.search(rb"\r\nContent-Length: (\d+)", head)
        if end and length and len(body) >= int(length[1]):
            return request
        part = channel.recv(1 << 16)
        if not part:
            return request
        request += part


def answer(status: bytes, body: bytes = b"", *fields: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *fields, b"", body])


def fails(url: str) -> OutsideError:
    with pytest.raises(OutsideError) as caught:
        submit(url, SENT)
    return caught.value


def test_a_real_witness_is_understood(tmp_path: Path) -> None:
    with witness(tmp_path) as asked, serving(asked) as port:
        url = f"http://127.0.0.1:{port}/"
        said = submit(url, SENT)
        assert isinstance(said, Cosigned)
        assert cosigned_at(TRUE.note(5).with_lines(said.lines), VKEY) is not None
        assert submit(url, Submission.from_bytes(TRUE.sent(0, 7))) == Conflict(5)
        assert submit(url, Submission.from_bytes(History(fork=1).sent(5, 5))) == Conflict(5)
        assert isinstance(submit(url, Submission.from_bytes(History(fork=1).sent(5, 7))), Inconsistent)
        assert "answered 404" in fails(f"{url}elsewhere").detail
    assert "refused" in fails(url).detail


def test_a_prefix_is_part_of_the_path() -> None:
    with scripted(answer(b"200 OK", b"lines\n")) as (port, asked):
        assert submit(f"http://127.0.0.1:{port}/a/b/", SENT) == Cosigned(b"lines\n")
    assert asked[0].startswith(b"POST /a/b/add-checkpoint HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" % port)


@pytest.mark.parametrize(
    "said",
    [
        answer(b"301 Moved", b"", b"Location: http://127.0.0.1:1/"),
        answer(b"307 Temporary Redirect", b"", b"Location: http://127.0.0.1:1/"),
        answer(b"403 Forbidden", b"no\x1b[31m"),
        answer(b"500 Oops"),
        answer(b"409 Conflict", b"7\n"),
        answer(b"409 Conflict", b"7", b"Content-Type: text/x.tlog.size"),
        answer(b"409 Conflict", b"07\n", b"Content-Type: text/x.tlog.size"),
        answer(b"409 Conflict", b"9007199254740992\n", b"Content-Type: text/x.tlog.size"),
        answer(b"200 OK", b"x" * ((1 << 17) + 1)),
        answer(b"200 OK", b"short").replace(b"Length: 5", b"Length: 9"),
        b"nonsense\r\n\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
    ],
)
def test_an_answer_that_is_none_is_the_worlds_failure(said: bytes) -> None:
    with scripted(said) as (port, _):
        failed = fails(f"http://127.0.0.1:{port}")
    assert failed.hint and failed.detail.isprintable()


def test_a_witness_that_answers_drop_by_drop_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "WHOLE_S", 0.1)
    with scripted(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", stay=True) as (port, _):
        fails(f"http://127.0.0.1:{port}")


def test_a_witness_that_says_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "CONNECT_S", 0.1)
    with scripted(stay=True) as (port, _):
        assert "timed out" in fails(f"http://127.0.0.1:{port}").detail


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("http://witness.example/", "without TLS"),
        ("http://127.0.0.1.example/", "without TLS"),
        ("http://192.0.2.1/", "without TLS"),
        ("ftp://127.0.0.1/", "a URL of `https`"),
        ("https://", "a URL of `https`"),
        ("https://user@127.0.0.1/", "a URL of `https`"),
        ("https://127.0.0.1/?q", "a URL of `https`"),
        ("https://127.0.0.1/#f", "a URL of `https`"),
        ("https://127.0.0.1:port/", "it is no URL"),
        ("https://[127.0.0.1/", "it is no URL"),
        ("https://127.0.0.1/a\x7fb", "visible ASCII"),
        ("https://127.0.0.1/\u212a", "visible ASCII"),
    ],
)
def test_a_url_that_is_not_asked_is_refused_by_name(url: str, cause: str) -> None:
    assert cause in fails(url).detail


def certificate(folder: Path) -> ssl.SSLContext:
    """A server's certificate for 127.0.0.1, which is its own authority; `folder/cert.pem` is what a client trusts."""
    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    built = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + datetime.timedelta(1))
    built = built.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
    built = built.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(built.sign(key, None).public_bytes(pem))
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(secret)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


def test_tls_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = certificate(tmp_path)
    with scripted(answer(b"200 OK", b"lines\n"), wrap=context) as (port, _):
        assert "certificate" in fails(f"https://127.0.0.1:{port}").detail
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    with scripted(answer(b"200 OK", b"lines\n"), wrap=context) as (port, _):
        assert submit(f"https://127.0.0.1:{port}", SENT) == Cosigned(b"lines\n")
