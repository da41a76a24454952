"""The HTTP side of a call: the offer, and the hang-up."""

from __future__ import annotations

import json
import logging
import ssl as ssl_module
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
from vivavoce.errors import ConfigError, ConnectError

from vivavoce_openai_realtime.transports.errors import http_refused

__all__ = ["CallHttp", "bad_answer"]

logger = logging.getLogger("vivavoce.openai_realtime")

_LARGEST_ANSWER = 256 * 1024


def bad_answer(why: str) -> ConnectError:
    """The service's answer is no call."""
    return ConnectError(
        f"The service's answer to the call cannot be used: {why}. Check that the url leads to a Realtime service that takes WebRTC.",
        code="sdp",
        retryable=False,
    )


class CallHttp:
    """Posts the offer to `url`, and later the hang-up."""

    def __init__(
        self, url: str, headers: dict[str, str], ssl: ssl_module.SSLContext | None, proxy: str | bool | None
    ) -> None:
        self._url = url
        self._headers = headers
        self._verify: Any = ssl if ssl is not None else url.startswith("https:")
        self._proxy = proxy
        self.response_headers: dict[str, str] = {}
        self.call_id: str | None = None

    def _client(self) -> httpx.AsyncClient:
        try:
            return httpx.AsyncClient(
                verify=self._verify,
                headers=self._headers,
                proxy=self._proxy if isinstance(self._proxy, str) else None,
                trust_env=self._proxy is True,
                timeout=None,
            )
        except (ValueError, httpx.InvalidURL) as wrong:
            # The address itself stays out: it may hold a password.
            raise ConfigError(
                "proxy is no proxy address. It looks like http://host:port.", option="proxy"
            ) from wrong

    async def offer(self, sdp: str, session: Mapping[str, Any] | None) -> str:
        """Post the offer; the answer's SDP."""
        body: dict[str, Any] = {"content": sdp, "headers": {"Content-Type": "application/sdp"}}
        if session is not None:
            parts = {
                "sdp": (None, sdp, "application/sdp"),
                "session": (None, json.dumps(session), "application/json"),
            }
            body = {"files": parts}
        target = urlsplit(self._url).netloc.rpartition("@")[2]
        try:
            async with self._client() as client, client.stream("POST", self._url, **body) as response:
                answer = b""
                async for chunk in response.aiter_bytes():
                    answer += chunk
                    if len(answer) > _LARGEST_ANSWER:
                        raise bad_answer("it is too long")
        except httpx.InvalidURL as wrong:
            raise ConfigError(f"url cannot be called: {wrong}", option="url") from wrong
        except httpx.HTTPError as failed:
            raise ConnectError(
                f"{target} cannot be reached: {str(failed) or type(failed).__name__}. Check the network and the url, then connect again.",
                code="connect",
                retryable=True,
            ) from failed
        if response.status_code not in (200, 201):
            raise http_refused(response.status_code, response.reason_phrase, answer, target=target)
        self.response_headers = {k.lower(): v for k, v in response.headers.items()}
        self.call_id = self.response_headers.get("location", "").rstrip("/").rsplit("/", 1)[-1] or None
        return answer.decode("utf-8", "replace")

    async def hang_up(self) -> None:
        """Tell the service that the call is over. It notices anyway: a failure is nobody's concern."""
        if self.call_id is None:
            return
        # By our own address and not by the Location's: the key goes nowhere else.
        address = f"{self._url.partition('?')[0]}/{self.call_id}/hangup"
        try:
            async with self._client() as client:
                await client.post(address)
        except httpx.HTTPError as failed:
            logger.debug("the service did not take the hang-up: %s", type(failed).__name__)
