"""A relay that could be shipped: it keeps what it hears, and answers as it was told to."""

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused


class Heard:
    def __init__(self, answers: dict[str, bytes] | None = None, *, capabilities: bytes = b'{"sampling":{}}') -> None:
        self.capabilities = capabilities
        self.level: str | None = None
        self.heard: list[tuple[str, bytes]] = []
        self.questions: list[tuple[str, bytes]] = []
        self.enough = 1 << 30
        self._answers = answers or {}

    def said(self, method: str, params: bytes) -> None:
        self.heard.append((method, params))
        if len(self.heard) >= self.enough:
            raise Refused(Reason.ERR_REQUEST_BOUNDS, "that is enough", sub="interim")

    async def asked(self, method: str, params: bytes) -> bytes:
        self.questions.append((method, params))
        if method not in self._answers:
            raise Refused(Reason.ERR_POLICY_DENY, "nobody is asked that", sub="question")
        return self._answers[method]
