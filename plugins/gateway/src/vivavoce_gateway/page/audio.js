// The devices: microphone in, loudspeaker out, and a recording of both (you left, the reply right).

const AUDIBLE = 0.003;

export class Devices {
  constructor({ onAudio, onLevel, onPlayed, onStarted }) {
    Object.assign(this, { onAudio, onLevel, onPlayed, onStarted });
    this.context = null;
    this.stream = null;
  }

  async open() {
    this.context = new AudioContext({ latencyHint: "interactive" });
    await this.context.audioWorklet.addModule("player.js");
    await this.context.audioWorklet.addModule("capture.js");
    await this.context.resume();
    this.merger = this.context.createChannelMerger(2);
    const both = this.context.createMediaStreamDestination();
    this.merger.connect(both);
    this.pieces = [];
    this.recorder = new MediaRecorder(both.stream);
    this.recorder.ondataavailable = ({ data }) => data.size && this.pieces.push(data);
    this.recorder.start(1000);
  }

  // A reply that comes in pieces is played here.
  speak() {
    this.player = new AudioWorkletNode(this.context, "player", { numberOfInputs: 0, outputChannelCount: [1] });
    this.player.port.onmessage = ({ data }) => this.#fromPlayer(data);
    this.player.connect(this.context.destination);
    this.player.connect(this.merger, 0, 1);
  }

  // One that comes as a stream is played by the browser, whose echo canceller knows it then.
  hear(stream) {
    this.element = new Audio();
    this.element.srcObject = stream;
    this.element.play();
    this.ear = new AudioWorkletNode(this.context, "capture", { numberOfOutputs: 0 });
    this.ear.port.onmessage = ({ data }) => this.#fromStream(data.peak);
    this.remote = this.context.createMediaStreamSource(stream);
    this.remote.connect(this.ear);
    this.remote.connect(this.merger, 0, 1);
  }

  // A reply begins or ceases to come by the stream; it has started when it is first heard.
  playing(on) {
    this.awaited = on;
    this.onPlayed({ playing: on });
  }

  #fromStream(peak) {
    this.onLevel("out", peak);
    if (this.awaited && peak > AUDIBLE) {
      this.awaited = false;
      this.onStarted();
    }
  }

  #fromPlayer(data) {
    if ("flushed" in data) this.flushed?.({ item: data.flushed, rest: data.rest, ms: data.ms });
    else if ("started" in data) this.onStarted(data.started);
    else {
      this.onLevel("out", data.peak);
      this.onPlayed(data);
    }
  }

  async listen() {
    const wanted = { channelCount: 1, echoCancellation: true, noiseSuppression: true, autoGainControl: true };
    this.stream = await navigator.mediaDevices.getUserMedia({ audio: wanted });
    this.source = this.context.createMediaStreamSource(this.stream);
    this.capture = new AudioWorkletNode(this.context, "capture", { numberOfOutputs: 0 });
    this.capture.port.onmessage = ({ data }) => {
      this.onLevel("in", data.peak);
      this.onAudio(data.pcm);
    };
    this.source.connect(this.capture);
    this.source.connect(this.merger, 0, 0);
    return this.stream;
  }

  mute() {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.source?.disconnect();
    if (this.capture) this.capture.port.onmessage = null;
    this.stream = this.source = this.capture = null;
    this.onLevel("in", 0);
  }

  play(item, pcm) {
    this.player.port.postMessage({ item, pcm }, [pcm]);
  }

  // Drops what was not played; resolves to the item that was heard last, whether there was a rest, and how much was heard.
  flush() {
    return new Promise((resolve) => {
      this.flushed = resolve;
      this.player.port.postMessage({ flush: true });
    });
  }

  async recording() {
    if (this.recorder.state === "recording") {
      const more = new Promise((resolve) => this.recorder.addEventListener("dataavailable", resolve, { once: true }));
      this.recorder.requestData();
      await more;
    }
    return new Blob(this.pieces, { type: this.recorder.mimeType });
  }

  async close() {
    this.mute();
    if (this.element) this.element.srcObject = null;
    if (this.recorder?.state === "recording") {
      const stopped = new Promise((resolve) => this.recorder.addEventListener("stop", resolve, { once: true }));
      this.recorder.stop();
      await stopped;
    }
    await this.context?.close();
    this.context = null;
  }
}
