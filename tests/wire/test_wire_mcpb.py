"""Bundles: what one says that it is, and what becomes of its server when it is put behind the kernel."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.digest import digest
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.wire import archive, mcpb
from helm_ai_kernel.wire.manifest import Launch, Manifest
from helm_ai_kernel.wire.mcpb import Bundle, undeclared
from wire.archives import STORED, Part, bundle, manifest, signature, zipped

WRAP = ("mcp", "wrap", "--name", "hello", "--")
SETTING = {"type": "string", "title": "A", "description": "An a."}


def read(data: bytes) -> dict[str, bytes]:
    return {entry.name: archive.content(entry) for entry in archive.read(data).entries}


def refusal(data: bytes) -> tuple[str, str]:
    with pytest.raises(Refused) as refused:
        Bundle.from_bytes(data)
    assert refused.value.reason is Reason.ERR_BUNDLE_MALFORMED
    return refused.value.sub, refused.value.detail


def test_a_bundle_is_what_its_manifest_says() -> None:
    data = bundle()
    found = Bundle.from_bytes(data)
    assert (found.digest, found.size, found.signature) == (digest(data), len(data), "unsigned")
    assert (found.manifest.name, found.manifest.version, found.manifest.form, found.manifest.kind) == (
        "hello", "1.0.0", "0.3", "node",
    )  # fmt: skip
    assert found.manifest.tools == ("hello",)
    assert found.manifest.launch == Launch("node", ("${__dirname}/server/index.js",), None)
    assert found.findings() == [("ungoverned", "its server is started past the kernel")]


@pytest.mark.parametrize("form", ["0.1", "0.2", "0.3", "0.4"])
@pytest.mark.parametrize("names", [("manifest_version",), ("dxt_version",), ("manifest_version", "dxt_version")])
def test_every_published_form_of_a_manifest_is_read_under_both_of_its_names(form: str, names: tuple[str, ...]) -> None:
    body = {key: value for key, value in manifest().items() if key != "manifest_version"} | dict.fromkeys(names, form)
    assert Bundle.from_bytes(bundle(body)).manifest.form == form


WRONG: dict[str, tuple[Mapping[str, Any], str]] = {
    "no such form": ({"manifest_version": "0.5"}, "is not one of 0.1, 0.2, 0.3, 0.4"),
    "a form that is a number": ({"manifest_version": 0.3}, "`manifest_version` is not str"),
    "two forms": ({"dxt_version": "0.1"}, "is not one of"),
    "an unknown member": ({"autostart": True}, "field `autostart` is unknown"),
    "no name": ({"name": ""}, "field `name` is empty"),
    "a name that is no string": ({"name": 1}, "field `name` is not str"),
    "an author without a name": ({"author": {}}, "field `name` is missing"),
    "an author who is a string": ({"author": "somebody"}, "not an object"),
    "a server of an unknown type": ({"server": {"type": "docker"}}, "the server's `type` is `docker`"),
    "a server that version 0.3 does not have": ({"server": {"type": "uv"}}, "which version 0.3 does not have"),
    "a server with an unknown member": ({"server": {"url": "x"}}, "field `url` is unknown"),
    "a server without an entry point": ({"server": {"entry_point": ""}}, "field `entry_point` is empty"),
    "no configuration": ({"server": {"mcp_config": None}}, "field `mcp_config` is not dict"),
    "an unknown member of the configuration": ({"mcp_config": {"cwd": "/"}}, "field `cwd` is unknown"),
    "an empty command": ({"mcp_config": {"command": " "}}, "field `command` is empty"),
    "a command with a NUL": ({"mcp_config": {"command": "a\0b"}}, "field `command` is empty, or holds a NUL"),
    "arguments that are a string": ({"mcp_config": {"args": "a b"}}, "field `args` is not list"),
    "an argument with a NUL": ({"mcp_config": {"args": ["a\0b"]}}, "holds a NUL"),
    "a long argument": ({"mcp_config": {"args": ["a" * 4097]}}, "longer than 4096"),
    "many arguments": ({"mcp_config": {"args": ["a"] * 65}}, "more than 64 arguments"),
    "a variable that is a number": ({"mcp_config": {"env": {"A": 1}}}, "a variable that is no string"),
    "an unknown platform": ({"mcp_config": {"platform_overrides": {"beos": {}}}}, "something else than darwin, linux, win32"),
    "an unknown member of a platform": (
        {"mcp_config": {"platform_overrides": {"linux": {"shell": True}}}}, "field `shell` is unknown",
    ),
    "a platform that is no object": ({"mcp_config": {"platform_overrides": {"linux": None}}}, "not an object"),
    "tools that are names": ({"tools": ["hello"]}, "not an object"),
    "a tool twice": ({"tools": [{"name": "a"}, {"name": "a"}]}, "one twice"),
    "a tool with a name that none has": ({"tools": [{"name": "a/b"}]}, "a name that no tool has"),
    "too many tools": ({"tools": [{"name": f"a{n}"} for n in range(1025)]}, "more than 1024"),
    "a word that is neither true nor false": ({"tools_generated": "yes"}, "field `tools_generated` is not bool"),
    "a setting of an unknown type": ({"user_config": {"a": {**SETTING, "type": "color"}}}, "the type of the setting `a`"),
    "a setting without a title": ({"user_config": {"a": {"type": "string", "description": "a"}}}, "field `title` is missing"),
    "a setting with an unknown member": ({"user_config": {"a": {**SETTING, "secret": True}}}, "field `secret` is unknown"),
    "a setting that is said to be a secret": ({"user_config": {"a": {**SETTING, "sensitive": "no"}}}, "is not bool"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_manifest_that_is_wrong_in_one_place_is_refused(case: str) -> None:
    said, detail = WRONG[case]
    sub, found = refusal(bundle(manifest(**said)))
    assert sub == "manifest" and detail in found, found


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        (b'{"name":"a","name":"b"}', "dup_key"),
        (b"\xef\xbb\xbf{}", "bom"),
        (b"[" * 99 + b"]" * 99, "depth"),
        (b"{" + b" " * (1 << 20) + b"}", "size"),
        (b"// a comment\n{}", "syntax"),
        (b"[]", "not an object"),
        (b"{}", "is missing"),
    ],
)
def test_a_manifest_is_strict_json(text: bytes, detail: str) -> None:
    sub, found = refusal(zipped(Part(b"manifest.json", text, STORED)))
    assert sub == "manifest" and detail in found, found


def test_a_bundle_without_a_manifest_at_its_root_is_refused() -> None:
    text = json.dumps(manifest()).encode()
    assert refusal(zipped(Part(b"hello/manifest.json", text))) == ("manifest", "there is no `manifest.json`")


def test_a_signature_is_reported_and_never_believed() -> None:
    found = Bundle.from_bytes(bundle() + signature())
    assert found.signature == "unverified"
    assert found.findings()[0][0] == "unverified"


# -- what is put behind the kernel


def rerouted(**said: Any) -> dict[str, Any]:
    """The configuration of a bundle that was wrapped."""
    made = mcpb.wrapped(bundle(manifest(**said)), "hello")
    body = json.loads(read(made)["manifest.json"])
    assert body["server"]["type"] == "binary"
    found = Bundle.from_bytes(made)
    assert found.is_governed and ("governed", "it says that it starts `helm-ai-kernel mcp wrap`") in found.findings()
    return body["server"]["mcp_config"]


def test_a_wrapped_bundle_starts_the_kernel_with_the_command_that_it_had() -> None:
    assert rerouted() == {"command": "helm-ai-kernel", "args": [*WRAP, "node", "${__dirname}/server/index.js"], "env": {}}


def test_everything_else_of_a_bundle_stays_and_says_what_it_was() -> None:
    body = manifest(long_description="Long.", icon="icon.png", compatibility={"claude_desktop": ">=1.0"})
    data = bundle(body, Part(b"icon.png", b"\x89PNG", STORED), Part("server/é.js".encode(), local=U, central=U))
    made = mcpb.wrapped(data, "hello")
    before, after = read(data), read(made)
    record = json.loads(after.pop("helm.json"))
    assert record == {
        "v": 1, "kind": "mcpb", "name": "hello",
        "wraps": {"digest": digest(data), "bytes": len(data), "signature": "unsigned", "type": "node"},
    }  # fmt: skip
    said = json.loads(after.pop("manifest.json"))
    assert {name: content for name, content in before.items() if name != "manifest.json"} == after
    assert {key: value for key, value in said.items() if key not in ("server", "compatibility")} == {
        key: value for key, value in body.items() if key not in ("server", "compatibility")
    }
    assert said["compatibility"] == {"claude_desktop": ">=1.0", "platforms": ["darwin", "linux"]}
    executable = {entry.name for entry in archive.read(made).entries if entry.executable}
    assert executable == {"server/index.js"}


U = {"flags": 0x800}


def test_a_signature_does_not_outlive_what_it_signed() -> None:
    made = mcpb.wrapped(bundle() + signature(), "hello")
    assert Bundle.from_bytes(made).signature == "unsigned"
    assert json.loads(read(made)["helm.json"])["wraps"]["signature"] == "unverified"


def test_every_platform_is_rerouted_with_what_a_host_would_start_there() -> None:
    config = rerouted(
        mcp_config={
            "env": {"A": "${user_config.a}"},
            "platform_overrides": {
                "darwin": {"args": ["other.js"]},
                "linux": {"command": "bun", "env": {"B": "${user_config.b}"}},
                "win32": {},
            },
        }
    )
    index = "${__dirname}/server/index.js"
    assert config["platform_overrides"] == {
        "darwin": {"command": "helm-ai-kernel", "args": [*WRAP, "node", "other.js"], "env": {"A": "${user_config.a}"}},
        "linux": {"command": "helm-ai-kernel", "args": [*WRAP, "bun", index], "env": {"B": "${user_config.b}"}},
        "win32": {"command": "helm-ai-kernel", "args": [*WRAP, "node", index], "env": {"A": "${user_config.a}"}},
    }


def test_variables_that_a_bundle_fixes_are_set_behind_the_kernel_only() -> None:
    """In front of it they would choose its home, its policy or its loader."""
    env = {
        "HELM_HOME": "${__dirname}/home",
        "LD_PRELOAD": "${__dirname}/evil.so",
        "PYTHONPATH": "lib",
        "KEY": "${user_config.key}",
    }
    config = rerouted(mcp_config={"env": env}, user_config={"key": {**SETTING, "sensitive": True}})
    assert config["env"] == {"KEY": "${user_config.key}"}
    assert config["args"] == [
        *WRAP, "/usr/bin/env", "HELM_HOME=${__dirname}/home", "LD_PRELOAD=${__dirname}/evil.so", "PYTHONPATH=lib",
        "node", "${__dirname}/server/index.js",
    ]  # fmt: skip


STEERS = ["HELM_HOME", "HELM_PEOPLE", "PATH", "HOME", "XDG_DATA_HOME", "PYTHONPATH", "PYTHONSTARTUP", "LD_PRELOAD"]
STEERS += ["DYLD_INSERT_LIBRARIES", "SSH_AUTH_SOCK", "OPENSSL_CONF", "SSL_CERT_FILE", "https_proxy", "TZ", "TMPDIR"]


@pytest.mark.parametrize("name", STEERS)
def test_what_the_user_enters_does_not_steer_the_kernel(name: str) -> None:
    """A default of the bundle's would be what is entered."""
    body = manifest(mcp_config={"env": {name: "${user_config.a}"}}, user_config={"a": {**SETTING, "default": "${__dirname}/x"}})
    sub, detail = unrouted(bundle(body))
    assert sub == "route" and f"the variable `{name}`" in detail
    assert ("steering", f"it sets `{name}`, which steers what starts its server") in Bundle.from_bytes(bundle(body)).findings()


