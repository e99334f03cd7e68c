"""What a client of MCP is told of a call: the server's own bytes with the receipt beside them, or a refusal that models can read.

A refused tool call is a tool result that says so (`isError`), so that the model goes on with it in mind; a refused method is an
error of the protocol. Neither holds a word of what was sent.
"""

import re
from collections.abc import Mapping

from helm_ai_kernel.executor.host import Answer
from helm_ai_kernel.tcb.approvals import held_call
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Status, Verdict
from helm_ai_kernel.tcb.errors import OutsideError, Refused
from helm_ai_kernel.tcb.ijson import Json, parse
from helm_ai_kernel.tcb.jcs import canonical
from helm_ai_kernel.wire import mcp_message
from helm_ai_kernel.wire.era import Era
from helm_ai_kernel.wire.mcp_message import INTERNAL_ERROR, INVALID_PARAMS, Bad, Said, spliced
from helm_ai_kernel.wire.span import members
from helm_ai_kernel.wire.status import STATUS

from .replies import place, says

RECEIPT_META = "ai.helm/receipt"
TOOL = "tools/call"
LISTINGS = frozenset(
    {"resources/list", "resources/templates/list", "resources/read", "prompts/list"}
)  # MCP 2026-07-28, `CacheableResult`

_RPC = re.compile(r"rpc (-?[0-9]{1,9})\Z")
_UNSURE = frozenset({Status.UNKNOWN, Status.DRIFT})


def answered(number: bytes, method: str, answer: Answer, era: Era) -> Said:
    """The response to a call of a tool, or of a method tool."""
    if answer.output is not None:
        parts = members(answer.output)
        if parts.keys() == {"error"}:  # the server answered with an error of the protocol: those bytes were judged and hashed
            return mcp_message.raw_error(number, _of_server(parts["error"]), parts["error"])
        if not parts and era is Era.LEGACY:  # an `EmptyResult` has no members
            return mcp_message.result(number, b"{}")
        return mcp_message.result(number, with_receipt(answer.output, parts, answer, era, listing=method in LISTINGS))
    if method == TOOL and not _unknown_tool(answer):
        return mcp_message.result(number, _told(answer, era))
    data: Json = {"reason": answer.reason.value, "hint": answer.hint, "receipt": place(answer.decision)}
    return mcp_message.error(number, _code(answer), says(answer.reason), data)


def with_receipt(output: bytes, parts: Mapping[str, bytes], answer: Answer, era: Era, *, listing: bool = False) -> bytes:
    """The output, with one member of `_meta` more. A server's own word under that name does not get through.

    Where the client is of another era than the server, what its revision demands of a result is added as well.
    """
    ours = canonical(receipt(answer))
    if "_meta" in parts:
        parts = {**parts, "_meta": spliced({**members(parts["_meta"]), RECEIPT_META: ours})}
        return spliced(of_era(parts, era, listing=listing))
    added = {name: value for name, value in of_era(parts, era, listing=listing).items() if name not in parts}
    if any(name in parts and parts[name] != value for name, value in of_era(parts, era, listing=listing).items()):
        return spliced({**of_era(parts, era, listing=listing), "_meta": spliced({RECEIPT_META: ours})})
    head = spliced({"_meta": spliced({RECEIPT_META: ours}), **added})[:-1]
    return head + (b"," if parts else b"") + output.strip()[1:].lstrip()


def of_era(parts: Mapping[str, bytes], era: Era, *, listing: bool = False) -> dict[str, bytes]:
    """The members of a result as the client's revision wants them. Lists depend on who asks: nobody else may be given them."""
    if era is Era.LEGACY:
        return dict(parts)
    told = {"resultType": b'"complete"', **parts}
    return {**told, "ttlMs": b"0", "cacheScope": b'"private"'} if listing and told["resultType"] == b'"complete"' else told


