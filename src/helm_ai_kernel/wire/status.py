"""Which HTTP status says which reason: one table, for every door.

A client that looks at nothing but the status must not take a refusal for an answer, nor repeat what may have happened. What is
known more exactly than by its reason (a header that is too large is 431, not 413) is said where it is found.
"""

from collections.abc import Mapping
from types import MappingProxyType

from helm_ai_kernel.tcb.codes import Reason

STATUS: Mapping[Reason, int] = MappingProxyType({
    Reason.OK: 200,
    Reason.REPEATED: 200,
    Reason.ERR_TOOL_NOT_ALLOWED: 403,
    Reason.ERR_POLICY_DENY: 403,
    Reason.ERR_POLICY_ERROR: 403,
    Reason.ERR_POLICY_NOT_READY: 403,
    Reason.ERR_UNAUTHENTICATED: 401,
    Reason.ERR_RATE_LIMITED: 429,
    Reason.ERR_HTTP_AMBIGUOUS: 400,
    Reason.ERR_REQUEST_BOUNDS: 413,
    Reason.ERR_BODY_ENCODING: 415,
    Reason.ERR_HOST_FORBIDDEN: 421,
    Reason.ERR_ORIGIN_FORBIDDEN: 403,
    Reason.ERR_UNMEDIATED_TRANSPORT: 501,
    Reason.ERR_JSON_NOT_IJSON: 400,
    Reason.ERR_UPSTREAM_SHAPE: 400,  # of a request; what an upstream did wrong is an outcome
    Reason.ERR_SCHEMA_VIOLATION: 400,
    Reason.ERR_SCHEMA_UNSAFE: 400,
    Reason.ERR_SCHEMA_BUDGET: 400,
    Reason.ERR_MCP_SCHEMA_DRIFT: 409,
    Reason.ERR_MCP_BATCH_UNSUPPORTED: 400,
    Reason.ERR_MCP_ID_CONFLICT: 400,
    Reason.ERR_MCP_HEADER_MISMATCH: 400,
    Reason.ERR_CONNECTOR_CONTRACT_DRIFT: 502,
    Reason.ERR_CONNECTOR_FAILED: 502,
    Reason.ERR_EGRESS_DENIED: 403,
    Reason.ERR_APPROVAL_REQUIRED: 202,  # of an ESCALATE: somebody may still allow it; of a DENY 403
    Reason.ERR_APPROVAL_PENDING_TIMELOCK: 202,
    Reason.ERR_APPROVAL_DENIED: 403,
    Reason.ERR_APPROVAL_EXPIRED: 403,
    Reason.ERR_APPROVAL_CHALLENGE: 403,
    Reason.ERR_APPROVAL_SELF: 403,
    Reason.ERR_APPROVAL_KEY_ROLE: 403,
    Reason.ERR_APPROVAL_SIGNATURE: 403,
    Reason.ERR_APPROVAL_CONSUMED: 409,
    Reason.ERR_APPROVAL_INTENT_MISMATCH: 409,
    Reason.ERR_CLOCK_UNTRUSTED: 403,
    Reason.ERR_IDEMPOTENCY_MISMATCH: 422,
    Reason.ERR_IDEMPOTENCY_IN_FLIGHT: 409,
    Reason.ERR_IDEMPOTENCY_KEY_REQUIRED: 400,
    Reason.ERR_OUTCOME_UNKNOWN: 409,  # not 5xx: libraries repeat those by themselves
    Reason.ERR_BUDGET_EXHAUSTED: 403,
    Reason.ERR_TOOL_HALTED: 403,
    Reason.ERR_FROZEN: 403,
    Reason.ERR_EVIDENCE_UNAVAILABLE: 503,
    Reason.ERR_EVIDENCE_FULL: 503,
    Reason.ERR_SIGNER_UNAVAILABLE: 503,
    Reason.ERR_STORE_CORRUPT: 503,
    Reason.ERR_STORE_ROLLBACK: 503,
    Reason.ERR_STORE_LOCKED: 503,
    Reason.ERR_SEALED: 503,
    Reason.ERR_SESSION_ENDED: 409,
    Reason.ERR_CLIENT_CONFIG: 500,  # at no door: of a command that changes a file
})  # fmt: skip