def unrouted(data: bytes) -> tuple[str, str]:
    with pytest.raises(Refused) as refused:
        mcpb.wrapped(data, "hello")
    return refused.value.sub, refused.value.detail


MULTIPLE = {"a": {**SETTING, "multiple": True}}
UNROUTED: dict[str, tuple[Mapping[str, Any], str]] = {
    "a server that its host starts": ({"manifest_version": "0.4", "server": {"type": "uv"}}, "of type `uv` by itself"),
    "a command that is the kernel": ({"mcp_config": {"command": "helm-ai-kernel"}}, "wrapped already"),
    "a command that is a kernel of its own": ({"mcp_config": {"command": "${__dirname}/Helm-AI-Kernel.exe"}}, "wrapped already"),
    "a kernel behind another program": ({"mcp_config": {"command": "env", "args": ["/opt/helm-ai-kernel"]}}, "wrapped already"),
    "a kernel on one platform": (
        {"mcp_config": {"platform_overrides": {"win32": {"command": "C:\\bin\\helm-ai-kernel.exe"}}}}, "wrapped already",
    ),
    "a command that looks like an option": ({"mcp_config": {"command": "-S"}}, "read as an option"),
    "a command that looks like a variable": ({"mcp_config": {"command": "A=b"}}, "read as an option or a variable"),
    "a command of several words": ({"mcp_config": {"command": "${user_config.a}"}, "user_config": MULTIPLE}, "several values"),
    "a variable with another name": ({"mcp_config": {"env": {"-S": "sh"}}}, "`-S` is not the name of a variable"),
    "more words than a pin has": ({"mcp_config": {"args": ["a"] * 64}}, "more than 64 words"),
    "another platform only": ({"compatibility": {"platforms": ["win32"]}}, "none of the platforms"),
    "platforms that are none": ({"compatibility": {"platforms": "linux"}}, "none of the platforms"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNROUTED)
def test_a_server_that_cannot_be_rerouted_is_refused(case: str) -> None:
    said, detail = UNROUTED[case]
    sub, found = unrouted(bundle(manifest(**said)))
    assert sub == "route" and detail in found, found


def test_a_server_that_its_host_starts_needs_no_configuration_and_is_no_less_refused() -> None:
    server = {"type": "uv", "entry_point": "src/server.py"}
    body = {**manifest(manifest_version="0.4"), "server": server}
    data = bundle(body)
    assert ("self_started", "its host starts it by itself: it cannot be put behind the kernel") in Bundle.from_bytes(
        data
    ).findings()
    assert unrouted(data)[0] == "route"
    sub, detail = refusal(bundle({**manifest(), "server": {"type": "node", "entry_point": "a"}}))
    assert sub == "manifest" and "`mcp_config`" in detail


def test_a_command_that_the_user_chooses_is_rerouted_where_it_is_one_word() -> None:
    config = rerouted(mcp_config={"command": "${user_config.a}", "args": []}, user_config={"a": SETTING})
    assert config["args"] == [*WRAP, "${user_config.a}"]


def test_what_is_wrapped_already_is_not_wrapped_again() -> None:
    made = mcpb.wrapped(bundle(), "hello")
    assert "wrapped already" in unrouted(made)[1]
    assert "has a `helm.json`" in unrouted(bundle(None, Part(b"helm.json", b"{}")))[1]


def test_only_the_kernel_that_is_installed_counts_as_one() -> None:
    def governed(**config: Any) -> bool:
        return Bundle.from_bytes(bundle(manifest(server={"type": "binary"}, mcp_config=config))).is_governed

    args = [*WRAP, "node"]
    assert governed(command="helm-ai-kernel", args=args)
    assert governed(command="/opt/helm/bin/helm-ai-kernel", args=args)
    assert not governed(command="${__dirname}/helm-ai-kernel", args=args)
    assert not governed(command="helm-ai-kernel", args=["demo"])
    assert not governed(command="helm-ai-kernel", args=["mcp", "serve", "--name", "hello", "--", "node"])
    assert not governed(command="helm-ai-kernel", args=["mcp", "wrap", "--name", "hello"])
    assert not governed(command="node", args=["helm-ai-kernel"])
    assert not governed(command="helm-ai-kernel", args=args, platform_overrides={"linux": {"command": "node"}})
    node = bundle(manifest(mcp_config={"command": "helm-ai-kernel", "args": args}))
    assert not Bundle.from_bytes(node).is_governed, "a host may start a server of type node with its own node"


WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


@given(
    st.lists(WORDS, max_size=5),
    st.dictionaries(st.sampled_from(["A", "B", "KEY"]), WORDS | st.just("${user_config.a}"), max_size=3),
    st.sampled_from(["node", "${__dirname}/run", "bin/é", "a b"]),
)
def test_the_command_behind_the_kernel_is_the_one_that_was_there(args: list[str], env: dict[str, str], command: str) -> None:
    config = rerouted(mcp_config={"command": command, "args": args, "env": env})
    behind = config["args"][len(WRAP) :]
    fixed = {}
    if behind[0] == "/usr/bin/env":
        behind = behind[1:]
        while behind[0] != command:
            name, _, value = behind.pop(0).partition("=")
            fixed[name] = value
    assert behind == [command, *args]
    assert fixed | config["env"] == env


def test_a_bundle_that_is_wrapped_twice_from_one_file_is_the_same_bytes() -> None:
    assert mcpb.wrapped(bundle(), "hello") == mcpb.wrapped(bundle(), "hello") != mcpb.wrapped(bundle(), "other")


# -- what is made of a pin


TOOLS = [{"name": "b", "pin": "sha256:" + "0" * 64, "description": "Does b."}, {"name": "c", "pin": "sha256:" + "1" * 64}]


def made(
    *, command: tuple[str, ...] = ("mcp-server-time", "--utc"), env: tuple[str, ...] = ("TOKEN",), tools: Any = TOOLS
) -> bytes:
    return mcpb.governed("time", command, env, tools, version="0.1.0")


def test_a_bundle_of_a_pin_starts_the_pinned_command_behind_the_kernel() -> None:
    found = Bundle.from_bytes(made())
    assert found.manifest.launch == Launch(
        "helm-ai-kernel", ("mcp", "wrap", "--name", "time", "--", "mcp-server-time", "--utc"), {"TOKEN": "${user_config.TOKEN}"}
    )
    asked = found.manifest.settings["TOKEN"]
    assert (asked["sensitive"], asked["required"], asked["type"]) == (True, True, "string")
    assert found.manifest.body["tools"] == [{"name": "b", "description": "Does b."}, {"name": "c"}]
    assert found.manifest.generated is False
    assert [word for word, _ in found.findings()] == ["governed"]
    record = json.loads(read(made())["helm.json"])
    assert record["tools"] == [{"name": tool["name"], "pin": tool["pin"]} for tool in TOOLS]
    assert (record["command"], record["env"]) == (["mcp-server-time", "--utc"], ["TOKEN"])


def test_a_pin_that_changes_is_another_version_of_its_bundle() -> None:
    versions = [
        Bundle.from_bytes(data).manifest.version for data in (made(), made(), made(tools=TOOLS[:1]), made(command=("x",)))
    ]
    assert versions[0] == versions[1] and len(set(versions)) == 3
    assert all(version.startswith("0.1.0+") for version in versions)


def test_a_server_that_is_not_pinned_yet_says_that_it_has_tools() -> None:
    found = Bundle.from_bytes(made(tools=None))
    assert (found.manifest.tools, found.manifest.generated) == ((), True)
    assert ("tools_generated", "it says that its server has more tools than it lists") in found.findings()


def test_nobody_is_asked_for_what_the_kernel_has_itself() -> None:
    found = Bundle.from_bytes(made(env=("HOME", "PATH", "TOKEN")))
    assert found.manifest.settings.keys() == {"TOKEN"}
    assert found.manifest.launch is not None and found.manifest.launch.env == {"TOKEN": "${user_config.TOKEN}"}


def test_a_word_in_which_a_host_would_put_something_else_is_refused() -> None:
    with pytest.raises(Refused, match=r"holds `\$\{`") as refused:
        made(command=("sh", "-c", "echo ${HOME}"))
    assert refused.value.sub == "route"
    with pytest.raises(Refused, match=r"holds `\$\{`"):
        mcpb.wrapped(bundle(), "hello", program="${__dirname}/helm-ai-kernel")


# -- what a server lists, and its bundle does not


@pytest.mark.parametrize(
    ("said", "listed", "expected"),
    [
        ({}, ["hello"], ()),
        ({}, [], ()),
        ({}, ["hello", "steal", "bye", "steal"], ("bye", "steal")),
        ({}, ["Hello"], ("Hello",)),
        ({"tools": []}, ["hello"], ("hello",)),
        ({"tools_generated": False}, ["steal"], ("steal",)),
        ({"tools_generated": True}, ["hello", "steal"], ()),
    ],
)
def test_a_tool_that_a_bundle_does_not_declare_is_undeclared(
    said: dict[str, Any], listed: list[str], expected: tuple[str, ...]
) -> None:
    assert undeclared(Manifest.from_bytes(json.dumps(manifest(**said)).encode()), listed) == expected


def test_a_bundle_that_lists_no_tools_declares_none() -> None:
    body = {key: value for key, value in manifest().items() if key != "tools"}
    assert undeclared(Manifest.from_bytes(json.dumps(body).encode()), ["hello"]) == ("hello",)
    assert Bundle.from_bytes(bundle(body)).findings()[0][0] == "no_tools"
