// The page: one Realtime session with the gateway that served it.
import { Devices } from "./audio.js";
import { CallLink, SocketLink } from "./links.js";
import { Events, Latency, Transcript } from "./views.js";

const $ = (id) => document.getElementById(id);
const transcript = new Transcript($("transcript"));
const latency = new Latency($("latency"), $("latency-words"));
const events = new Events($("events"), $("filter"), $("deltas"));
const HINT = $("hint").textContent;

let link = null;
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
  if (!link?.isOpen) return;
  const event = { type, ...fields };
  link.send(event);
  events.add(event, true);
};

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

// Whether what the microphone hears is to be sent.
const speak = () => link?.speak(!manual() || speaking);

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
    status(`Connected to ${$("model").value} by ${link.name}`, "open");
    for (const id of ["say", "send", "mic", "hold", "save"]) $(id).disabled = false;
    $("say").focus();
  },
  "conversation.item.added": item,
  "input_audio_buffer.speech_started": () => {
    $("speech").textContent = "speaking";
    link.yields();
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
  "response.output_audio_transcript.delta": ({ item_id, delta }) => transcript.write(item_id, "assistant", delta),
  "response.output_text.delta": ({ item_id, delta }) => transcript.write(item_id, "assistant", delta),
  "response.done": ({ response }) => {
    responding = null;
    link.settled();
    if (response.status === "failed") transcript.note(`The reply failed: ${response.status_details?.error?.message ?? response.status_details?.error?.code}`, "error");
  },
  error: ({ error }) => transcript.note(error.message, "error"),
};

const connect = async () => {
  status("Connecting…", "connecting");
  roles = new Map();
  devices = new Devices({
    onAudio: (pcm) => link?.heard(pcm),
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
  const Link = $("transport").value === "webrtc" ? CallLink : SocketLink;
  link = new Link({
    model: $("model").value,
    key: $("key").value.trim(),
    devices,
    send,
    onEvent: (event) => {
      events.add(event, false);
      link?.take(event);
      handlers[event.type]?.(event);
    },
    onClose: disconnected,
    onCut: (id, ms) => transcript.interrupted(id, ms),
  });
  $("connect").textContent = "Disconnect";
  $("hint").textContent = "Switch the microphone on, and say something. Or write.";
  $("transport").disabled = true;
  await link.open();
  speak();
};

const disconnected = async (why) => {
  link = null;
  responding = null;
  speaking = false;
  status(why ? `Disconnected: ${why}` : "Not connected", why ? "error" : "idle");
  $("connect").textContent = "Connect";
  $("hint").textContent = HINT;
  $("transport").disabled = false;
  $("mic").setAttribute("aria-pressed", "false");
  for (const id of ["say", "send", "mic", "hold", "stop"]) $(id).disabled = true;
  await devices?.close();
};

// --- what the user does

$("connection").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (link) return link.close();
  try {
    await connect();
  } catch (problem) {
    await disconnected();
    status(`Cannot connect: ${problem.message}`, "error");
  }
});

$("mic").addEventListener("click", async () => {
  const on = $("mic").getAttribute("aria-pressed") === "true";
  if (on) {
    await link.microphone(null);
    devices.mute();
  } else {
    try {
      await link.microphone(await devices.listen());
      speak();
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
  const running = Boolean(responding);
  if (running) send("response.cancel");
  await link?.stop(running);
};
$("stop").addEventListener("click", stopReply);

const hold = async () => {
  if (speaking || !link || !manual() || !devices.stream) return;
  speaking = true;
  $("speech").textContent = "speaking";
  await stopReply();
  send("input_audio_buffer.clear");
  speak();
};
const release = async () => {
  if (!speaking) return;
  $("speech").textContent = "quiet";
  await link?.spoken();
  speaking = false;
  speak();
  send("input_audio_buffer.commit");
  send("response.create");
  turnEnded = performance.now();
};
$("hold").addEventListener("pointerdown", hold);
$("hold").addEventListener("pointerup", release);
const isSpace = (event) => event.code === "Space" && !event.target.matches("input, select, summary, button:not(#hold)");
document.addEventListener("keydown", (event) => {
  if (!isSpace(event) || !manual() || !link) return;
  event.preventDefault();
  if (!event.repeat) hold();
});
document.addEventListener("keyup", (event) => isSpace(event) && release());

$("turns").addEventListener("change", () => {
  $("hold").hidden = !manual();
  speak();
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
  if (!link) status("Not connected", "idle");
};
$("key").addEventListener("change", loadModels);
loadModels().catch((problem) => status(`The gateway does not answer: ${problem.message}`, "error"));
