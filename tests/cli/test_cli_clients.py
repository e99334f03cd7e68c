"""`setup` and `mcp config` as a person types them."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from cli.terminal import Terminal, lines
from helm_ai_kernel.app.clients import yaml
from helm_ai_kernel.app.clients.table import CLIENTS
from helm_ai_kernel.app.clients.tree import plain

PROGRAM = str(Path(sys.executable).with_name("helm-ai-kernel"))
CURSOR = (
    '{\n  "mcpServers": {\n    "My Server!": { "command": "npx", "args": ["-y", "x"], "env": { "KEY": "s3cret" } }, // \u00fc\n'
    + ('    "far": { "url": "https://far.example/mcp", "headers": { "Authorization": "Bearer s3cret" } }\n  }\n}\n')
)


@pytest.fixture
def cursor(terminal: Terminal) -> Path:
    path = terminal.place.folder / ".cursor/mcp.json"
    path.parent.mkdir()
    path.write_text(CURSOR)
    return path


def test_a_client_is_led_through_the_kernel_and_back(terminal: Terminal, cursor: Path) -> None:
    said = terminal.done("setup", "cursor")
    wrapped, left, kept, after = lines(said)[1:]
    assert wrapped.split() == ["My", "Server!", "wrapped", "as", "`my-server`"]
    assert "NOT GOVERNED, left alone: has `headers`" in left and "[upstream.NAME]" in left and "s3cret" not in said.out
    assert (
        kept.endswith(f"to undo: helm-ai-kernel setup cursor --undo --home {terminal.place.paths.home}") or "--home" not in kept
    )
    assert "pins its tools" in after
    entry = json.loads(cursor.read_text().replace("// \u00fc", ""))["mcpServers"]["My Server!"]
    home = ["--home", str(terminal.place.paths.home)]
    assert [entry["command"], *entry["args"]] == [PROGRAM, "mcp", "wrap", *home, "--name", "my-server", "--", "npx", "-y", "x"]
    assert lines(terminal.done("setup", "cursor"))[-1] == "nothing to change"
    undone = terminal.done("setup", "cursor", "--undo")
    assert lines(undone)[-1].endswith("as it was, byte for byte") and cursor.read_text() == CURSOR
    nothing = terminal("setup", "cursor", "--undo")
    assert (nothing.code, nothing.error) == (1, "setup: there is no backup of a file of `cursor`: nothing to undo")


def test_a_dry_run_shows_the_lines_that_change_and_writes_nothing(terminal: Terminal, cursor: Path) -> None:
    said = terminal.done("setup", "cursor", "--dry-run")
    shown = lines(said)
    assert any(line.startswith("-    ") and '"npx"' in line for line in shown)
    assert any(line.startswith("+    ") and '"wrap"' in line for line in shown)
    assert "Bearer" not in said.out, "the lines around are not shown"
    assert cursor.read_text() == CURSOR and not Path(f"{terminal.place.paths.home}.clients").exists()
    terminal.done("setup", "cursor")
    assert any(line.startswith("+    ") for line in lines(terminal.done("setup", "cursor", "--undo", "--dry-run")))
    assert "wrap" in cursor.read_text()


def test_it_is_undone_where_the_kernel_does_not_start_or_is_gone(terminal: Terminal, cursor: Path) -> None:
    terminal.done("setup", "cursor")
    paths = terminal.place.paths
    paths.config.write_text("[nonsense")
    (paths.store / "ledger.db").write_bytes(b"damaged")
    assert terminal("receipts", "list").code != 0
    terminal.done("setup", "cursor", "--undo")
    assert cursor.read_text() == CURSOR
    paths.config.write_text("")
    terminal.done("setup", "cursor")
    terminal.place.paths.home.rename(terminal.place.folder / "gone")
    terminal.done("setup", "cursor", "--undo")
    assert cursor.read_text() == CURSOR


def test_names_of_the_configuration_are_taken(terminal: Terminal, cursor: Path) -> None:
    terminal.place.paths.config.write_text('[upstream.my-server]\ncommand = ["other"]\n')
    assert "wrapped as `my-server-2`" in terminal.done("setup", "cursor").out


def test_the_clients_that_are_here_are_listed(terminal: Terminal, cursor: Path) -> None:
    (terminal.place.folder / ".codex").mkdir()
    (terminal.place.folder / ".codex/config.toml").write_text("[mcp_servers.x]\ncommand = ")
    terminal.done("setup", "cursor")
    for argv in (("setup",), ("setup", "--list")):
        shown = lines(terminal.done(*argv))
        assert shown[0].split()[:5] == ["cursor", "1", "of", "2", "governed"]
        assert shown[1].startswith("codex") and "NOT READ" in shown[1]
        assert shown[2].startswith("not here: claude-code, ")
    data = terminal.done("setup", "--format", "json").json
    assert data["files"] == [{"client": "cursor", "file": str(cursor), "servers": 2, "governed": 1}]
    assert [row["client"] for row in data["unread"]] == ["codex"] and data["clients"] == list(CLIENTS)


def test_a_twin_is_a_warning_that_names_file_and_entry(terminal: Terminal, cursor: Path) -> None:
    other = terminal.place.folder / ".lmstudio/mcp.json"
    other.parent.mkdir()
    other.write_text('{"mcpServers": {"twin": {"command": "npx", "args": ["-y", "x"]}}}')
    said = terminal.done("setup", "cursor", "--format", "json").json
    assert said["twins"] == [{"client": "lm-studio", "file": str(other), "server": "twin", "name": "my-server"}]
    assert [row["state"] for row in said["files"][0]["servers"]] == ["wrap", "left"] and said["files"][0]["changed"] is True
    text = terminal.done("setup", "cursor").out
    assert f"warning: `twin` in {other} (lm-studio) starts what `my-server` governs, without the kernel" in text


def test_what_is_not_understood_is_one_line_with_a_reason_and_a_hint(terminal: Terminal, cursor: Path) -> None:
    cursor.write_text('{"mcpServers": {\n "a": x')
    said = terminal("setup", "cursor")
    assert said.code == 2 and "line 2, column 7" in said.error and "(ERR_CLIENT_CONFIG)" in said.error and said.hint
    assert cursor.read_text() == '{"mcpServers": {\n "a": x'


@pytest.mark.parametrize(
    ("argv", "error", "hint"),
    [
        (("setup", "curser"), "`curser` is no client that is known here", "helm-ai-kernel setup cursor"),
        (("setup", "zed"), "no file of Zed is here, for this user or in this folder", "helm-ai-kernel setup --list"),
        (("mcp", "config", "cursor", "--name", "A b"), "`A b` is no name of a server", None),
        (("mcp", "config", "claude-desktop"), "Claude Desktop cannot send a token to an address", None),
    ],
)
def test_a_no_says_why_and_what_to_type(terminal: Terminal, argv: tuple[str, ...], error: str, hint: str | None) -> None:
    said = terminal(*argv)
    assert said.code == 1 and error in said.error
    assert hint is None or said.hint.startswith(hint)


WORDS = ["mcp-server-time", "--flag", "--", 'a"b', "--name"]


@pytest.mark.parametrize("client", CLIENTS)
def test_the_snippet_of_a_client_is_what_setup_itself_reads_as_governed(terminal: Terminal, client: str) -> None:
    from helm_ai_kernel.app.clients.places import Places

    said = terminal.done("mcp", "config", client, "--name", "time", "--format", "json", "--", *WORDS).json
    file = Path(said["file"])
    assert file == Places.of({"HOME": str(terminal.place.folder)}, Path.cwd()).path(CLIENTS[client].first)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(said["snippet"] + "\n")
    assert terminal.done("setup", "--format", "json").json["files"] == [
        {"client": client, "file": str(file), "servers": 1, "governed": 1}
    ]
    assert lines(terminal.done("setup", client))[-1] == "nothing to change"
    assert file.read_text() == said["snippet"] + "\n"
    assert '"--", "mcp-server-time", "--flag", "--", "a\\"b", "--name"]' in said["snippet"]


@pytest.mark.parametrize("client", [name for name, row in CLIENTS.items() if row.form.remote is not None])
def test_the_http_door_is_named_with_a_token_in_a_header(terminal: Terminal, client: str) -> None:
    terminal.place.paths.config.write_text('[data]\nlisten = "127.0.0.1:9999"\n')
    said = terminal.done("mcp", "config", client)
    first = CLIENTS[client].first.path
    if first.endswith(".toml"):
        value = tomllib.loads(said.out)
    else:
        value = plain(yaml.tree(said.out)) if first.endswith(".yaml") else json.loads(said.out)
    assert "http://127.0.0.1:9999/mcp" in str(value) and "Bearer TOKEN" in str(value)
    assert "agents add" in said.err and "agents add" not in said.out


def test_no_other_command_loads_the_readers_of_other_formats() -> None:
    """A hook must start in milliseconds."""
    code = "import sys, helm_ai_kernel.cli as c; c.parser(); print([m for m in ('tomlkit', 'ruamel.yaml', 'helm_ai_kernel.app.clients') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
