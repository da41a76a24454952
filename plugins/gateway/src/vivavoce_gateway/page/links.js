// The two ways to the gateway. Both carry the same events; over WebRTC the audio goes beside them.

const OPEN_MS = 20_000; // for the gateway's answer, and a path to it
const TAIL_MS = 300; // what was said is still on its way so long

const toBase64 = (buffer) => {
  const bytes = new Uint8Array(buffer);
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
};
const fromBase64 = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;

// A link: `open`, `send` an event, `close`; `speak(on)` whether the microphone is to be heard, `spoken` once all of it
// has been; `yields` when the user speaks, `stop` when the reply is to end, `settled` when the gateway has made all of it;
// `take` what the gateway tells of audio.

export class SocketLink {
  name = "WebSocket";

  constructor({ model, key, devices, send, onEvent, onClose, onCut }) {
    Object.assign(this, { model, key, devices, announce: send, onEvent, onClose, onCut });
    this.speaking = false;
  }

  async open() {
    this.devices.speak();
    const address = new URL("v1/realtime", location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    address.searchParams.set("model", this.model);
    this.socket = new WebSocket(address, ["realtime", ...(this.key ? [`openai-insecure-api-key.${this.key}`] : [])]);
    this.socket.onmessage = ({ data }) => this.onEvent(JSON.parse(data));
    this.socket.onclose = ({ code, reason }) => this.onClose(code === 1000 || code === 1005 ? "" : reason || `closed (${code})`);
  }

  get isOpen() {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  send(event) {
    this.socket.send(JSON.stringify(event));
  }

  microphone() {}

  heard(pcm) {
    if (this.speaking) this.announce("input_audio_buffer.append", { audio: toBase64(pcm) });
  }

  speak(on) {
    this.speaking = on;
  }

  async spoken() {}

  take(event) {
    if (event.type === "response.output_audio.delta") this.devices.play(event.item_id, fromBase64(event.delta));
    else if (event.type === "response.output_audio.done") this.whole = event.item_id;
  }

  // What was heard is known here alone: the gateway is told.
  async yields() {
    const { item, rest, ms } = await this.devices.flush();
    if (!item || (!rest && item === this.whole)) return; // it was heard to its end
    this.onCut(item, ms);
    this.announce("conversation.item.truncate", { item_id: item, content_index: 0, audio_end_ms: Math.floor(ms) });
  }

  settled() {} // the player tells all the time

  stop() {
    return this.yields();
  }

  close() {
    this.socket.close(1000);
  }
}

export class CallLink {
  name = "WebRTC";

  constructor({ model, key, devices, send, onEvent, onClose, onCut }) {
    Object.assign(this, { model, key, devices, announce: send, onEvent, onClose, onCut });
    this.playing = false;
    this.over = false;
  }

  async open() {
    this.pc = new RTCPeerConnection();
    this.pc.ontrack = ({ streams }) => this.devices.hear(streams[0]);
    this.pc.onconnectionstatechange = () => this.pc.connectionState === "failed" && this.#end("no path to the gateway");
    this.sender = this.pc.addTransceiver("audio", { direction: "sendrecv" }).sender;
    this.channel = this.pc.createDataChannel("oai-events");
    this.channel.onmessage = ({ data }) => this.onEvent(JSON.parse(data));
    this.channel.onclose = () => this.#end("the gateway ended the call");
    this.timer = setTimeout(() => this.isOpen || this.#end("no path to the gateway"), OPEN_MS);
    try {
      await this.#call();
    } catch (problem) {
      this.onClose = () => {};
      this.#end();
      throw problem;
    }
  }

  async #call() {
    await this.pc.setLocalDescription();
    const headers = { "Content-Type": "application/sdp", ...(this.key ? { Authorization: `Bearer ${this.key}` } : {}) };
    const address = `v1/realtime/calls?model=${encodeURIComponent(this.model)}`;
    const answer = await fetch(address, { method: "POST", headers, body: this.pc.localDescription.sdp });
    const text = await answer.text();
    if (!answer.ok) throw new Error(JSON.parse(text).error.message);
    if (!this.over) await this.pc.setRemoteDescription({ type: "answer", sdp: text });
  }

  get isOpen() {
    return this.channel?.readyState === "open";
  }

  send(event) {
    this.channel.send(JSON.stringify(event));
  }

  async microphone(stream) {
    this.track = stream?.getAudioTracks()[0] ?? null;
    await this.sender.replaceTrack(this.track);
  }

  heard() {}

  speak(on) {
    if (this.track) this.track.enabled = on;
  }

  spoken() {
    return new Promise((resolve) => setTimeout(resolve, TAIL_MS));
  }

  take(event) {
    const [what, how] = event.type.split(".");
    if (what === "output_audio_buffer") {
      this.playing = how === "started";
      this.devices.playing(this.playing);
    } else if (event.type === "conversation.item.truncated") this.onCut(event.item_id, event.audio_end_ms);
  }

  // The gateway knows what it has played, and cuts it by itself.
  async yields() {}

  settled() {
    this.devices.onPlayed({ playing: this.playing });
  }

  async stop(running) {
    if (running || this.playing) this.announce("output_audio_buffer.clear");
  }

  #end(why = "") {
    if (this.over) return;
    this.over = true;
    clearTimeout(this.timer);
    this.pc.close();
    this.onClose(why);
  }

  close() {
    this.#end();
  }
}
