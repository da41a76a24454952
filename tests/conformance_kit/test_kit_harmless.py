"""What the protocol allows is called wrong by no check."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
import wrong_run
from wrong_all import HARMLESS


@pytest.fixture(scope="module")
def harmless() -> dict[str, list[list[str]]]:
    """What every check saw of each harmless variant, all of them at once."""

    async def one(provider: str) -> list[list[str]]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(Path(wrong_run.__file__)),
            f"harmless:{provider}",
            stdout=asyncio.subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        out, _ = await process.communicate()
        return [json.loads(line) for line in out.splitlines()]

    async def every() -> list[list[list[str]]]:
        return await asyncio.gather(*map(one, HARMLESS))

    return dict(zip(HARMLESS, asyncio.run(every()), strict=True))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("provider", HARMLESS)
def test_harmless_variants_pass(provider: str, harmless: dict[str, list[list[str]]]) -> None:
    """Slower, chattier, finer: the protocol allows it, so no check fails."""
    told = harmless[provider]
    assert [(id, seen) for _, id, seen, *_ in told if seen] == []
    assert len(told) > 80
