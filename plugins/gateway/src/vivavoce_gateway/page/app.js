// The page: one Realtime session with the gateway that served it.
import { Devices } from "./audio.js";
import { Events, Latency, Transcript } from "./views.js";

const $ = (id) => document.getElementById(id);
const transcript = new Transcript($("transcript"));
const latency = new Latency($("latency"), $("latency-words"));
const events = new Events($("events"), $("filter"), $("deltas"));

let socket = null;
let devices = null;
let responding = null; // the id of the response that is under way
let turnEnded = null; // when the user's turn ended, for the latency
let speaking = false; // the user, by hand
let roles = new Map();

const status = (text, state) => {
  $("status").textContent = text;
  $("status").dataset.state = state;
};

const send = (type, fields = {}) => {
  if (socket?.readyState !== WebSocket.OPEN) return;
  const event = { type, ...fields };
  socket.send(JSON.stringify(event));
  events.add(event, true);
};

const toBase64 = (buffer) => {
  const bytes = new Uint8Array(buffer);
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
};
const fromBase64 = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;

// --- the session

const manual = () => $("turns").value === "manual";

const settings = () => {
  const turns = { server_vad: { type: "server_vad" }, semantic_vad: { type: "semantic_vad" }, manual: null };
  const session = {
    type: "realtime",
    audio: { input: { turn_detection: turns[$("turns").value], transcription: { model: "whisper-1" } } },
  };
  if ($("instructions").value.trim()) session.instructions = $("instructions").value.trim();
  return session;
};

const bargeIn = async () => {
  if (!devices?.context) return;
  const { item, ms } = await devices.flush();
  if (!item) return;
  transcript.interrupted(item, ms);
  send("conversation.item.truncate", { item_id: item, content_index: 0, audio_end_ms: Math.floor(ms) });
};

const item = ({ item }) => {
  if (item.type === "message") {
    roles.set(item.id, item.role);
    transcript.add(item.id, item.role);
    const text = item.content?.map((part) => part.text ?? part.transcript ?? "").join("");
    if (text) transcript.write(item.id, item.role, text, { whole: true });
  } else if (item.type === "function_call") transcript.note(`calls ${item.name}`);
};

const handlers = {
  "session.created": () => {
    send("session.update", { session: settings() });
    status(`Connected to ${$("model").value}`, "open");
    for (const id of ["say", "send", "mic", "hold", "save"]) $(id).disabled = false;
    $("say").focus();
  },
  "conversation.item.added": item,
  "input_audio_buffer.speech_started": () => {
    $("speech").textContent = "speaking";
    bargeIn();
  },
  "input_audio_buffer.speech_stopped": () => {
    $("speech").textContent = "quiet";
    turnEnded = performance.now();
  },
  "conversation.item.input_audio_transcription.delta": ({ item_id, delta }) => transcript.write(item_id, "user", delta),
  "conversation.item.input_audio_transcription.completed": ({ item_id, transcript: text }) =>
    text.trim() ? transcript.write(item_id, "user", text, { whole: true }) : transcript.remove(item_id),
  "conversation.item.input_audio_transcription.failed": ({ item_id, error }) => transcript.write(item_id, "user", `(${error.message})`, { whole: true }),
  "response.created": ({ response }) => {
    responding = response.id;
    $("stop").disabled = false;
  },
  "response.output_audio.delta": ({ item_id, delta }) => devices.play(item_id, fromBase64(delta)),
  "response.output_audio_transcript.delta": ({ item_id, delta }) => transcript.write(item_id, "assistant", delta),
  "response.output_text.delta": ({ item_id, delta }) => transcript.write(item_id, "assistant", delta),
  "response.done": ({ response }) => {
    responding = null;
    if (response.status === "failed") transcript.note(`The reply failed: ${response.status_details?.error?.message ?? response.status_details?.error?.code}`, "error");
  },
  error: ({ error }) => transcript.note(error.message, "error"),
};

