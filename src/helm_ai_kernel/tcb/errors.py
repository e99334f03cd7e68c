"""The three families of failure; anything else that is raised is our own bug and fails the call, closed."""

from .codes import Finding, Reason


class Refused(Exception):
    """We say no. Nothing was executed.

    `reason` is the stable code, `sub` a short machine word below it (`dup_key`), never a value of the caller's;
    `hint` is what to type or change next.
    """

    def __init__(self, reason: Reason, detail: str, *, sub: str = "", hint: str = "") -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.sub = sub
        self.hint = hint


class EvidenceError(Exception):
    """Someone's bytes are wrong: `finding` says how, `where` names the place (a file, a line, an index)."""

    def __init__(self, finding: Finding, detail: str, *, where: str = "") -> None:
        super().__init__(f"{finding}: {where + ': ' if where else ''}{detail}")
        self.finding = finding
        self.detail = detail
        self.where = where


class OutsideError(Exception):
    """The world failed (a disk, a process, a key agent); `reason` is the code that the caller sees."""

    def __init__(self, reason: Reason, detail: str, *, hint: str = "") -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.hint = hint
