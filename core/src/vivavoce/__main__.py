"""`vivavoce` and `python -m vivavoce`."""

from __future__ import annotations

import importlib.util
import sys

__all__ = ["main"]


def main() -> int:
    """Run the command line; returns the exit status."""
    missing = [name for name in ("click", "rich") if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f'vivavoce: the command line needs {" and ".join(missing)}: pip install "vivavoce[cli]"',
            file=sys.stderr,
        )
        return 1
    try:
        from vivavoce.cli import main as run

        return run()
    except KeyboardInterrupt:  # while all that is being imported
        print("vivavoce: stopped", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
