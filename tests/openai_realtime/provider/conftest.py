from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def _old_objects_rest() -> None:
    """The leak guard collects garbage around each test; what the imports made need not be walked every time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _no_keys_from_outside(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in list(os.environ):
        if name.endswith("_API_KEY") or name.startswith("VIVAVOCE_"):
            monkeypatch.delenv(name)
    return
