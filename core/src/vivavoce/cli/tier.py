"""The tier of a provider, where a report of the conformance kit lies beside it. Imports neither of them.

Beside it is: in the folder of its package (so a wheel can bring it), in its project's folder, or in `report` there, when
it is installed as editable. The file is `NAME.conformance.json`, as `vivavoce conformance NAME --out` writes it.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

import attrs
import msgspec

from vivavoce import registry

__all__ = ["Proof", "find_proof"]

ENDING = ".conformance.json"
_LARGEST = 16 * 1024 * 1024


class _Report(msgspec.Struct):
    """What is read of a report; the kit's own is `vivavoce_conformance.Report`."""

    provider: str
    distribution: str = ""
    conformant: bool = False
    tier: str = "none"
    made: str = ""
    spec_level: int = 1


@attrs.frozen
class Proof:
    """What a report says: `tier` is gold, silver, bronze, conformant or "not conformant". `current`: it was made for
    the version that is installed."""

    tier: str
    distribution: str
    made: str
    spec_level: int
    current: bool
    path: str

    def __str__(self) -> str:
        """In a table."""
        return self.tier if self.current else f"{self.tier} (for {self.distribution})"

    def as_json(self) -> dict[str, Any]:
        return attrs.asdict(self)


def find_proof(found: registry.Found) -> Proof | None:
    """The newest report beside a provider, if there is one; what cannot be read is none."""
    proofs = []
    for folder in dict.fromkeys(_folders(found)):
        for path in sorted(folder.glob(f"*{ENDING}")):
            proof = _read(path, found)
            if proof is not None:
                proofs.append(proof)
    return max(proofs, key=lambda proof: proof.made, default=None)


def _folders(found: registry.Found) -> Iterator[Path]:
    package = found.entry_point.module.split(".")[0]
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError, AttributeError):
        spec = None
    if spec is not None and spec.origin is not None:
        yield Path(spec.origin).parent
    project = _project(found)
    if project is not None:
        yield project
        yield project / "report"


def _project(found: registry.Found) -> Path | None:
    """The project's folder of an editable installation (PEP 610)."""
    distribution = found.entry_point.dist
    try:
        told = json.loads(
            (distribution.read_text("direct_url.json") if distribution is not None else "") or "{}"
        )
        parts = urlsplit(told.get("url", ""))
        editable = told.get("dir_info", {}).get("editable", False)
    except (OSError, ValueError, AttributeError):
        return None
    return Path(url2pathname(unquote(parts.path))) if editable and parts.scheme == "file" else None


def _read(path: Path, found: registry.Found) -> Proof | None:
    try:
        if path.stat().st_size > _LARGEST:
            return None
        report = msgspec.json.decode(path.read_bytes(), type=_Report)
    except (OSError, msgspec.MsgspecError):
        return None
    if registry.normalize(report.provider) != registry.normalize(found.name):
        return None
    tier = report.tier if report.tier != "none" else "conformant"
    return Proof(
        tier=tier if report.conformant else "not conformant",
        distribution=report.distribution,
        made=report.made,
        spec_level=report.spec_level,
        current=report.distribution == f"{found.distribution} {found.version}",
        path=str(path),
    )
