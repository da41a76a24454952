// A stream of samples from one rate to another: windowed sinc, 24 taps a side of the lower rate. Used in AudioWorklets.

const HALF = 24;
const PHASES = 256;

export class Resampler {
  constructor(from, to) {
    this.step = from / to;
    const cutoff = Math.min(1, to / from) * 0.94;
    this.half = Math.ceil(HALF / Math.min(1, to / from));
    this.table = new Float32Array((PHASES + 1) * this.half * 2);
    for (let phase = 0; phase <= PHASES; phase++) {
      for (let tap = 0; tap < this.half * 2; tap++) {
        const x = tap - this.half + 1 - phase / PHASES;
        const sinc = x === 0 ? 1 : Math.sin(Math.PI * cutoff * x) / (Math.PI * cutoff * x);
        const window = 0.5 + 0.5 * Math.cos((Math.PI * x) / this.half);
        this.table[phase * this.half * 2 + tap] = cutoff * sinc * (Math.abs(x) < this.half ? window : 0);
      }
    }
    this.reset();
  }

  reset() {
    this.input = new Float32Array(this.half - 1);
    this.position = 0; // of the next output, in input samples after the history
  }

  feed(samples) {
    const joined = new Float32Array(this.input.length + samples.length);
    joined.set(this.input);
    joined.set(samples, this.input.length);
    const width = this.half * 2;
    const output = new Float32Array(Math.max(0, Math.ceil((joined.length - width - this.position + 1) / this.step)));
    let made = 0;
    while (made < output.length) {
      const at = Math.floor(this.position);
      if (at + width > joined.length) break;
      const offset = Math.round((this.position - at) * PHASES) * width;
      let sum = 0;
      for (let tap = 0; tap < width; tap++) sum += joined[at + tap] * this.table[offset + tap];
      output[made++] = sum;
      this.position += this.step;
    }
    const used = Math.min(Math.floor(this.position), joined.length);
    this.input = joined.slice(used);
    this.position -= used;
    return output.subarray(0, made);
  }
}
