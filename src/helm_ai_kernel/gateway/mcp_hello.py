"""The first line of a wrapped client: which server it stands for, and how the client itself would start it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.ijson import Json, parse

WORDS_MAX = 64  # of a command, as in the catalogue
HELLO_BYTES_MAX = 1 << 18


_MEMBERS = {"v", "server", "agent", "command", "url", "env", "cwd"}


@dataclass(frozen=True, slots=True)
class Hello:
    """What a wrapped server is called, and how its client starts it."""

    server: str
    agent: str | None
    command: tuple[str, ...]  # empty where it has a URL
    url: str | None
    env: tuple[str, ...]  # names of variables that it needs
    cwd: str


class Wraps(Protocol):
    """What the kernel knows of a server that somebody stands in for."""

    async def meet(self, hello: Hello) -> tuple[str, list[str], str]:
        """The principal, the names of the variables that the pinned server may have, and a notice where it may not be used.

        Raises `Refused` for an agent that is not there.
        """
        ...

    def enter(self, principal: str) -> Callable[[], None]:
        """One more call of that agent, and what to do at its end; raises `Refused` for one that is gone, or has too many."""
        ...


def hello(line: bytes) -> Hello:
    """Raises `Refused`."""
    value = parse(line, bytes_max=HELLO_BYTES_MAX)
    if type(value) is not dict or value.keys() != _MEMBERS or value["v"] != 1:
        raise _no_hello()
    server, agent, cwd, url = value["server"], value["agent"], value["cwd"], value["url"]
    command, env = _words(value["command"]), _words(value["env"])
    named = all(one is None or (type(one) is str and one) for one in (agent, url))
    if type(server) is not str or type(cwd) is not str or not named or bool(command) is (url is not None):
        raise _no_hello()
    return Hello(server, agent if type(agent) is str else None, command, url if type(url) is str else None, env, cwd)


def _words(value: Json) -> tuple[str, ...]:
    if type(value) is not list or len(value) > WORDS_MAX:
        raise _no_hello()
    words = tuple(word for word in value if type(word) is str and "\0" not in word)
    if len(words) != len(value):
        raise _no_hello()
    return words


def _no_hello() -> Refused:
    hint = "use the `helm-ai-kernel mcp wrap` of the kernel's own version"
    return Refused(Reason.ERR_UPSTREAM_SHAPE, "the first line says which server it stands for", hint=hint)
