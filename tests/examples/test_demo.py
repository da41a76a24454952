"""`make demo`: a conversation with real speech and real engines."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from house import ROOT

pytestmark = pytest.mark.real_speech


@pytest.mark.parametrize("through", [[], ["gateway"]], ids=["local", "gateway"])
def test_demo_holds_its_conversation(tmp_path: Path, through: list[str]) -> None:
    """The assistant answers one turn and calls a tool in the next, in 15 seconds; sound and pictures are there. The same
    when `openai-realtime` talks to a gateway that answers with `local`."""
    for engine in ("pocketsphinx", "ttspico", "vivavoce_local_provider", "matplotlib", "vivavoce_gateway"):
        pytest.importorskip(engine)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    done = subprocess.run(
        [sys.executable, "examples/demo.py", *through],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert (done.returncode, done.stderr) == (0, "")
    said = [line.strip() for line in done.stdout.splitlines()]
    assert "user: eight plus three" in said
    assert "tool: go({'direction': 'forward', 'meters': 10})" in said
    assert any(line.endswith("ms)") and "assistant" in line for line in said)
    assert "--provider openai-realtime" in done.stdout
    assert ("examples/demo.py gateway" in done.stdout) is (not through)
    out = tmp_path / "demo-out"
    names = ["audio.wav", "events.jsonl", "recording.json", "timeline.html", "timeline.png"]
    assert sorted(path.name for path in out.iterdir()) == names
    assert json.loads((out / "recording.json").read_text())["duration_ms"] <= 15_000
