"""`setup` on sample files of every client: what is wrapped and what is left, that twice is once, and that undone is as it was."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from helm_ai_kernel.app.clients import backup, survey, wrap
from helm_ai_kernel.app.clients.document import Document, Syntax
from helm_ai_kernel.app.clients.entry import Local, Remote, Wrapped, state
from helm_ai_kernel.app.clients.entry import wrap as entry_wrap
from helm_ai_kernel.app.clients.places import Places
from helm_ai_kernel.app.clients.table import CLIENTS
from helm_ai_kernel.disk import durable
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError

SAMPLES = Path(__file__).parent / "samples"
PROGRAM = ("/opt/helm/bin/helm-ai-kernel",)
SAMPLED = sorted(path.name for path in SAMPLES.iterdir())

# Client -> what stays as it is, by the server's name; everything else is wrapped.
LEFT = {
    "claude-code": {"sentry", "linear", "keyed"},
    "cursor": {"figma"},
    "vscode": {"socket"},
    "windsurf": {"keyed"},
    "codex": {"keyed"},
    "gemini-cli": {"events"},
    "zed": {"mcp-server-github", "older"},
    "cline": {"remote-server"},
    "continue": {"in one line"},
    "goose": {"developer", "shared", "copy"},
    "opencode": {"keyed"},
    "lm-studio": {"hf-mcp-server"},
}


@dataclass
class Desk:
    """A person's home and the folder that they work in."""

    folder: Path

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def kernel(self) -> wrap.Kernel:
        return wrap.Kernel(PROGRAM, self.home / ".local/share/helm-ai-kernel")

    @property
    def places(self) -> Places:
        return Places.of({"HOME": str(self.home)}, self.folder / "project", "linux")

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def plan(self, client: str) -> wrap.Plan:
        return wrap.plan(client, self.places, self.kernel)

    def apply(self, client: str) -> wrap.Plan:
        planned = self.plan(client)
        wrap.apply(planned, self.kernel)
        return planned

    def undo(self, client: str) -> wrap.Plan:
        planned = wrap.plan_undo(client, self.kernel.home)
        wrap.undo(planned)
        return planned

    def servers(self, client: str) -> dict[tuple[str, tuple[str, ...], str], survey.Server]:
        return {
            (str(config.found.path), server.entry.section, server.entry.label): server
            for config in survey.of(client, self.places)
            for server in config.servers
        }

    def files(self) -> dict[str, bytes]:
        """What is there, but for backups."""
        found = (path for path in sorted(self.folder.rglob("*")) if path.is_file() and "helm-ai-kernel.clients" not in str(path))
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in found}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    for name in ("home", "project"):
        (tmp_path / name).mkdir()
    return Desk(tmp_path)


def sampled(desk: Desk, client: str, change: Callable[[bytes], bytes] = bytes) -> None:
    shutil.copytree(SAMPLES / client, desk.folder, dirs_exist_ok=True)
    for path in desk.folder.rglob("*"):
        if path.is_file():
            path.write_bytes(change(path.read_bytes()))


VARIANTS: dict[str, Callable[[bytes], bytes]] = {
    "as it is": bytes,
    "CRLF": lambda data: data.replace(b"\n", b"\r\n"),
    "BOM": lambda data: b"\xef\xbb\xbf" + data if data else data,
    "CRLF and BOM": lambda data: b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n"),
    "no last newline": lambda data: data.rstrip(b"\n"),
}


def test_every_client_of_the_issue_has_a_row_and_a_sample() -> None:
    asked = {
        "claude-code",
        "claude-desktop",
        "cursor",
        "vscode",
        "windsurf",
        "codex",
        "gemini-cli",
        "zed",
        "cline",
        "goose",
        "opencode",
    }
    assert asked <= set(SAMPLED) <= CLIENTS.keys()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("client", SAMPLED)
def test_what_is_applied_twice_is_applied_once_and_what_is_undone_is_as_it_was(desk: Desk, client: str, variant: str) -> None:
    sampled(desk, client, VARIANTS[variant])
    before = desk.files()
    assert any(step.changes for step in desk.apply(client).steps)
    once = desk.files()
    assert once != before
    again = desk.apply(client)
    assert not any(step.changes for step in again.steps) and desk.files() == once
    assert {row.state for step in again.steps for row in step.rows} <= {"wrapped", "left"}
    undone = desk.undo(client)
    assert desk.files() == before and all(step.exact for step in undone.steps)
    assert not list(backup.folder(desk.kernel.home).iterdir()), "what was undone is not kept: there are keys in it"


