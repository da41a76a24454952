// What the clients from npm share; see parts.py.
import { readFileSync } from "node:fs";

export const FRAME = 4800; // 100 ms
export const seen = { transcript: [], reply: [], audio: 0, peak: 0, tool: null, interrupted: false, closed: false };

export const took = (bytes) => {
  const samples = new Int16Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + (bytes.byteLength & ~1)));
  seen.audio += bytes.byteLength;
  for (const sample of samples) seen.peak = Math.max(seen.peak, sample);
};

export const speech = (name) => readFileSync(`${process.argv[3]}/${name}.pcm`);
export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export const paced = async (audio, send) => {
  for (let at = 0; at < audio.length; at += FRAME) {
    const piece = audio.subarray(at, at + FRAME);
    await send(piece.buffer.slice(piece.byteOffset, piece.byteOffset + piece.byteLength));
    await sleep(100 / 1.5);
  }
};

export const until = async (condition, what) => {
  const limit = Date.now() + 15_000;
  while (!condition()) {
    if (Date.now() > limit) throw new Error(`${what} did not come: ${JSON.stringify(seen)}`);
    await sleep(20);
  }
};

export const main = async (converse) => {
  let failed = null;
  try {
    await converse(process.argv[2]);
  } catch (error) {
    failed = error;
  }
  console.log(JSON.stringify(seen));
  if (failed) {
    console.error(failed);
    process.exit(1);
  }
  process.exit(0);
};
