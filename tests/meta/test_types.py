"""The public API as its users type it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from house import ROOT

API = ROOT / "tests" / "typing"


def test_typed_use_of_the_api_is_accepted() -> None:
    """`tests/typing/` is code as an app would write it; mypy accepts it under `--strict`. It is never run."""
    pytest.importorskip("mypy")
    files = sorted(str(path) for path in API.glob("*.py"))
    if not files:
        pytest.skip("tests/typing/ is empty")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *files], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
