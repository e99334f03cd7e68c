"""`up` as people and supervisors meet it: real processes, real sockets, real signals."""

import asyncio
import http.client
import json
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.kernels import OPEN, Place
from app.residents import COMMAND, HERE, Caller, began, go, prepared, up
from helm_ai_kernel.app import agents, asks
from helm_ai_kernel.app.runtime import Runtime
from helm_ai_kernel.gateway.identity import Agent, Limits
from helm_ai_kernel.gateway.openapi import CONTROL
from helm_ai_kernel.tcb.digest import Digest
from needs import schemathesis, two_users
from net.test_net_tls import Authority


def test_a_kernel_serves_until_it_is_told_to_end_and_leaves_everything_whole(place: Place) -> None:
    token = prepared(place)
    with up(place) as kernel:
        answer = kernel.execute("tools/say", token, text="hello")
        assert answer.status == 200
        assert answer.value["result"]["content"][0]["text"] == '{"text": "hello"}'
        assert kernel.execute("tools/other", token).status == 403
        assert kernel.execute("tools/say", None).status == 401
        assert kernel.ask("control", "GET", "/readyz", unix=True).status == 200
        assert kernel.end() == (0, "")
    assert list(place.paths.run.glob("*.sock")) == []
    assert place.told("decision")[0] == "decision ALLOW OK tools/say"
    place.check()


def test_a_base_url_is_credential_enough_and_is_said_nowhere(place: Place) -> None:
    token = prepared(place)
    with up(place) as kernel:
        sent = {"tool": "tools/say", "arguments": {}}
        assert kernel.ask("data", "POST", f"/k/{token}/mcp/v1/execute", sent).status == 200
        for answer in (
            kernel.ask("data", "POST", f"/k/{token}/nowhere", sent),
            kernel.ask("data", "GET", f"/k/{token}/mcp/v1/execute"),
            kernel.ask("data", "POST", f"/k/{token}/mcp/v1/execute", b"{"),
            kernel.ask("data", "POST", f"/k/{token}x/mcp/v1/execute", sent),
        ):
            assert answer.status in (400, 401, 404, 405)
            assert token not in str(answer)
        code, said = kernel.end()
    assert (code, token in said) == (0, False)
    assert not any(token.encode() in receipt.line for receipt in place.receipts())


