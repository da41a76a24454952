// `@openai/agents-realtime`: a RealtimeSession over WebSocket.
import { OpenAIRealtimeWebSocket, RealtimeAgent, RealtimeSession, tool } from "@openai/agents-realtime";
import { z } from "zod";
import { main, paced, seen, speech, took, until } from "./parts.mjs";

main(async (url) => {
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
  const transport = new OpenAIRealtimeWebSocket({ url: `${url}?model=gpt-realtime`, useInsecureApiKey: true });
  const session = new RealtimeSession(agent, {
    transport,
    model: "gpt-realtime",
    tracingDisabled: true,
    config: { audio: { input: { transcription: { model: "whisper-1" }, turnDetection: { type: "server_vad" } } } },
  });
  session.on("audio", ({ data }) => took(new Uint8Array(data)));
  session.on("audio_interrupted", () => (seen.interrupted = true));
  session.on("error", (error) => console.error("error event", JSON.stringify(error).slice(0, 400)));
  session.on("history_updated", (history) => {
    for (const item of history) {
      for (const part of item.content ?? []) {
        const known = seen[item.role === "user" ? "transcript" : "reply"];
        if (part.transcript && item.status === "completed" && !known.includes(part.transcript)) known.push(part.transcript);
      }
    }
  });
  await session.connect({ apiKey: "any", url: `${url}?model=gpt-realtime` });
  await paced(speech("walk"), (piece) => session.sendAudio(piece));
  await until(() => seen.tool && seen.audio > 20_000 && seen.reply.length, "the tool and the reply");
  const before = seen.audio;
  await paced(speech("hello"), (piece) => session.sendAudio(piece));
  await until(() => seen.interrupted, "the interruption");
  await until(() => seen.audio > before + 20_000, "the second reply");
  session.close();
  seen.closed = true;
});
