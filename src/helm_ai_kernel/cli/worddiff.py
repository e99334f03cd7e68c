"""Two texts as one, word by word: what went as `[-so-]`, what came as `{+so+}`. What a terminal could obey or a reader overlook
stands as `\\u{hex}`, and so does a mark that is the text's own."""

import difflib
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from helm_ai_kernel.tcb.findings import visible

from .output import plain

AROUND_CHARS = 60  # of what is the same, beside what is not
CHANGED_CHARS_MAX = 20_000  # of one run of changed words; it is said how much more there is
STEPS_MAX = 4_000_000  # words against words: a second; beyond it the middle of two texts is taken as changed whole

_TOKEN = re.compile(r"\s+|\w+|[^\w\s]")
_MARKS = {"[-": "\\u{5b}-", "-]": "-\\u{5d}", "{+": "\\u{7b}+", "+}": "+\\u{7d}"}
_MARK = re.compile("|".join(map(re.escape, _MARKS)))


class Paint(NamedTuple):
    gone: Callable[[str], str]
    come: Callable[[str], str]


PLAIN = Paint(lambda text: text, lambda text: text)
COLOURS = Paint(lambda text: f"\x1b[31m{text}\x1b[0m", lambda text: f"\x1b[32m{text}\x1b[0m")


def paint(environ: Mapping[str, str], *, text: bool) -> Paint:
    """Colours on a terminal only, and not where they are unwanted."""
    return COLOURS if text and sys.stdout.isatty() and not environ.get("NO_COLOR") else PLAIN


def member(at: str, before: Any, after: Any, how: Paint) -> Iterator[str]:
    """A member of a definition that differs; None where it is not there."""
    name = visible(at, CHANGED_CHARS_MAX)
    if before is None:
        yield f"{name}: {how.come(_run('{+', _said(after), '+}'))}"
    elif after is None:
        yield f"{name}: {how.gone(_run('[-', _said(before), '-]'))}"
    elif isinstance(before, str) and isinstance(after, str):
        yield f"{name}: {inline(before, after, how)}"
    else:
        yield f"{name}: {inline(plain(before, sys.maxsize), plain(after, sys.maxsize), how)}"


def inline(before: str, after: str, how: Paint = PLAIN) -> str:
    out = []
    runs = _runs(_TOKEN.findall(before), _TOKEN.findall(after))
    for number, (gone, come, same) in enumerate(runs):
        if same:
            out.append(_around(same, first=number == 0, last=number == len(runs) - 1))
            continue
        out.append(how.gone(_run("[-", gone, "-]")) if gone else "")
        out.append(how.come(_run("{+", come, "+}")) if come else "")
    return "".join(out)


def _said(value: Any) -> str:
    return value if isinstance(value, str) else plain(value, sys.maxsize)


def _run(opening: str, text: str, closing: str) -> str:
    more = len(text) - CHANGED_CHARS_MAX
    return opening + _escaped(text) + closing + (f" and {more:,} characters more" if more > 0 else "")


def _escaped(text: str) -> str:
    return _MARK.sub(lambda found: _MARKS[found[0]], visible(text, CHANGED_CHARS_MAX))


def _around(same: str, *, first: bool, last: bool) -> str:
    """What is the same, as much as tells where one is."""
    head, tail = (0 if first else AROUND_CHARS), (0 if last else AROUND_CHARS)
    if len(same) <= head + tail + AROUND_CHARS:
        return _escaped(same)
    return f"{_escaped(same[:head])} ... {_escaped(same[len(same) - tail :])}"


def _runs(old: list[str], new: list[str]) -> list[tuple[str, str, str]]:
    """(gone, come, the same): in each, either the last or the first two are empty. A blank between changes is part of them."""
    first = 0
    while first < min(len(old), len(new)) and old[first] == new[first]:
        first += 1
    last = 0
    while last < min(len(old), len(new)) - first and old[-1 - last] == new[-1 - last]:
        last += 1
    runs = [("", "", "".join(old[:first]))]
    mine, theirs = old[first : len(old) - last], new[first : len(new) - last]
    if len(mine) * len(theirs) > STEPS_MAX:
        runs.append(("".join(mine), "".join(theirs), ""))
    else:
        for tag, a, b, c, d in difflib.SequenceMatcher(None, mine, theirs, autojunk=False).get_opcodes():
            gone, come = "".join(mine[a:b]), "".join(theirs[c:d])
            if tag == "equal" and gone.strip():
                runs.append(("", "", gone))
            elif runs[-1][2] == "" and len(runs) > 1:
                runs[-1] = (runs[-1][0] + gone, runs[-1][1] + come, "")
            else:
                runs.append((gone, come, ""))
    runs.append(("", "", "".join(old[len(old) - last :])))
    return [run for run in runs if any(run)]
