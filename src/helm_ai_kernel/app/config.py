"""`helm.toml`, parsed once into one frozen value. An unknown key is refused with the nearest known one; nothing is guessed."""

import difflib
import os
import re
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from helm_ai_kernel.guardian.budget import Budget
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError, Refused
from helm_ai_kernel.tcb.process import KERNEL

from .oauth_config import OAuthClient, oauth_client
from .oauth_resource import Door, door
from .planes import CONTROL, CONTROL_PORT, DATA, DATA_KEYS, DATA_PORT, KEYS, Plane, plane, wrong

TEMPLATE = """# HELM AI Kernel. Unknown keys are refused. Policy and pins are signed (`policy apply`, `tools pin`), not set here.
[kernel]
agent = "local"        # the principal of calls through the Python library
# owner = "owner"      # whose agents these are, as the trust registry names them

[approval]
key = "{key}"           # "file": {approval}; "ssh-agent": a key that your agent holds
# four_eyes = true     # the owner of an agent may not approve its calls
# unattended = true    # nobody is there: what would wait for a person is denied

# An MCP server over stdio, proposed by `tools inspect NAME` and pinned by `tools pin NAME`:
# [upstream.time]
# command = ["mcp-server-time", "--local-timezone", "UTC"]
# env = []             # names of environment variables that it may see

# An MCP server over HTTP; with `addresses`, `secrets` and `ca` as an HTTP API has them:
# [upstream.wiki]
# mcp = "https://wiki.example/mcp"
# tls_key = "sha256:…" # of its public key (SPKI), where no other is good enough

# An HTTP API; `operations` is a JSON list of definitions (docs/spec/connector-http.md), beside this file:
# [upstream.shop]
# url = "https://api.shop.example/v1"
# operations = "shop.json"
# secrets = { authorization = "SHOP_AUTHORIZATION" }   # a header, and the variable of the kernel that holds its whole value

# Witnesses, in a C2SP tlog-policy beside this file; the newest checkpoint is shown to them every so many seconds (0: never):
# [log]
# witnesses = "witness-policy.txt"
# heartbeat_s = 3600

# Where `up` listens; both planes also at unix sockets in run/. `listen = ""`: nowhere else. Anything but loopback needs TLS:
# [data]
# listen = "127.0.0.1:8790"
# [control]
# listen = "127.0.0.1:8791"

# A budget in calls, reserved before dispatch:
# [budget.daily]
# calls = 1000
# per = "day"          # "session", "day" or "total"
# tools = ["time/*"]
"""

OWNER = "owner"  # the person who holds the root and approval keys of a single-owner kernel
HEARTBEAT_S = 3600  # how old the newest cosignature of a log gets, where nobody says otherwise
HEARTBEAT_S_MAX = 30 * 86_400  # longer than a month is never: 0 says it

SERVER = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}\Z")  # as in the catalogue; also the name of a file
_PRINCIPAL = re.compile(r"[!-~]{1,64}\Z")

_KNOWN: Mapping[str, frozenset[str]] = {
    "kernel": frozenset({"agent", "owner"}),
    "approval": frozenset({"key", "four_eyes", "unattended"}),
    "log": frozenset({"witnesses", "heartbeat_s"}),
    "data": DATA_KEYS,
    "control": KEYS,
}
_KNOWN_NAMED: Mapping[str, frozenset[str]] = {
    "upstream": frozenset({"command", "env", "url", "operations", "addresses", "secrets", "ca", "mcp", "tls_key", "oauth"}),
    "budget": frozenset({"calls", "per", "tools", "principals"}),
}

_SERVICE = frozenset({"addresses", "secrets", "ca"})
_KINDS: Mapping[str, frozenset[str]] = {  # what says where a server is, and what else it may say
    "command": frozenset({"command", "env"}),
    "url": frozenset({"url", "operations"}) | _SERVICE,
    "mcp": frozenset({"mcp", "tls_key", "oauth"}) | _SERVICE,
}


@dataclass(frozen=True, slots=True)
class Upstream:
    """How to start an MCP server that is not pinned yet; once pinned, the catalogue's command counts."""

    command: tuple[str, ...]
    env: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HttpUpstream:
    """Where an HTTP API is that is not pinned yet, and what it can do; once pinned, the catalogue's word counts."""

    url: str
    operations: Path
    addresses: tuple[str, ...] = ("global",)
    secrets: Mapping[str, str] = field(default_factory=dict)
    ca: str | None = None


