"""`helm.toml`: one frozen value, or one sentence that says which key is wrong and what was meant."""

from pathlib import Path

import pytest

from helm_ai_kernel.app.config import TEMPLATE, Config, HttpUpstream, Paths, Upstream, load, paths
from helm_ai_kernel.guardian.budget import Budget, Per
from helm_ai_kernel.tcb.errors import OutsideError


def read(folder: Path, text: str, environ: dict[str, str] | None = None) -> Config:
    (folder / "helm.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    return load(Paths(folder, folder / "people"), environ or {})


def test_what_init_writes_is_what_holds_without_a_file(tmp_path: Path) -> None:
    assert read(tmp_path, TEMPLATE.replace("{key}", "file")) == read(tmp_path, "")


def test_every_section_is_read(tmp_path: Path) -> None:
    text = """
[kernel]
agent = "claude"
[approval]
key = "ssh-agent"
[log]
witnesses = "policy/../witness-policy.txt"
heartbeat_s = 60
[upstream.time]
command = ["mcp-server-time", "--local-timezone", "UTC"]
env = ["TZ"]
[budget.daily]
calls = 10
per = "day"
tools = ["time/*"]
"""
    config = read(tmp_path, text)
    assert (config.agent, config.approval_key) == ("claude", "ssh-agent")
    assert config.upstreams == {"time": Upstream(("mcp-server-time", "--local-timezone", "UTC"), ("TZ",))}
    assert (config.witnesses, config.heartbeat_s) == (tmp_path / "policy/../witness-policy.txt", 60)
    assert config.budgets == (Budget("daily", 10, Per.DAY, ("time/*",)),)


def test_an_http_api_is_a_url_and_a_file_of_operations(tmp_path: Path) -> None:
    short = read(tmp_path, '[upstream.shop]\nurl = "https://shop.example"\noperations = "shop.json"\n')
    assert short.upstreams == {"shop": HttpUpstream("https://shop.example", tmp_path / "shop.json", ("global",), {}, None)}
    text = """
[upstream.shop]
url = "https://shop.example/v1"
operations = "/etc/shop.json"
addresses = ["private", "loopback"]
secrets = { authorization = "SHOP" }
ca = "ca.pem"
"""
    whole = HttpUpstream(
        "https://shop.example/v1",
        Path("/etc/shop.json"),
        ("private", "loopback"),
        {"authorization": "SHOP"},
        str(tmp_path / "ca.pem"),
    )
    assert read(tmp_path, text).upstreams == {"shop": whole}


def test_the_environment_comes_before_the_file(tmp_path: Path) -> None:
    config = read(tmp_path, '[kernel]\nagent = "a"\n', {"HELM_KERNEL_AGENT": "b", "HELM_APPROVAL_KEY": "ssh-agent"})
    assert (config.agent, config.approval_key) == ("b", "ssh-agent")


@pytest.mark.parametrize(
    ("text", "key", "near"),
    [
        ("[kernal]\n", "kernal", "kernel"),
        ("[kernel]\nagnet = 'a'\n", "kernel.agnet", "agent"),
        ("[aproval]\nkey = 'file'\n", "aproval", "approval"),
        ("[approval]\nkeys = 'file'\n", "approval.keys", "key"),
        ("[upstream.time]\ncomand = ['a']\n", "upstream.time.comand", "command"),
        ("[budget.daily]\ncalls = 1\ntool = ['*']\n", "budget.daily.tool", "tools"),
        ("[log]\nwitness = 'a'\n", "log.witness", "witnesses"),
        ("zzz = 1\n", "zzz", ""),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(tmp_path: Path, text: str, key: str, near: str) -> None:
    with pytest.raises(OutsideError) as caught:
        read(tmp_path, text)
    assert caught.value.detail == f"helm.toml: `{key}` is not known"
    assert caught.value.hint.startswith(f"did you mean `{near}")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[kernel\n", "Expected ']'"),
        ("[log]\nwitnesses = 5\n", "log.witnesses is not the name of a file"),
        ("[log]\nwitnesses = ''\n", "log.witnesses is not the name of a file"),
        ("[log]\nheartbeat_s = true\n", "log.heartbeat_s is no number of seconds"),
        ("[log]\nheartbeat_s = -1\n", "log.heartbeat_s is no number of seconds"),
        ("[log]\nheartbeat_s = 2592001\n", "log.heartbeat_s is no number of seconds up to 2592000"),
        ("kernel = 5\n", "[kernel] is not a table"),
        ("upstream = 5\n", "[upstream] is not a table"),
        ("[kernel]\nagent = 5\n", "kernel.agent is not a short string"),
        ("[kernel]\nagent = ''\n", "kernel.agent is not a short string"),
        ("[kernel]\nagent = 'kernel'\n", "the name of the kernel's own session"),
        ("[approval]\nkey = 'yubikey'\n", "neither `file` nor `ssh-agent`"),
        ("[upstream.time]\n", "upstream.time.command is not a list of strings"),
        ("[upstream.time]\ncommand = []\n", "upstream.time.command is empty"),
        ("[upstream.time]\ncommand = 'mcp-server-time'\n", "upstream.time.command is not a list of strings"),
        ("[upstream.'../../etc/x']\ncommand = ['a']\n", "[upstream.../../etc/x]: a name is 1 to 64 lower case letters"),
        ("[upstream.a]\nurl = 'https://a'\ncommand = ['a']\n", "upstream.a has a `command` and a `url`"),
        ("[upstream.a]\nurl = 'https://a'\n", "upstream.a.operations is not a string"),
        ("[upstream.a]\nurl = 5\noperations = 'a'\n", "upstream.a.url is not a string"),
        ("[upstream.a]\nurl = 'https://a'\noperations = ''\n", "upstream.a.operations is not a string"),
        ("[upstream.a]\nurl = 'https://a'\noperations = 'a'\nca = 1\n", "upstream.a.ca is not a string"),
        (
            "[upstream.a]\nurl = 'https://a'\noperations = 'a'\naddresses = 'global'\n",
            "upstream.a.addresses is not a list of strings",
        ),
        (
            "[upstream.a]\nurl = 'https://a'\noperations = 'a'\nsecrets = { a = 1 }\n",
            "upstream.a.secrets is not a table of strings",
        ),
        ("[upstream.a]\ncommand = ['a']\nsecrets = {}\n", "upstream.a.secrets does not belong to a `command`"),
        ("[upstream.a]\ncommand = ['a']\nmcp = 'https://a'\n", "upstream.a has a `command` and a `mcp`"),
        ("[upstream.a]\nurl = 'https://a'\nmcp = 'https://a'\n", "upstream.a has a `url` and a `mcp`"),
        ("[upstream.a]\nmcp = 'https://a'\noperations = 'a'\n", "upstream.a.operations does not belong to a `mcp`"),
        ("[upstream.a]\nmcp = 3\n", "upstream.a.mcp is not a string"),
        ("[upstream.a]\nmcp = 'https://a'\ntls_key = 3\n", "upstream.a.tls_key is not a string"),
        ("[budget.daily]\ncalls = -1\n", "`calls` is not a whole number from 0"),
        ("[budget.daily]\ncalls = 1.5\n", "`calls` is not a whole number from 0"),
        ("[budget.daily]\ncalls = 1\nper = 'week'\n", "`per` is `week`"),
        ("a = '\udcff'\n", "is not UTF-8"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(OutsideError, match=r"^ERR_POLICY_NOT_READY: helm\.toml: ") as caught:
        read(tmp_path, text)
    assert says in caught.value.detail
    assert caught.value.hint


def test_where_there_is_no_kernel_the_hint_makes_one_there(tmp_path: Path) -> None:
    with pytest.raises(OutsideError, match="there is no kernel at") as caught:
        load(Paths(tmp_path / "a b", tmp_path), {})
    assert caught.value.hint == f"helm-ai-kernel init --home '{tmp_path}/a b'"


def test_the_home_is_the_option_then_the_variable_then_the_data_directory() -> None:
    environ = {"HOME": "/u", "HELM_HOME": "/h", "HELM_PEOPLE": "/p"}
    assert paths("/o", environ=environ) == Paths(Path("/o"), Path("/p"))
    assert paths(environ=environ).home == Path("/h")
    moved = {"HOME": "/u", "XDG_DATA_HOME": "/d", "XDG_CONFIG_HOME": "/c", "XDG_STATE_HOME": "/s"}
    assert paths(environ=moved) == Paths(*(Path(f"/{name}/helm-ai-kernel") for name in "dcs"))
    own = paths(environ={"HOME": "/u"})
    assert own == Paths(*(Path(f"/u/{name}/helm-ai-kernel") for name in (".local/share", ".config", ".local/state")))
    assert own.heads == Path("/u/.local/state/helm-ai-kernel/heads")
    assert paths(environ=environ).heads == Path("/p/heads")  # who moves people's files moves what tells of the store with them
    assert paths(environ={**environ, "HELM_STATE": "/q"}).heads == Path("/q/heads")
    assert (own.people_keys, own.trust) == (own.people / "keys", own.people / "trust.json")


def test_a_folder_that_is_named_by_a_way_round_is_the_folder() -> None:
    """A policy names these folders as protected, and takes only normal paths."""
    assert paths("/o/../h", environ={"HELM_PEOPLE": "/a/../p", "HELM_STATE": "/s/."}) == Paths(Path("/h"), Path("/p"), Path("/s"))
