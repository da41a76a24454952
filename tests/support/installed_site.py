"""Distributions that look installed: a folder on sys.path with modules and their metadata."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from vivavoce import registry

PROVIDER = """
import vivavoce

class Provider:
    api = 1
    capabilities = frozenset({capabilities!r})
    credentials = {credentials!r}

    @vivavoce.hookimpl
    async def connect(self, context, options):
        pass

    @vivavoce.hookimpl
    def send(self, context, audio):
        pass
"""


class Site:
    """A folder of distributions, first on sys.path."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def install(
        self,
        name: str,
        source: str | None = None,
        *,
        module: str | None = None,
        distribution: str | None = None,
        version: str = "1.0",
        group: str = "vivavoce.providers",
        target: str = "Provider",
        requires: Sequence[str] = (),
        capabilities: Sequence[str] = ("realtime",),
        credentials: dict[str, str] | None = None,
        entry_points: str | bytes | None = None,
    ) -> None:
        module = module or "dummy_" + "".join(c if c.isalnum() else "_" for c in name)
        distribution = distribution or f"vivavoce-{name}"
        if source is None:
            source = PROVIDER.replace("{capabilities!r}", repr(tuple(capabilities))).replace(
                "{credentials!r}", repr(credentials or {})
            )
        (self.path / f"{module}.py").write_text(source)
        info = self.path / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {distribution}", f"Version: {version}"]
        lines += [f"Requires-Dist: {requirement}" for requirement in requires]
        (info / "METADATA").write_text("\n".join(lines) + "\n")
        if entry_points is None:
            entry_points = f"[{group}]\n{name} = {module}:{target}\n"
        raw = entry_points if isinstance(entry_points, bytes) else entry_points.encode()
        (info / "entry_points.txt").write_bytes(raw)
        registry.forget()

    def imported(self) -> list[str]:
        """The modules of this folder that were imported."""
        return sorted(path.stem for path in self.path.glob("*.py") if path.stem in sys.modules)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """An empty folder of distributions; what a test imports of it is forgotten afterwards."""
    for variable in ("VIVAVOCE_PROVIDER", "VIVAVOCE_PLUGINS", "VIVAVOCE_DISABLE_PLUGINS", "OPENAI_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.forget()
    site = Site(tmp_path)
    yield site
    for module in site.imported():
        del sys.modules[module]
    registry.forget()
