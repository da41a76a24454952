// The loudspeaker: plays PCM16 at 24 kHz item by item, and knows how much of each was really played.
import { Resampler } from "./resampler.js";

class Player extends AudioWorkletProcessor {
  constructor() {
    super();
    this.resampler = new Resampler(24000, sampleRate);
    this.queue = []; // {item, samples} at the device's rate
    this.at = 0;
    this.item = null;
    this.played = 0; // of the item, at the device's rate
    this.peak = 0;
    this.blocks = 0;
    this.port.onmessage = ({ data }) => (data.flush ? this.flush() : this.add(data));
  }

  add({ item, pcm }) {
    const source = Float32Array.from(new Int16Array(pcm), (value) => value / 32768);
    this.queue.push({ item, samples: this.resampler.feed(source) });
  }

  flush() {
    const rest = this.queue.length > 0;
    this.queue = [];
    this.at = 0;
    this.resampler.reset();
    this.port.postMessage({ flushed: this.item, rest, ms: (this.played / sampleRate) * 1000 });
    this.item = null;
    this.played = 0;
  }

  process(_, [[output]]) {
    for (let i = 0; i < output.length; i++) {
      while (this.queue.length && this.at >= this.queue[0].samples.length) {
        this.queue.shift();
        this.at = 0;
      }
      if (!this.queue.length) break;
      const { item, samples } = this.queue[0];
      if (item !== this.item) {
        this.item = item;
        this.played = 0;
        this.port.postMessage({ started: item });
      }
      output[i] = samples[this.at++];
      this.played++;
      this.peak = Math.max(this.peak, Math.abs(output[i]));
    }
    if (++this.blocks % 16 === 0) {
      this.port.postMessage({ peak: this.peak, playing: this.queue.length > 0, item: this.item, ms: (this.played / sampleRate) * 1000 });
      this.peak = 0;
    }
    return true;
  }
}

registerProcessor("player", Player);