@contextmanager
def notified(place: Place) -> Iterator[tuple[socket.socket, dict[str, str]]]:
    """Where a supervisor listens, and the environment that says so."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(place.folder / "notify"))
        told.settimeout(30)
        yield told, {"NOTIFY_SOCKET": str(place.folder / "notify")}


def test_calls_under_way_end_before_the_kernel_does_and_no_new_ones_begin(place: Place) -> None:
    token = prepared(place, waits=True)
    with notified(place) as (told, env), up(place, env=env) as kernel:
        assert told.recv(100) == b"READY=1"
        caller = Caller(kernel, token)
        began(place)
        kernel.process.send_signal(signal.SIGTERM)
        assert told.recv(100) == b"STOPPING=1"
        with pytest.raises((OSError, http.client.HTTPException)):
            kernel.execute("tools/wait", token)
        go(place)
        answer = caller.answered()
        assert answer is not None
        assert answer.status == 200
        assert kernel.ended() == (0, "")
    assert (place.folder / "done").read_text().count("\n") == 1
    place.check()


def test_a_call_that_takes_longer_than_the_end_may_is_unknown(place: Place) -> None:
    token = prepared(place, waits=True)
    with up(place, "--within-s", "0") as kernel:
        caller = Caller(kernel, token)
        began(place)
        assert kernel.end() == (0, "")
        answer = caller.answered()
        assert answer is None or answer.status != 200, "what has no outcome is no result"
    assert place.told("outcome") == ["outcome UNKNOWN ERR_OUTCOME_UNKNOWN closed"]
    place.check()


def test_a_second_signal_ends_it_at_once(place: Place) -> None:
    token = prepared(place, waits=True)
    with up(place) as kernel:
        Caller(kernel, token)
        began(place)
        kernel.process.send_signal(signal.SIGTERM)
        kernel.process.send_signal(signal.SIGINT)
        assert kernel.ended()[0] in (128 + signal.SIGINT, 128 + signal.SIGTERM)
    with up(place) as kernel:
        assert place.told("outcome") == ["outcome UNKNOWN ERR_OUTCOME_UNKNOWN crash"]
        kernel.end()
    assert (place.folder / "done").read_text().count("\n") == 1


def test_a_kernel_that_is_killed_in_the_middle_of_a_call_says_so_at_its_next_start_and_never_calls_again(place: Place) -> None:
    token = prepared(place, waits=True)
    with up(place) as kernel:
        caller = Caller(kernel, token, idempotency_key="k")
        began(place)
        kernel.end(signal.SIGKILL)
        assert caller.answered() is None, "nothing is released without an outcome"
    with up(place) as kernel:
        assert place.told("outcome") == ["outcome UNKNOWN ERR_OUTCOME_UNKNOWN crash"]
        again = kernel.execute("tools/wait", token, idempotency_key="k")
        assert (again.status, again.code) == (409, "ERR_OUTCOME_UNKNOWN")
        assert kernel.end() == (0, "")
    assert (place.folder / "done").read_text() == '{"text": "x"}\n'


def test_a_home_has_one_kernel_and_the_next_one_waits_for_it(place: Place) -> None:
    prepared(place)
    with up(place) as first:
        with up(place, "--wait-s", "0", ready=False) as second:
            code, said = second.ended()
            assert (code, "ERR_STORE_LOCKED" in said) == (2, True)
        with up(place, "--wait-s", "30", ready=False) as third:
            assert first.end()[0] == 0
            assert third.process.stdout is not None
            assert "listening" in third.process.stdout.readline()
            assert third.end() == (0, "")


def test_one_that_waits_for_the_store_ends_when_it_is_told_to(place: Place) -> None:
    prepared(place)
    with up(place) as first:
        with up(place, "--wait-s", "30", ready=False) as second:
            caught = 0  # signals for which it has a handler: before that, SIGTERM would just kill it
            while not caught & (1 << (signal.SIGTERM - 1)):
                status = Path(f"/proc/{second.process.pid}/status").read_text()
                caught = next(int(row.split()[1], 16) for row in status.splitlines() if row.startswith("SigCgt"))
            assert second.end() == (0, "")
        assert first.end() == (0, "")


def test_agents_come_and_go_while_the_kernel_runs(place: Place) -> None:
    token = prepared(place)
    with up(place) as kernel:
        new = agents.add(place.paths, Agent("bob"), token=True).token
        assert kernel.execute("tools/say", new).status == 200
        agents.remove(place.paths, "ann")
        assert kernel.execute("tools/say", token).status == 401
        other = agents.rotate(place.paths, "bob").token
        assert [kernel.execute("tools/say", one).status for one in (new, other)] == [401, 200]
        place.paths.agents.chmod(0o644)
        assert kernel.execute("tools/say", other).status == 503, "a file that others can read lets nobody in"
        place.paths.agents.chmod(0o600)
        kernel.process.send_signal(signal.SIGHUP)
        assert kernel.execute("tools/say", other).status == 200
        assert kernel.end() == (0, "")
    place.check()


def test_an_agent_of_another_user_is_known_by_its_user_and_opens_no_control_plane(place: Place) -> None:
    two_users()
    prepared(place)
    agents.add(place.paths, Agent("carol", uid=4242), token=False)
    shared = place.folder / "shared"
    said = place.paths.config.read_text()
    place.paths.config.write_text(said.replace("\n[data]\n", f'\n[data]\nsocket = "{shared / "data.sock"}"\n'))
    with up(place) as kernel:
        run = place.paths.run
        for folder in (place.folder.parents[0], *place.folder.parents, place.folder, place.paths.home, run):
            if folder.is_relative_to("/tmp") and folder != Path("/tmp"):
                folder.chmod(0o711)
        (run / "control.sock").chmod(0o666)  # an administrator's mistake must not matter
        code = (
            "import os, socket, sys; os.setgroups([]); os.setgid(4242); os.setuid(4242)\n"
            "for path, target in ((sys.argv[1], '/mcp/v1/capabilities'), (sys.argv[2], '/readyz')):\n"
            "    sock = socket.socket(socket.AF_UNIX); sock.connect(path)\n"
            "    sock.sendall(f'GET {target} HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n'.encode())\n"
            "    data = b''\n"
            "    while part := sock.recv(65536): data += part\n"
            '    print(data.split()[1].decode(), b\'"principal":"carol"\' in data)\n'
        )
        other = subprocess.run(
            ["/usr/bin/python3" if Path("/usr/bin/python3").exists() else COMMAND[0], "-I", "-S", "-c", code,
             str(shared / "data.sock"), str(run / "control.sock")],
            capture_output=True, text=True, timeout=30, check=False, cwd="/",
        )  # fmt: skip
        assert other.stdout.split() == ["200", "True", "401", "False"], other.stderr
        assert kernel.end() == (0, "")


def test_whoever_supervises_is_told_when_it_is_ready_and_when_it_ends(place: Place) -> None:
    prepared(place)
    with notified(place) as (told, env), up(place, env=env) as kernel:
        assert told.recv(100) == b"READY=1"
        assert kernel.end() == (0, "")
        assert told.recv(100) == b"STOPPING=1"


def test_an_open_loopback_is_said_in_every_receipt(place: Place) -> None:
    token = prepared(place)
    size = len(place.receipts())
    with up(place, "--insecure-open-loopback") as kernel:
        assert kernel.execute("tools/say", None).status == 200
        assert kernel.execute("tools/say", token).status == 200
        assert kernel.execute("tools/say", "A" * 43).status == 401
        assert kernel.ask("control", "GET", "/readyz").status == 401, "that is the data plane's"
        assert kernel.end() == (0, "")
    receipts = place.receipts()[size:]
    assert {str(receipt.body["build"]["insecure"]) for receipt in receipts} == {"['--insecure-open-loopback']"}  # type: ignore[index,call-overload]
    named = {receipt.body["principal"] for receipt in receipts if receipt.body.get("event") == "start"}
    assert named == {"kernel", "local", "ann"}
    place.check()


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "[::ffff:127.0.0.1]:0"])
@pytest.mark.parametrize("plane", ["data", "control"])
def test_what_is_not_loopback_does_not_start_without_tls_and_nothing_is_left_open(place: Place, plane: str, listen: str) -> None:
    place.configure(HERE.replace(f'[{plane}]\nlisten = "127.0.0.1:0"', f'[{plane}]\nlisten = "{listen}"'))
    with up(place, ready=False) as kernel:
        code, said = kernel.ended()
    assert (code, "TLS" in said, said.count("\n")) == (2, True, 2)
    place.check()


def test_an_address_that_is_taken_is_said_and_the_store_is_let_go(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place.configure(f'[data]\nlisten = "127.0.0.1:{taken.getsockname()[1]}"\n[control]\nlisten = ""\n')
        with up(place, ready=False) as kernel:
            code, said = kernel.ended()
    assert (code, "another process listens" in said) == (2, True)
    place.check()


def test_a_plane_without_an_address_is_on_its_socket_only(place: Place) -> None:
    token = prepared(place)
    text = place.paths.config.read_text().replace('[control]\nlisten = "127.0.0.1:0"', '[control]\nlisten = ""')
    place.paths.config.write_text(text)
    with up(place) as kernel:
        assert kernel.listening.keys() == {"data"}
        assert kernel.ask("control", "GET", "/readyz", unix=True).status == 200
        assert kernel.ask("data", "GET", "/mcp/v1/capabilities", token=token, unix=True).value["principal"] == "ann"
        assert kernel.end() == (0, "")


def test_a_tool_that_hangs_holds_its_callers_and_nobody_else(place: Place) -> None:
    token = prepared(place, waits=True)
    agents.remove(place.paths, "ann")
    token = agents.add(place.paths, Agent("ann", limits=Limits(concurrent=1)), token=True).token or ""
    other = agents.add(place.paths, Agent("bob"), token=True).token
    with up(place) as kernel:
        caller = Caller(kernel, token)
        began(place)
        for _ in range(3):
            refused = kernel.execute("tools/wait", token)
            assert (refused.status, refused.code, refused.fields["retry-after"]) == (429, "ERR_RATE_LIMITED", "1")
        assert kernel.execute("tools/other", other).status == 403
        assert kernel.ask("control", "GET", "/readyz", unix=True).status == 200
        go(place)
        answer = caller.answered()
        assert answer is not None
        assert answer.status == 200
        metrics = kernel.ask("control", "GET", "/metrics", unix=True).data.decode()
        assert 'helm_refused_total{plane="data",reason="ERR_RATE_LIMITED"} 3' in metrics
        assert kernel.end() == (0, "")


def test_nothing_of_a_call_and_no_credential_is_in_logs_metrics_errors_or_what_operators_read(place: Place) -> None:
    token = prepared(place)
    said, key = "canary-5f1c-arguments", "canary-5f1c-key"
    with up(place) as kernel:
        operator = place.paths.operator_token.read_text().strip()
        first = kernel.execute("tools/say", token, text=said, idempotency_key=key)
        assert (first.status, said in str(first.value["result"])) == (200, True)
        salts = [*first.value["helm"]["salts"].values()]
        secrets = [said, key, token, operator, *salts, *(bytes.fromhex(salt).decode("latin-1") for salt in salts)]
        told = [
            kernel.execute("tools/say", token, text=said + "2", idempotency_key=key),
            kernel.execute("tools/other", token, text=said),
            kernel.ask(
                "data", "POST", "/mcp/v1/execute", {"tool": "tools/say", "arguments": {"text": 7, said: said}}, token=token
            ),
            kernel.ask("data", "POST", "/mcp/v1/execute", b'{"tool":"' + said.encode(), token=token),
            kernel.ask("data", "POST", "/mcp/v1/execute", b"{}", token=token, content_type=said),
            kernel.ask("data", "POST", "/mcp/v1/execute", b"{}", token=token, helm_session=said),
            kernel.ask("data", "POST", f"/{said}", b"{}", token=token),
            kernel.ask("data", "POST", f"/k/{token}/{said}", b"{}", x_api_key="A" * 43),
            kernel.ask("data", "GET", "/mcp/v1/capabilities", token=token),
            kernel.ask("data", "POST", "/mcp/v1/execute", b"{}", token=token[:-1]),
            kernel.ask("data", "POST", "/mcp/v1/execute", b"{}", token=token, host=said),
            kernel.ask(
                "control", "POST", "/v1/statements", json.dumps({"statement": said, "documents": []}).encode(), token=operator
            ),
        ]
        listed = ("/v1/receipts", "/v1/trust", "/v1/tools", "/v1/policy", "/checkpoint", "/metrics", "/readyz", "/healthz")
        told += [kernel.ask("control", "GET", path, unix=True) for path in (*listed, "/openapi.json", f"/v1/{said}")]
        told += [kernel.ask("control", "GET", "/v1/receipts", token=wrong) for wrong in (token, operator[:-1])]
        code, errors = kernel.end()
    assert code == 0
    own = {token, operator}  # of a caller's own call there may be the salts of that call, and of no other
    for answer in told:
        text = answer.data.decode("latin-1") + str(answer.fields)
        found = [secret for secret in secrets if secret in text]
        assert not found, (answer, found)
    assert not [secret for secret in secrets if secret in errors]
    for file in (*place.paths.store.rglob("*"), *place.paths.run.rglob("*"), place.paths.agents):
        if file.is_file():
            data = file.read_bytes()
            assert not [secret for secret in (said, key, *own) if secret.encode() in data], file
    place.check()


def test_other_machines_may_come_through_tls_and_are_known_by_certificate_or_token(place: Place) -> None:
    token = prepared(place)
    authority, stranger = Authority(place.folder, "authority"), Authority(place.folder, "stranger")
    certificate, key, _ = authority.issue("server")
    place.paths.config.write_text(
        f'[data]\nlisten = "0.0.0.0:0"\nhosts = ["localhost"]\ncertificate = "{certificate}"\nkey = "{key}"\n'
        f'client_ca = "{authority.path}"\n[control]\nlisten = ""\n'
    )
    shown = authority.issue("carol")
    agents.add(place.paths, Agent("carol", certificate=Digest(shown[2])), token=False)

    def ask(chain: tuple[Path, Path, str] | None, token: str | None = None) -> str:
        context = ssl.create_default_context(cafile=str(authority.path))
        if chain is not None:
            context.load_cert_chain(*chain[:2])
        port = int(kernel.listening["data"].rpartition(":")[2])
        connection = http.client.HTTPSConnection("localhost", port, timeout=30, context=context)
        try:
            named = {} if token is None else {"Authorization": f"Bearer {token}"}
            connection.request("GET", "/mcp/v1/capabilities", headers=named)
            answer = connection.getresponse()
            return str(json.loads(answer.read()).get("principal", answer.status))
        except (OSError, http.client.HTTPException):
            return "no connection"
        finally:
            connection.close()

    with up(place) as kernel:
        assert ask(shown) == "carol"
        assert ask(None, token) == "ann"
        assert ask(None) == "401"
        assert ask(shown, token) == "401", "two credentials that name two agents"
        assert ask(authority.issue("dave")) == "401", "whom the authority knows is not yet an agent"
        assert ask(stranger.issue("carol")) == "no connection"
        assert kernel.end() == (0, "")
    assert token not in place.paths.agents.read_text()


# `DELETE` with a body is refused by the front (400), and `TRACE` with 501. What a statement must be is more than a schema says.
STRANGERS = """
[phases.coverage]
unexpected-methods = ["PUT", "PATCH", "OPTIONS"]
[[operations]]
include-path = "/v1/statements"
checks.positive_data_acceptance.enabled = false
"""


@pytest.mark.whole
def test_a_stranger_who_knows_only_the_description_finds_no_answer_that_is_not_in_it(place: Place) -> None:
    program, token = schemathesis(), prepared(place)
    (place.folder / "schemathesis.toml").write_text(STRANGERS)
    with up(place) as kernel:
        assert kernel.execute("tools/say", token).status == 200
        said = kernel.ask("control", "GET", "/openapi.json", unix=True).value
        said["paths"] = {path: of for path, of in said["paths"].items() if path in CONTROL and not path.endswith("/tail")}
        (place.folder / "openapi.json").write_text(json.dumps(said))
        options = ["--url", f"http://{kernel.listening['control']}", "--max-examples", "20", "--seed", "1"]
        operator = f"Authorization: Bearer {place.paths.operator_token.read_text().strip()}"
        run = subprocess.run(
            [program, "run", "openapi.json", *options, "--header", operator, "--phases", "coverage,fuzzing"],
            cwd=place.folder, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert run.returncode == 0, run.stdout
        assert kernel.execute("tools/say", token).status == 200
        assert kernel.end() == (0, "")


ASKS = OPEN + b'@id("ask") @require("approval") forbid (principal, action, resource);\n'


def test_with_four_eyes_the_owner_who_is_configured_may_not_approve_what_their_agent_asks_at_a_door(place: Place) -> None:
    token = prepared(place)
    said = place.paths.config.read_text().replace("[kernel]", '[kernel]\nowner = "olga"')
    place.paths.config.write_text(said.replace("[approval]", "[approval]\nfour_eyes = true"))
    (place.paths.policy / "main.cedar").write_bytes(ASKS)

    async def signed() -> None:
        runtime = await Runtime.open(place.config)
        try:
            await place.signing(None, ASKS)(runtime)
        finally:
            await runtime.close()

    asyncio.run(signed())
    with up(place) as kernel:
        assert kernel.execute("tools/say", token).status == 202
        (held,) = asks.waiting(place.config)
        assert held.ceremony.requires.not_by == ("ann", "olga")
        assert kernel.end() == (0, "")
