// What clients share that run in a browser: a microphone that speaks on cue, an ear, and how results are told; see parts.py.
const RATE = 24_000;
export const settings = await (await fetch("/settings")).json(); // {url, key, model}
export const seen = { transcript: [], reply: [], audio: 0, peak: 0, tool: null, interrupted: false, closed: false };
const context = new AudioContext();
await context.resume();

// A microphone as a MediaStream. `say` plays a recording into it, and resolves when it was said.
export class Microphone {
  #out = context.createMediaStreamDestination();
  stream = this.#out.stream;

  async say(name) {
    const pcm = new Int16Array(await (await fetch(`/${name}.pcm`)).arrayBuffer());
    const buffer = context.createBuffer(1, pcm.length, RATE);
    buffer.copyToChannel(Float32Array.from(pcm, (value) => value / 32768), 0);
    const source = new AudioBufferSourceNode(context, { buffer });
    source.connect(this.#out);
    source.start();
    await new Promise((resolve) => (source.onended = resolve));
  }
}

// What an audio element plays counts as heard, where it is not silent.
const EAR = `registerProcessor("ear", class extends AudioWorkletProcessor {
  process([[samples]]) {
    if (samples) {
      const loud = samples.filter((value) => Math.abs(value) > 0.001);
      if (loud.length) this.port.postMessage({ count: loud.length, peak: Math.max(...loud.map(Math.abs)) });
    }
    return true;
  }
});`;

export const listen = async (element) => {
  await context.audioWorklet.addModule(URL.createObjectURL(new Blob([EAR], { type: "text/javascript" })));
  const ear = new AudioWorkletNode(context, "ear", { numberOfOutputs: 0 });
  ear.port.onmessage = ({ data }) => {
    seen.audio += 2 * data.count;
    seen.peak = Math.max(seen.peak, Math.round(data.peak * 32767));
  };
  context.createMediaStreamSource(element.srcObject).connect(ear);
};

export const until = async (condition, what) => {
  const limit = Date.now() + 15_000;
  while (!condition()) {
    if (Date.now() > limit) throw new Error(`${what} did not come: ${JSON.stringify(seen)}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
};

export const main = async (converse) => {
  const told = { seen, error: null };
  try {
    await converse();
  } catch (error) {
    told.error = String(error?.stack ?? error);
  }
  await fetch("/result", { method: "POST", body: JSON.stringify(told) });
};
