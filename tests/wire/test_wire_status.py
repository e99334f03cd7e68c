"""Every reason has its HTTP status."""

import pytest

from helm_ai_kernel.guardian.reasons import PAGES, Retry
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.wire.status import STATUS


def test_every_reason_has_a_status_and_only_what_is_no_refusal_has_one_of_success() -> None:
    assert list(STATUS) == list(Reason)
    assert {reason for reason, status in STATUS.items() if status == 200} == {Reason.OK, Reason.REPEATED}
    assert {reason for reason, status in STATUS.items() if 200 < status < 400} == {
        Reason.ERR_APPROVAL_REQUIRED,
        Reason.ERR_APPROVAL_PENDING_TIMELOCK,
    }


def test_what_libraries_repeat_by_themselves_may_be_repeated() -> None:
    """They repeat 429 and 5xx without being told."""
    harmless = {Retry.LATER, Retry.LATER_NEW_KEY, Retry.SAME_ANSWER, Retry.CHANGED}
    withheld = {Reason.ERR_CONNECTOR_CONTRACT_DRIFT}  # applied, and the tool is held: the second call does nothing
    repeated = {reason for reason, status in STATUS.items() if status == 429 or status >= 500} - withheld
    assert {PAGES[reason].retry for reason in repeated} <= harmless


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (Reason.ERR_UNAUTHENTICATED, 401),
        (Reason.ERR_RATE_LIMITED, 429),
        (Reason.ERR_EGRESS_DENIED, 403),
        (Reason.ERR_TOOL_NOT_ALLOWED, 403),
        (Reason.ERR_APPROVAL_REQUIRED, 202),
        (Reason.ERR_SEALED, 503),
    ],
)
def test_a_status_is_what_the_specification_says(reason: Reason, status: int) -> None:
    assert STATUS[reason] == status
