"""What becomes of each method: the table has every method of the published revisions."""

from collections.abc import Mapping

import pytest

from helm_ai_kernel.pep.methods import METHODS
from helm_ai_kernel.pep.methods import QUESTIONS as ASKED
from helm_ai_kernel.wire.era import METHODS as FORWARDED
from helm_ai_kernel.wire.era import Era
from helm_ai_kernel.wire.mediation import NOTICES, QUESTIONS, REQUESTS, SAID, How, Row, how

TABLES = {"client asks": REQUESTS, "client tells": NOTICES, "server asks": QUESTIONS, "server tells": SAID}
# Every method of the schemas that the specification publishes.
LEGACY = [
    "completion/complete",
    "elicitation/create",
    "initialize",
    "logging/setLevel",
    "notifications/cancelled",
    "notifications/elicitation/complete",
    "notifications/initialized",
    "notifications/message",
    "notifications/progress",
    "notifications/prompts/list_changed",
    "notifications/resources/list_changed",
    "notifications/resources/updated",
    "notifications/roots/list_changed",
    "notifications/tasks/status",
    "notifications/tools/list_changed",
    "ping",
    "prompts/get",
    "prompts/list",
    "resources/list",
    "resources/read",
    "resources/subscribe",
    "resources/templates/list",
    "resources/unsubscribe",
    "roots/list",
    "sampling/createMessage",
    "tasks/cancel",
    "tasks/get",
    "tasks/list",
    "tasks/result",
    "tools/call",
    "tools/list",
]
MODERN = [
    "completion/complete",
    "elicitation/create",
    "notifications/cancelled",
    "notifications/message",
    "notifications/progress",
    "notifications/prompts/list_changed",
    "notifications/resources/list_changed",
    "notifications/resources/updated",
    "notifications/subscriptions/acknowledged",
    "notifications/tools/list_changed",
    "prompts/get",
    "prompts/list",
    "resources/list",
    "resources/read",
    "resources/templates/list",
    "roots/list",
    "sampling/createMessage",
    "server/discover",
    "subscriptions/listen",
    "tools/call",
    "tools/list",
]


@pytest.mark.parametrize(("era", "methods"), [(Era.LEGACY, LEGACY), (Era.MODERN, MODERN)])
def test_every_published_method_has_a_row(era: Era, methods: list[str]) -> None:
    listed = {method for table in TABLES.values() for method, row in table.items() if era in row.eras}
    assert set(methods) <= listed


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_what_has_no_row_or_none_of_that_era_is_refused(table: Mapping[str, Row]) -> None:
    for method in ("tools/callX", "", "TOOLS/CALL", "tools/call ", "rpc.discover"):
        assert {how(table, method, era) for era in Era} == {How.REFUSED}
    for method, row in table.items():
        assert all(how(table, method, era) is (row.how if era in row.eras else How.REFUSED) for era in Era)


def test_what_is_governed_or_asked_has_a_method_tool_and_reaches_a_server_only_so() -> None:
    governed = {method for method, row in REQUESTS.items() if row.how is How.GOVERNED}
    asked = {method for method, row in QUESTIONS.items() if row.how is How.QUESTION}
    assert governed | asked | {"subscriptions/listen"} == set(METHODS)
    assert asked == set(ASKED) and governed <= set(FORWARDED)
