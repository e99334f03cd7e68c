"""T7, 7.13: an emergency override by fewer roots than the threshold."""

from app.kernels import Place
from app.residents import up
from helm_ai_kernel.app import home, trust
from helm_ai_kernel.ledger import trustlog
from helm_ai_kernel.ledger.ledger import TRUST
from helm_ai_kernel.tcb import registry as registries
from helm_ai_kernel.tcb.envelope import seal
from helm_ai_kernel.tcb.ijson import Json
from helm_ai_kernel.tcb.keys import Purpose, SecretKey
from helm_ai_kernel.tcb.statement import StatementKind, sign
from threats.ceremony import AT, office


def two_roots(place: Place) -> SecretKey:
    """From now on two roots of two people must sign; the second one."""
    path, first, second = place.paths.store / TRUST, place.root(), SecretKey.from_seed(b"\x22" * 32, Purpose.ROOT)
    registry = trustlog.load(path)
    lines = [registries.add(registry, second, "bob", None, at=home.now(), roots=[first])]
    registry = registry.fold(lines[0])
    body = registries.new_threshold(registry, 2, at=home.now())
    lines.append(seal(trust.Draft.of(body, [first.public.id, second.public.id]).body, [first, second]).line)
    with path.open("ab") as file:
        file.write(b"".join(line + b"\n" for line in lines))
    return second


def test_an_override_by_fewer_roots_than_the_threshold_is_none(place: Place) -> None:
    second = two_roots(place)
    at = office(place, b'@approvers("2") @timelock("1h") @expires("2d")')
    with up(place) as kernel:
        at.call(kernel)
        held = at.one()
        said: dict[str, Json] = {"call": held.ceremony.call, "intent": held.ceremony.intent}

        def override(nonce: str, *signers: SecretKey) -> tuple[int, str]:
            statement = sign(StatementKind.OVERRIDE, said, log=held.decision.log, at=AT, nonce=nonce * 32, signers=signers)
            answer = at.put(kernel, statement)
            return answer.status, "" if answer.status == 200 else answer.code

        assert override("1", place.root()) == (403, "ERR_APPROVAL_KEY_ROLE")
        assert override("2", second) == (403, "ERR_APPROVAL_KEY_ROLE")
        assert override("3", place.root(), place.approver) == (403, "ERR_APPROVAL_KEY_ROLE")
        assert (at.call(kernel).status, at.done) == (202, [])
        assert override("4", place.root(), second) == (200, "")
        assert (at.call(kernel).status, len(at.done)) == (200, 1)
        kernel.end()
    place.check()
