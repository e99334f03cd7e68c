"""One page per reason code: what it means, whether a retry can help, what a caller may do, what the owner may do.

`helm-ai-kernel explain CODE` prints a page, hints end with its first aid, and `docs/spec/reasons.md` is made from all of them.
A code without a page fails the tests.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from helm_ai_kernel.tcb.codes import Reason


class Retry(StrEnum):
    """Can sending it again help?"""

    NOT_NEEDED = "there is nothing to retry"
    SAME_ANSWER = "a retry of the same call gets the same answer until the owner changes something"
    CHANGED = "a retry helps only with a changed request"
    LATER = "a retry of the same call may succeed later"
    NEW_KEY = "a retry helps only with another idempotency key"
    LATER_NEW_KEY = "a retry may succeed later; a call that had an idempotency key needs another one"
    LOOK_FIRST = "do not retry before someone has looked at what happened"


@dataclass(frozen=True, slots=True)
class Page:
    meaning: str
    retry: Retry
    caller: str
    owner: str


def page(reason: Reason) -> Page:
    return PAGES[reason]


def hint(reason: Reason) -> str:
    """One line for the caller: can a retry help, and what would show more."""
    return _HINTS[reason]


def text(reason: Reason) -> str:
    """The page as `explain` prints it; Markdown."""
    shown = PAGES[reason]
    return (
        f"## {reason}\n\n{shown.meaning}\n\n"
        f"- Retry: {shown.retry}.\n- What the caller can do: {shown.caller}.\n- What the owner can do: {shown.owner}.\n"
    )


def document() -> str:
    """All pages, in the order of the enum: the text of `docs/spec/reasons.md`."""
    return _OPENING + "\n" + "\n".join(text(reason) for reason in Reason)


_OPENING = """\
# Reasons

