const clips = JSON.parse(document.getElementById("clips").textContent);
const player = new Audio();
let now = null;

function stop() {
  player.pause();
  now?.classList.remove("on");
  now?.style.removeProperty("--done");
  now = null;
}

function play(button) {
  const again = now === button;
  stop();
  if (again) return;
  player.src = "data:audio/mpeg;base64," + clips[button.dataset.clip];
  now = button;
  now.classList.add("on");
  player.play().catch(stop);
  requestAnimationFrame(draw);
}

function draw() {
  if (!now) return;
  if (player.duration) now.style.setProperty("--done", player.currentTime / player.duration);
  requestAnimationFrame(draw);
}

function move(button, down, right) {
  const cell = button.closest("td");
  const rows = [...cell.closest("tbody").rows];
  const row = rows[rows.indexOf(cell.parentElement) + down];
  const next = row?.cells[cell.cellIndex + right]?.querySelector("button");
  next?.focus();
  return Boolean(next);
}

const ways = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
player.addEventListener("ended", stop);
document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-clip]");
  if (button) play(button);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") stop();
  const button = document.activeElement.closest("button[data-clip]");
  if (button && ways[event.key] && move(button, ...ways[event.key])) event.preventDefault();
});
