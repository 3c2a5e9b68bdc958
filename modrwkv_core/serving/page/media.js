// Files and recordings to parts of a message.

const KINDS = [
  { kind: "image", test: (file) => file.type.startsWith("image/") },
  { kind: "audio", test: (file) => file.type.startsWith("audio/") || /\.(wav|mp3|flac|ogg|opus)$/i.test(file.name) },
  { kind: "series", test: (file) => /\.(csv|npy|txt)$/i.test(file.name) },
];

export function kindOf(file) {
  return KINDS.find(({ test }) => test(file))?.kind;
}

export async function toPart(file) {
  const data = await base64(file);
  switch (kindOf(file)) {
    case "image":
      return { type: "image_url", image_url: { url: `data:${file.type};base64,${data}` } };
    case "audio": {
      const format = file.name.match(/\.(wav|mp3|flac|ogg|opus)$/i)?.[1].toLowerCase() ?? "wav";
      return { type: "input_audio", input_audio: { data, format } };
    }
    default:
      return { type: "input_series", input_series: { data } };
  }
}

function base64(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

// Records the microphone; `stop` returns a WAV file of 16 kHz, which every server reads.
export class Recorder {
  // `onSecond` is told each second of sound.
  static async start(onSecond) {
    if (!navigator.mediaDevices) throw new Error("Browsers hand out the microphone on localhost and over HTTPS only.");
    const context = new AudioContext({ sampleRate: 16000 });
    try {
      await context.audioWorklet.addModule("ui/recorder.js");
      const stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
      return new Recorder(stream, context, onSecond);
    } catch (error) {
      await context.close();
      throw new Error(`The microphone cannot be used: ${error.message}`);
    }
  }

  constructor(stream, context, onSecond) {
    this.stream = stream;
    this.context = context;
    this.chunks = [];
    this.samples = 0;
    this.node = new AudioWorkletNode(context, "recorder");
    this.node.port.onmessage = ({ data }) => {
      const before = Math.floor(this.samples / context.sampleRate);
      this.chunks.push(data);
      this.samples += data.length;
      const seconds = Math.floor(this.samples / context.sampleRate);
      if (seconds > before) onSecond(seconds);
    };
    context.createMediaStreamSource(stream).connect(this.node);
  }

  async stop() {
    this.stream.getTracks().forEach((track) => track.stop());
    await this.context.close();
    return new File([wav(this.chunks, this.context.sampleRate)], "recording.wav", { type: "audio/wav" });
  }
}

function wav(chunks, rate) {
  const samples = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  const view = new DataView(new ArrayBuffer(44 + 2 * samples));
  const text = (at, word) => [...word].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * samples, true);
  let at = 44;
  for (const chunk of chunks) {
    for (const sample of chunk) {
      view.setInt16(at, Math.max(-1, Math.min(1, sample)) * 32767, true);
      at += 2;
    }
  }
  return view.buffer;
}
