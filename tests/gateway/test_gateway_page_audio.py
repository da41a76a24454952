"""The page's own sample-rate converter and player, run by Node.js."""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

NODE = shutil.which("node")
PROGRAM = """
import { Resampler } from "./resampler.mjs";
const [from, to, hertz] = process.argv.slice(2).map(Number);
const tone = Float32Array.from({ length: from }, (_, i) => Math.sin((2 * Math.PI * hertz * i) / from));
const resampler = new Resampler(from, to);
const out = [];
for (let at = 0; at < tone.length; at += 128) out.push(...resampler.feed(tone.subarray(at, at + 128)));
const middle = out.slice(2000, -2000);
const rms = Math.sqrt(middle.reduce((sum, x) => sum + x * x, 0) / middle.length);
console.log(JSON.stringify({ length: out.length, decibels: 20 * Math.log10(rms * Math.SQRT2) }));
"""


@pytest.mark.skipif(NODE is None, reason="Node.js is not installed")
@pytest.mark.parametrize(
    ("source", "target", "hertz", "passes"),
    [
        (48_000, 24_000, 1_000, True),
        (48_000, 24_000, 9_600, True),
        (48_000, 24_000, 15_000, False),
        (44_100, 24_000, 9_600, True),
        (44_100, 24_000, 14_000, False),
        (24_000, 48_000, 9_600, True),
        (24_000, 44_100, 1_000, True),
        (16_000, 24_000, 6_400, True),
    ],
)
def test_tone_passes_or_is_stopped(
    tmp_path: Path, source: int, target: int, hertz: int, passes: bool
) -> None:
    """Flat within 0.2 dB to 0.8 of the lower Nyquist, aliases below -60 dB, and no audio lost but the filter's length."""
    converter = files("vivavoce_gateway") / "page" / "resampler.js"
    (tmp_path / "resampler.mjs").write_text(converter.read_text())
    (tmp_path / "program.mjs").write_text(PROGRAM)
    command = [str(NODE), "program.mjs", *map(str, (source, target, hertz))]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    found = json.loads(done.stdout)
    assert target - 100 < found["length"] <= target
    assert abs(found["decibels"]) < 0.2 if passes else found["decibels"] < -60


PLAYING = """
const told = [];
let Player;
globalThis.sampleRate = 24000;
globalThis.AudioWorkletProcessor = class { port = { postMessage: (data) => told.push(data) } };
globalThis.registerProcessor = (_, found) => (Player = found);
await import("./player.js");
const { SocketLink } = await import("./links.js");
const player = new Player();
const [blocks, done] = process.argv.slice(2).map(Number);
const devices = {
  play: (item, pcm) => player.add({ item, pcm }),
  flush: async () => (player.flush(), (({ flushed, rest, ms }) => ({ item: flushed, rest, ms }))(told.at(-1))),
};
const sent = [];
const link = new SocketLink({ devices, send: (type) => sent.push(type), onCut: () => sent.push("cut") });
link.take({ type: "response.output_audio.delta", item_id: "item", delta: btoa("\\0".repeat(2 * 1280)) });
if (done) link.take({ type: "response.output_audio.done", item_id: "item" });
for (let i = 0; i < blocks; i++) player.process([], [[new Float32Array(128)]]);
await link.yields();
console.log(sent.join(" "));
"""


@pytest.mark.skipif(NODE is None, reason="Node.js is not installed")
@pytest.mark.parametrize(
    ("blocks", "done", "sent"),
    [
        (5, 1, "cut conversation.item.truncate"),
        (20, 0, "cut conversation.item.truncate"),
        (20, 1, ""),
        (0, 1, ""),
    ],
    ids=["in the middle", "more was to come", "heard to its end", "not begun"],
)
def test_reply_is_cut_unless_it_was_heard(tmp_path: Path, blocks: int, done: int, sent: str) -> None:
    """The user's next turn cuts the reply that is being heard, and not one that was heard to its end."""
    page = files("vivavoce_gateway") / "page"
    for name in ("resampler.js", "player.js", "links.js"):
        (tmp_path / name).write_text((page / name).read_text())
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "program.js").write_text(PLAYING)
    command = [str(NODE), "program.js", str(blocks), str(done)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert run.stdout.strip() == sent
