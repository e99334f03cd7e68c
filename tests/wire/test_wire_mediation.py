"""The table of mediation has a row for every method of the published schemas, and none for what they do not know."""

import pytest

from helm_ai_kernel.pep import methods
from helm_ai_kernel.wire import era as eras
from helm_ai_kernel.wire.era import Era
from helm_ai_kernel.wire.mediation import LEGACY, MODERN, NOTICES, QUESTIONS, REQUESTS, SAID, How, how

# Of the schemas of each revision, by the unions of their messages; in 2026-07-28 servers ask in results (`InputRequest`).
BOTH = {
    "completion/complete", "prompts/get", "prompts/list", "resources/list", "resources/read", "resources/templates/list",
    "tools/call", "tools/list",
}  # fmt: skip
TASKS = {"tasks/cancel", "tasks/get", "tasks/list", "tasks/result"}
HANDSHAKE = {"initialize", "logging/setLevel", "ping", "resources/subscribe", "resources/unsubscribe"}
CHANGED = {f"notifications/{name}/list_changed" for name in ("prompts", "resources", "tools")}
TOLD = {"notifications/cancelled", "notifications/message", "notifications/progress", "notifications/resources/updated"} | CHANGED
ASKED = {"elicitation/create", "roots/list", "sampling/createMessage"}
NOTICED = {
    "notifications/cancelled",
    "notifications/initialized",
    "notifications/progress",
    "notifications/roots/list_changed",
}
SCHEMAS: dict[str, dict[str, set[str]]] = {
    "2025-03-26": {
        "requests": BOTH | HANDSHAKE, "notices": NOTICED, "questions": {"ping", "roots/list", "sampling/createMessage"},
        "said": TOLD,
    },
    "2025-06-18": {"requests": BOTH | HANDSHAKE, "notices": NOTICED, "questions": {"ping"} | ASKED, "said": TOLD},
    "2025-11-25": {
        "requests": BOTH | HANDSHAKE | TASKS, "notices": NOTICED | {"notifications/tasks/status"},
        "questions": {"ping"} | ASKED | TASKS,
        "said": TOLD | {"notifications/elicitation/complete", "notifications/tasks/status"},
    },
    "2026-07-28": {
        "requests": BOTH | {"server/discover", "subscriptions/listen"},
        "notices": {"notifications/cancelled"},
        "questions": ASKED,
        "said": TOLD | {"notifications/subscriptions/acknowledged"},
    },
}  # fmt: skip
TABLES = {"requests": REQUESTS, "notices": NOTICES, "questions": QUESTIONS, "said": SAID}
EXTENSIONS = {"tasks/update"}  # of the tasks extension to 2026-07-28
AS_REFUSED = {"tasks", "notifications/tasks"}


def era(revision: str) -> Era:
    return Era.MODERN if revision in MODERN else Era.LEGACY


def test_the_revisions_are_those_that_are_spoken() -> None:
    assert set(SCHEMAS) == {*LEGACY, *MODERN}
    assert {*LEGACY} | {"2024-11-05"} == eras.REVISIONS and (eras.MODERN,) == MODERN and LEGACY[0] == eras.REVISION


@pytest.mark.parametrize("revision", SCHEMAS)
@pytest.mark.parametrize("kind", TABLES)
def test_every_method_of_a_revision_has_a_row_of_its_era(revision: str, kind: str) -> None:  # 1.5
    for method in SCHEMAS[revision][kind]:
        assert method in TABLES[kind] and era(revision) in TABLES[kind][method].eras, method


@pytest.mark.parametrize("kind", TABLES)
def test_no_row_that_lets_anything_through_is_of_no_revision(kind: str) -> None:
    for method, row in TABLES[kind].items():
        for which in row.eras if row.how is not How.REFUSED else ():
            assert any(era(revision) is which and method in one[kind] for revision, one in SCHEMAS.items()), (method, which)
        known = {one for tables in SCHEMAS.values() for one in tables[kind]} | EXTENSIONS
        assert method in known or method.startswith("notifications/tasks"), method


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("method", ["", "tools/callX", "Tools/call", "tools/call ", "tools/call\0", "tools", "/", "ping/x"])
def test_what_is_not_in_the_table_is_refused(kind: str, method: str) -> None:
    assert how(TABLES[kind], method, Era.LEGACY) is how(TABLES[kind], method, Era.MODERN) is How.REFUSED


@pytest.mark.parametrize("kind", TABLES)
def test_a_method_of_another_era_is_refused(kind: str) -> None:
    for method, row in TABLES[kind].items():
        for which in set(Era) - row.eras:
            assert how(TABLES[kind], method, which) is How.REFUSED


def test_what_is_governed_can_be_pinned_and_what_is_asked_too() -> None:
    governed = {method for method, row in REQUESTS.items() if row.how is How.GOVERNED}
    assert governed == eras.METHODS - {"subscriptions/listen"} and governed <= methods.METHODS.keys()
    assert {method for method, row in QUESTIONS.items() if row.how is How.QUESTION} == set(methods.QUESTIONS) == ASKED
    assert methods.METHODS.keys() == governed | ASKED | {"subscriptions/listen"}


def test_whatever_is_refused_of_the_published_methods_says_why() -> None:
    for table in TABLES.values():
        assert all(row.why for row in table.values() if row.how is How.REFUSED)


def test_what_reaches_a_server_is_a_call() -> None:
    reaching = {method for method, row in REQUESTS.items() if row.how in (How.CALLED, How.GOVERNED)}
    assert reaching == (BOTH | HANDSHAKE) - {"initialize", "ping", "tools/list"}
    assert not any(row.how in (How.CALLED, How.GOVERNED) for table in (NOTICES, QUESTIONS, SAID) for row in table.values())
