"""What the inspector's command line does with a server, in either era: one command, and one connection, for each question."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

QUESTION_S = 60


def main(target: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="helm-inspector-") as home:  # it writes into the home that it finds

        def ask(*arguments: str) -> dict[str, Any]:
            program = f"{target['modules']}/@modelcontextprotocol/inspector/clients/launcher/build/index.js"
            command = [target["node"], program, "--cli", "--protocol-era", target["era"], "--format", "json", "-q", *arguments]
            if "url" in target:
                command += ["--transport", "http", "--server-url", target["url"]]
            else:  # from a file: its command line reads the options of the server's, too
                program, *rest = target["command"]
                file = Path(home) / "servers.json"
                file.write_text(json.dumps({"mcpServers": {"it": {"command": program, "args": rest, "env": target["env"]}}}))
                command += ["--config", str(file), "--server", "it"]
            env = {**os.environ, "HOME": home}
            run = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=QUESTION_S)
            try:
                said: dict[str, Any] = json.loads(run.stdout or run.stderr)
            except ValueError:
                said = {}
            if "result" not in said and arguments[1] != "tools/call":
                raise RuntimeError(f"{' '.join(arguments)}: exit {run.returncode}: {run.stdout} {run.stderr}")
            return said

        def call(name: str) -> dict[str, Any]:
            said = ask("--method", "tools/call", "--tool-name", name)
            if "result" not in said:
                return {"refused": True, "text": said["error"]["message"]}
            text = " ".join(one["text"] for one in said["result"]["content"] if one["type"] == "text")
            return {"refused": said["result"].get("isError", False), "text": text}

        resource = ask("--method", "resources/read", "--uri", "test://static-text")["result"]["contents"][0]
        prompt = ask("--method", "prompts/get", "--prompt-name", "test_simple_prompt")["result"]["messages"][0]
        return {
            "version": ask("--method", "initialize")["result"]["protocolVersion"],
            "tools": [tool["name"] for tool in ask("--method", "tools/list")["result"]["tools"]],
            "allowed": call("test_simple_text"),
            "denied": call("test_logging_tool"),
            "asked": None,  # nobody is there who could be asked
            "resource": resource["text"],
            "prompt": prompt["content"]["text"],
        }


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
