// The microphone: mono, at 24 kHz, as PCM16, in pieces of 40 ms, each with its level.
import { Resampler } from "./resampler.js";

const PIECE = 960;

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.resampler = new Resampler(sampleRate, 24000);
    this.piece = new Int16Array(PIECE);
    this.filled = 0;
    this.peak = 0;
  }

  process([input]) {
    if (!input.length) return true;
    let mono = input[0];
    if (input.length > 1) mono = mono.map((_, i) => input.reduce((sum, channel) => sum + channel[i], 0) / input.length);
    for (const sample of this.resampler.feed(mono)) {
      const value = Math.max(-1, Math.min(1, sample));
      this.peak = Math.max(this.peak, Math.abs(value));
      this.piece[this.filled++] = Math.round(value * 32767);
      if (this.filled === PIECE) {
        this.port.postMessage({ pcm: this.piece.buffer, peak: this.peak }, [this.piece.buffer]);
        this.piece = new Int16Array(PIECE);
        this.filled = 0;
        this.peak = 0;
      }
    }
    return true;
  }
}

registerProcessor("capture", Capture);
