"""What the log must say about a call, said a second time. Imports nothing of the product.

A story follows from what was decided and what came back: its steps, and the receipts that each of them makes durable. What a
kill leaves follows from the order of the steps alone.
"""

from typing import NamedTuple

BEGUN = ("session start", "recovery")  # what every start after a kill appends
CLOSED = "outcome UNKNOWN ERR_OUTCOME_UNKNOWN"

# What came back -> the outcome, and the hold where the tool is not what its pin says.
REPLIES = {
    "done": ("outcome OK",),
    "failed": ("outcome FAILED ERR_CONNECTOR_FAILED",),
    "changed": ("outcome FAILED ERR_MCP_SCHEMA_DRIFT", "hold ERR_MCP_SCHEMA_DRIFT"),
    "unknown": ("outcome UNKNOWN ERR_OUTCOME_UNKNOWN",),
    "drift": ("outcome DRIFT ERR_CONNECTOR_CONTRACT_DRIFT", "hold ERR_CONNECTOR_CONTRACT_DRIFT"),
}

# What a client told -> the outcome; it holds nothing.
REPORTS = {
    "done": "outcome REPORTED",
    "failed": "outcome REPORTED ERR_CONNECTOR_FAILED",
    "drift": "outcome REPORTED ERR_CONNECTOR_CONTRACT_DRIFT",
}


class Kill(NamedTuple):
    before: str
    log: tuple[str, ...]
    effects: int
    recovered: tuple[str, ...]


class Story(NamedTuple):
    steps: tuple[tuple[str, tuple[str, ...]], ...]  # each with the receipts that it makes durable

    @property
    def receipts(self) -> tuple[str, ...]:
        return tuple(receipt for _, made in self.steps for receipt in made)

    @property
    def dispatches(self) -> bool:
        return any(step == "dispatch" for step, _ in self.steps)

    @property
    def effects(self) -> int:
        return sum(step == "dispatch" for step, _ in self.steps)

    def kills(self) -> tuple[Kill, ...]:
        """What a process that dies before each step leaves, and what the next start appends."""
        kills = []
        for at, (step, _) in enumerate(self.steps):
            lived = Story(self.steps[:at])
            open_intent = self.dispatches and lived.receipts == ("decision ALLOW OK",)
            kills.append(Kill(step, lived.receipts, lived.effects, (*BEGUN, CLOSED) if open_intent else BEGUN))
        return tuple(kills)


def story(verdict: str, reason: str, reply: str) -> Story:
    """Of a call that was decided so, and whose dispatch, if there is one, is answered so."""
    commit = ("commit", (f"decision {verdict} {reason}",))
    if (verdict, reason) != ("ALLOW", "OK"):
        return Story((commit, ("answer", ())))
    return Story((commit, ("dispatch", ()), ("settle", REPLIES[reply]), ("answer", ())))


def offer(verdict: str, reason: str) -> Story:
    """Of a call that was decided so, and that the client acts on: nothing is dispatched, and nothing is owed."""
    return Story((("commit", (f"decision {verdict} {reason}",)), ("answer", ())))


def report(told: str) -> Story:
    """Of what a client told of a call that it acted on."""
    return Story((("report", (REPORTS[told],)), ("answer", ())))