@dataclass(frozen=True, slots=True)
class McpUpstream:
    """Where an MCP server over HTTP is that is not pinned yet; once pinned, the catalogue's word counts."""

    url: str
    addresses: tuple[str, ...] = ("global",)
    secrets: Mapping[str, str] = field(default_factory=dict)
    ca: str | None = None
    tls_key: str | None = None


AnyUpstream: TypeAlias = Upstream | HttpUpstream | McpUpstream


@dataclass(frozen=True, slots=True)
class Paths:
    """Where everything is. People's keys live outside the kernel's home, and so do the heads that tell when it was put back."""

    home: Path
    people: Path
    state: Path | None = None  # None: beside people's files

    @property
    def config(self) -> Path:
        return self.home / "helm.toml"

    @property
    def policy(self) -> Path:
        return self.home / "policy"

    @property
    def catalog(self) -> Path:
        return self.home / "catalog"

    @property
    def keys(self) -> Path:
        return self.home / "keys"

    @property
    def subjects(self) -> Path:
        """A key for each of those whom calls are about (`credentials/subjects.py`)."""
        return self.keys / "subjects"

    @property
    def store(self) -> Path:
        return self.home / "store"

    @property
    def packs(self) -> Path:
        return self.home / "packs"

    @property
    def agents(self) -> Path:
        """Who may call over the network (`app/agents.py`)."""
        return self.home / "agents.json"

    @property
    def operator_token(self) -> Path:
        return self.keys / "operator.token"

    def oauth(self, server: str) -> Path:
        """What the kernel holds of OAuth for that server (`credentials/tokens.py`)."""
        return self.keys / "oauth" / f"{server}.json"

    @property
    def run(self) -> Path:
        """Sockets of the resident kernel."""
        return self.home / "run"

    @property
    def data_socket(self) -> Path:
        return self.run / "data.sock"

    @property
    def wrap_socket(self) -> Path:
        """Where `mcp wrap` speaks with the kernel."""
        return self.run / "mcp.sock"

    @property
    def control_socket(self) -> Path:
        return self.run / "control.sock"

    @property
    def people_keys(self) -> Path:
        return self.people / "keys"

    @property
    def heads(self) -> Path:
        """The newest head of each log that ran on this machine (`ledger/mirror.py`)."""
        return (self.state or self.people) / "heads"

    @property
    def trust(self) -> Path:
        """The genesis digests that this machine's verifier accepts."""
        return self.people / "trust.json"

    @property
    def seen(self) -> Path:
        """The newest head of each log that this machine's verifier found in order (`cli/seen.py`)."""
        return self.people / "seen"

    def typed(self, command: str) -> str:
        """`helm-ai-kernel COMMAND` for this home, as it works when typed here."""
        own = "" if self.home == paths().home else f" --home {shlex.quote(str(self.home))}"
        return f"helm-ai-kernel {command}{own}"


@dataclass(frozen=True, slots=True)
class Asked:
    """Who may not approve the calls of an agent, besides itself, and whether anybody is there to be asked."""

    not_by: tuple[str, ...] = ()
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Config:
    paths: Paths
    agent: str = "local"
    approval_key: str = "file"
    upstreams: Mapping[str, AnyUpstream] = field(default_factory=dict)
    budgets: tuple[Budget, ...] = ()
    witnesses: Path | None = None  # the policy
    heartbeat_s: int = HEARTBEAT_S
    asked: Asked = Asked()  # of the agent that is named above
    four_eyes: bool = False
    owner: str = OWNER  # of every agent of whom nobody says otherwise
    data: Plane = DATA
    control: Plane = CONTROL
    oauth: Mapping[str, OAuthClient] = field(default_factory=dict)  # of each MCP server that has a URL
    resource: Door | None = None  # whose access tokens open the data plane
    insecure: tuple[str, ...] = ()  # the `--insecure-…` switches that are on, sorted; every receipt names them


