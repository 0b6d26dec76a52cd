// A file is sent in pieces, each far below what any server takes as one message.
const PIECE = 4 * 1024 * 1024;

export default {
  render({ model, el }) {
    const label = document.createElement("label");
    const input = document.createElement("input");
    const words = document.createElement("span");
    const most = model.get("most_bytes");
    const megabytes = (bytes) => (bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0) + " MB";
    label.textContent = `own recording, at most ${megabytes(most)} `;
    input.type = "file";
    input.accept = "audio/*";
    words.style.color = "#B00020";
    words.setAttribute("role", "alert");
    label.append(input);
    el.classList.add("emolib-upload");
    el.append(label, words);
    input.addEventListener("change", async () => {
      const file = input.files[0];
      if (!file) return;
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
        words.textContent = ` ${file.name}: ${error.message}`;
      }
      input.value = "";
    });
  },
};
