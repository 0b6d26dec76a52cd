// A plane of valence (right) and arousal (up), each -1 to 1, with a point to drag or to move by the arrow keys.
// The model hears of a new place once the point is let go, so that a drag asks for one rendering.
const SIZE = 260, MARGIN = 18, STEP = 0.1;
const SVG = "http://www.w3.org/2000/svg";

function draw(parent, kind, attributes, text) {
  const node = document.createElementNS(SVG, kind);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text) node.textContent = text;
  parent.appendChild(node);
  return node;
}

const right = (valence) => MARGIN + ((valence + 1) / 2) * (SIZE - 2 * MARGIN);
const down = (arousal) => MARGIN + ((1 - arousal) / 2) * (SIZE - 2 * MARGIN);
const inside = (value) => Math.min(1, Math.max(-1, Math.round(value * 100) / 100));

function render({ model, el }) {
  const svg = draw(el, "svg", {
    width: SIZE, height: SIZE, tabindex: 0, role: "slider", class: "emolib-pad",
    "aria-label": "a point on the plane of valence and arousal", style: "touch-action: none; cursor: crosshair",
  });
  draw(svg, "rect", { x: MARGIN, y: MARGIN, width: SIZE - 2 * MARGIN, height: SIZE - 2 * MARGIN,
    fill: "#fafafa", stroke: "#cccccc" });
  draw(svg, "line", { x1: right(-1), x2: right(1), y1: down(0), y2: down(0), stroke: "#dddddd" });
  draw(svg, "line", { x1: right(0), x2: right(0), y1: down(-1), y2: down(1), stroke: "#dddddd" });
  const label = { "font-size": 11, "font-family": "sans-serif", fill: "#666666", "text-anchor": "middle" };
  draw(svg, "text", { ...label, x: SIZE / 2, y: SIZE - 4 }, "valence →");
  draw(svg, "text", { ...label, x: 12, y: SIZE / 2, transform: `rotate(-90 12 ${SIZE / 2})` }, "arousal →");
  for (const anchor of model.get("anchors")) {
    draw(svg, "circle", { cx: right(anchor.valence), cy: down(anchor.arousal), r: 4, fill: anchor.colour });
    const side = anchor.valence > 0.5 ? "end" : "start";
    const shift = anchor.valence > 0.5 ? -7 : 7;
    draw(svg, "text", { ...label, "text-anchor": side, x: right(anchor.valence) + shift,
      y: down(anchor.arousal) + 4 }, anchor.name);
  }
  const point = draw(svg, "circle", { r: 8, fill: "#222222", "fill-opacity": 0.75, stroke: "white",
    "stroke-width": 2, class: "emolib-pad-point" });

  let at = null; // where the point is while it is dragged
  const place = () => at ?? [model.get("valence"), model.get("arousal")];
  function show() {
    const [valence, arousal] = place();
    point.setAttribute("cx", right(valence));
    point.setAttribute("cy", down(arousal));
    svg.setAttribute("aria-valuetext", `valence ${valence.toFixed(2)}, arousal ${arousal.toFixed(2)}`);
  }
  function commit(valence, arousal) {
    at = null;
    model.set({ valence: inside(valence), arousal: inside(arousal) });
    model.save_changes();
    show();
  }
  function under(event) {
    const box = svg.getBoundingClientRect();
    const span = box.width * (1 - (2 * MARGIN) / SIZE);
    const x = (event.clientX - box.left - (MARGIN * box.width) / SIZE) / span;
    const y = (event.clientY - box.top - (MARGIN * box.width) / SIZE) / span;
    return [inside(2 * x - 1), inside(1 - 2 * y)];
  }
  svg.addEventListener("pointerdown", (event) => {
    svg.setPointerCapture(event.pointerId);
    at = under(event);
    show();
  });
  svg.addEventListener("pointermove", (event) => {
    if (at) { at = under(event); show(); }
  });
  svg.addEventListener("pointerup", () => { if (at) commit(...at); });
  svg.addEventListener("pointercancel", () => { at = null; show(); });
  svg.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, STEP], ArrowDown: [0, -STEP] }[event.key];
    if (!move) return;
    event.preventDefault();
    event.stopPropagation(); // the notebook has plans of its own for arrow keys
    const [valence, arousal] = place();
    commit(valence + move[0], arousal + move[1]);
  });
  model.on("change:valence", show);
  model.on("change:arousal", show);
  show();
}

export default { render };
