// A file, or what the microphone hears, is sent in pieces, each far below what any server takes as one message.
const PIECE = 4 * 1024 * 1024;

// What a browser records, as a wav file of one channel and 16 bits: its own formats differ from browser to browser.
async function asWav(blob) {
  const context = new AudioContext();
  const sound = await context.decodeAudioData(await blob.arrayBuffer());
  await context.close();
  const samples = sound.getChannelData(0), view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (at, words) => [...words].forEach((letter, n) => view.setUint8(at + n, letter.charCodeAt(0)));
  text(0, "RIFF"); text(8, "WAVEfmt "); text(36, "data");
  view.setUint32(4, 36 + 2 * samples.length, true);
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, sound.sampleRate, true); view.setUint32(28, 2 * sound.sampleRate, true);
  view.setUint16(32, 2, true); view.setUint16(34, 16, true);
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((value, n) => view.setInt16(44 + 2 * n, 32767 * Math.max(-1, Math.min(1, value)), true));
  return new File([view.buffer], "recording.wav");
}

export default {
  render({ model, el }) {
    const label = document.createElement("label"), input = document.createElement("input");
    const button = document.createElement("button"), words = document.createElement("span");
    const most = model.get("most_bytes");
    const megabytes = (bytes) => (bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0) + " MB";
    label.textContent = `own recording, at most ${megabytes(most)} `;
    input.type = "file";
    input.accept = "audio/*";
    button.type = "button";
    button.textContent = "record";
    words.setAttribute("role", "alert");
    label.append(input);
    el.classList.add("emolib-upload");
    el.append(label, button, words);

    async function send(file) {
      words.textContent = "";
      try {
        if (file.size > most) {
          throw new Error(`it has ${megabytes(file.size)}; expected at most ${megabytes(most)}: cut it first`);
        }
        for (let at = 0; at === 0 || at < file.size; at += PIECE) {
          const piece = await file.slice(at, at + PIECE).arrayBuffer();
          model.send({ name: file.name, size: file.size, at }, undefined, [piece]);
        }
      } catch (error) {
        words.textContent = `${file.name}: ${error.message}`;
      }
    }
    input.addEventListener("change", async () => {
      if (input.files[0]) await send(input.files[0]);
      input.value = "";
    });

    let recorder = null;
    button.addEventListener("click", async () => {
      if (recorder) return recorder.stop();
      words.textContent = "";
      try {
        const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
        recorder = new MediaRecorder(stream);
        recorder.addEventListener("dataavailable", async ({ data }) => {
          stream.getTracks().forEach((track) => track.stop());
          recorder = null;
          button.textContent = "record";
          try { await send(await asWav(data)); } catch { words.textContent = "recording: nothing was heard; try again"; }
        });
        recorder.start();
        button.textContent = "stop recording";
      } catch (error) {
        recorder = null;
        words.textContent = `microphone: ${error.message}`;
      }
    });
  },
};
