"""Two honest logs, and what the verifier says of a pack that somebody made of one of them."""

from helm_ai_kernel.tcb.checklist import Question, verify
from helm_ai_kernel.tcb.codes import Finding
from helm_ai_kernel.tcb.findings import Report
from packs import Log, short, story

SHORT, STORY = short(), story()


def check(data: bytes, log: Log = SHORT, head: bytes | None = None) -> Report:
    return verify(data, Question(genesis=log.genesis, known_heads=[] if head is None else [head]))


def codes(report: Report, where: str = "") -> set[Finding]:
    return {found.code for found in report.findings if not where or found.where == where}