@pytest.mark.parametrize("client", SAMPLED)
def test_every_server_that_is_understood_starts_through_the_kernel_with_its_own_words(desk: Desk, client: str) -> None:
    sampled(desk, client)
    before = desk.servers(client)
    planned = desk.apply(client)
    after = desk.servers(client)
    left = {label for (_, _, label), server in after.items() if not isinstance(server.state, Wrapped)}
    assert left == LEFT.get(client, set()) and before.keys() == after.keys()
    names = set()
    for place, server in after.items():
        was, now = before[place].state, server.state
        if isinstance(now, Wrapped):
            assert now.program == PROGRAM and now.name
            assert isinstance(was, Local | Remote)
            assert now.words == (was.words if isinstance(was, Local) else ())
            assert now.url == (was.url if isinstance(was, Remote) else "")
            names.add((now.name, survey.identity(now)))
    assert len({name for name, _ in names}) == len(names), "two servers have one name"
    assert {row.label for step in planned.steps for row in step.rows if row.state == "left"} == left


@pytest.mark.parametrize("client", SAMPLED)
def test_only_what_starts_a_server_changes(desk: Desk, client: str) -> None:
    """Everything but command, arguments, address and transport is as it was, comments too."""
    sampled(desk, client)
    form = CLIENTS[client].form
    mine = {form.command, form.args, *form.urls, form.kind or "type"}
    before, marks = desk.servers(client), comments(desk)
    desk.apply(client)
    for place, server in desk.servers(client).items():
        was, now = before[place].entry.data, server.entry.data
        if isinstance(now, dict) and isinstance(was, dict):
            assert {k: v for k, v in now.items() if k not in mine} == {k: v for k, v in was.items() if k not in mine}
        else:
            assert now == was
    assert marks and comments(desk) == marks


def comments(desk: Desk) -> dict[str, int]:
    return {name: data.count(b"//") + data.count(b"/*") + data.count(b"#") for name, data in desk.files().items()}


@pytest.mark.parametrize("client", SAMPLED)
def test_a_file_that_was_edited_since_keeps_the_edits_and_loses_only_our_entries(desk: Desk, client: str) -> None:
    sampled(desk, client)
    before = desk.servers(client)
    desk.apply(client)
    for path in [desk.folder / name for name, data in desk.files().items() if data]:
        mark = "// edited\n" if path.suffix in (".json", ".jsonc") else "# edited\n"
        path.write_bytes(path.read_bytes() + b"\n" + mark.encode())
    undone = desk.undo(client)
    assert not any(step.exact for step in undone.steps)
    assert {row.state for step in undone.steps for row in step.rows} == {"undone"}
    after = desk.servers(client)
    assert {place: server.state for place, server in after.items()} == {place: server.state for place, server in before.items()}
    assert all(data.endswith(b" edited\n") for data in desk.files().values() if data)


def test_an_entry_that_was_changed_since_is_not_undone_and_the_others_are(desk: Desk) -> None:
    servers = ", ".join(f'"{label}": {{"command": "x-{label}"}}' for label in "abcde")
    path = desk.write("home/.cursor/mcp.json", f'{{"mcpServers": {{{servers}}}}}')
    desk.apply("cursor")
    text = path.read_text().replace('"--name", "b"', '"--name", "other"').replace('"c"', '"renamed"', 2)
    text = text.replace(f'"x-d"], "command": "{PROGRAM[0]}"', '"x-d"], "command": "/usr/bin/helm-ai-kernel"')
    text = text.replace(f'"x-e"], "command": "{PROGRAM[0]}"', '"x-e"], "command": "sh"').replace('"wrap", "--name", "e"', '"x"')
    path.write_text(text)
    (step,) = desk.undo("cursor").steps
    changed = ("kept", "was changed since, and stays as it is")
    assert {row.label: (row.state, row.why) for row in step.rows} == {
        "a": ("undone", ""), "b": changed, "c": ("kept", "is not there any more"), "d": changed, "e": changed,
    }  # fmt: skip
    assert '"a": {"command": "x-a"}' in path.read_text()


