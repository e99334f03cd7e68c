"""What a `pattern` may be: an expression that means the same in ECMA-262 and in the linear engine, and what its worst text costs.

"Linear" is no promise of speed: a program of 1,000 states costs microseconds per byte. So each pattern is weighed by the size of
its program, and the weight is part of the schema's cost. Lookaround and backreferences are refused by the engine itself.
"""

import re

from jsonschema_rs import Draft202012Validator, RegexOptions

from helm_ai_kernel.tcb.codes import Reason
from helm_ai_kernel.tcb.errors import Refused

CHARS_MAX = 4096  # the longest in wide use (addresses, URLs) stay below 1,500
PROGRAM_BYTES_MAX = 1 << 18  # `.{200}` is the largest that people write; twice that takes 5 µs per byte
OPTIONS = RegexOptions(size_limit=PROGRAM_BYTES_MAX, dfa_size_limit=1 << 20)

PLAIN_NS = 10  # per byte: one state at a time
PROGRAM_NS = 500  # per byte and KiB of program: the worst that was measured (`(a|b)*a(a|b){20}c` on random a and b)

_ATOM = r"(?:\\[^0-9A-Za-z]|\\[dDwWsStnr]|\[(?:[^\]\\]|\\.)+\]|[^\\^$|?*+(){}\[\]])"
# A fixed beginning and at most one repetition, at the end: the engine follows one state.
_PLAIN = re.compile(rf"\^(?:{_ATOM}(?:\{{\d+\}})?)*+(?:[*+?]|\{{\d+,\d*\}})?\$\Z", re.DOTALL)
_TOKEN = re.compile(r"\\.|\[\^?(?:[^\]\\]|\\.)*\]|.", re.DOTALL)
_HEX = "[0-9A-Fa-f]"
_ESCAPE = re.compile(rf"\\(?:[dDwWsSbBtnrfv]|c[A-Za-z]|x{_HEX}{{2}}|u{_HEX}{{4}}|u\{{{_HEX}+\}}|[pP]\{{|[!-/:;=?@\[-`{{-~])")
_GROUP = re.compile(r"\(\?(?!:|<[A-Za-z_$])")
_CLASS_ONLY_HERE = re.compile(r"\[|&&|--|~~")  # set operations of the engine, plain characters in ECMA-262


def weigh(pattern: str) -> int:
    """Nanoseconds per byte of text at worst; raises `Refused(ERR_SCHEMA_UNSAFE)` for what may not be pinned."""
    if len(pattern) > CHARS_MAX:
        raise refused(pattern, f"longer than {CHARS_MAX} characters")
    _check_portable(pattern)
    size = 512
    while not _fits(pattern, size):
        size *= 2
        if size > PROGRAM_BYTES_MAX:
            raise refused(pattern, "not a regular expression without lookaround and backreferences, or too large")
    return PLAIN_NS if _PLAIN.match(pattern) else PROGRAM_NS * size // 1024


def refused(pattern: str, why: str) -> Refused:
    hint = "simplify the pattern upstream: ECMA-262 without lookaround, backreferences, flags and large repetitions"
    return Refused(Reason.ERR_SCHEMA_UNSAFE, f"pattern `{pattern[:64]}`: {why}", sub="pattern", hint=hint)


def _fits(pattern: str, size: int) -> bool:
    try:
        Draft202012Validator({"pattern": pattern}, pattern_options=RegexOptions(size_limit=size), offline=True)
    except ValueError:
        return False
    return True


def _check_portable(pattern: str) -> None:
    """Refuses what ECMA-262 reads differently: flags, set operations, and escapes such as `\\z`."""
    for place in re.finditer(r"\\.", pattern, re.DOTALL):
        if not _ESCAPE.match(pattern, place.start()):
            raise refused(pattern, f"the escape `{place[0]}` is not one of ECMA-262")
    bare = []
    for token in _TOKEN.findall(pattern):
        if token.startswith("["):
            inside = re.sub(r"\\.", "", token[1:], flags=re.DOTALL)
            if inside in ("]", "^]", "") or _CLASS_ONLY_HERE.search(inside):
                raise refused(pattern, "a class that is empty or has set operations")
        bare.append("x" if len(token) > 1 else token)
    if "\\b{" in pattern or _GROUP.search("".join(bare)):
        raise refused(pattern, "a group with flags, or a word boundary with a name")
