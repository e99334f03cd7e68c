"""What a log line, a traceback or a debugger prints of a call: never its contents, keys or salts."""

import pytest

from executor.desk import Desk, boundary
from executor.memory import MemoryHost, MemoryLog, run
from helm_ai_kernel.executor.execute import execute
from helm_ai_kernel.executor.host import Answer, Reply, ReplyKind
from helm_ai_kernel.ledger.transaction import Open
from helm_ai_kernel.tcb.call import Call, Refusal
from helm_ai_kernel.tcb.decision import Outcome, Status
from helm_ai_kernel.tcb.digest import Digest

CANARY = "c4n4ry"
RAW = b'{"tool":"desk/keyed","arguments":{"text":"%b"},"idempotency_key":"%b"}' % (CANARY.encode(), CANARY.encode())


def answered() -> Answer:
    log = MemoryLog()
    log.activate(boundary())
    answer = run(execute(RAW, boundary(), MemoryHost(log, log.session("agent", "python"), Desk(f'"{CANARY}"'))))
    assert answer.output == f'"{CANARY}"'.encode()
    return answer


def shown() -> list[object]:
    values = [boundary().admit(raw) for raw in (RAW, RAW.replace(b'"text"', b'"txet"'), RAW[:-1])]
    assert [type(value) for value in values] == [Call, Refusal, Refusal]
    return [
        *values,
        answered(),
        Outcome(Status.OK, 1, output=CANARY.encode()),
        Reply(ReplyKind.OUTPUT, 1, output=CANARY.encode()),
        Open(Digest("sha256:" + "0" * 64), "desk/keyed", "agent", b"", b"", {}),
    ]


@pytest.mark.parametrize("value", shown(), ids=lambda value: type(value).__name__)
def test_no_value_shows_what_it_carries(value: object) -> None:
    assert CANARY not in repr(value)


def test_an_answer_shows_no_salt() -> None:
    answer = answered()
    assert answer.args_salt and answer.output_salt
    assert not any(repr(salt)[2:-1] in repr(answer) for salt in (answer.args_salt, answer.output_salt))
