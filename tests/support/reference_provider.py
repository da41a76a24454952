"""The provider that `vivavoce new --dialect own` writes, as a module: JSON lines over TCP, nothing between it and the socket."""

from __future__ import annotations

from importlib.resources import files

_FOLDER = files("vivavoce_conformance") / "_scaffold" / "own" / "src" / "vivavoce_wordsmith"
for _name in ("conformance", "provider"):
    _text = (_FOLDER / f"{_name}.py.txt").read_text(encoding="utf-8")
    _text = _text.replace("vivavoce_wordsmith.conformance", __name__).replace("Wordsmith", "Reference")
    exec(compile(_text.replace("wordsmith", "reference"), f"<the template's {_name}.py>", "exec"), globals())
