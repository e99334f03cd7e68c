"""Through a real socket, however it is cut: an answer for each request, in their order, and then one refusal or none."""

import asyncio
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from helm_ai_kernel.net.listener import Bounds
from net.doors import front
from wire.requests import SMALL, read
from wire.test_wire_http1 import BAD, GOOD

FRAMED = {name: data for name, data in GOOD.items() if name not in ("expects", "an address of six")}
REFUSED = {name: data for name, (data, _) in BAD.items() if len(data) < 400}


@given(
    st.lists(st.sampled_from(sorted(FRAMED)), max_size=6),
    st.one_of(st.none(), st.sampled_from(sorted(REFUSED))),
    st.lists(st.integers(0, 2000), max_size=4),
)
@settings(max_examples=60)
def test_what_the_reader_understands_is_what_is_answered(good: list[str], bad: str | None, cuts: list[int]) -> None:
    data = b"".join(FRAMED[name] for name in good) + (b"" if bad is None else REFUSED[bad] + FRAMED["get"])
    understood = read([data], SMALL)
    pieces = [data[start:end] for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(data)], strict=True)]

    async def answered() -> None:
        async with front(Bounds(sizes=SMALL), hosts=["127.0.0.1:8790", "[::1]:8790"], types=frozenset()) as up:
            wire = await up.wire()
            for piece in pieces:
                await wire.send(piece)
                await asyncio.sleep(0)
            if understood.wrong is None:
                wire.writer.write_eof()
            statuses = [int(found) for found in re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", await wire.rest())]
            refusal = [] if understood.wrong is None else [understood.wrong[0]]
            assert statuses == [200] * len(understood.requests) + refusal
            assert up.door.bodies == [request.body for request in understood.requests]
            assert [reason.value for reason in up.door.refusals] == ([] if understood.wrong is None else [understood.wrong[1]])

    asyncio.run(answered())
