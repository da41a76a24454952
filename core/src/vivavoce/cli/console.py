"""How the command line speaks: plain where nobody watches, one line for an error, JSON where it is asked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import click
import msgspec
from rich.console import Console

__all__ = [
    "Failed",
    "complain",
    "console",
    "debug_option",
    "has_colour",
    "is_debugging",
    "is_live",
    "json_option",
    "print_json",
    "print_table",
]

_F = TypeVar("_F", bound=Callable[..., Any])


class Failed(Exception):
    """The command failed; the text, one line, says what to do next. Exit status 1."""


def console() -> Console:
    """The terminal, or whatever stdout is: plain text without colour or wrapping where it is no terminal."""
    live = is_live()
    return Console(file=sys.stdout, highlight=False, soft_wrap=not live, no_color=None if live else True)


def is_live() -> bool:
    """Whether somebody watches stdout."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def complain(text: str, command: str = "vivavoce") -> None:
    """One line on stderr."""
    line = " ".join(text.split())
    click.secho(f"{command}: {line}", err=True, fg="red" if _colour_on_stderr() else None)


def has_colour() -> bool:
    """Whether stdout may be coloured: on a terminal, unless NO_COLOR is set."""
    return is_live() and not os.environ.get("NO_COLOR")


def _colour_on_stderr() -> bool:
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR")


def print_json(value: Any, *, indent: int = 2) -> None:
    """A value as JSON; with `indent=0` on one line, at once."""
    text = msgspec.json.encode(value)
    click.echo((msgspec.json.format(text, indent=indent) if indent else text).decode())
    sys.stdout.flush()


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table: with rules and colour on a terminal, in plain columns elsewhere."""
    if is_live():
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text

        table = Table(*headings, box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
        for row in rows:
            table.add_row(*map(Text, row))
        console().print(table)
        return
    cells = [list(headings), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for cell_row in cells:
        line = "  ".join(cell.ljust(width) for cell, width in zip(cell_row, widths, strict=True))
        click.echo(line.rstrip())


def debug_option(command: _F) -> _F:
    """`--debug`: errors with their traceback."""

    def remember(context: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            is_debugging(True)

    option = click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        callback=remember,
        help="Show errors with their traceback.",
    )
    return option(command)


_debugging = [False]


def is_debugging(set_to: bool | None = None) -> bool:
    """Whether `--debug` was given to this run of the command line."""
    if set_to is not None:
        _debugging[0] = set_to
    return _debugging[0]


def json_option(command: _F) -> _F:
    """`--json`: for scripts."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")(command)
