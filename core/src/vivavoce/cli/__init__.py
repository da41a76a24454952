"""The command line. Needs the extra `cli`; importing this package alone does not."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `vivavoce` with `arguments` (those of the process, without any). Returns the exit status: 0, 1 or 2."""
    from vivavoce.cli.app import run

    return run(arguments)
