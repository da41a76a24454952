"""The whole corpus of wrong providers: `module:Class` and the check that is there for it."""

from __future__ import annotations

import wrong_alone_states
import wrong_alone_talk
import wrong_attached
import wrong_base
import wrong_lines
import wrong_states
import wrong_talk

__all__ = ["ALONE", "CORPUS", "HARMLESS"]

_MODULES = {
    module.__name__
    for module in (
        wrong_states,
        wrong_talk,
        wrong_alone_states,
        wrong_alone_talk,
        wrong_attached,
        wrong_lines,
    )
}
_PROVIDERS = {
    f"{provider.__module__}:{provider.__name__}": check
    for provider, check in wrong_base.WRONG.items()
    if provider.__module__ in _MODULES
}
_IMPORTS = {
    "wrong_imports.opens_a_socket:Provider": "VV-CON-001",
    "wrong_imports.writes_a_file:Provider": "VV-CON-001",
    "wrong_imports.starts_a_process:Provider": "VV-CON-001",
    "wrong_imports.starts_a_thread:Provider": "VV-CON-002",
    "wrong_imports.imports_numpy:Provider": "VV-CON-003",
    "wrong_imports.imports_websockets:Provider": "VV-CON-003",
    "wrong_imports.burns_time:Provider": "VV-CON-004",
    "wrong_imports.prints:Provider": "VV-CON-005",
    "wrong_imports.adds_a_log_handler:Provider": "VV-CON-005",
    "wrong_imports.changes_the_environment:Provider": "VV-CON-005",
}
CORPUS = {**_PROVIDERS, **_IMPORTS}
"""Every wrong provider, and the check that must catch it."""
_ALONE_IMPORTS = {"opens_a_socket", "starts_a_thread", "imports_websockets", "burns_time", "prints"}
ALONE = {
    *(f"{p.__module__}:{p.__name__}" for p in wrong_base.ALONE if p.__module__ in _MODULES),
    *(f"wrong_imports.{name}:Provider" for name in _ALONE_IMPORTS),
}
"""Those that no other check catches."""
HARMLESS = [
    "Slow",
    "Chatty",
    "Finer",
    "Swapped",
    "EndsAudioItself",
    "WholeTexts",
    "AnswersWithoutId",
    "OwnReader",
]
"""Classes of `harmless`, which no check may call wrong."""
