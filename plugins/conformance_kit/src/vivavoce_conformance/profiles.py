"""The profiles of the providers that are published with vivavoce."""

from __future__ import annotations

from vivavoce_conformance.profile import Profile

__all__ = ["LOCAL", "REALTIME", "REALTIME_WEBRTC"]

REALTIME = Profile(
    dialect="vivavoce_conformance.peer.realtime:RealtimeDialect",
    url="ws://127.0.0.1:{port}/v1/realtime",
    credential="api_key",
    live={"instructions": "Answer in one short sentence.", "session": {"max_output_tokens": 400}},
)
"""For every provider that speaks the OpenAI Realtime protocol."""

REALTIME_WEBRTC = Profile(
    dialect="vivavoce_conformance.peer.calls:RealtimeCallDialect",
    url="http://127.0.0.1:{port}/v1/realtime",
    config={"transport": "webrtc"},
    credential="api_key",
)
"""The same over WebRTC; needs the extra `webrtc`."""

LOCAL = Profile(config={"responder": "echo"})
"""The engines are the installed ones; the responder repeats what it heard."""
