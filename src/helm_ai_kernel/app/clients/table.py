"""Which AI clients there are, where each keeps its servers, and how it writes one: one table, for every command.

A row says what the client's own documentation says. A file that is not there is no file of this client; a client whose files are
elsewhere is one more row.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

Section = tuple[str, ...]  # keys down to the servers; "*" is every key

SERVERS: tuple[Section, ...] = (("mcpServers",),)


@dataclass(frozen=True, slots=True)
class Form:
    """How a client writes one server."""

    command: str = "command"
    args: str = "args"  # empty: the command is a list of words
    env: str = "env"
    urls: tuple[str, ...] = ("url",)
    kind: str = "type"  # the key that says the transport; empty: there is none
    local: str = "stdio"  # what it says of a command
    says_local: bool = False  # a command without it is none
    remotes: tuple[str, ...] = ("http", "streamableHttp", "streamable-http", "streamable_http", "remote")
    untyped: bool = True  # an address alone is not the transport of before 2025
    own: tuple[str, ...] = ()  # what it says of the client's own tools
    headers: str = "headers"  # empty: it can set none
    remote: str | None = None  # what it says of an address; None: the client cannot have one
    listed: bool = False  # servers are a list, each with its `name`
    more: tuple[tuple[str, str], ...] = ()  # what a new one has to say besides: literals that JSON, YAML and TOML share


@dataclass(frozen=True, slots=True)
class File:
    """`{home}`, `{config}`, … are folders of `places.py`. What is below `{project}` belongs to the folder that one works in."""

    path: str
    sections: tuple[Section, ...] = SERVERS
    ours: bool = True  # False: an administrator's, which is read and never written


@dataclass(frozen=True, slots=True)
class Client:
    title: str
    files: tuple[File, ...]
    form: Form = Form(kind="", remote="")

    @property
    def first(self) -> File:
        """Where a server is added."""
        return self.files[0]


_TYPED = Form(remote="http")
_CODE = (("servers",),)
_CLINE = "saoudrizwan.claude-dev/settings/cline_mcp_settings.json"
_ROO = "rooveterinaryinc.roo-cline/settings/mcp_settings.json"
_OPENCODE = (("mcp",), ("mcp", "servers"))
_EDITORS = ("Code", "Code - Insiders", "VSCodium", "Cursor", "Windsurf")


def _extension(name: str) -> tuple[File, ...]:
    return tuple(File(f"{{app}}/{editor}/User/globalStorage/{name}") for editor in _EDITORS)


CLIENTS: Mapping[str, Client] = MappingProxyType({
    "claude-code": Client(
        "Claude Code",
        (
            File("{claude}/.claude.json", (("mcpServers",), ("projects", "*", "mcpServers"))),
            File("{project}/.mcp.json"),
            File("/etc/claude-code/managed-mcp.json", ours=False),
            File("/Library/Application Support/ClaudeCode/managed-mcp.json", ours=False),
        ),
        _TYPED,
    ),
    "claude-desktop": Client(
        "Claude Desktop",
        (File("{app}/Claude/claude_desktop_config.json"), File("{app}/claude/claude_desktop_config.json")),
        Form(kind="", headers=""),
    ),
    "cursor": Client("Cursor", (File("{home}/.cursor/mcp.json"), File("{project}/.cursor/mcp.json")), Form(remote="")),
    "vscode": Client(
        "VS Code",
        (
            File("{app}/Code/User/mcp.json", _CODE),
            File("{project}/.vscode/mcp.json", _CODE),
            File("{app}/Code/User/settings.json", (("mcp", "servers"),)),
            File("{app}/Code - Insiders/User/mcp.json", _CODE),
            File("{app}/VSCodium/User/mcp.json", _CODE),
            File("{home}/.vscode-server/data/User/mcp.json", _CODE),
        ),
        _TYPED,
    ),
    "windsurf": Client(
        "Windsurf",
        (File("{home}/.codeium/windsurf/mcp_config.json"), File("{home}/.codeium/mcp_config.json")),
        Form(kind="", urls=("serverUrl", "url"), remote=""),
    ),
    "codex": Client(
        "Codex",
        (File("{codex}/config.toml", (("mcp_servers",),)), File("{project}/.codex/config.toml", (("mcp_servers",),))),
        Form(kind="", headers="http_headers", remote=""),
    ),
    "gemini-cli": Client(
        "Gemini CLI",
        (File("{home}/.gemini/settings.json"), File("{project}/.gemini/settings.json")),
        Form(urls=("httpUrl", "url"), untyped=False, remote=""),
    ),
    "zed": Client(
        "Zed",
        (
            File("{config}/zed/settings.json", (("context_servers",),)),
            File("{project}/.zed/settings.json", (("context_servers",),)),
        ),
        Form(kind="source", local="custom", own=("extension",), remotes=("custom",), remote=""),
    ),
    "cline": Client(
        "Cline", (*_extension(_CLINE), File("{home}/.cline/data/settings/cline_mcp_settings.json")),
        Form(untyped=False, remote="streamableHttp"),
    ),
    "roo": Client(
        "Roo Code", (*_extension(_ROO), File("{project}/.roo/mcp.json")), Form(untyped=False, remote="streamable-http")
    ),
    "continue": Client(
        "Continue",
        (File("{home}/.continue/config.yaml"), File("{home}/.continue/config.yml")),
        Form(listed=True, remote="streamable-http"),
    ),
    "goose": Client(
        "Goose",
        (File("{config}/goose/config.yaml", (("extensions",),)),),
        Form(
            command="cmd", env="envs", urls=("uri",), says_local=True, untyped=False, remote="streamable_http",
            own=("builtin", "platform", "frontend", "inline_python"), more=(("enabled", "true"), ("timeout", "300")),
        ),
    ),
    "opencode": Client(
        "OpenCode",
        (
            File("{config}/opencode/opencode.json", _OPENCODE),
            File("{config}/opencode/opencode.jsonc", _OPENCODE),
            File("{project}/opencode.json", _OPENCODE),
            File("{project}/opencode.jsonc", _OPENCODE),
        ),
        Form(args="", env="environment", local="local", says_local=True, remote="remote", more=(("enabled", "true"),)),
    ),
    "lm-studio": Client("LM Studio", (File("{home}/.lmstudio/mcp.json"), File("{home}/.cache/lm-studio/mcp.json"))),
    "copilot-cli": Client("Copilot CLI", (File("{copilot}/mcp-config.json"),), Form(local="local", remote="http")),
    "amp": Client("Amp", (File("{config}/amp/settings.json", (("amp.mcpServers",),)),)),
    "antigravity": Client(
        "Antigravity", (File("{home}/.gemini/antigravity/mcp_config.json"),), Form(kind="", urls=("serverUrl",), remote="")
    ),
    "kiro": Client("Kiro", (File("{home}/.kiro/settings/mcp.json"), File("{project}/.kiro/settings/mcp.json"))),
    "factory": Client("Factory", (File("{home}/.factory/mcp.json"), File("{project}/.factory/mcp.json")), _TYPED),
    "kimi": Client("Kimi", (File("{home}/.kimi/mcp.json"),)),
    "qoder": Client("Qoder", (File("{home}/.qoder/mcp.json"),)),
    "trae": Client("Trae", (File("{app}/Trae/User/mcp.json"),)),
    "mistral-vibe": Client(
        "Mistral Vibe",
        (File("{home}/.vibe/config.toml", (("mcp_servers",),)),),
        Form(kind="transport", says_local=True, untyped=False, remote="streamable-http", listed=True),
    ),
})  # fmt: skip
