"""Every example of the docs runs; see tests/support/doc_examples.py for what a page may say about its examples."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from doc_examples import PageRunner
from house import ROOT

PAGES = sorted(
    path
    for pattern in ("README.md", "core/README.md", "plugins/*/README.md", "docs/**/*.md")
    for path in ROOT.glob(pattern)
)


@pytest.mark.timeout(300)  # a page of the command line starts a dozen processes
@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_examples_of_page_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The examples of a page run from top to bottom, without a key."""
    for name in [name for name in os.environ if name.startswith("VIVAVOCE_") or name.endswith("_API_KEY")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    try:
        PageRunner(page, ROOT, tmp_path).run()
    finally:
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
                del sys.modules[name]
