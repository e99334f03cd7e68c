"""A budget counts calls: so many, per session, per day or in total, for these tools and these principals.

It is a value. What was used is counted by whoever has the store, under the key that `window` names; every budget that covers
a call must have a call left, and takes one before anything is dispatched.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused

CALLS_MAX = 2**53 - 1  # a receipt repeats the number
DAY_MS = 86_400_000
PATTERNS_MAX = 1024  # more than any catalogue has servers

_EPOCH = date(1970, 1, 1).toordinal()
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}\Z")
_PATTERN = re.compile(r"\*\Z|[^/*\s]{1,128}/(\*|[^*\s]{1,128})\Z")
_KEYS = frozenset({"calls", "per", "tools", "principals"})


class Per(StrEnum):
    SESSION = "session"
    DAY = "day"  # of UTC
    TOTAL = "total"


@dataclass(frozen=True, slots=True)
class Budget:
    name: str
    calls: int
    per: Per = Per.TOTAL
    tools: tuple[str, ...] = ("*",)  # "server/tool", "server/*", or "*"
    principals: tuple[str, ...] | None = None  # None: everyone

    def covers(self, principal: str, tool: str) -> bool:
        """Exact names only: no case folding, and `server/*` ends at the slash."""
        if self.principals is not None and principal not in self.principals:
            return False
        return "*" in self.tools or tool in self.tools or f"{tool.partition('/')[0]}/*" in self.tools

    def window(self, session: str, wall_ms: int) -> str:
        """The key under which a call in that session at that time is counted."""
        if self.per is Per.SESSION:
            return f"session {session}"
        if self.per is Per.DAY:
            return f"day {date.fromordinal(_EPOCH + wall_ms // DAY_MS).isoformat()}"
        return "total"

    def left(self, used: int) -> int:
        """Never below 0, also when the budget was made smaller than its use."""
        return max(0, self.calls - used)

    @classmethod
    def from_config(cls, name: str, table: Mapping[str, object]) -> "Budget":
        """`[budget.NAME]` of `helm.toml`; raises `Refused`."""
        if not _NAME.match(name):
            raise _refused(name, "the name is not lower case letters, digits, `-` and `_`, at most 64")
        for key in table:
            if key not in _KEYS:
                near = difflib.get_close_matches(key, sorted(_KEYS), 1, 0.0)[0]
                raise _refused(name, f"`{key}` is not known", f"did you mean `{near}`?")
        calls = table.get("calls")
        if type(calls) is not int or not 0 <= calls <= CALLS_MAX:
            raise _refused(name, "`calls` is not a whole number from 0", "write for example `calls = 1000`")
        per = table.get("per", Per.TOTAL.value)
        if per not in tuple(Per):
            raise _refused(name, f"`per` is `{per}`", "write `session`, `day` or `total`")
        tools = _strings(name, "tools", table.get("tools", ["*"]))
        for pattern in tools:
            if not _PATTERN.match(pattern):
                raise _refused(name, f"`{pattern}` is no tool pattern", "write `server/tool`, `server/*` or `*`")
        principals = _strings(name, "principals", table["principals"]) if "principals" in table else None
        return cls(name, calls, Per(str(per)), tools, principals)


def _strings(name: str, key: str, value: object) -> tuple[str, ...]:
    if type(value) is not list or not 0 < len(value) <= PATTERNS_MAX or not all(type(item) is str and item for item in value):
        raise _refused(name, f"`{key}` is not a list of strings", f"leave `{key}` out to cover everything")
    return tuple(value)


def _refused(name: str, detail: str, hint: str = "") -> Refused:
    return Refused(Reason.ERR_POLICY_NOT_READY, f"helm.toml: [budget.{name}]: {detail}", sub="config", hint=hint)
