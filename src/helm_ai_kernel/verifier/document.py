"""The page: the second verifier, in JavaScript, put together as one HTML file that asks nothing of anybody.

Nothing of a pack is in it, so it is the same bytes for everyone who has this version: its digest can be compared. Its policy
names its one script and its one style by digest, and allows nothing else (`verifier/page/`).
"""

import base64
import re
from importlib.resources import files

from helm_ai_kernel.tcb import fields
from helm_ai_kernel.tcb.digest import sha256
from helm_ai_kernel.tcb.ijson import parse

_FOLDER = "page"  # of this room
_LIST = "page.json"  # which files there are, in which order


def document() -> bytes:
    """The HTML file, with the policy that only its own style and script satisfy."""
    listed = fields.exact(parse(_read(_LIST).encode()), {"verifier", "page", "styles", "document"})
    scripts, styles = fields.strings(listed, "verifier") + fields.strings(listed, "page"), fields.strings(listed, "styles")
    html = _read(fields.text(listed, "document"))
    html = _filled(html, "style", "page.css", "".join(map(_read, styles)))
    return _filled(html, "script", _LIST, "".join(map(_read, scripts))).encode()


def _filled(html: str, element: str, place: str, text: str) -> str:
    """`text` in the element that holds nothing but the name of its place, and its digest in the policy."""
    whole = f"<{element}>\n{text}</{element}>"
    html = re.sub(rf"<{element}>\s*/\* {re.escape(place)} \*/\s*</{element}>", lambda _: whole, html)
    source = base64.b64encode(sha256(f"\n{text}".encode())).decode()
    return html.replace(f"{element}-src 'unsafe-inline'", f"{element}-src 'sha256-{source}'")


def _read(name: str) -> str:
    return files(__package__).joinpath(_FOLDER, name).read_text(encoding="utf-8")