def uris(output: bytes) -> list[str]:
    """Of a list of resources."""
    value = parse(output, bytes_max=len(output), any_number=True)
    listed = value.get("resources") if type(value) is dict else None
    found = [one.get("uri") for one in listed if type(one) is dict] if type(listed) is list else []
    return [uri for uri in found if type(uri) is str]


def receipt(answer: Answer) -> dict[str, Json]:
    """The evidence of one call, for whoever keeps it."""
    told: dict[str, Json] = {
        "verdict": answer.verdict.value,
        "reason": answer.reason.value,
        "receipt": place(answer.decision),
        "checkpoint": answer.checkpoint.decode(),
    }
    if answer.outcome is not None:
        told["outcome"] = {**place(answer.outcome), "status": str(answer.outcome.body["status"])}
    salts = {"arguments": answer.args_salt, "output": answer.output_salt}
    told["salts"] = {name: salt.hex() for name, salt in salts.items() if salt is not None}
    return told


def refused(number: bytes, method: str, error: Refused | OutsideError, era: Era) -> Said:
    """What was raised before there was a receipt, or instead of one."""
    if isinstance(error, Bad):
        return mcp_message.error(number, error.code, error.detail, error.data)
    if method == TOOL:
        return mcp_message.result(number, _text(f"{says(error.reason)} ({error.reason})", {}, era))
    code = STATUS[error.reason] if isinstance(error, Refused) else INTERNAL_ERROR
    return mcp_message.error(number, code, says(error.reason), {"reason": error.reason.value})


def _of_server(error: bytes) -> int:
    value = parse(error, bytes_max=len(error), any_number=True)
    code = value.get("code") if type(value) is dict else None
    return code if type(code) is int else INTERNAL_ERROR


def _told(answer: Answer, era: Era) -> bytes:
    held, rules = held_call(answer.decision), ", ".join(answer.decision.rules)
    lines = [f"{_verdict(answer)}: {says(answer.reason)} ({answer.reason})"]
    if rules:
        lines.append(f"decided by: {rules}")
    if held is not None:
        lines.append(f"a person must approve this call; it waits as {held[0]}. Make the same call again once it is approved")
    elif answer.hint:
        lines.append(f"hint: {answer.hint}")
    if answer.outcome is not None and answer.outcome.status in _UNSURE:
        lines.append("it may have happened: do not repeat it without a look")
    lines.append(f"receipt {answer.decision.index}: {answer.decision.leaf}")
    return _text("\n".join(lines), {RECEIPT_META: receipt(answer)}, era)


def _verdict(answer: Answer) -> str:
    if answer.verdict is Verdict.ALLOW:
        return "allowed, and not done" if answer.outcome is None or answer.outcome.status is Status.FAILED else "not released"
    return "not allowed" if answer.verdict is Verdict.DENY else "not yet allowed"


def _text(text: str, meta: Mapping[str, Json], era: Era) -> bytes:
    content: list[Json] = [{"type": "text", "text": text}]
    told: dict[str, Json] = {"content": content, "isError": True, **({"_meta": dict(meta)} if meta else {})}
    return canonical(told if era is Era.LEGACY else {**told, "resultType": "complete"})


def _unknown_tool(answer: Answer) -> bool:
    """No tool of that name is pinned: the protocol calls that invalid parameters."""
    return answer.reason is Reason.ERR_TOOL_NOT_ALLOWED and answer.decision.body.get("pin") is None


def _code(answer: Answer) -> int:
    """The server's own code where it refused; else the status of the reason, outside of what JSON-RPC reserves."""
    sub = answer.outcome.body.get("sub") if answer.outcome is not None else None
    said = _RPC.match(sub) if isinstance(sub, str) else None
    if said is not None:
        return int(said[1])
    if answer.reason is Reason.ERR_SCHEMA_VIOLATION or _unknown_tool(answer):
        return INVALID_PARAMS
    return 403 if answer.verdict is Verdict.ESCALATE else STATUS[answer.reason]