def paths(home: str | None = None, people: str | None = None, environ: Mapping[str, str] = os.environ) -> Paths:
    """`--home`, then `$HELM_HOME`, then the XDG data directory; people's files in `$HELM_PEOPLE` or the XDG config directory.

    Heads are in `$HELM_STATE` or the XDG state directory, and beside people's files where `$HELM_PEOPLE` puts those elsewhere.
    """
    user = Path(environ.get("HOME", "/"))
    data = Path(environ.get("XDG_DATA_HOME") or user / ".local/share") / "helm-ai-kernel"
    config = Path(environ.get("XDG_CONFIG_HOME") or user / ".config") / "helm-ai-kernel"
    own_state = Path(environ.get("XDG_STATE_HOME") or user / ".local/state") / "helm-ai-kernel"
    elsewhere = people or environ.get("HELM_PEOPLE")
    state = environ.get("HELM_STATE") or (None if elsewhere else own_state)
    return Paths(
        _normal(home or environ.get("HELM_HOME") or data),
        _normal(elsewhere or config),
        None if state is None else _normal(state),
    )


def _normal(path: str | Path) -> Path:
    """Absolute and without `..`: a policy names these folders as protected, in one form."""
    return Path(os.path.abspath(path))


def load(where: Paths, environ: Mapping[str, str] = os.environ) -> Config:
    """Raises `OutsideError` where there is no home, or where the file says something that we do not know."""
    try:
        text = where.config.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise OutsideError(
            Reason.ERR_EVIDENCE_UNAVAILABLE, f"there is no kernel at `{where.home}`", hint=where.typed("init")
        ) from None
    except UnicodeDecodeError:
        raise wrong(f"`{where.config}` is not UTF-8") from None
    try:
        return _parsed(where, tomllib.loads(text), environ)
    except tomllib.TOMLDecodeError as e:
        raise wrong(f"`{where.config}`: {e}") from None
    except Refused as e:  # of a budget
        raise OutsideError(e.reason, e.detail, hint=e.hint) from None


def _parsed(where: Paths, table: dict[str, Any], environ: Mapping[str, str]) -> Config:
    _check(table)
    kernel, approval = table.get("kernel", {}), table.get("approval", {})
    agent = _string(environ.get("HELM_KERNEL_AGENT", kernel.get("agent", "local")), "kernel.agent")
    key = _string(environ.get("HELM_APPROVAL_KEY", approval.get("key", "file")), "approval.key")
    if not _PRINCIPAL.match(agent):
        raise wrong("kernel.agent is not made of visible ASCII characters: no two principals may look alike", 'agent = "local"')
    if agent == KERNEL:
        raise wrong("kernel.agent is `kernel`, the name of the kernel's own session", 'agent = "local"')
    if key not in ("file", "ssh-agent"):
        raise wrong(f"approval.key is `{key}`, neither `file` nor `ssh-agent`", 'key = "file"')
    upstreams = {name: _upstream(where, name, value) for name, value in table.get("upstream", {}).items()}
    budgets = tuple(Budget.from_config(name, value) for name, value in sorted(table.get("budget", {}).items()))
    witnesses, heartbeat_s = _witnesses(where, table.get("log", {}))
    four_eyes, alone = (_flag(approval, name) for name in ("four_eyes", "unattended"))
    owner = _string(kernel.get("owner", OWNER), "kernel.owner")
    asked = Asked((owner,) if four_eyes else (), alone)
    data, control = (
        plane(where.home, name, said, environ.get(f"HELM_{name.upper()}_LISTEN", said.get("listen", f"127.0.0.1:{port}")))
        for name, said, port in (("data", table.get("data", {}), DATA_PORT), ("control", table.get("control", {}), CONTROL_PORT))
    )
    logins = {name: said for name, said in table.get("upstream", {}).items() if "mcp" in said}
    oauth = {name: oauth_client(where.home, name, said) for name, said in logins.items()}
    own = table.get("data", {}).get("oauth")
    resource = None if own is None else door(where.home, own)
    logs = (witnesses, heartbeat_s)
    return Config(where, agent, key, upstreams, budgets, *logs, asked, four_eyes, owner, data, control, oauth, resource)


def _flag(section: Mapping[str, Any], name: str) -> bool:
    value = section.get(name, False)
    if type(value) is not bool:
        raise wrong(f"approval.{name} is neither true nor false", f"{name} = true")
    return value


