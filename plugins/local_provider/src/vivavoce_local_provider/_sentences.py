"""Cuts running text into sentences, so that speech can begin with the first one."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

__all__ = ["MAX_SENTENCE", "SentenceSplitter", "sentences"]

MAX_SENTENCE = 400
"""Characters. Longer sentences are cut at a comma or a space."""
_END = re.compile(r"[.!?…。！？]+[\"'”’)\]]*(?=\s)|\n+")
_ABBREVIATION = re.compile(r"\b(?:mr|mrs|ms|dr|st|no|vs|e\.g|i\.e|etc|[a-z])\.$", re.IGNORECASE)


class SentenceSplitter:
    """Takes text in pieces, cut anywhere; gives whole sentences. No I/O."""

    def __init__(self) -> None:
        self._text = ""

    def feed(self, text: str) -> list[str]:
        """Add text; return the sentences that are complete: an end mark, and white space after it."""
        self._text += text
        found = []
        start = 0
        for end in _END.finditer(self._text):
            sentence = self._text[start : end.end()]
            if not _ABBREVIATION.search(sentence):
                found.append(sentence)
                start = end.end()
        self._text = self._text[start:]
        while len(self._text) > MAX_SENTENCE:
            found.append(self._cut())
        return [sentence.strip() for sentence in found if sentence.strip()]

    def flush(self) -> list[str]:
        """The text has ended: what is left."""
        left, self._text = self._text.strip(), ""
        return [left] if left else []

    def _cut(self) -> str:
        window = self._text[:MAX_SENTENCE]
        at = max(window.rfind(", ") + 1, window.rfind("; ") + 1)
        if at < MAX_SENTENCE // 4:
            at = window.rfind(" ")
        at = at if at > 0 else MAX_SENTENCE
        head, self._text = self._text[:at], self._text[at:]
        return head


async def sentences(text: str | AsyncIterator[str]) -> AsyncIterator[str]:
    """The sentences of `text`, each as soon as it is complete."""
    splitter = SentenceSplitter()
    if isinstance(text, str):
        for sentence in splitter.feed(text):
            yield sentence
    else:
        async for piece in text:
            for sentence in splitter.feed(piece):
                yield sentence
    for sentence in splitter.flush():
        yield sentence
