"""What the kernel knows of a server for which `mcp wrap` stands in (`gateway/mcp_line.py`, `Wraps`).

Only what a person pinned is ever started, and with the very command that they pinned: a client's configuration is not a person's
word. For everything else the client is told what a person would type.
"""

import shlex
from collections.abc import Callable, Mapping
from functools import partial

from helm_ai_kernel.gateway.identity import Agent, Agents
from helm_ai_kernel.gateway.limits import Limiter
from helm_ai_kernel.gateway.mcp_hello import Hello
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.ijson import Json

from .config import SERVER, Paths
from .runtime import Runtime


class RuntimeWraps:
    def __init__(self, runtime: Runtime, agents: Callable[[], Agents], limiter: Limiter) -> None:
        """`limiter`: of all doors."""
        self._runtime = runtime
        self._agents = agents
        self._limiter = limiter

    async def meet(self, hello: Hello) -> tuple[str, list[str], str]:
        config = self._runtime.config
        principal = hello.agent or config.agent
        self._known(principal)
        if not SERVER.match(hello.server):
            hint = "mcp wrap --name NAME: 1 to 64 lower case letters, digits, `_` and `-`"
            raise Refused(Reason.ERR_UPSTREAM_SHAPE, "that is no name of a server", hint=hint)
        source = self._runtime.boundary.catalog.sources.get(hello.server)
        typed = f"{_inspect(config.paths, hello)} && {config.paths.typed('tools pin ' + hello.server)}"
        if source is None:
            return principal, [], f"The server `{hello.server}` is quarantined: nobody has pinned it. A person pins it: {typed}"
        if not _is(source, hello):
            why = "it is pinned with another command, or another URL, than this client's"
            return principal, [], f"The server `{hello.server}` is quarantined: {why}. A person pins the new one: {typed}"
        env = source.get("env")
        return principal, [str(name) for name in env] if isinstance(env, list) else [], ""

    def enter(self, principal: str) -> Callable[[], None]:
        agent = self._known(principal)
        wait = self._limiter.take(agent)
        if wait or not self._limiter.enter(agent):
            raise Refused(Reason.ERR_RATE_LIMITED, f"too much at once: try again in {wait or 1} s")
        return partial(self._limiter.leave, agent)

    def _known(self, principal: str) -> Agent:
        """As it is now: one that a person removed calls nothing more, also where its client is still there."""
        config, known = self._runtime.config, self._agents().by_name
        if principal in known:
            return known[principal]
        if principal == config.agent:
            return Agent(principal)
        hint = config.paths.typed(f"agents add {shlex.quote(principal)}")
        raise Refused(Reason.ERR_UNAUTHENTICATED, f"there is no agent `{principal[:64]}`", hint=hint)


def _is(source: Mapping[str, Json], hello: Hello) -> bool:
    """Whether what is pinned is what this client would start, or ask."""
    if source["kind"] == "mcp-http":
        return hello.url is not None and str(source["url"]).rstrip("/") == hello.url.rstrip("/")
    return source["kind"] == "mcp-stdio" and source["command"] == list(hello.command)


def _inspect(paths: Paths, hello: Hello) -> str:
    """What a person types to look at that server."""
    words = ["tools", "inspect", hello.server, *(word for name in hello.env for word in ("--env", name))]
    words += ["--url", hello.url] if hello.url else []
    return paths.typed(shlex.join(words)) + (f" -- {shlex.join(hello.command)}" if hello.command else "")
