"""A hook of mkdocs: sections in the order in which they are read, with the names that they go by."""

from __future__ import annotations

from typing import Any

__all__ = ["on_nav"]

SECTIONS = {
    "Tutorial": "Tutorial",
    "How to": "How-to",
    "Reference": "Reference",
    "Explanation": "Explanation",
}


def on_nav(nav: Any, config: Any, files: Any) -> Any:
    """Called once with the navigation that mkdocs made from the files; an unknown section comes last."""
    order = list(SECTIONS)
    nav.items.sort(
        key=lambda item: order.index(item.title) if item.is_section and item.title in order else len(order)
    )
    nav.items.sort(key=lambda item: item.is_section)  # pages, that is the front page, before sections
    for item in nav.items:
        item.title = SECTIONS.get(item.title, item.title) if item.is_section else item.title
    return nav
