// `@mastra/voice-openai-realtime`. It has no events for interruptions: the raw client's `speech_started`, after which the app
// stops its player, stands for one.
import { OpenAIRealtimeVoice } from "@mastra/voice-openai-realtime";
import { z } from "zod";
import { main, paced, seen, speech, took, until } from "./parts.mjs";

main(async (url) => {
  const voice = new OpenAIRealtimeVoice({ url, model: "gpt-realtime", apiKey: "any" });
  voice.addTools({
    go_forward: {
      id: "go_forward",
      description: "Go forward some meters.",
      inputSchema: z.object({ meters: z.number().int() }),
      parameters: z.object({ meters: z.number().int() }),
      execute: async (input) => {
        seen.tool = { meters: (input.context ?? input).meters };
        return "arrived";
      },
    },
  });
  voice.on("error", (error) => console.error("error event", JSON.stringify(error).slice(0, 400)));
  voice.on("speaking", ({ audio }) => took(new Uint8Array(audio.buffer ?? audio, audio.byteOffset ?? 0, audio.byteLength ?? audio.length)));
  const words = { user: "", assistant: "" };
  voice.on("writing", ({ text, role }) => {
    words[role] += text;
    if (text === "\n") {
      seen[role === "user" ? "transcript" : "reply"].push(words[role].trim());
      words[role] = "";
    }
  });
  await voice.connect();
  const client = voice.client ?? voice.realtimeClient;
  client?.on?.("conversation.item.input_audio_transcription.completed", ({ transcript }) => seen.transcript.push(transcript));
  client?.on?.("response.output_audio_transcript.done", ({ transcript }) => seen.reply.push(transcript));
  client?.on?.("input_audio_buffer.speech_started", () => (seen.interrupted = seen.audio > 0));
  await paced(speech("walk"), (piece) => voice.send(new Int16Array(piece)));
  await until(() => seen.tool, "the tool");
  await until(() => seen.audio > 20_000, "the reply");
  await paced(speech("hello"), (piece) => voice.send(new Int16Array(piece)));
  await until(() => seen.interrupted, "the interruption");
  voice.close();
  seen.closed = true;
});