def test_a_server_that_came_later_is_wrapped_and_both_backups_lead_back(desk: Desk) -> None:
    path = desk.write("home/.cursor/mcp.json", '{"mcpServers": {"a": {"command": "x", "args": []}}}')
    desk.apply("cursor")
    later = path.read_text().replace("}}}", '}, "b": {"command": "y"}}}')
    path.write_text(later)
    rows = [row for step in desk.apply("cursor").steps for row in step.rows]
    assert [(row.label, row.state) for row in rows] == [("a", "wrapped"), ("b", "wrap")]
    (step,) = desk.undo("cursor").steps
    assert path.read_text() == '{"mcpServers": {"a": {"command": "x", "args": []}, "b": {"command": "y"}}}' and not step.exact


def test_names_are_valid_and_never_shared_by_two_servers(desk: Desk) -> None:
    labels = {
        "My Server!": "x",
        "my-server": "y",
        "MY_SERVER": "z",
        "Ünï": "u",
        "日本": "j",
        "…": "k",
        "python": "p",
        "a" * 90: "l",
    }
    servers = ", ".join(f'"{label}": {{"command": "{word}"}}' for label, word in labels.items())
    desk.write("home/.cursor/mcp.json", f'{{"mcpServers": {{{servers}}}}}')
    desk.write("home/.lmstudio/mcp.json", '{"mcpServers": {"my server": {"command": "other"}, "same": {"command": "x"}}}')
    named = {row.label: row.name for step in desk.apply("cursor").steps for row in step.rows}
    assert named == {
        "My Server!": "my-server", "my-server": "my-server-2", "MY_SERVER": "my_server", "Ünï": "uni", "日本": "server",
        "…": "server-2", "python": "python-2", "a" * 90: "a" * 64,
    }  # fmt: skip
    others = {row.label: row.name for step in desk.apply("lm-studio").steps for row in step.rows}
    assert others == {"my server": "my-server-3", "same": "same"}


def test_the_same_server_has_the_same_name_in_every_client(desk: Desk) -> None:
    entry = '{"mcpServers": {"time": {"command": "uvx", "args": ["mcp-server-time"]}}}'
    desk.write("home/.cursor/mcp.json", entry)
    desk.write("home/.lmstudio/mcp.json", entry.replace("uvx", "/usr/bin/uvx"))
    names = {row.name for client in ("cursor", "lm-studio") for step in desk.apply(client).steps for row in step.rows}
    assert names == {"time"}


def test_a_name_that_the_kernel_has_given_away_is_not_given_to_another(desk: Desk) -> None:
    desk.write(
        "home/.cursor/mcp.json", '{"mcpServers": {"time": {"command": "uvx"}, "shop": {"command": "/bin/shop", "args": ["-v"]}}}'
    )
    kernel = wrap.Kernel(PROGRAM, desk.kernel.home, (), {"time": ("other",), "shop": ("shop", "-v")})
    rows = [row for step in wrap.plan("cursor", desk.places, kernel).steps for row in step.rows]
    assert {row.label: row.name for row in rows} == {"time": "time-2", "shop": "shop"}


def test_a_twin_that_stays_beside_the_kernel_is_named(desk: Desk) -> None:
    desk.write(
        "home/.cursor/mcp.json",
        '{"mcpServers": {"time": {"command": "uvx", "args": ["t"]}, "u": {"url": "https://u.example/mcp"}}}',
    )
    desk.write(
        "home/.codex/config.toml",
        '[mcp_servers.clock]\ncommand = "/usr/bin/uvx"\nargs = ["t"]\n[mcp_servers.not]\ncommand = "uvx"\n',
    )
    desk.write("home/.lmstudio/mcp.json", '{"mcpServers": {"far": {"url": "https://u.example/mcp/"}}}')
    desk.write("home/.claude.json", '{"mcpServers": {"broken": ')
    planned = desk.apply("cursor")
    assert {(twin.client, twin.path.name, twin.label, twin.name) for twin in planned.twins} == {
        ("codex", "config.toml", "clock", "time"),
        ("lm-studio", "mcp.json", "far", "u"),
    }
    ((client, why),) = planned.unread
    assert client == "claude-code" and "line 1" in why
    desk.apply("codex"), desk.apply("lm-studio")
    assert desk.plan("cursor").twins == ()


