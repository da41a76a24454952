"""Every check there is. Importing this package fills `CHECKS`."""

from __future__ import annotations

import importlib

from vivavoce_conformance.registry import CHECKS

__all__ = ["CHECKS", "MODULES"]

MODULES = ["hygiene", "connect", "happy", "lasting", "stories", "faults", "limits", "turns", "calls"]
"""One module a family or two, in the order of their ids."""

for _name in MODULES:
    importlib.import_module(f"{__name__}.{_name}")
