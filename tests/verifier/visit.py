"""A visit of the page: what a person does there, what they see, and what must not happen meanwhile.

Where `$HELM_SCREENSHOTS` names a folder, what a person would see at the end is written there, as a printer has it.
"""

import os
from pathlib import Path

from playwright.sync_api import FilePayload, Page


class Visit:
    """One visit of the page, and what happened there that must not."""

    def __init__(self, page: Page, address: str) -> None:
        self.page, self.address = page, address
        self.asked: list[str] = []
        self.odd: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("pageerror", lambda error: self.odd.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (self.odd.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("popup", lambda popup: self.odd.append(f"popup: {popup.url}"))
        page.goto(address)

    def verify(self, pack: bytes, genesis: str | None = None) -> str:
        """The verdict, or what the page says in place of one."""
        if genesis is not None:
            self.page.fill("#genesis", genesis)
        self.page.set_input_files("#pack", {"name": "pack.tar", "mimeType": "application/x-tar", "buffer": pack})
        self.page.wait_for_selector("#answer .unproven, #state:has-text('Nothing was verified')")
        said = self.page.query_selector(".verdict")
        return said.inner_text() if said else self.page.inner_text("#state")

    def again(self) -> str:
        self.page.click("#again")
        self.page.wait_for_selector("#answer .unproven, #state:has-text('Nothing was verified')")
        said = self.page.query_selector(".verdict")
        return said.inner_text() if said else self.page.inner_text("#state")

    def bring_heads(self, *heads: bytes) -> None:
        files = [FilePayload(name=f"{at}.txt", mimeType="text/plain", buffer=head) for at, head in enumerate(heads)]
        self.page.set_input_files("#heads", files)

    def press(self, selector: str) -> None:
        """What a person aims at. A click can go beside it: what comes into view is laid out only then, and moves the rest."""
        self.page.locator(selector).dispatch_event("click")

    def text(self, selector: str = "#answer") -> str:
        return "\n".join(self.texts(selector)[:1])

    def texts(self, selector: str) -> list[str]:
        """What is there, as a printer has it: a session that nobody scrolled to is not laid out on a screen, and has no text."""
        self.page.wait_for_selector(selector, state="attached")
        self.page.emulate_media(media="print")
        found = self.page.locator(selector).all_inner_texts()
        self.page.emulate_media(media="screen")
        return found

    def last_words(self) -> str:
        return self.page.locator("#answer > :last-child").inner_text()

    def leave(self, name: str) -> None:
        """Nobody was asked for anything but the file, and for the thread that it hands over."""
        if folder := os.environ.get("HELM_SCREENSHOTS"):
            self.page.emulate_media(media="print")  # with the sessions that nobody scrolled to
            self.page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)
        assert self.odd == []
        assert [url for url in self.asked if url != self.address and not url.startswith("blob:")] == []
