"""The page as a person has it: one file that a browser opens from a disk, and a pack that somebody else wrote."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Error, sync_playwright

from helm_ai_kernel.tcb.ceremony import Act
from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.decision import Status
from helm_ai_kernel.tcb.keys import Purpose
from helm_ai_kernel.verifier.document import document
from needs import needs
from packs import Deployment, Log, key, policy, relined, story
from verifier.bases import BASES
from verifier.visit import Visit

FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update"
ALWAYS = "that an outcome is what happened: it is what the kernel saw"
MARKUP = "<img src=x onerror=alert(1)><script>alert(1)</script>"
BIDI = "pay\u202e001\u2066"
TERMINAL = "\x1b[2Jgone\x07"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = needs("chromium")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=[*FLAGS.split(), "--disable-sync"])
        yield launched
        launched.close()


@pytest.fixture
def visit(browser: Browser, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Visit]:
    file = tmp_path / "verify.html"
    file.write_bytes(document())
    page = browser.new_page()
    visited = Visit(page, file.as_uri())
    yield visited
    visited.leave(request.node.name.removeprefix("test_"))
    page.close()


def test_a_good_pack_with_the_genesis_is_valid_and_a_thread_says_so(visit: Visit) -> None:
    log = story()
    assert visit.verify(log.pack(withhold=False), log.genesis) == "VALID exit 0"
    assert len(visit.page.workers) == 1
    assert visit.page.locator(".entry").count() == len(log.lines) and visit.page.locator("circle").count() == len(log.lines)
    assert ALWAYS in visit.last_words() and f"anything after size {len(log.lines)}" in visit.last_words()


def test_without_a_genesis_it_is_unanchored_and_what_to_bring_is_said(visit: Visit) -> None:
    assert visit.verify(story().pack()) == "UNANCHORED exit 20"
    assert "bring the genesis digest" in visit.text("#report") and ALWAYS in visit.last_words()


def test_a_tampered_pack_is_invalid_and_its_finding_leads_to_the_receipt(visit: Visit) -> None:
    log = story()
    assert visit.verify(relined(log, [*log.lines[:5], *log.lines[6:]], log.checkpoint()), log.genesis) == "INVALID exit 40"
    found = visit.text(".findings")
    assert "CHAIN_GAP V7, receipt 5" in found and "TRUNCATED V8" in found and "INCLUSION_FAIL V8" in found
    assert "CHAIN_GAP" in visit.text("#receipt-5") and ALWAYS in visit.last_words()


def test_what_a_hostile_pack_says_is_shown_and_never_done(visit: Visit) -> None:
    log = Log(Deployment("hostile"))
    log.start_kernel()
    log.activate()
    agent = log.start(MARKUP, TERMINAL)
    call = log.allow(agent, tool=MARKUP, more={"rules": [BIDI], "args_hash": log.attach(b'{"say":"' + MARKUP.encode() + b'"}')})
    log.settle(agent, call.leaf, more={"output_hash": log.attach(f"{MARKUP}{BIDI}{TERMINAL}".encode())})
    visit.page.evaluate("() => { globalThis.alert = () => { throw new Error('executed') } }")
    assert visit.verify(log.pack(withhold=False), log.genesis) == "VALID exit 0"
    shown = visit.text(".story")
    assert MARKUP in shown and "<U+202E>001<U+2066>" in shown and "<U+001B>[2Jgone<U+0007>" in shown
    assert not {"\u202e", "\u2066", "\x1b", "\x07"} & set(visit.text("body"))
    assert visit.page.locator("#answer img, #answer script, #answer iframe").count() == 0
    assert visit.page.locator(".mark").first.is_visible()


def test_a_part_is_said_to_be_one_before_anything_else(visit: Visit) -> None:
    log = story()
    assert visit.verify(log.part(*range(2, 8)), log.genesis).startswith("VALID")
    assert f"This is a part of a log. Here are 7 receipts of a log of {len(log.lines)}." in visit.text("#report")
    assert "what the log holds beside these receipts" in visit.last_words()
    assert visit.page.locator("#receipt-2").count() == 1 and visit.page.locator("#receipt-0").count() == 0


def test_what_is_withheld_or_erased_is_said_to_be(visit: Visit) -> None:
    log = Log(Deployment("erased"))
    log.start_kernel()
    log.activate()
    agent = log.start()
    subject = "ab" * 16
    log.settle(agent, log.allow(agent, more={"subject": subject}).leaf)
    gone = list(log.attachments)
    log.settle(agent, log.allow(agent).leaf)
    withheld = list(log.attachments)[len(gone)]
    log.settle(agent, log.allow(agent).leaf)
    erasure = log.erase(subject, len(gone))
    for name in [*gone, withheld]:
        del log.attachments[name]
    assert visit.verify(log.pack(withhold=False), log.genesis) == "VALID exit 0"
    about = visit.text("#receipt-3")
    assert f"erased, as receipt {erasure.index} says" in about and subject in about
    assert f"erased, as receipt {erasure.index} says" in visit.text("#receipt-4")
    assert "withheld" in visit.text("#receipt-5") and "erased" not in visit.text("#receipt-5")
    assert f"{len(gone) + 1} withheld or erased" in visit.text("#report")
    assert subject in visit.text(f"#receipt-{erasure.index}")


def test_the_story_of_calls_that_wait_for_people_says_who_said_what(visit: Visit) -> None:
    log = BASES["asked"]
    places = {receipt.leaf: receipt.index for receipt in log.receipts}
    told = [f"#receipt-{at}" for at in range(len(log.receipts))]
    held = [one for one in log.receipts if "requires" in one.body]
    assert visit.verify(log.pack(withhold=False), log.genesis) == "VALID exit 0"
    more, overridden, denied, by_grant, frozen, silent, unused, back, _ = (told[one.index] for one in held[1:])
    asks = visit.text(more)
    assert "held on, for more" in asks and "the approvals of 2 people, not agent, within 1 hour; then it waits 1 second" in asks
    said = ["approved by ada", "approved by bob", "approval withdrawn by ada", "disputed: all approvals so far are void by Bob"]
    said += ["approved by Bob", "approved by olga", "approved by ada", "dispatched"]
    assert [one.partition(" (receipt")[0] for one in visit.texts(f"{more} li")] == said
    assert "OVERRIDE by rita, olga" in visit.text(overridden) and "dispatched by OVERRIDE" in visit.text(overridden)
    assert "denied by ada" in visit.text(denied) and "dispatched by a grant" in visit.text(by_grant)
    assert "approved by bob" in visit.text(frozen) and "lapsed: nobody answered in time" in visit.text(silent)
    assert "expired, and the caller was told so" in visit.text(unused) and "approved by olga" in visit.text(back)
    overrides = [one.index for one in log.receipts if '"kind":"override"' in one.line.decode()]
    assert "OVERRIDE roots let held calls go" in visit.text("#report")
    assert all(f"receipt {at}" in visit.text("#report") for at in (*overrides, overrides[0] + 1))  # and the call that went by it
    assert visit.page.locator(".tone-override.entry").count() == 3 and visit.page.locator("rect.overridden").count() == 3
    assert all("OVERRIDE" in visit.texts(f"{told[at]} strong.override") for at in overrides)
    story = visit.text(".story")
    for word in (
        "surely 999 milliseconds of the 1 second of its timelock",
        "a clock went back",
        "disputed before",
        "1,200 \u00d7 ERR_RATE_LIMITED",
    ):
        assert word in story
    assert "a question, and no call" in story and "nobody is there to be asked" in story
    scopes = {one.body["scope"]: visit.text(told[one.index]) for one in log.receipts if "scope" in one.body}
    assert "everything" in scopes["all"] and "a server: elsewhere" in scopes["server:elsewhere"] and "olga" in scopes["all"]
    thaws = [one for one in log.receipts if '"scope":"all"' in one.line.decode() and "statement" in one.body]
    assert [
        f"as receipt {places[parent]} had frozen it" in visit.text(told[one.index]) for one in thaws for parent in one.parents
    ] == [True]
    assert "3 calls by agent to demo/add, within 1 hour" in story and '{"a":{"equals":1},"b":{"any":true}}' in story


def test_of_much_that_was_said_of_one_call_the_last_is_shown_and_that_it_is(visit: Visit) -> None:
    log = Log(Deployment("talked over"))
    log.start_kernel()
    log.activate()
    call = log.escalate(log.start())
    for _ in range(21):
        log.approve(call)
        log.say(Act.WITHDRAW, call)
    log.say(Act.DENY, call)
    assert visit.verify(log.pack(), log.genesis) == "VALID exit 0"
    said = visit.texts(f"#receipt-{call.index} li")
    assert len(said) == 40 and said[-1].startswith("denied by olga")
    assert "more than is shown: these are the last 40" in visit.text(f"#receipt-{call.index}")


def test_who_is_not_in_the_registry_approves_nothing_in_the_story_either(visit: Visit) -> None:
    log = Log(Deployment("strange"))
    log.start_kernel()
    log.activate()
    agent = log.start()
    call = log.escalate(agent)
    log.approve(call, key("stranger", Purpose.APPROVAL))
    assert visit.verify(log.pack(), log.genesis) == "INVALID exit 40"
    assert "approved by a key that the registry does not have (receipt 4) but: KEY_UNKNOWN" in visit.text(
        f"#receipt-{call.index}"
    )


def test_the_time_that_witnesses_say_is_shown_and_a_policy_that_is_none_is_no_question(visit: Visit) -> None:
    log = story()
    pack = log.pack(note=log.cosigned(("ann", 1767323045), ("ben", 1767323145)))
    visit.page.click("summary")
    visit.page.fill("#witnesses", policy(2, "ann", "ben", "eve").decode())
    assert visit.verify(pack, log.genesis) == "VALID exit 0"
    assert "had seen it by 2026-01-02T03:05:45.000Z" in visit.text("#report")
    assert "another history" not in visit.last_words()
    visit.page.fill("#witnesses", policy(3, "ann", "ben", "eve").decode())
    assert visit.again() == "UNWITNESSED exit 10"
    visit.page.fill("#witnesses", "quorum none")
    assert visit.again() == "Nothing was verified: the witness policy is none: line 1: `quorum none` asks for nothing."


def test_known_heads_and_a_greatest_age_are_asked_about(visit: Visit) -> None:
    log = story()
    pack = log.pack()
    visit.page.click("summary")
    visit.bring_heads(log.checkpoint(3), log.checkpoint())
    assert visit.verify(pack, log.genesis) == "VALID exit 0"
    assert visit.text(".axis:has-text('freshness') b") == "ok"
    visit.page.fill("#age", "24h")
    assert visit.again() == "STALE exit 25"
    visit.page.fill("#age", "a day")
    assert visit.again().startswith("Nothing was verified: a maximum age is")
    visit.page.fill("#age", "")
    log.start("who came later")
    visit.bring_heads(log.checkpoint(3), log.checkpoint())
    assert visit.again() == "STALE exit 25" and "ROLLBACK V14" in visit.text(".findings")


def test_a_long_story_is_told_in_parts_and_what_is_not_shown_is_said_and_found(visit: Visit) -> None:
    log = Log(Deployment("long"))
    log.start_kernel()
    log.activate()
    busy = log.start("busy")
    for _ in range(60):
        log.deny(busy)
    sessions = [log.start(f"agent-{at}") for at in range(30)]
    log.settle(busy, log.allow(busy).leaf, Status.UNKNOWN)
    orphan = log.settle(busy, log.receipts[0].leaf)
    last = len(log.lines) - 1
    assert visit.verify(log.pack(), log.genesis) == "INVALID exit 40"
    assert "the first 20 of 32 sessions" in visit.text("#rest") and "at most 50 receipts" in visit.text("#rest")
    assert visit.page.locator("#receipt-62").count() == 0
    visit.press("text=Show more of this session")
    visit.page.wait_for_selector("#receipt-62")
    visit.press("text=Show more sessions")
    visit.page.wait_for_selector(".session >> text=agent-29")  # the picture has it from the start
    assert visit.text("#rest") == ""
    visit.page.fill("#wanted", sessions[7])
    visit.page.click("text=Find >> nth=-1")
    visit.page.wait_for_selector("#found >> text=agent-7")
    visit.page.fill("#wanted", "99999")
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_selector("text=There is no such receipt")
    assert f"receipt {orphan.index}" in visit.text(".findings") and orphan.index == last


def test_leaving_a_field_that_says_nothing_new_throws_no_answer_away(visit: Visit) -> None:
    log = story()
    visit.verify(log.pack(), log.genesis)
    visit.page.evaluate("() => document.querySelector('.verdict').setAttribute('id', 'first')")
    visit.page.click("h1")  # the genesis was never left before
    assert visit.text("#first") == "VALID exit 0"
    visit.page.fill("#genesis", "sha256:" + "0" * 64)
    visit.page.click("h1")
    visit.page.wait_for_selector(".verdict-invalid")


def test_a_finding_about_a_receipt_that_is_not_shown_leads_to_it(visit: Visit) -> None:
    log = Log(Deployment("far"))
    log.start_kernel()
    log.activate()
    busy = log.start("busy")
    for _ in range(60):
        log.deny(busy)
    log.deny(busy, Reason.ERR_TOOL_HALTED, hold=log.receipts[0].leaf)
    assert visit.verify(log.pack(), log.genesis) == "INVALID exit 40"
    assert visit.page.locator("#receipt-63").count() == 0
    visit.page.click(".findings >> text=receipt 63")
    visit.page.wait_for_selector("#found #receipt-63 >> text=FLOW_INVALID")


def test_neither_the_page_nor_its_thread_can_ask_a_network(visit: Visit) -> None:
    log = story()
    visit.verify(log.pack(), log.genesis)
    for place in (visit.page, visit.page.workers[0]):
        with pytest.raises(Error, match="Failed to fetch"):
            place.evaluate("fetch('http://127.0.0.1:9/')")  # nobody listens there, and nobody is asked
    assert [url for url in visit.asked if url.startswith("http")] == []


def test_where_no_thread_can_start_the_page_does_the_work_itself(visit: Visit) -> None:
    visit.page.evaluate("() => { globalThis.Worker = undefined }")
    log = story()
    assert visit.verify(log.pack(), log.genesis) == "VALID exit 0"
    assert visit.page.workers == []


def long_file(folder: Path) -> tuple[Path, str]:
    """A pack on a disk, of more sessions than are shown, and longer than what is read around one line."""
    log = Log(Deployment("on a disk"))
    log.start_kernel()
    log.activate()
    for at in range(60):
        log.deny(log.start(f"agent-{at}"))
    (folder / "pack.tar").write_bytes(log.pack())
    return folder / "pack.tar", log.genesis


def test_a_thread_that_dies_without_a_word_is_told_from_one_that_works(visit: Visit) -> None:
    log = story()
    visit.page.evaluate(
        "() => { const real = setInterval; globalThis.setInterval = (work) => real(work, 50) }"
    )  # a minute is three seconds
    visit.page.evaluate("() => { self.post = Worker.prototype.postMessage; Worker.prototype.postMessage = () => {} }")
    visit.page.set_input_files("#pack", {"name": "a.tar", "mimeType": "", "buffer": log.pack()})
    visit.page.wait_for_selector("#cancel:visible")
    visit.page.workers[0].evaluate("self.close()")
    visit.page.wait_for_selector("#state:has-text('this is not a verdict: the thread that did the work has died')")
    assert visit.page.locator(".verdict").count() == 0 and not visit.page.is_visible("#cancel")
    visit.page.evaluate("() => { Worker.prototype.postMessage = self.post }")
    visit.page.fill("#genesis", log.genesis)
    assert visit.again() == "VALID exit 0"


def test_when_the_thread_is_gone_whoever_asks_more_reads_no_old_verdict(visit: Visit, tmp_path: Path) -> None:
    file, genesis = long_file(tmp_path)
    assert visit.verify(file.read_bytes(), genesis) == "VALID exit 0"
    visit.page.workers[0].evaluate("() => { setTimeout(() => { throw new Error('broken') }) }")
    visit.press("text=Show more sessions")
    visit.page.wait_for_selector("#state:has-text('this is not a verdict')")
    assert visit.text() == ""


@pytest.mark.parametrize("how", ["as the browser sees", "behind its back"])
def test_a_file_that_changes_has_no_verdict_any_more(visit: Visit, tmp_path: Path, how: str) -> None:
    file, genesis = long_file(tmp_path)
    visit.page.fill("#genesis", genesis)
    visit.page.set_input_files("#pack", file)
    visit.page.wait_for_selector("#answer .unproven")  # the last that is shown
    assert visit.text(".verdict") == "VALID exit 0"
    when = file.stat().st_mtime if how == "behind its back" else 0
    file.write_bytes(file.read_bytes().replace(b"agent-20", b"agent-59"))
    os.utime(file, (when, when))
    visit.press("text=Show more sessions")
    visit.page.wait_for_selector("#state:has-text('this is not a verdict')")
    assert visit.text() == ""


def test_what_is_judged_is_what_is_in_the_tree(visit: Visit) -> None:
    """The lines are read twice: here the second time they are others."""
    log = story()
    visit.page.evaluate(
        """() => {
          globalThis.Worker = undefined;
          const [of, seen] = [helm.source.of, new Set()];
          const other = (bytes) => bytes.map((byte, at) => (at === 300 ? byte ^ 1 : byte));
          helm.source.of = (pack) => {
            const { size, read } = of(pack);
            const again = (at) => seen.has(at) || !seen.add(at);
            return { size, read: async (at, count) => (again(at) ? other(await read(at, count)) : read(at, count)) };
          };
          helm.tale.Teller = () => { throw new Error("there is a verdict") };
        }"""
    )
    visit.page.fill("#genesis", log.genesis)
    visit.page.set_input_files("#pack", {"name": "a.tar", "mimeType": "", "buffer": log.pack()})
    visit.page.wait_for_selector("#state:has-text('this is not a verdict: the file changed while it was read')")
    assert visit.text() == ""


def test_a_file_that_is_gone_is_no_verdict(visit: Visit, tmp_path: Path) -> None:
    file, genesis = long_file(tmp_path)
    visit.page.set_input_files("#pack", file)
    visit.page.wait_for_selector("#answer .unproven")  # the last that is shown
    assert visit.text(".verdict") == "UNANCHORED exit 20"
    file.unlink()
    visit.page.fill("#genesis", genesis)
    visit.page.click("#again")
    visit.page.wait_for_selector("#state:has-text('this is not a verdict')")
    assert visit.text() == ""


@pytest.mark.parametrize("part", ["log.read", "receipt.read", "registry.replay", "tale.Teller", "graph.layout", "show.notProven"])
def test_where_something_breaks_there_is_no_verdict(visit: Visit, part: str) -> None:
    log = story()
    visit.page.evaluate("() => { globalThis.Worker = undefined }")
    visit.page.evaluate(f"() => {{ helm.{part} = function () {{ throw new RangeError('Array buffer allocation failed') }} }}")
    visit.page.fill("#genesis", log.genesis)
    visit.page.set_input_files("#pack", {"name": "a.tar", "mimeType": "", "buffer": log.pack()})
    visit.page.wait_for_selector("#state:has-text('this is not a verdict: Array buffer allocation failed')")
    assert visit.text() == ""


def test_a_verification_can_be_cancelled_and_asked_again(visit: Visit) -> None:
    log = story()
    visit.page.evaluate("() => { self.post = Worker.prototype.postMessage; Worker.prototype.postMessage = () => {} }")
    visit.page.set_input_files("#pack", {"name": "a.tar", "mimeType": "", "buffer": log.pack()})
    visit.page.click("#cancel")
    assert visit.text("#state") == "Cancelled. Nothing was verified." and not visit.page.is_visible("#cancel")
    visit.page.evaluate("() => { Worker.prototype.postMessage = self.post }")
    visit.page.fill("#genesis", log.genesis)
    assert visit.again() == "VALID exit 0" and not visit.page.is_visible("#cancel")
