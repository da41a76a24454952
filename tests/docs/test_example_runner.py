"""The runner of the docs' examples notices what it should, so that a page that passes has really run."""

from __future__ import annotations

from pathlib import Path

import pytest
from doc_examples import PageRunner, matches_output, read_fences


def run_page(directory: Path, text: str) -> PageRunner:
    page = directory / "page.md"
    page.write_text(text)
    runner = PageRunner(page, directory, directory)
    runner.run()
    return runner


def test_fences_share_a_namespace_and_may_await(tmp_path: Path) -> None:
    """A later example uses the names of an earlier one, on one event loop."""
    runner = run_page(
        tmp_path,
        "```python\nimport asyncio\nqueue = asyncio.Queue()\nawait queue.put(1)\n```\n"
        "then\n\n```python\nfound = await queue.get()\n```\n",
    )
    assert runner.namespace["found"] == 1


def test_sync_fence_may_run_its_own_loop(tmp_path: Path) -> None:
    """An app's usual last line, `asyncio.run(main())`, works."""
    text = "```python\nimport asyncio\nasync def main():\n    return 7\n\nseven = asyncio.run(main())\n```\n"
    assert run_page(tmp_path, text).namespace["seven"] == 7


def test_error_has_the_line_of_the_page(tmp_path: Path) -> None:
    """A failing example points at its line in the page."""
    with pytest.raises(ZeroDivisionError) as caught:
        run_page(tmp_path, "# Title\n\n```python\none = 1\none / 0\n```\n")
    assert caught.traceback[-1].lineno + 1 == 5


def test_no_run_needs_a_reason(tmp_path: Path) -> None:
    """An example that is only to be read says why."""
    run_page(tmp_path, "<!-- no-run: needs a key -->\n```python\n1 / 0\n```\n")
    with pytest.raises(AssertionError, match="reason"):
        run_page(tmp_path, "<!-- no-run -->\n```python\n1 / 0\n```\n")


def test_mark_holds_for_the_next_fence_alone(tmp_path: Path) -> None:
    """A mark does not leak past the text that follows it."""
    with pytest.raises(ZeroDivisionError):
        run_page(tmp_path, "<!-- no-run: why -->\n\nprose\n\n```python\n1 / 0\n```\n")


def test_unknown_mark_is_an_error() -> None:
    """A misspelt mark is not ignored."""
    with pytest.raises(AssertionError, match="no-runn"):
        list(read_fences("<!-- no-runn: x -->\n```python\n```\n"))


def test_raises_compares_the_class(tmp_path: Path) -> None:
    """An example of an error must raise that very error."""
    run_page(tmp_path, "<!-- raises: KeyError -->\n```python\n{}['a']\n```\n")
    with pytest.raises(AssertionError):
        run_page(tmp_path, "<!-- raises: ValueError -->\n```python\n{}['a']\n```\n")


def test_titled_fence_is_a_file(tmp_path: Path) -> None:
    """A fence with a title is written, not run."""
    run_page(tmp_path, '```python title="mine.py"\n1 / 0\n```\n```toml title="a.toml"\nb = 1\n```\n')
    assert (tmp_path / "mine.py").read_text() == "1 / 0\n"
    assert (tmp_path / "a.toml").read_text() == "b = 1\n"


def test_given_file_is_copied(tmp_path: Path) -> None:
    """A file of the repository stands next to the examples under the name they use."""
    (tmp_path / "origin.txt").write_text("hello")
    text = "<!-- given: copy.txt = origin.txt -->\n```python\nfrom pathlib import Path\n```\n"
    run_page(tmp_path, text)
    assert (tmp_path / "copy.txt").read_text() == "hello"


def test_indented_fence_is_found() -> None:
    """Examples inside lists and tabs run too."""
    (fence,) = read_fences("- a list\n\n    ```python\n    x = 1\n    ```\n")
    assert (fence.text, fence.line) == ("x = 1\n", 4)


@pytest.mark.parametrize(
    ("expected", "actual", "is_match"),
    [
        ("took 12 ms", "took 7 ms", True),
        ("took 1.5 ms", "noise\ntook 20 ms\nmore", True),
        ("a ... z", "a lot of z", True),
        ("one\ntwo", "two\none", False),
        ("one\n...\ntwo", "one\nand\ntwo", True),
        ("name", "names", False),
        ("a  b", "a b", True),
        ("v1 (x) [y]", "v2 (x) [y]", True),
    ],
)
def test_output_is_compared_loosely(expected: str, actual: str, is_match: bool) -> None:
    """Numbers may differ and lines may stand between, words and order may not."""
    assert matches_output(expected, actual) is is_match
