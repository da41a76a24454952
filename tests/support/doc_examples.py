"""Runs the examples of a Markdown page as its reader would: top to bottom, each building on those before.

    ```python                     runs; `await` may stand at the top level
    ```python title="provider.py" is written to that file, next to the examples, and can be imported
    ```toml title="voice.toml"    any language with a title is written to that file
    ```console                    lines of `$ vivavoce ...` run and must succeed; other commands are left alone

What differs from that is said in a comment on the line above a fence:

    <!-- no-run: reason -->          only to be read
    <!-- new-namespace -->           forgets the examples above
    <!-- needs: ttspico -->          the rest of the page is skipped where this module is missing
    <!-- given: hello.wav = examples/audio/hello.wav -->    a file or folder of the repository, copied next to the examples
    <!-- region: examples/x.py name -->    not run: it is what stands there between `# region: name` and `# endregion`
    <!-- raises: ConfigError -->     must raise this
    <!-- exit: 2 -->                 every command of this fence must end with this status
    <!-- output -->                  what stands below a command is what it prints: `...` stands for anything,
                                     any number for any other, and further lines may stand between
"""

from __future__ import annotations

import ast
import asyncio
import importlib.util
import inspect
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

__all__ = ["Fence", "PageRunner", "matches_output", "read_fences", "read_region"]

_FENCE = re.compile(r"^(?P<indent>\s*)```(?P<language>\w+)(?P<rest>[^\n`]*)$")
_MARK = re.compile(r"<!--\s*(?P<name>[\w-]+)(?::\s*(?P<value>.*?))?\s*-->")
_MARKS = {"no-run", "new-namespace", "needs", "given", "raises", "exit", "output", "region"}
_SECONDS = 60


@dataclass(frozen=True)
class Fence:
    """One fenced block, with the marks above it and the line its text begins on."""

    language: str
    text: str
    line: int
    title: str | None = None
    marks: dict[str, str] = field(default_factory=dict)


def read_fences(page: str) -> Iterator[Fence]:
    """Every fence of a page that names its language. An unknown mark above a fence is an error."""
    lines = page.splitlines()
    number = 0
    marks: dict[str, str] = {}
    while number < len(lines):
        line = lines[number]
        number += 1
        if mark := _MARK.fullmatch(line.strip()):
            marks[mark["name"]] = mark["value"] or ""
        elif opening := _FENCE.match(line):
            end = next(i for i in range(number, len(lines)) if lines[i].strip() == "```")
            unknown = marks.keys() - _MARKS
            assert not unknown, f"line {number}: unknown mark {sorted(unknown)}"
            title = re.search(r'title="([^"]+)"', opening["rest"])
            text = textwrap.dedent("\n".join(lines[number:end])) + "\n"
            yield Fence(opening["language"], text, number + 1, title[1] if title else None, marks)
            number, marks = end + 1, {}
        elif line.strip():
            marks = {}


class PageRunner:
    """Runs the fences of one page in `directory`, which is also where they import from."""

    def __init__(self, path: Path, root: Path, directory: Path) -> None:
        self.path = path
        self.root = root
        self.directory = directory
        self.namespace: dict[str, Any] = {"__name__": "example"}

    def run(self) -> None:
        """Run every fence, in order; the error of an example is raised with the page's own line numbers."""
        with asyncio.Runner() as runner:
            for fence in read_fences(self.path.read_text()):
                if "no-run" in fence.marks:
                    assert fence.marks["no-run"], f"line {fence.line}: no-run needs its reason"
                    continue
                self._prepare(fence)
                if region := fence.marks.get("region"):
                    wanted = read_region(self.root, region)
                    assert _tight(fence.text) == _tight(wanted), f"line {fence.line}: not {region}"
                    continue
                if fence.title:
                    (self.directory / fence.title).write_text(fence.text)
                elif fence.language == "python":
                    self._run_python(fence, runner)
                elif fence.language == "console":
                    self._run_console(fence)

    def _prepare(self, fence: Fence) -> None:
        if "new-namespace" in fence.marks:
            self.namespace = {"__name__": "example"}
        for module in filter(None, fence.marks.get("needs", "").replace(" ", "").split(",")):
            if importlib.util.find_spec(module) is None:
                pytest.skip(f"{self.path.name} needs {module}, which is not installed")
        if given := fence.marks.get("given"):
            name, _, origin = (part.strip() for part in given.partition("="))
            if (self.root / origin).is_dir():
                shutil.copytree(
                    self.root / origin, self.directory / name, ignore=shutil.ignore_patterns("__pycache__")
                )
            else:
                shutil.copyfile(self.root / origin, self.directory / name)

    def _run_python(self, fence: Fence, runner: asyncio.Runner) -> None:
        # Empty lines in front give every traceback the line numbers of the page.
        text = "\n" * (fence.line - 1) + fence.text
        code = compile(text, str(self.path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        if expected := fence.marks.get("raises"):
            with pytest.raises(Exception) as caught:
                self._execute(code, runner)
            assert type(caught.value).__name__ == expected
        else:
            self._execute(code, runner)

    def _execute(self, code: Any, runner: asyncio.Runner) -> None:
        if code.co_flags & inspect.CO_COROUTINE:
            runner.run(eval(code, self.namespace))
        else:
            exec(code, self.namespace)

    def _run_console(self, fence: Fence) -> None:
        for command, expected in _commands(fence.text):
            if command[0] != "vivavoce":
                continue
            done = subprocess.run(
                [sys.executable, "-m", *command],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=_SECONDS,
                check=False,
            )
            place = f"{self.path.name}:{fence.line}: {shlex.join(command)}"
            assert done.returncode == int(fence.marks.get("exit", 0)), f"{place}\n{done.stdout}"
            if "output" in fence.marks:
                assert matches_output(expected, done.stdout), (
                    f"{place} printed\n{done.stdout}\nnot\n{expected}"
                )


def _tight(text: str) -> str:
    """With single empty lines: between methods there is one, between functions there are two."""
    return re.sub(r"\n{3,}", "\n\n", text)


def read_region(root: Path, region: str) -> str:
    """The lines of `path name`, without what they are all indented by."""
    path, _, name = region.partition(" ")
    lines = (root / path).read_text().splitlines()
    begins = [number for number, line in enumerate(lines) if line.strip() == f"# region: {name}"]
    assert len(begins) == 1, f"{path} has {len(begins)} regions {name!r}"
    end = next(number for number in range(begins[0], len(lines)) if lines[number].strip() == "# endregion")
    return textwrap.dedent("\n".join(lines[begins[0] + 1 : end])).strip("\n") + "\n"


def _commands(text: str) -> Iterator[tuple[list[str], str]]:
    """Each command of a console fence with the text below it."""
    for part in re.split(r"^\$ ", text.replace("\\\n", " "), flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield shlex.split(command, comments=True), output


def matches_output(expected: str, actual: str) -> bool:
    """Whether the lines of `expected` are all in `actual`, in that order."""
    remaining = iter(actual.splitlines())
    return all(
        any(re.fullmatch(_pattern(line), candidate.strip()) for candidate in remaining)
        for line in map(str.strip, expected.splitlines())
        if line and line != "..."
    )


def _pattern(line: str) -> str:
    parts = (
        re.sub(r"\\?\d+(?:\\?\.\d+)?", r"\\d+(?:[.]\\d+)?", re.escape(part)) for part in line.split("...")
    )
    return ".*".join(re.sub(r"(?:\\ )+", r"\\s+", part) for part in parts)
