// `@openai/agents-realtime` in a browser: a RealtimeSession over WebRTC. It has no event of its own for an interruption here:
// the gateway's `output_audio_buffer.cleared` stands for one.
import { OpenAIRealtimeWebRTC, RealtimeAgent, RealtimeSession, tool } from "@openai/agents-realtime";
import { z } from "zod";
import { Microphone, listen, main, seen, settings, until } from "./parts_browser.mjs";

main(async () => {
  const walk = tool({
    name: "go_forward",
    description: "Go forward some meters.",
    parameters: z.object({ meters: z.number().int() }),
    execute: async ({ meters }) => {
      seen.tool = { meters };
      return "arrived";
    },
  });
  const agent = new RealtimeAgent({ name: "walker", instructions: "Walk.", tools: [walk] });
  const microphone = new Microphone();
  const audioElement = document.createElement("audio");
  const transport = new OpenAIRealtimeWebRTC({ baseUrl: settings.url, mediaStream: microphone.stream, audioElement });
  const session = new RealtimeSession(agent, {
    transport,
    model: settings.model,
    tracingDisabled: true,
    config: { audio: { input: { transcription: { model: "whisper-1" }, turnDetection: { type: "server_vad" } } } },
  });
  const errors = [];
  const playing = { started: 0, stopped: 0, cleared: 0 };
  session.on("error", (error) => errors.push(JSON.stringify(error)));
  session.on("transport_event", ({ type }) => {
    const [what, how] = type.split(".");
    if (what === "output_audio_buffer") playing[how]++;
    if (type === "conversation.item.truncated") seen.interrupted = true;
  });
  session.on("history_updated", (history) => {
    for (const item of history) {
      for (const part of item.content ?? []) {
        const known = seen[item.role === "user" ? "transcript" : "reply"];
        if (part.transcript && item.status === "completed" && !known.includes(part.transcript)) known.push(part.transcript);
      }
    }
  });
  await session.connect({ apiKey: settings.key });
  if (!transport.callId) throw new Error("the call's id was not told");
  await listen(audioElement);
  await microphone.say("walk");
  await until(() => seen.tool && seen.reply.length && playing.stopped, "the tool and the reply");
  await microphone.say("hello");
  await until(() => playing.started === 2, "the second reply");
  await microphone.say("hello");
  await until(() => seen.interrupted && playing.cleared, "the interruption");
  await until(() => playing.started === 3, "the third reply");
  session.interrupt();
  await until(() => playing.cleared === 2, "the stop");
  session.close();
  if (errors.length) throw new Error(errors.join(" "));
  seen.closed = transport.status === "disconnected";
});
