"""`mcp bundle`: bundles of pinned servers and around others, the same bytes each time, which the format's own tool takes."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from app.kernels import Place
from cli.terminal import Terminal
from helm_ai_kernel import Kernel
from helm_ai_kernel.pep.catalog import entry, server_doc
from helm_ai_kernel.tcb.digest import digest
from helm_ai_kernel.wire.manifest import Launch
from helm_ai_kernel.wire.mcpb import Bundle
from needs import faketime, mcpb
from wire.archives import Part, bundle, manifest, signature

TIME = ("mcp-server-time", "--local-timezone", "UTC")
WRAPPED = ("mcp", "wrap", "--name", "tools", "--", *TIME)


def pinned(place: Place, **source: Any) -> None:
    """A person pins the server `tools`, with two tools; nothing of it has to be there."""
    texts = {"shout": "Says it loud.", "say": "Says it."}
    raws = [{"name": tool, "description": text, "inputSchema": {"type": "object"}} for tool, text in texts.items()]
    where = {"kind": "mcp-stdio", "command": list(TIME), "env": ["HOME", "TOKEN"]} | source
    kernel = Kernel(config=place.config)
    place.sign(kernel, server_doc("tools", where, [entry(str(raw["name"]), raw, effect="read") for raw in raws]), None)
    kernel.close()


def made(path: str | Path) -> Bundle:
    return Bundle.from_bytes(Path(path).read_bytes())


def test_a_pinned_server_becomes_a_bundle(terminal: Terminal) -> None:
    pinned(terminal.place)
    said = terminal.done("mcp", "bundle", "tools")
    found = made("tools.mcpb")
    assert said.out.splitlines() == [
        f"tools.mcpb: {found.digest}, {found.size} bytes",
        "it starts: helm-ai-kernel mcp wrap --name tools",
        "look at it: helm-ai-kernel mcp bundle --check tools.mcpb",
    ]
    assert found.manifest.launch == Launch("helm-ai-kernel", WRAPPED, {"TOKEN": "${user_config.TOKEN}"})
    assert found.manifest.body["tools"] == [
        {"name": "say", "description": "Says it."}, {"name": "shout", "description": "Says it loud."},
    ]  # fmt: skip
    looked = terminal.type(said.out.splitlines()[-1].removeprefix("look at it: "))
    assert looked.code == 0
    assert looked.out.splitlines()[1:] == [
        f"{found.digest}, {found.size} bytes, unsigned",
        "2 files, " + looked.out.splitlines()[2].split(", ")[1],
        f"starts: {json.dumps(['helm-ai-kernel', *WRAPPED])}",
        "tool say",
        "tool shout",
        "governed: it says that it starts `helm-ai-kernel mcp wrap`",
    ]


def test_the_pin_counts_and_not_what_the_configuration_says_by_now(terminal: Terminal) -> None:
    pinned(terminal.place)
    terminal.place.configure('[upstream.tools]\ncommand = ["other"]\n')
    terminal.done("mcp", "bundle", "tools")
    launch = made("tools.mcpb").manifest.launch
    assert launch is not None and launch.args == WRAPPED


def test_a_server_that_is_only_configured_becomes_a_bundle_that_lists_no_tools(terminal: Terminal) -> None:
    terminal.place.configure(f'[upstream.tools]\ncommand = {json.dumps(TIME)}\nenv = ["TOKEN"]\n')
    program = "/opt/helm/bin/helm-ai-kernel"
    said = terminal.done("mcp", "bundle", "tools", "-o", "out.mcpb", "--program", program, "--format", "json")
    found = made("out.mcpb")
    assert said.json == {"path": "out.mcpb", "digest": found.digest, "bytes": found.size, "server": "tools"}
    assert found.manifest.launch == Launch(program, WRAPPED, {"TOKEN": "${user_config.TOKEN}"})
    assert (found.manifest.tools, found.manifest.generated) == ((), True)


def test_what_is_no_server_that_a_command_starts_has_no_bundle(terminal: Terminal) -> None:
    pinned(terminal.place)
    terminal.place.configure('[upstream.shop]\nurl = "https://api.shop.example"\noperations = "shop.json"\n')
    said = terminal("mcp", "bundle", "shop")
    assert said.code == 1 and said.error.endswith("(ERR_BUNDLE_MALFORMED)")
    said = terminal("mcp", "bundle", "nobody")
    assert said.code == 2 and "there is no server `nobody`; there are shop, tools" in said.error
    assert terminal.type(said.hint).code == 0
    said = terminal("mcp", "bundle", "../tools")
    assert said.code == 2 and "is not the name of a server" in said.error
    for argv in ((), ("tools", "--check", "it.mcpb"), ("--check", "it.mcpb", "-o", "out.mcpb")):
        said = terminal("mcp", "bundle", *argv)
        assert said.code == 2 and terminal.type(said.hint).code == 0
    assert list(Path().glob("*.mcpb")) == []


def test_a_file_that_is_there_is_not_overwritten(terminal: Terminal) -> None:
    Path("hello.mcpb").write_bytes(bundle())
    said = terminal("mcp", "bundle", "--wrap", "hello.mcpb")
    assert said.code == 1 and "nothing is overwritten" in said.error
    assert Path("hello.mcpb").read_bytes() == bundle()
    assert terminal.type(said.hint).code == 0
    assert made("hello.mcpb").is_governed


def test_a_bundle_is_wrapped_and_says_around_what(terminal: Terminal) -> None:
    data = bundle(manifest(name="Hello, World!")) + signature()
    Path("it.mcpb").write_bytes(data)
    said = terminal.done("mcp", "bundle", "--wrap", "it.mcpb", "--format", "json").json
    found = made("hello-world.mcpb")
    assert said["wraps"] == {"path": "it.mcpb", "digest": digest(data), "signature": "unverified"}
    assert (said["path"], said["server"], said["digest"]) == ("hello-world.mcpb", "hello-world", found.digest)
    lines = terminal.done("mcp", "bundle", "other", "--wrap", "it.mcpb", "-o", "out.mcpb").out.splitlines()
    assert lines[0] == f"around {digest(data)}, unverified"
    launch = made("out.mcpb").manifest.launch
    assert launch is not None and (launch.args or ())[:5] == ("mcp", "wrap", "--name", "other", "--")


def test_a_bundle_whose_name_makes_no_name_of_a_server_wants_one(terminal: Terminal) -> None:
    Path("it.mcpb").write_bytes(bundle(manifest(name="漢字")))
    said = terminal("mcp", "bundle", "--wrap", "it.mcpb")
    assert said.code == 2 and "makes no name of a server" in said.error
    terminal.done("mcp", "bundle", "kanji", "--wrap", "it.mcpb")


REFUSED = {
    "name": bundle(None, Part(b"../evil.js")),
    "kind": bundle(None, Part(b"evil", b"/etc/passwd", mode=0o120777)),
    "twin": bundle(None, Part(b"Server/index.js")),
    "archive": b"no archive",
    "manifest": bundle({}),
}


@pytest.mark.parametrize("sub", REFUSED)
def test_a_bundle_that_is_refused_is_neither_wrapped_nor_taken_for_one(terminal: Terminal, sub: str) -> None:
    Path("it.mcpb").write_bytes(REFUSED[sub])
    said = terminal("mcp", "bundle", "--wrap", "it.mcpb", "-o", "out.mcpb")
    assert (
        said.code == 1
        and said.error.endswith("(ERR_BUNDLE_MALFORMED)")
        and said.hint == "helm-ai-kernel explain ERR_BUNDLE_MALFORMED"
    )
    assert terminal.type(said.hint).code == 0
    looked = terminal("mcp", "bundle", "--check", "it.mcpb")
    assert looked.code == 1 and looked.err == ""
    assert looked.out.splitlines()[0].startswith(digest(REFUSED[sub])) and f"REFUSED ({sub}): " in looked.out
    found = terminal("mcp", "bundle", "--check", "it.mcpb", "--format", "json")
    assert found.code == 1
    assert found.json["digest"] == digest(REFUSED[sub])
    assert (found.json["refused"]["reason"], found.json["refused"]["sub"]) == ("ERR_BUNDLE_MALFORMED", sub)
    assert not Path("out.mcpb").exists()


def test_what_is_in_a_bundle_is_said_in_full_and_obeyed_by_no_terminal(terminal: Terminal) -> None:
    evil = "\x1b]0;owned\x07\u202e"
    body = manifest(name=evil, mcp_config={"args": [evil]}, server={"entry_point": evil})
    Path("it.mcpb").write_bytes(bundle(body) + signature())
    said = terminal.done("mcp", "bundle", "--check", "it.mcpb", "--format", "json").json  # `terminal` looks at each character
    assert said["manifest"] == body
    assert said["tools"] == ["hello"]
    assert said["entries"] == [{"name": "manifest.json", "bytes": len(json.dumps(body))}, {"name": "server/index.js", "bytes": 8}]
    assert [one["finding"] for one in said["findings"]] == ["unverified", "ungoverned"]
    assert "unverified" in terminal.done("mcp", "bundle", "--check", "it.mcpb").out


def test_what_is_no_file_is_not_waited_for(terminal: Terminal) -> None:
    os.mkfifo("pipe.mcpb")
    said = terminal("mcp", "bundle", "--check", "pipe.mcpb")
    assert said.code == 2 and "this is no file" in said.error
    said = terminal("mcp", "bundle", "--wrap", "nowhere.mcpb")
    assert said.code == 2 and "no such file" in said.error


# -- byte for byte


def built(out: Path, *argv: str, cwd: Path, umask: int, **environ: str) -> bytes:
    """What another process, elsewhere and at another time, makes of the same."""
    env = {name: os.environ[name] for name in ("HELM_HOME", "HELM_PEOPLE", "HELM_STATE", "PATH")} | environ
    command = [str(Path(sys.executable).with_name("helm-ai-kernel")), "mcp", "bundle", *argv, "-o", str(out)]
    run = subprocess.run(command, cwd=cwd, env=env, umask=umask, check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return out.read_bytes()


def test_a_bundle_is_the_same_bytes_whoever_makes_it_where_and_when(terminal: Terminal, tmp_path: Path) -> None:
    place, elsewhere = terminal.place, tmp_path / "elsewhere"
    pinned(place)
    elsewhere.mkdir()
    Path("it.mcpb").write_bytes(bundle())
    later = {"LD_PRELOAD": str(faketime()), "FAKETIME": "+400d", "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7", "LC_ALL": "C"}
    for argv in (("tools",), ("--wrap", str(Path("it.mcpb").absolute()))):
        first = built(tmp_path / "first.mcpb", *argv, cwd=place.folder, umask=0o022, PYTHONHASHSEED="1")
        second = built(tmp_path / "second.mcpb", *argv, cwd=elsewhere, umask=0o077, **later)
        assert first == second
        (tmp_path / "first.mcpb").unlink()
        (tmp_path / "second.mcpb").unlink()


# -- the tool that defines the format


def official(*argv: str | Path) -> str:
    run = subprocess.run([mcpb(), *argv], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_the_formats_own_tool_takes_what_is_made_of_a_pin(terminal: Terminal, tmp_path: Path) -> None:
    pinned(terminal.place)
    terminal.done("mcp", "bundle", "tools")
    assert "Not signed" in official("info", "tools.mcpb")
    official("unpack", "tools.mcpb", tmp_path / "out")
    assert "Manifest schema validation passes!" in official("validate", tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"manifest.json", "helm.json"}


def test_the_formats_own_tool_packs_what_is_wrapped_and_takes_what_comes_of_it(terminal: Terminal, tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    (source / "server").mkdir(parents=True)
    (source / "manifest.json").write_text(json.dumps(manifest()))
    (source / "server/index.js").write_text("serve()\n" * 100)
    (source / "server/index.js").chmod(0o755)
    official("pack", source, "it.mcpb")
    assert made("it.mcpb").findings() == [("ungoverned", "its server is started past the kernel")]
    terminal.done("mcp", "bundle", "--wrap", "it.mcpb", "-o", "out.mcpb")
    official("unpack", "out.mcpb", out)
    assert "Manifest schema validation passes!" in official("validate", out)
    assert (out / "server/index.js").read_text() == "serve()\n" * 100
    assert os.access(out / "server/index.js", os.X_OK)
    assert json.loads((out / "manifest.json").read_text())["server"]["mcp_config"]["args"][-1] == "${__dirname}/server/index.js"


def certified() -> None:
    """A certificate and its key, as somebody makes them who signs a bundle."""
    key, name, now = rsa.generate_private_key(65537, 2048), x509.Name.from_rfc4514_string("CN=somebody"), datetime.now(UTC)
    built = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(1)).sign(key, hashes.SHA256())
    Path("cert.pem").write_bytes(built.public_bytes(serialization.Encoding.PEM))
    form = (serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    Path("key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))


def test_what_the_formats_own_tool_signed_is_read_and_called_unverified(terminal: Terminal) -> None:
    Path("it.mcpb").write_bytes(bundle())
    certified()
    official("sign", "it.mcpb", "--cert", "cert.pem", "--key", "key.pem")
    assert Path("it.mcpb").stat().st_size > len(bundle())
    said = terminal.done("mcp", "bundle", "--check", "it.mcpb", "--format", "json").json
    assert said["signature"] == "unverified"
    terminal.done("mcp", "bundle", "--wrap", "it.mcpb", "-o", "out.mcpb")
    assert "Not signed" in official("info", "out.mcpb")