Every decision carries one of these codes, and so does every hold and every outcome that has something to say: an outcome OK
carries none. Doors, commands and the library say why they refuse with the same codes. `helm-ai-kernel explain CODE` prints its
page. The codes are stable: clients may branch on them. A `sub` beside the code, where there is one, is a short machine-readable
word and never a value of the caller's.
"""

_NOTHING = "nothing: this is the good case"
_TELL = "tell its user which tool was refused and why; use a tool that is allowed"
_FIX_STORE = "run `helm-ai-kernel fsck` and repair the disk; never put an older copy back: it forgets calls that were made"

PAGES: Mapping[Reason, Page] = MappingProxyType({
    Reason.OK: Page(
        "The call is allowed.",
        Retry.NOT_NEEDED,
        _NOTHING,
        _NOTHING,
    ),
    Reason.REPEATED: Page(
        "The idempotency key was used before, for the same arguments: the call is answered with the first one's outcome,"
        " and nothing was dispatched again.",
        Retry.NOT_NEEDED,
        "use the answer as if it were the first",
        _NOTHING,
    ),
    Reason.ERR_TOOL_NOT_ALLOWED: Page(
        "No rule permits this call, or the tool is not in the catalogue: what is not permitted is denied.",
        Retry.SAME_ANSWER,
        _TELL,
        "pin the tool if it is not pinned (`helm-ai-kernel tools pin`), write a `permit` for it, and `helm-ai-kernel"
        " policy apply`",
    ),
    Reason.ERR_POLICY_DENY: Page(
        "A rule of the policy forbids this call. `rules` names the rules; the hint shows what the first of them says. A"
        " `forbid` beats every `permit`.",
        Retry.CHANGED,
        "stay within what the rule says, or use another tool",
        "change the rule, then `helm-ai-kernel policy apply`",
    ),
    Reason.ERR_POLICY_ERROR: Page(
        "The policy could not be evaluated, and an evaluation that fails is never an allow. `sub` says where: `rule ID`"
        " failed (an overflow, for example), `unheld args.NAME` is a value that a rule reads and Cedar cannot hold (a"
        " number of more than four places, a null), `reserved_key` is a key of the arguments that begins with `__`,"
        " `engine` is the engine itself. When a policy is checked or applied it means that the policy is wrong, and the"
        " message names file, rule and cause.",
        Retry.CHANGED,
        "send arguments without such a value or key",
        "rewrite the rule, then `helm-ai-kernel policy check`",
    ),
    Reason.ERR_POLICY_NOT_READY: Page(
        "No policy is in force, or another one than the policy that this process has loaded, or the configuration cannot"
        " be read. Until both agree nothing is allowed.",
        Retry.LATER,
        "wait and try again; then tell its user",
        "sign a policy into force: `helm-ai-kernel policy apply`",
    ),
    Reason.ERR_UNAUTHENTICATED: Page(
        "The door does not know who is asking: no credential came with the request, or one that nobody has, or two that"
        " do not agree. Also what a start says that would open a door to other machines without TLS or without credentials.",
        Retry.CHANGED,
        "send the credential that the owner gave to this agent, and only that one",
        "look whether the agent is still listed and its credential is the newest one",
    ),
    Reason.ERR_RATE_LIMITED: Page(
        "This principal asked more often, or for more at once, than its limits allow. Nothing was decided or executed.",
        Retry.LATER,
        "wait as long as `Retry-After` says",
        "raise the limits of that agent, or find out why it asks so often",
    ),
    Reason.ERR_HTTP_AMBIGUOUS: Page(
        "Two readers of HTTP could understand the request differently, or it is not HTTP/1.1 as it is read here. The message"
        " says which part; the connection is closed. `docs/spec/http.md` says what a request looks like.",
        Retry.CHANGED,
        "send the request through a usual HTTP/1.1 client, without rewriting its framing",
        "look at the proxy in front of the door, if there is one: it must speak HTTP/1.1 and rewrite nothing",
    ),
    Reason.ERR_REQUEST_BOUNDS: Page(
        "The request is larger or slower than its bounds: its first line, its header, its body, the number of its chunks,"
        " or the time that it takes. The message names the bound; the connection is closed.",
        Retry.CHANGED,
        "send less in one request, and send it without pauses",
        "nothing, as a rule: the bounds are far above what calls need",
    ),
    Reason.ERR_BODY_ENCODING: Page(
        "A body is compressed, or is not of the type and character set that is read there. What is not read as it stands is"
        " not judged, and what is not judged is not let through.",
        Retry.CHANGED,
        "send `Content-Type: application/json` and no `Content-Encoding`",
        "where an upstream compresses its answers although it is asked not to, have that switched off",
    ),
    Reason.ERR_HOST_FORBIDDEN: Page(
        "The `Host` of the request is no name of this door. A page in a browser that reaches the door by a name of its own"
        " is recognised by this.",
        Retry.CHANGED,
        "use the address that the door printed when it started",
        "name the host in the door's configuration, if a proxy in front of it uses another name",
    ),
    Reason.ERR_ORIGIN_FORBIDDEN: Page(
        "A browser sent the request for a page of another site: its `Origin` is none of this door's own.",
        Retry.SAME_ANSWER,
        "nothing: doors are not for pages of other sites",
        "find out which page that is",
    ),
    Reason.ERR_UNMEDIATED_TRANSPORT: Page(
        "The request asks for a way to speak that is not governed here: a WebSocket, HTTP/2, a tunnel, an unknown method.",
        Retry.CHANGED,
        "use plain HTTP/1.1 requests",
        "nothing: what is not governed is not let through",
    ),
    Reason.ERR_JSON_NOT_IJSON: Page(
        "The bytes are not strict JSON of our profile, so two readers could see two different calls. `sub` says why:"
        " `dup_key`, `encoding`, `surrogate`, `number_range`, `number_precision`, `depth`, `size`, `bom` or `syntax`.",
        Retry.CHANGED,
        "send one strict JSON document: no duplicate keys, whole numbers within 2^53-1, larger ones as strings",
        "nothing: the profile is not configurable",
    ),
    Reason.ERR_UPSTREAM_SHAPE: Page(
        "The message is JSON, but not of the form that its protocol has: a field is missing, unknown, or of another type; or it"
        " speaks of what it may not speak of: of a call whose report nobody waits for, or of a cause that is no outcome of the"
        " caller's.",
        Retry.CHANGED,
        "send the form that the door documents",
        "look whether client and upstream speak the protocol that they claim",
    ),
    Reason.ERR_SCHEMA_VIOLATION: Page(
        "The arguments do not satisfy the tool's pinned schema. `sub` names the keyword and its place in the schema.",
        Retry.CHANGED,
        "correct the arguments after the tool's schema",
        "compare the pin with what the upstream says now: `helm-ai-kernel tools inspect`",
    ),
    Reason.ERR_SCHEMA_UNSAFE: Page(
        "A tool's schema cannot be pinned: it holds something that is ignored, fetched from elsewhere or unbounded (an"
        " unknown keyword, a remote `$ref`, a recursive expansion).",
        Retry.SAME_ANSWER,
        "nothing: this is met when a tool is pinned",
        "have the upstream's author correct the schema",
    ),
    Reason.ERR_SCHEMA_BUDGET: Page(
        "Checking a schema, or a value against it, would take more than its bound.",
        Retry.CHANGED,
        "send smaller arguments",
        "have the upstream's author simplify the schema",
    ),
    Reason.ERR_BUNDLE_MALFORMED: Page(
        "The file is no MCP bundle (`.mcpb`) as it is read here, or one that cannot be put behind the kernel. `sub` says which"
        " rule it breaks (`docs/spec/mcpb.md` has them all); `route` is a bundle in order whose server cannot be re-routed."
        " Nothing of it was unpacked or started.",
        Retry.CHANGED,
        "nothing: this is met when a bundle is checked or wrapped",
        "get the file again from where it is published; where it stays so, ask its author, and do not install it",
    ),
    Reason.ERR_MCP_SCHEMA_DRIFT: Page(
        "The upstream, or the program, defines the tool differently from its pin. Nothing was applied, and the tool is held"
        " until a person releases it.",
        Retry.SAME_ANSWER,
        _TELL,
        "compare (`helm-ai-kernel tools diff`); pin the tool again if the change is right, or have it undone; and"
        " then, because a pin releases no hold, `helm-ai-kernel tools release`",
    ),
    Reason.ERR_MCP_BATCH_UNSUPPORTED: Page(
        "The message is a list of JSON-RPC messages. Batches were removed from MCP with revision 2025-06-18. Nothing was done.",
        Retry.CHANGED,
        "send each message by itself",
        "nothing: part of a batch could be denied and part not, and no one answer would say so",
    ),
    Reason.ERR_MCP_ID_CONFLICT: Page(
        "The `id` of a message is none, or is that of another request under way, or answers nothing that was asked: its answer"
        " could be taken for another's.",
        Retry.CHANGED,
        "give each request an id of its own, a string or a whole number",
        "nothing: an answer that could be another's is not given",
    ),
    Reason.ERR_MCP_HEADER_MISMATCH: Page(
        "A header that repeats part of an MCP request says something else than its body, or is missing. Whoever stands between"
        " would see another call than the one that is decided.",
        Retry.CHANGED,
        "send `MCP-Protocol-Version`, `Mcp-Method`, `Mcp-Name` and `Mcp-Param-*` as the body says",
        "look for a proxy that writes such headers",
    ),
    Reason.ERR_CONNECTOR_CONTRACT_DRIFT: Page(
        "The tool ran, but its output breaks the pinned contract. The output is withheld and the tool is held.",
        Retry.LOOK_FIRST,
        "assume that the effect has happened; tell its user",
        "look at the outcome's receipt; pin the tool again if its contract is another one now; and then, because a pin"
        " releases no hold, `helm-ai-kernel tools release`",
    ),
    Reason.ERR_CONNECTOR_FAILED: Page(
        "Nothing was applied, and the connector proves it: the upstream could not be started, the call could not be handed to it"
        " or was refused before it acted, or the function itself says so; or the tool is an operation of an HTTP API that is"
        " pinned as `read`, and there was no answer in time. The same idempotency key is answered with this outcome again.",
        Retry.LATER_NEW_KEY,
        "try again later; where the call had an idempotency key, with another one",
        "look whether the upstream is installed and starts",
    ),
    Reason.ERR_EGRESS_DENIED: Page(
        "The upstream's host is, or its name resolves to, an address of a class that the pinned server may not be dialled at, or"
        " one that has no one meaning. `sub` names the class (`loopback`, `private`, `link-local`, `metadata` and others) or what"
        " is wrong (`address`, `host`, `peer`). No connection was used.",
        Retry.LATER_NEW_KEY,
        _TELL,
        "look what the name resolves to; if that is right, add the class to `addresses` and pin the server again"
        " (`docs/spec/connector-http.md`)",
    ),
    Reason.ERR_APPROVAL_REQUIRED: Page(
        "A person must approve this call; `rules` names the rules that ask for it. It is held, and nothing was dispatched."
        " With a `sub` it is refused instead: `alone` where nobody is there to be asked, `crowded` where too many calls of"
        " this principal wait already.",
        Retry.LATER,
        "send the same call again later, with the same arguments: once it is approved, that one is dispatched, once",
        "look and decide: `helm-ai-kernel approvals list`; or change the rule that asks, or the tool's effect class"
        " (`destructive` always asks)",
    ),
    Reason.ERR_APPROVAL_PENDING_TIMELOCK: Page(
        "The call is approved, and the time that its rule lets pass before anything happens is not over on both clocks.",
        Retry.LATER,
        "send the same call again when the time is over",
        "wait; until then `helm-ai-kernel approvals deny` still stops it",
    ),
    Reason.ERR_APPROVAL_DENIED: Page(
        "A person denied this call. Nothing that is said later changes that.",
        Retry.SAME_ANSWER,
        "tell its user; do something else",
        "nothing: it was denied; the same call can be asked for again when its time is over",
    ),
    Reason.ERR_APPROVAL_EXPIRED: Page(
        "Nobody approved the call in time, or nobody sent it again in time after it was approved. Silence is a deny.",
        Retry.LATER,
        "ask again, if it is still wanted: the next call like it is held anew",
        "answer sooner, or let the rule wait longer: `@expires`",
    ),
    Reason.ERR_APPROVAL_CHALLENGE: Page(
        "The answer is not one to a challenge that the kernel gave to this key for this call: used before, too old, or worked"
        " out for something else.",
        Retry.CHANGED,
        "nothing: approvals are signed by people",
        "look at the call again, and answer its new challenge: `helm-ai-kernel approvals list`",
    ),
    Reason.ERR_APPROVAL_SELF: Page(
        "Who asks does not approve: the key belongs to the principal of the call, or to its owner where four eyes are asked for.",
        Retry.CHANGED,
        "nothing: approvals are signed by people",
        "let somebody else look at it",
    ),
    Reason.ERR_APPROVAL_KEY_ROLE: Page(
        "The statement is signed by a key that may not sign this: only `approval` and `root` keys change what is in"
        " force.",
        Retry.CHANGED,
        "nothing: statements are signed by people",
        "sign with a registered `approval` key",
    ),
    Reason.ERR_APPROVAL_SIGNATURE: Page(
        "The statement's signature does not verify against the trust registry.",
        Retry.CHANGED,
        "nothing: statements are signed by people",
        "sign again, with a key that the registry lists",
    ),
    Reason.ERR_APPROVAL_CONSUMED: Page(
        "The statement was used before, or the call that it is about has gone on already; each works once.",
        Retry.CHANGED,
        "nothing: statements are signed by people",
        "sign a new statement",
    ),
    Reason.ERR_APPROVAL_INTENT_MISMATCH: Page(
        "The statement was signed for something else than what it meets: another log, another policy or catalogue in"
        " force, another hold, another number of attachments.",
        Retry.CHANGED,
        "nothing: statements are signed by people",
        "look at what is in force now, and sign again",
    ),
    Reason.ERR_CLOCK_UNTRUSTED: Page(
        "A clock of this machine went back since the call was approved: how much time passed is not known.",
        Retry.LATER,
        "send the same call again later",
        "mend the clock; or deny the call and let it be asked for anew",
    ),
    Reason.ERR_IDEMPOTENCY_MISMATCH: Page(
        "The idempotency key was used before, for other arguments or about another subject, or what was sent then is erased."
        " A key names one call.",
        Retry.NEW_KEY,
        "use a fresh key for each new call",
        "nothing: the client is at fault",
    ),
    Reason.ERR_IDEMPOTENCY_IN_FLIGHT: Page(
        "The first call with this idempotency key has no outcome yet. It is not dispatched a second time.",
        Retry.LATER,
        "wait, then send the same call with the same key: it is answered with the first one's outcome",
        "nothing: the first call ends by its deadline; one that its client acts on, with the client's report, or never",
    ),
    Reason.ERR_IDEMPOTENCY_KEY_REQUIRED: Page(
        "The pin says that calls of this tool carry an idempotency key, and this one has none.",
        Retry.CHANGED,
        "send a fresh `idempotency_key` with each new call, and the same one with a retry",
        "pin the tool without `require_key` if its effect may happen twice",
    ),
    Reason.ERR_OUTCOME_UNKNOWN: Page(
        "The call was dispatched and no outcome is known: it may have been applied (a timeout, a lost process, a crash of"
        " the kernel). With the same idempotency key it is never dispatched again.",
        Retry.LOOK_FIRST,
        "tell its user that the effect may or may not have happened",
        "look in the upstream whether it was applied; only then call again, with another key",
    ),
    Reason.ERR_BUDGET_EXHAUSTED: Page(
        "A budget that covers this call has no call left; `sub` names it.",
        Retry.LATER,
        "wait for the next day or session, as the budget counts",
        "raise `calls` of that budget in `helm.toml`",
    ),
    Reason.ERR_TOOL_HALTED: Page(
        "The tool is held: it broke its contract or its definition changed, and no person has released it.",
        Retry.SAME_ANSWER,
        _TELL,
        "look at the receipt that the hold names, and compare (`helm-ai-kernel tools diff`); if the definition changed and"
        " the change is right, `helm-ai-kernel tools pin`; then `helm-ai-kernel tools release`: a pin releases no hold",
    ),
    Reason.ERR_FROZEN: Page(
        "An operator froze everything, this server, this agent or this session; or the kernel quarantined the server, which is"
        " not the one that was pinned any more.",
        Retry.SAME_ANSWER,
        "stop, and tell its user",
        "look into it, and at the receipt that the decision names; `helm-ai-kernel tools diff` shows what a server changed; then"
        " sign the release: `helm-ai-kernel approvals list` says how",
    ),
    Reason.ERR_EVIDENCE_UNAVAILABLE: Page(
        "Evidence cannot be stored or read. What cannot be recorded is not executed.",
        Retry.LATER,
        "wait and try again",
        _FIX_STORE,
    ),
    Reason.ERR_EVIDENCE_FULL: Page(
        "The disk of the store is full. What cannot be recorded is not executed.",
        Retry.LATER,
        "wait and try again",
        "free space on the disk of the store",
    ),
    Reason.ERR_SIGNER_UNAVAILABLE: Page(
        "A key that must sign does not answer. What cannot be signed is not executed.",
        Retry.LATER,
        "wait and try again",
        "make the key available again (its file, its agent)",
    ),
    Reason.ERR_STORE_CORRUPT: Page(
        "The store contradicts its own signatures or is damaged. Nothing is executed on top of it.",
        Retry.SAME_ANSWER,
        "tell its user",
        _FIX_STORE,
    ),
    Reason.ERR_STORE_ROLLBACK: Page(
        "The store is older than the head that is kept outside it, or has another history: it was put back, or a copy of it"
        " runs somewhere else under the same keys. It has forgotten calls that were made. With `SPLIT_VIEW`: a witness has"
        " cosigned what this store does not have.",
        Retry.SAME_ANSWER,
        "tell its user",
        "put the newer store back, and keep both: the two heads in the message are evidence. Where the newer one is lost, go on"
        " in a new log that names both heads: `helm-ai-kernel restore --here`",
    ),
    Reason.ERR_STORE_LOCKED: Page(
        "Another process holds the store; a log has one writer.",
        Retry.LATER,
        "wait and try again",
        "use the kernel that is running, or stop it",
    ),
    Reason.ERR_SEALED: Page(
        "The kernel executes nothing any more. A write of evidence failed in a way that cannot be undone; or the check that"
        " reads old receipts again behind every start found some that are not the ones that were signed; or the kernel was"
        " closed.",
        Retry.SAME_ANSWER,
        "tell its user",
        "run `helm-ai-kernel fsck`, repair what it names (an older copy forgets calls that were made), and start again",
    ),
    Reason.ERR_SESSION_ENDED: Page(
        "The request names a session that is not the caller's open one: it ended (after 30 minutes without a call, after 24"
        " hours, or with the kernel's process), it is somebody else's, or there never was one. Sessions are issued by the kernel"
        " and bound to a principal at a door.",
        Retry.CHANGED,
        "leave `Helm-Session` out: the call opens a session, and its answer names it",
        "nothing: the client is at fault",
    ),
    Reason.ERR_CLIENT_CONFIG: Page(
        "A configuration file of an AI client, or the backup of one, cannot be read or must not be changed: it is not what the"
        " client would read, a link leads out of the home directory, its folder is not writable, or it changed meanwhile."
        " Nothing was written.",
        Retry.CHANGED,
        "nothing: no call of an agent is answered with it",
        "do what the hint says, then `helm-ai-kernel setup` again; `--dry-run` shows what it would change",
    ),
})  # fmt: skip

_HINTS: Mapping[Reason, str] = MappingProxyType({
    reason: f"{shown.retry}; `helm-ai-kernel explain {reason}`" for reason, shown in PAGES.items()
})  # fmt: skip
