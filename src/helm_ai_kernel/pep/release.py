"""Whether a connector's bytes keep the contract that was pinned; what does not is withheld as `ERR_CONNECTOR_CONTRACT_DRIFT`.

An output is data: nothing in it is ever read as control. What is released are the bytes that were judged, never a rendering.
"""

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Contract
from helm_ai_kernel.tcb.errors import Refused
from helm_ai_kernel.tcb.ijson import Json, parse

from . import results
from .catalog import Tool
from .methods import KINDS, QUESTIONS
from .schema import Schema


def release(tool: Tool, output: bytes, *, questions: bool = False) -> tuple[Contract, bool]:
    """Which contract `output` keeps, and whether the tool itself says that it failed.

    `questions`: the caller can be asked, so that an MCP result may be a question to them (contract `question`).

    Raises `Refused(ERR_CONNECTOR_CONTRACT_DRIFT)`; its sub-reason never holds anything of the output.
    """
    strict = tool.output is not None and tool.output.strict_numbers
    try:
        value = parse(output, bytes_max=tool.output_bytes, any_number=not strict)
    except Refused as refused:
        raise _drift(f"json {refused.sub}") from None
    if tool.kind in KINDS:
        return _mcp_result(tool, value, len(output), questions)
    if tool.kind == "http":
        return _http_answer(tool, value, len(output))
    if tool.output is None:
        return Contract.SHAPE, False
    _check(tool.output, value, len(output))
    return Contract.SCHEMA, False


def _mcp_result(tool: Tool, value: Json, size: int, questions: bool) -> tuple[Contract, bool]:
    """A result of MCP, of a tool's call or of a method. Other members are open by the specification, so they are passed on."""
    if type(value) is not dict:
        raise _drift("result")
    name = tool.name.partition("/")[2]
    if value.keys() == {"error"} and name not in QUESTIONS:  # the server answered with an error of the protocol
        _keep(results.error_fault(value["error"]))
        return Contract.SHAPE, True
    kind = value.get("resultType", "complete")
    if questions and kind == "input_required":
        _keep(results.question_fault(name if "/" in name else "tools/call", value))
        return Contract.QUESTION, False
    if kind != "complete":  # 2026-07-28: a question to the client, whom nobody can ask here
        raise _drift("resultType")
    if "/" in name:
        _keep(results.fault(name, value))
        return Contract.SHAPE, False
    return _call_tool_result(tool, value, size)


def _call_tool_result(tool: Tool, value: dict[str, Json], size: int) -> tuple[Contract, bool]:
    """MCP's `CallToolResult`."""
    content = value.get("content")
    if type(content) is not list:
        raise _drift("content")
    for block in content:
        _keep(results.block_fault(block))
    if tool.output is None and type(value.get("structuredContent", {})) is not dict:
        raise _drift("structuredContent")  # 2026-07-28: anything that an output schema describes, and nobody did
    for name, kind in (("isError", bool), ("_meta", dict)):
        if name in value and type(value[name]) is not kind:
            raise _drift(name)
    tool_error = value.get("isError") is True
    if tool.output is None or (tool_error and "structuredContent" not in value):
        return Contract.SHAPE, tool_error
    if "structuredContent" not in value:
        raise _drift("structuredContent")
    _check(tool.output, value["structuredContent"], size)  # an error's too: a flag of the server's is no way around the pin
    return Contract.SCHEMA, tool_error


def _keep(wrong: str) -> None:
    if wrong:
        raise _drift(wrong)


def _http_answer(tool: Tool, value: Json, size: int) -> tuple[Contract, bool]:
    """`{"status","body"?}`. An `outputSchema` is that of the body of a 2xx, and no other status is a way around it."""
    if type(value) is not dict or not {"status"} <= value.keys() <= {"status", "body"}:
        raise _drift("answer")
    status = value["status"]
    if type(status) is not int or not 200 <= status <= 599:
        raise _drift("status")
    tool_error = status >= 300
    if tool.output is None:
        return Contract.SHAPE, tool_error
    if ("body" in value) is tool_error:
        raise _drift("body")
    if tool_error:
        return Contract.SHAPE, True
    _check(tool.output, value["body"], size)
    return Contract.SCHEMA, False


def _check(schema: Schema, value: Json, size: int) -> None:
    violation = schema.violation(value, size)
    if violation is not None:
        raise _drift(violation.sub if violation.reason is Reason.ERR_SCHEMA_VIOLATION else "budget")


def _drift(sub: str) -> Refused:
    hint = "the output is withheld and the tool held; compare it with the pin, then release the tool or pin it again"
    return Refused(Reason.ERR_CONNECTOR_CONTRACT_DRIFT, f"the output breaks its pinned contract: {sub}", sub=sub, hint=hint)
