"""What counts the official suite's results must not count too much: each way in which nothing was shown is a failure."""

import http.server
import json
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from conformance import fixture, gateway, suite, visitor

LISTED = """Required for 2025-11-25 (3 scenarios, frozen; run at the 2025-11-25 wire):

Server scenarios (test against a server):
  - ping
  - tools-list

Client scenarios (test against a client):
  - auth/basic-cimd

Run and reported, but never scored:
  extension (1):
    - auth/dpop [client]
  pending (2):
    - json-schema-2020-12 [server]
    - json-schema-2020-12-preservation [client]
"""
STAMP = "2026-11-23T19-10-43-582Z"
GOOD = [{"id": "a", "status": "SUCCESS"}, {"id": "b", "status": "INFO"}, {"id": "c", "status": "WARNING", "errorMessage": "m"}]


def wrote(folder: Path, name: str, checks: object, stamp: str = STAMP) -> None:
    result = folder / f"{name}-{stamp}"
    result.mkdir(parents=True)
    (result / "checks.json").write_text(json.dumps(checks))


def all_whole(folder: Path) -> suite.Required:
    for name in ("server-ping", "server-tools-list", "server-json-schema-2020-12"):
        wrote(folder, name, GOOD)
    return suite.requirements("2025-11-25", LISTED)["server"]


def test_what_is_asked_of_each_leg_is_what_the_suite_lists() -> None:
    asked = suite.requirements("2025-11-25", LISTED)
    assert asked["server"].scored == ("ping", "tools-list")
    assert asked["server"].also == ("json-schema-2020-12",)
    assert asked["client"].scored == ("auth/basic-cimd",)
    assert asked["client"].also == ("json-schema-2020-12-preservation",)
    assert asked["client"].extensions == ("auth/dpop",)


@pytest.mark.parametrize(
    "broken", [LISTED.replace("(3", "(4"), LISTED.replace("  - ping\n", ""), "", LISTED.replace("  - auth", "- a")]
)
def test_a_list_that_is_not_what_it_says_is_not_taken(broken: str) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        suite.requirements("2025-11-25", broken)


def test_a_leg_is_whole_when_each_of_its_scenarios_is_and_a_warning_is_told(tmp_path: Path) -> None:
    result = suite.read(all_whole(tmp_path), tmp_path)
    assert result.whole and result.line == "server 2025-11-25 2/2"
    assert result.scored[0].warned == ("c: m",)


def test_a_scenario_in_a_folder_of_its_own_is_found(tmp_path: Path) -> None:
    wrote(tmp_path / "auth", "basic-cimd", GOOD)
    assert suite.outcome(tmp_path, "client", "auth/basic-cimd").whole


@pytest.mark.parametrize(
    "checks",
    [
        [],
        [{"id": "a", "status": "INFO"}],
        [{"id": "a", "status": "SKIPPED"}, {"id": "b", "status": "WARNING"}],
        [*GOOD, {"id": "d", "status": "FAILURE", "errorMessage": "Not testable: no tool"}],
        [*GOOD, {"id": "d", "status": "PASSED"}],
        [*GOOD, {"id": "d"}],
    ],
    ids=["none", "told", "skipped", "failed", "unknown", "unsaid"],
)
def test_a_scenario_with_nothing_shown_or_anything_failed_is_not_whole(tmp_path: Path, checks: object) -> None:
    wanted = all_whole(tmp_path)
    (tmp_path / f"server-ping-{STAMP}/checks.json").write_text(json.dumps(checks))
    result = suite.read(wanted, tmp_path)
    assert not result.whole and result.line == "server 2025-11-25 1/2"


def test_a_scenario_without_a_result_or_with_two_is_not_whole(tmp_path: Path) -> None:
    wanted = all_whole(tmp_path)
    (tmp_path / f"server-ping-{STAMP}/checks.json").unlink()
    wrote(tmp_path, "server-tools-list", GOOD, STAMP.replace("582Z", "583Z"))
    assert suite.read(wanted, tmp_path).line == "server 2025-11-25 0/2"
    assert suite.read(wanted, tmp_path / "nowhere").line == "server 2025-11-25 0/2"


def test_an_unscored_scenario_that_fails_leaves_the_count_but_not_the_verdict(tmp_path: Path) -> None:
    wanted = all_whole(tmp_path)
    (tmp_path / f"server-json-schema-2020-12-{STAMP}/checks.json").write_text("[]")
    result = suite.read(wanted, tmp_path)
    assert not result.whole and result.line == "server 2025-11-25 2/2"


class _Page(http.server.BaseHTTPRequestHandler):
    """Sends whoever asks for `/authorize` back, and says yes to the rest."""

    asked: ClassVar[list[str]] = []
    back = ""

    def do_GET(self) -> None:
        type(self).asked.append(self.path)
        self.send_response(302 if self.path == "/authorize" else 200)
        self.send_header("location", type(self).back)
        self.send_header("content-length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def page() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        _Page.asked, _Page.back = [], f"http://127.0.0.1:{server.server_port}/callback?code=1"
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_visitor_brings_the_code_back_to_this_machine_and_nowhere_else(page: str) -> None:
    assert visitor.visit(f"{page}/authorize") == 200
    assert _Page.asked == ["/authorize", "/callback?code=1"]
    _Page.back = "https://elsewhere.example/callback"
    with pytest.raises(RuntimeError, match="no way back"):
        visitor.visit(f"{page}/authorize")


def test_the_tap_counts_what_reaches_the_server_and_changes_nothing(page: str) -> None:
    said = [
        {"id": 1, "method": "tools/call"},
        {"id": 2, "method": "tools/call"},
        {"id": 3, "method": "ping"},
        {"method": "x"},
        [],
    ]
    with fixture.tapped(f"{page}/mcp") as tap:
        for one in said:
            with urllib.request.urlopen(urllib.request.Request(tap.url, json.dumps(one).encode())) as answer:
                assert answer.status == 200
    assert _Page.asked == ["/mcp"] * len(said)
    assert tap.seen == {"tools/call": 2, "ping": 1}
    assert gateway.reached(tap.seen) == {"tools/call": 2}