def _witnesses(where: Paths, log: Mapping[str, Any]) -> tuple[Path | None, int]:
    every = log.get("heartbeat_s", HEARTBEAT_S)
    if type(every) is not int or not 0 <= every <= HEARTBEAT_S_MAX:
        raise wrong(f"log.heartbeat_s is no number of seconds up to {HEARTBEAT_S_MAX}", f"heartbeat_s = {HEARTBEAT_S}")
    named = log.get("witnesses")
    if named is None:
        return None, every
    if not isinstance(named, str) or not named or "\0" in named:
        raise wrong("log.witnesses is not the name of a file", 'witnesses = "witness-policy.txt"')
    return where.home / named, every  # an absolute path stays what it is


def _check(table: Mapping[str, Any]) -> None:
    sections = _KNOWN.keys() | _KNOWN_NAMED.keys()
    for section, content in table.items():
        if section not in sections:
            raise _unknown(section, sections)
        named = content.items() if section in _KNOWN_NAMED and isinstance(content, dict) else [("", content)]
        known = _KNOWN.get(section) or _KNOWN_NAMED[section]
        for name, keys in named:
            if not isinstance(keys, dict):
                raise wrong(f"[{section}{'.' + name if name else ''}] is not a table")
            for key in keys:
                if key not in known:
                    raise _unknown(f"{section}.{name + '.' if name else ''}{key}", known)


def _upstream(where: Paths, name: str, value: Mapping[str, Any]) -> AnyUpstream:
    if not SERVER.match(name):
        raise wrong(f"[upstream.{name}]: a name is 1 to 64 lower case letters, digits, `_` and `-`", "rename it")
    kinds = [key for key in _KINDS if key in value]
    if len(kinds) > 1:
        raise wrong(f"upstream.{name} has a `{kinds[0]}` and a `{kinds[1]}`", "a server has one of the two")
    kind = kinds[0] if kinds else "command"
    for key in value:
        if key not in _KINDS[kind]:
            raise wrong(f"upstream.{name}.{key} does not belong to a `{kind}`", f"it has {', '.join(sorted(_KINDS[kind]))}")
    if kind != "command":
        return _over_http(where, name, value, kind)
    command, env = value.get("command"), value.get("env", [])
    for label, items in (("command", command), ("env", env)):
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise wrong(f"upstream.{name}.{label} is not a list of strings")
    if not command:
        raise wrong(f"upstream.{name}.command is empty")
    return Upstream(tuple(command), tuple(env))


def _over_http(where: Paths, name: str, value: Mapping[str, Any], kind: str) -> HttpUpstream | McpUpstream:
    """Types only: what may be pinned is for the catalogue to say."""
    needed = ("mcp",) if kind == "mcp" else ("url", "operations")
    for key in (*needed, *(key for key in ("ca", "tls_key") if key in value)):
        if not isinstance(value.get(key), str) or not value[key] or "\0" in value[key]:
            raise wrong(f"upstream.{name}.{key} is not a string", f'{key} = "..."')
    addresses, secrets = value.get("addresses", ["global"]), value.get("secrets", {})
    if not isinstance(addresses, list) or not all(isinstance(item, str) for item in addresses):
        raise wrong(f"upstream.{name}.addresses is not a list of strings", 'addresses = ["global"]')
    if not isinstance(secrets, dict) or not all(isinstance(item, str) for item in secrets.values()):
        raise wrong(f"upstream.{name}.secrets is not a table of strings", 'secrets = { authorization = "NAME_OF_A_VARIABLE" }')
    ca = str(where.home / value["ca"]) if "ca" in value else None  # an absolute path stays what it is
    if kind == "mcp":
        return McpUpstream(value["mcp"], tuple(addresses), dict(secrets), ca, value.get("tls_key"))
    return HttpUpstream(value["url"], where.home / value["operations"], tuple(addresses), dict(secrets), ca)


def _string(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value or len(value) > 64:
        raise wrong(f"{name} is not a short string")
    return value


def _unknown(key: str, known: frozenset[str] | set[str]) -> OutsideError:
    near = difflib.get_close_matches(key.rsplit(".", 1)[-1], sorted(known), 1, 0.0)
    return wrong(f"`{key}` is not known", f"did you mean `{near[0]}`?")
