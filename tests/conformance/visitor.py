"""Nobody's browser: it goes where an authorization server sends it and brings the code back to the kernel, unattended.

Started with the URL as its last argument, as `$BROWSER` is. Only the test servers of the conformance suite let it through:
they ask nobody to log in.
"""

import sys
import urllib.error
import urllib.request
from typing import IO, Any
from urllib.parse import urlsplit


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> None:
        return None


def visit(url: str) -> int:
    """The status that the kernel's own page answered with."""
    opener = urllib.request.build_opener(_Stay)
    try:
        opener.open(url, timeout=20).close()
    except urllib.error.HTTPError as e:
        back = e.headers.get("location", "") if e.code in (301, 302, 303, 307, 308) else ""
        if urlsplit(back).hostname not in ("localhost", "127.0.0.1", "::1"):
            raise RuntimeError(f"{e.code}, and no way back to this machine") from None
        with urllib.request.urlopen(back, timeout=20) as page:
            return int(page.status)
    raise RuntimeError("it was not sent back")


if __name__ == "__main__":
    sys.exit(0 if visit(sys.argv[-1]) < 400 else 1)
