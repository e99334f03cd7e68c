"""What the README and the walks show is really printed: every command runs again, in order, and the page is compared."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from docs.walks import VOLATILE, WALKS, compared, walked
from needs import needs


def test_the_readme_and_both_walks_print_what_their_pages_show() -> None:
    needs("ssh-keygen")
    needs("curl")
    with TemporaryDirectory() as folder:  # with a short name: a unix socket's has 107 bytes
        for walk, text in walked(Path(folder)):
            page = walk.page.read_text(encoding="utf-8")
            assert compared(text).splitlines() == compared(page).splitlines(), "python tests/docs/walks.py --write"


@pytest.mark.parametrize("name", VOLATILE)
def test_what_is_compared_by_name_occurs_and_hides_no_verdict(name: str) -> None:
    pages = "\n".join(walk.page.read_text(encoding="utf-8") for walk in WALKS)
    hidden = [found[0] for found in VOLATILE[name].finditer(pages)]
    assert hidden
    assert not any(word in text for text in hidden for word in ("VALID", "ERR_", "exit", "ok", "failed"))


@pytest.mark.parametrize("change", [("VALID (exit 0)", "VALID (exit 10)"), ("size 36", "size 37"), ("DENY", "ALLOW")])
def test_a_page_that_says_something_else_differs(change: tuple[str, str]) -> None:
    page = WALKS[2].page.read_text(encoding="utf-8")
    assert change[0] in page and compared(page.replace(*change)) != compared(page)
