"""The watch over a store that is open; what it finds: `tests/threats/test_threats_t09.py`."""

import asyncio
import os
from pathlib import Path

from executor.desk import boundary
from ledger.home import check_whole, home, started


def test_a_home_whose_path_is_no_text_opens(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/h\xff"))
    folder.mkdir()
    here = home(folder / "home")

    async def main() -> None:
        await (await started(here, boundary())).close()

    asyncio.run(main())
    check_whole(here)