def test_a_program_that_is_called_like_the_kernel_proves_nothing(desk: Desk) -> None:
    desk.write(
        "home/.cursor/mcp.json",
        '{"mcpServers": {"a": {"command": "/tmp/helm-ai-kernel", "args": ["mcp", "wrap", "--name", "a", "--", "x"]}}}',
    )
    (step,) = desk.apply("cursor").steps
    assert not step.changes and step.rows[0].state == "elsewhere" and "not this program" in step.rows[0].why


def test_an_administrators_file_is_read_and_not_written(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    row = CLIENTS["claude-code"]
    managed = desk.write("etc/managed-mcp.json", '{"mcpServers": {"m": {"command": "x"}}}')
    files = (row.files[0], *(type(file)(str(managed), ours=False) for file in row.files if not file.ours))
    monkeypatch.setattr(wrap, "CLIENTS", {**CLIENTS, "claude-code": type(row)(row.title, files, row.form)})
    monkeypatch.setattr(survey, "CLIENTS", {**CLIENTS, "claude-code": type(row)(row.title, files, row.form)})
    (step,) = desk.apply("claude-code").steps
    assert not step.changes and [(one.state, one.why) for one in step.rows] == [("left", "belongs to an administrator")]


BAD = {
    "home/.cursor/mcp.json": [
        "{", '{"mcpServers": {}} x', '{"a": 1,, "b": 2}', "[]", "{'a': 1}", '{"mcpServers": {}, "mcpServers": {}}',
        '{"mcpServers": "x"}', b'{"a": "\xff"}', '{"a": "b\nc"}', '{"a": 01}', '{"a": /* "x" }', '{"a": nul}', "[" * 5000,
    ],
    "home/.codex/config.toml": ["a = ", "[mcp_servers]\n[mcp_servers]\n", 'mcp_servers = "x"', b"a = '\xff'"],
    "home/.config/goose/config.yaml": [
        "a: [", "a: 1\n---\nb: 2\n", "extensions: x", "- 1", "? [1]\n: 2", "\ta: 1", "&x a: 1", "extensions: &x {}\nb: *x",
        "extensions: {}\nextensions: {}", "a: " + "[" * 2000,
    ],
}  # fmt: skip
CLIENT_OF = {"home/.cursor/mcp.json": "cursor", "home/.codex/config.toml": "codex", "home/.config/goose/config.yaml": "goose"}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in BAD.items() for text in texts])
def test_what_is_not_understood_is_named_and_not_written(desk: Desk, name: str, text: str | bytes) -> None:
    path = desk.write(name, text)
    before = desk.files()
    with pytest.raises(OutsideError) as refused:
        desk.apply(CLIENT_OF[name])
    assert refused.value.reason is Reason.ERR_CLIENT_CONFIG and str(path) in refused.value.detail and refused.value.hint
    assert desk.files() == before and not backup.folder(desk.kernel.home).exists()


def test_a_link_inside_the_home_stays_a_link(desk: Desk) -> None:
    target = desk.write("home/dotfiles/cursor.json", '{"mcpServers": {"a": {"command": "x"}}}')
    target.chmod(0o640)
    link = desk.home / ".cursor/mcp.json"
    link.parent.mkdir()
    link.symlink_to("../dotfiles/cursor.json")
    desk.apply("cursor")
    assert link.is_symlink() and "wrap" in target.read_text() and target.stat().st_mode & 0o777 == 0o640
    desk.undo("cursor")
    assert link.is_symlink() and target.read_text() == '{"mcpServers": {"a": {"command": "x"}}}'


@pytest.mark.parametrize("which", ["file", "folder", "dangling", "fifo", "hard"])
def test_what_is_not_a_persons_own_plain_file_is_not_written(desk: Desk, which: str) -> None:
    outside = desk.write("outside/mcp.json", '{"mcpServers": {"a": {"command": "x"}}}')
    path = desk.home / ".cursor/mcp.json"
    if which == "folder":
        path.parent.symlink_to(outside.parent)
    else:
        path.parent.mkdir()
    if which == "file":
        path.symlink_to(outside)
    if which == "dangling":
        path.symlink_to(desk.home / "nowhere")
    if which == "fifo":
        os.mkfifo(path)
    if which == "hard":
        path.hardlink_to(outside)
    with pytest.raises(OutsideError) as refused:
        desk.apply("cursor")
    assert refused.value.reason is Reason.ERR_CLIENT_CONFIG
    assert outside.read_text() == '{"mcpServers": {"a": {"command": "x"}}}' and not backup.folder(desk.kernel.home).exists()


