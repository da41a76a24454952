"""The reference of the test tools: its test module passes, and its tables are complete. tests/docs runs the rest."""

from __future__ import annotations

import inspect
import re

import vivavoce.testing
from doc_examples import read_fences
from house import ROOT
from vivavoce.testing import streams

pytest_plugins = ["pytester"]

PAGE = ROOT / "docs/reference/testing.md"


def test_pytest_example_passes(pytester):
    """The example of a test module is one, and passes, with the conftest of the page."""
    pytester.makeini(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error"
    )
    for fence in read_fences(PAGE.read_text(encoding="utf-8")):
        if fence.title is not None:
            (pytester.path / fence.title).write_text(fence.text, encoding="utf-8")
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_every_public_name_is_on_the_page():
    """What the package exports is in the reference."""
    page = PAGE.read_text(encoding="utf-8")
    assert [name for name in vivavoce.testing.__all__ if f"`{name}" not in page] == []


def test_every_rule_is_on_the_page():
    """Each rule id of the grammar is in the reference."""
    rules = set(re.findall(r'(?:_Broken|_tell)\(\s*"([a-z.]+)"', inspect.getsource(streams))) | {
        "audio.unended"
    }
    page = PAGE.read_text(encoding="utf-8")
    assert sorted(rule for rule in rules if f"`{rule}`" not in page) == []
