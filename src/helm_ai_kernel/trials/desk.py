"""The demo's own tools: ordinary Python functions with real effects on files in one folder."""

import os
import signal
from pathlib import Path

from helm_ai_kernel.app.config import load
from helm_ai_kernel.app.kernel import Kernel

from .places import Places


class Desk:
    """Five functions under one kernel; each effect is a line in a file, so that anyone can count them."""

    def __init__(self, places: Places) -> None:
        self.folder = places.desk
        self.kernel = Kernel(server="desk", config=load(places.paths))
        tool = self.kernel.tool
        for function, effect in (
            (self.append_note, "write"),
            (self.send_mail, "network"),
            (self.pay, "payment"),
            (self.wipe, "destructive"),
            (self.temperature, "read"),
            (self.crash, "write"),
        ):
            tool(effect=effect)(function)

    def count(self, name: str) -> int:
        """How often an effect really happened."""
        path = self.folder / name
        return len(path.read_text(encoding="utf-8").splitlines()) if path.exists() else 0

    def append_note(self, text: str) -> int:
        """Append one line to notes.txt; returns how many there are."""
        return self._effect("notes.txt", text)

    def send_mail(self, to: str, subject: str) -> bool:
        """Put a mail into the outbox."""
        return bool(self._effect("outbox.txt", f"{to} {subject}"))

    def pay(self, to: str, cents: int) -> str:
        """Move money; returns the payment's number."""
        return f"payment {self._effect('payments.txt', f'{to} {cents}')}"

    def wipe(self, path: str) -> bool:
        """Delete a folder."""
        return bool(self._effect("wiped.txt", path))

    def temperature(self, city: str) -> int:
        """The temperature in a city, in whole degrees. Once, for Pompeii, it breaks its promise and returns text."""
        return 21 if city != "Pompeii" else "hot"  # type: ignore[return-value]  # the lie that the contract check must catch

    def crash(self, text: str) -> bool:
        """Have the effect, then lose the whole process before anything can be recorded."""
        self._effect("crashes.txt", text)
        os.kill(os.getpid(), signal.SIGKILL)
        return True

    def _effect(self, name: str, line: str) -> int:
        with Path(self.folder / name).open("a", encoding="utf-8") as file:
            file.write(line.replace("\n", " ") + "\n")
        return self.count(name)


def main(home: str, people: str, desk: str) -> None:
    """What the demo starts as a second process, to lose it: one call that never returns."""
    places = Places(Path(home), Path(people), Path(desk))
    Desk(places).kernel.call("desk/crash", {"text": "the effect happened"}, key="crash-1")


if __name__ == "__main__":
    import sys

    main(*sys.argv[1:4])