def test_a_folder_that_cannot_be_written_is_said_before_anything_is(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    path = desk.write("home/.cursor/mcp.json", '{"mcpServers": {"a": {"command": "x"}}}')
    desk.write("project/.cursor/mcp.json", '{"mcpServers": {"a": {"command": "x"}}}')
    before, real = desk.files(), os.access
    monkeypatch.setattr(
        os, "access", lambda where, mode: Path(where) != path.parent and real(where, mode)
    )  # root may write anywhere
    with pytest.raises(OutsideError, match="not writable"):
        desk.apply("cursor")
    assert desk.files() == before and not backup.folder(desk.kernel.home).exists()


def test_a_file_that_changes_meanwhile_is_not_overwritten(desk: Desk) -> None:
    path = desk.write("home/.cursor/mcp.json", '{"mcpServers": {"a": {"command": "x"}}}')
    planned = desk.plan("cursor")
    path.write_text('{"mcpServers": {"b": {"command": "y"}}}')
    with pytest.raises(OutsideError, match="changed meanwhile"):
        wrap.apply(planned, desk.kernel)
    assert path.read_text() == '{"mcpServers": {"b": {"command": "y"}}}'
    desk.apply("cursor"), desk.undo("cursor")
    assert path.read_text() == '{"mcpServers": {"b": {"command": "y"}}}'


class Killed(BaseException):
    pass


def deaths(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Ends `apply` before its first, second, … durable write."""
    real = durable.write
    for at in range(1, 4):
        done = []

        def write(path: Path, parts: list[bytes], *, mode: int = 0o666, at: int = at, done: list[Path] = done) -> int:
            done.append(path)
            if len(done) == at:
                raise Killed
            return real(path, parts, mode=mode)

        monkeypatch.setattr(durable, "write", write)
        yield at
        monkeypatch.setattr(durable, "write", real)


def test_whatever_ends_it_there_is_the_old_file_or_the_new_one_and_a_way_back(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = '{"mcpServers": {"a": {"command": "x"}}}'
    path = desk.write("home/.cursor/mcp.json", text)
    for at in deaths(monkeypatch):
        with pytest.raises(Killed):
            desk.apply("cursor")
        kept = backup.records(desk.kernel.home)
        assert path.read_text() == text
        assert [one.before() for one in kept] == ([text.encode()] if at == 3 else []), "what was is durable before it changes"
    desk.apply("cursor")
    assert "wrap" in path.read_text()
    (step,) = desk.undo("cursor").steps
    assert step.exact and {row.state for row in step.rows} == {"undone"}
    assert path.read_text() == text and not backup.records(desk.kernel.home)


def test_backups_are_for_their_owner_and_survive_damage(desk: Desk) -> None:
    path = desk.write("home/.cursor/mcp.json", '{"mcpServers": {"a": {"command": "x", "env": {"KEY": "secret"}}}}')
    desk.apply("cursor")
    (kept,) = backup.records(desk.kernel.home)
    assert {file.stat().st_mode & 0o777 for file in kept.file.parent.iterdir()} == {0o600}
    assert kept.file.parent.stat().st_mode & 0o777 == 0o700
    kept.content.write_bytes(b"damaged")
    (step,) = desk.undo("cursor").steps
    assert not step.exact and path.read_text() == '{"mcpServers": {"a": {"command": "x", "env": {"KEY": "secret"}}}}'


def test_a_record_that_is_none_is_refused(desk: Desk) -> None:
    desk.write("home/.cursor/mcp.json", '{"mcpServers": {"a": {"command": "x"}}}')
    desk.apply("cursor")
    (kept,) = backup.records(desk.kernel.home)
    whole = kept.file.read_bytes()
    for bad in (
        b"",
        b"{}",
        whole[:-1],
        whole.replace(b'"v":1', b'"v":2'),
        whole.replace(b'"args":false', b'"args":0'),
        b"[" * 100,
    ):
        kept.file.write_bytes(bad)
        with pytest.raises(OutsideError) as refused:
            desk.undo("cursor")
        assert refused.value.reason is Reason.ERR_CLIENT_CONFIG
    kept.file.write_bytes(whole)
    assert backup.Record.from_bytes(whole).to_bytes() == whole
    desk.undo("cursor")


def test_a_mode_is_kept_whatever_the_umask(desk: Desk) -> None:
    path = desk.write("home/.cursor/mcp.json", '{"mcpServers": {"a": {"command": "x"}}}')
    path.chmod(0o664)
    old = os.umask(0o077)
    try:
        desk.apply("cursor")
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o664


def test_a_file_of_a_project_may_not_lead_into_the_home(desk: Desk) -> None:
    own = desk.write("home/.claude.json", '{"mcpServers": {"a": {"command": "x"}}}')
    (desk.folder / "project/.cursor").mkdir()
    (desk.folder / "project/.cursor/mcp.json").symlink_to(own)
    with pytest.raises(OutsideError, match="outside of"):
        desk.apply("cursor")
    assert own.read_text() == '{"mcpServers": {"a": {"command": "x"}}}'


def test_another_users_file_is_not_replaced_by_one_of_ours(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.write("home/.cursor/mcp.json", '{"mcpServers": {"a": {"command": "x"}}}')
    before, me = desk.files(), os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    with pytest.raises(OutsideError, match="another user"):
        desk.apply("cursor")
    assert desk.files() == before


def test_servers_of_two_projects_have_two_names_where_their_words_mean_two_places(desk: Desk) -> None:
    entry = '{"mcpServers": {"db": {"command": "node", "args": ["./db.js"]}, "time": {"command": "uvx", "args": ["time"]}}}'
    names = []
    for project in ("one", "two"):
        path = desk.write(f"{project}/.cursor/mcp.json", entry)
        places = Places.of({"HOME": str(desk.home)}, path.parent.parent, "linux")
        planned = wrap.plan("cursor", places, desk.kernel)
        wrap.apply(planned, desk.kernel)
        names.append({row.label: row.name for step in planned.steps for row in step.rows})
    assert names == [{"db": "db", "time": "time"}, {"db": "db-2", "time": "time"}]
    desk.undo("cursor")
    assert {(desk.folder / project / ".cursor/mcp.json").read_text() for project in ("one", "two")} == {entry}


def test_what_yaml_takes_from_elsewhere_is_not_covered_up(desk: Desk) -> None:
    text = "base: &base {args: [x]}\nextensions:\n  a:\n    <<: *base\n    type: stdio\n    cmd: y\n"
    desk.write("home/.config/goose/config.yaml", text)
    (step,) = desk.apply("goose").steps
    assert not step.changes and step.rows[0].state == "left" and "`<<`" in step.rows[0].why


PAGE = Path(__file__).resolve().parents[2] / "docs/spec/clients.md"


def test_the_page_names_every_client_and_every_file() -> None:
    text = PAGE.read_text(encoding="utf-8")
    table = text[text.index("| client | files |") : text.index("Files of an administrator")]
    named = re.findall(r"`([^`]+)`", table)
    assert [word for word in named if word in CLIENTS] == list(CLIENTS)
    short = {"{home}": "~", "{app}": "APP", "{config}": "CONFIG", "{project}": "."}
    for client in CLIENTS.values():
        path = client.first.path
        for long, sign in {**short, "{claude}": "~", "{codex}": "~/.codex", "{copilot}": "~/.copilot"}.items():
            path = path.replace(long, sign)
        assert path in named or "globalStorage" in path, path


def test_the_record_and_the_entries_of_the_page_are_what_is_written() -> None:
    blocks = re.findall(r"```json\n(.*?)\n```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    was, becomes, record = blocks
    assert backup.Record.from_bytes(record.encode()).to_bytes() == record.encode()
    document = Document.from_bytes(was.encode(), Syntax())
    data = document.data["postgres"]
    form = CLIENTS["cursor"].form
    found = state(data, form)
    assert isinstance(found, Local)
    changes = entry_wrap(data, form, found, PROGRAM, ("--name", "postgres"))
    assert document.edited([(("postgres",), changes)]).text == becomes
