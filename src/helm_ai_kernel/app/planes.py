"""Where the resident kernel listens: `[data]` and `[control]` of `helm.toml`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import OutsideError

DATA_PORT, CONTROL_PORT = 8790, 8791
KEYS = frozenset({"listen", "unix", "hosts", "certificate", "key"})
# Operators are known by their token, and by their user on the kernel's own socket.
DATA_KEYS = KEYS | {"client_ca", "socket", "oauth"}

_HOST = re.compile(r"[a-z0-9][a-z0-9.-]{0,252}(:[0-9]{1,5})?\Z")


@dataclass(frozen=True, slots=True)
class Plane:
    """One plane of the kernel. Agents have the one, operators the other."""

    address: tuple[str, int] | None  # None: on its unix socket only
    unix: bool = True
    hosts: tuple[str, ...] = ()  # what `Host` may say besides the address itself
    certificate: Path | None = None  # with `key`: TLS on the address
    key: Path | None = None
    client_ca: Path | None = None  # whose certificates agents show
    socket: Path | None = None  # one more unix socket, for agents that run as other users


DATA, CONTROL = Plane(("127.0.0.1", DATA_PORT)), Plane(("127.0.0.1", CONTROL_PORT))


def plane(home: Path, name: str, said: Mapping[str, Any], listen: Any) -> Plane:
    """`said` is the section, `listen` its address as the environment or the section says it; raises `OutsideError`."""
    unix, hosts = said.get("unix", True), said.get("hosts", [])
    if not isinstance(unix, bool):
        raise wrong(f"{name}.unix is neither true nor false", "unix = true")
    if not isinstance(hosts, list) or not all(isinstance(host, str) and _HOST.match(host) for host in hosts):
        raise wrong(f"{name}.hosts is not a list of names", 'hosts = ["kernel.example"]')
    files: dict[str, Path | None] = dict.fromkeys(("certificate", "key", "client_ca", "socket"))
    for which in files:
        if which in said:
            if not isinstance(said[which], str) or not said[which] or "\0" in said[which]:
                raise wrong(f"{name}.{which} is not the name of a file")
            files[which] = home / said[which]  # an absolute path stays what it is
    if (files["certificate"] is None) != (files["key"] is None) or (files["client_ca"] and not files["key"]):
        raise wrong(f"{name}: TLS has a `certificate` and its `key`", "name both")
    if not isinstance(listen, str):
        raise wrong(f"{name}.listen is not an address", 'listen = "127.0.0.1:8790"')
    if not listen and not unix:
        raise wrong(f"[{name}] listens nowhere", "unix = true")
    return Plane(_address(name, listen) if listen else None, unix, tuple(hosts), **files)


def _address(name: str, text: str) -> tuple[str, int]:
    host, _, number = text.rpartition(":")
    if not host or not number.isdecimal() or not number.isascii() or len(number) > 5 or int(number) > 65535:
        raise wrong(f"{name}.listen is not HOST:PORT", 'listen = "127.0.0.1:8790"')
    return host.removeprefix("[").removesuffix("]"), int(number)


def wrong(detail: str, hint: str = "correct the file, then try again") -> OutsideError:
    """Of `helm.toml`."""
    return OutsideError(Reason.ERR_POLICY_NOT_READY, f"helm.toml: {detail}", hint=hint)
