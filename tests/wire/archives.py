"""ZIP archives put together byte by byte, so that each can lie in one place."""

import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

STORED, DEFLATED = 0, 8


def deflated(content: bytes) -> bytes:
    engine = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return engine.compress(content) + engine.flush()


@dataclass
class Part:
    """A file as it should be; `local` and `central` are what one of its two heads says instead."""

    name: bytes
    content: bytes = b"content"
    method: int = DEFLATED
    mode: int = 0o100644
    packed: bytes | None = None  # instead of the content, packed
    behind: bytes = b""  # the content
    local: Mapping[str, Any] = field(default_factory=dict)
    central: Mapping[str, Any] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        if self.packed is not None:
            return self.packed
        return deflated(self.content) if self.method == DEFLATED else self.content

    def says(self, other: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        said = {"needed": 20, "flags": 0, "method": self.method, "crc": zlib.crc32(self.content), "packed": len(self.body)}
        said |= {"size": len(self.content), "name": self.name, "extra": b"", "comment": b"", "disk": 0}
        return said | {"external": self.mode << 16} | more | dict(other)


def numbers(s: Mapping[str, Any]) -> tuple[int, ...]:
    """As they stand in both heads, from the version that is needed to the length of the extra fields."""
    return (s["needed"], s["flags"], s["method"], 1, 0x21, s["crc"], s["packed"], s["size"], len(s["name"]), len(s["extra"]))


def local_head(part: Part) -> bytes:
    s = part.says(part.local)
    return struct.pack("<4s5H3L2H", s.get("mark", b"PK\x03\x04"), *numbers(s)) + s["name"] + s["extra"]


def central_head(part: Part, offset: int) -> bytes:
    s = part.says(part.central, **({"offset": offset} if "offset" not in part.central else {}))
    rest = (len(s["comment"]), s["disk"], 0, s["external"], s["offset"])
    head = struct.pack("<4s6H3L5H2L", s.get("mark", b"PK\x01\x02"), 3 << 8 | 20, *numbers(s), *rest)
    return head + s["name"] + s["extra"] + s["comment"]


def zipped(*parts: Part, before: bytes = b"", between: bytes = b"", after: bytes = b"", **end: Any) -> bytes:
    """An archive of these; `between` stands before the central directory, `after` in front of its end."""
    data, heads = before, b""
    for part in parts:
        heads += central_head(part, len(data))
        data += local_head(part) + part.body + part.behind
    data += between
    s = {"disk": 0, "start": 0, "here": len(parts), "count": len(parts), "length": len(heads), "at": len(data), "comment": b""}
    s |= end
    said = (s["disk"], s["start"], s["here"], s["count"], s["length"], s["at"], len(s["comment"]))
    return data + heads + after + struct.pack("<4s4H2LH", b"PK\x05\x06", *said) + s["comment"]


def signature(der: bytes = b"\x30\x03\x02\x01\x07") -> bytes:
    return b"MCPB_SIG_V1" + len(der).to_bytes(4, "little") + der + b"MCPB_SIG_END"


def manifest(**more: Any) -> dict[str, Any]:
    """A manifest in order; `server` and `mcp_config` are merged into what is there."""
    config = {"command": "node", "args": ["${__dirname}/server/index.js"]} | more.pop("mcp_config", {})
    server = {"type": "node", "entry_point": "server/index.js", "mcp_config": config} | more.pop("server", {})
    return {
        "manifest_version": "0.3",
        "name": "hello",
        "version": "1.0.0",
        "description": "Says hello.",
        "author": {"name": "somebody"},
        "server": server,
        "tools": [{"name": "hello", "description": "Says it."}],
    } | more


def bundle(body: Any = None, *parts: Part, **end: Any) -> bytes:
    """A bundle with this manifest, a server, and these files."""
    text = json.dumps(manifest() if body is None else body).encode()
    return zipped(Part(b"manifest.json", text), Part(b"server/index.js", b"serve()\n", mode=0o100755), *parts, **end)