const connect = async () => {
  status("Connecting…", "connecting");
  roles = new Map();
  devices = new Devices({
    onAudio: (pcm) => (!manual() || speaking) && send("input_audio_buffer.append", { audio: toBase64(pcm) }),
    onLevel: (side, peak) => ($(`level-${side}`).value = peak > 0.001 ? Math.max(0, 1 + Math.log10(peak) / 2.5) : 0),
    onPlayed: ({ playing }) => {
      $("playing").textContent = playing ? "speaking" : "quiet";
      $("stop").disabled = !playing && !responding;
    },
    onStarted: () => {
      if (turnEnded !== null) latency.add(performance.now() - turnEnded);
      turnEnded = null;
    },
  });
  await devices.open();
  const key = $("key").value.trim();
  const address = new URL("v1/realtime", location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  address.searchParams.set("model", $("model").value);
  socket = new WebSocket(address, ["realtime", ...(key ? [`openai-insecure-api-key.${key}`] : [])]);
  socket.onmessage = ({ data }) => {
    const event = JSON.parse(data);
    events.add(event, false);
    handlers[event.type]?.(event);
  };
  socket.onclose = ({ code, reason }) => disconnected(code === 1000 || code === 1005 ? "" : reason || `closed (${code})`);
  $("connect").textContent = "Disconnect";
};

const disconnected = async (why) => {
  socket = null;
  responding = null;
  status(why ? `Disconnected: ${why}` : "Not connected", why ? "error" : "idle");
  $("connect").textContent = "Connect";
  $("mic").setAttribute("aria-pressed", "false");
  for (const id of ["say", "send", "mic", "hold", "stop"]) $(id).disabled = true;
  await devices?.close();
};

// --- what the user does

$("connection").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (socket) return socket.close(1000);
  try {
    await connect();
  } catch (problem) {
    status(`Cannot connect: ${problem.message}`, "error");
  }
});

$("mic").addEventListener("click", async () => {
  const on = $("mic").getAttribute("aria-pressed") === "true";
  if (on) devices.mute();
  else {
    try {
      await devices.listen();
    } catch (problem) {
      transcript.note(`No microphone: ${problem.message}`, "error");
      return;
    }
  }
  $("mic").setAttribute("aria-pressed", String(!on));
});

$("write").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = $("say").value.trim();
  if (!text) return;
  $("say").value = "";
  await stopReply();
  const message = { type: "message", role: "user", content: [{ type: "input_text", text }] };
  send("conversation.item.create", { item: message });
  send("response.create");
  turnEnded = performance.now();
});

const stopReply = async () => {
  if (responding) send("response.cancel");
  await bargeIn();
};
$("stop").addEventListener("click", stopReply);

const hold = async () => {
  if (speaking || !socket || !manual() || !devices.stream) return;
  speaking = true;
  $("speech").textContent = "speaking";
  await stopReply();
  send("input_audio_buffer.clear");
};
const release = () => {
  if (!speaking) return;
  speaking = false;
  $("speech").textContent = "quiet";
  send("input_audio_buffer.commit");
  send("response.create");
  turnEnded = performance.now();
};
$("hold").addEventListener("pointerdown", hold);
$("hold").addEventListener("pointerup", release);
const isSpace = (event) => event.code === "Space" && !event.target.matches("input, select, summary, button:not(#hold)");
document.addEventListener("keydown", (event) => {
  if (!isSpace(event) || !manual() || !socket) return;
  event.preventDefault();
  if (!event.repeat) hold();
});
document.addEventListener("keyup", (event) => isSpace(event) && release());

$("turns").addEventListener("change", () => {
  $("hold").hidden = !manual();
  send("session.update", { session: settings() });
});
$("instructions").addEventListener("change", () => send("session.update", { session: settings() }));
$("clear").addEventListener("click", () => events.clear());

$("save").addEventListener("click", async () => {
  const recording = await devices.recording();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(recording);
  link.download = `vivavoce-${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}.${recording.type.includes("mp4") ? "m4a" : "webm"}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
});

// --- the models there are

const loadModels = async () => {
  const key = $("key").value.trim();
  const answer = await fetch("v1/models", { headers: key ? { Authorization: `Bearer ${key}` } : {} });
  $("key-field").hidden = answer.ok && !key;
  if (!answer.ok) return status("This gateway needs a key", "idle");
  const { data } = await answer.json();
  $("model").replaceChildren(...data.map(({ id, owned_by }) => new Option(id === owned_by ? id : `${id} (${owned_by})`, id)));
  if (!socket) status("Not connected", "idle");
};
$("key").addEventListener("change", loadModels);
loadModels().catch((problem) => status(`The gateway does not answer: ${problem.message}`, "error"));
