// A plane of valence (right) and arousal (up), each -1 to 1, with a ring to drag or to move by the arrow keys,
// and the path of a clip on it. The model hears of a new place once the ring is let go, so that a drag asks for
// one rendering.
const SIZE = 300, MARGIN = 20, STEP = 0.1;
const SVG = "http://www.w3.org/2000/svg";
const INK = "var(--jp-content-font-color1, #222222)", FAINT = "var(--jp-content-font-color2, #666666)";
const PAPER = "var(--jp-layout-color0, #ffffff)", LINE = "var(--jp-border-color2, #dddddd)";

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
    viewBox: `0 0 ${SIZE} ${SIZE}`, width: SIZE, tabindex: 0, role: "slider", class: "emolib-pad",
    "aria-label": "a point on the plane of valence and arousal", "aria-valuenow": 0,
    style: "touch-action: none; cursor: crosshair",
  });
  draw(svg, "rect", { x: MARGIN, y: MARGIN, width: SIZE - 2 * MARGIN, height: SIZE - 2 * MARGIN,
    fill: PAPER, stroke: LINE });
  draw(svg, "path", { d: `M${right(-1)} ${down(0)}H${right(1)}M${right(0)} ${down(-1)}V${down(1)}`, stroke: LINE });
  const label = { "font-size": 12, "font-family": "sans-serif", fill: FAINT, "text-anchor": "middle" };
  draw(svg, "text", { ...label, x: SIZE / 2, y: SIZE - 5 }, "valence →");
  draw(svg, "text", { ...label, x: 13, y: SIZE / 2, transform: `rotate(-90 13 ${SIZE / 2})` }, "arousal →");
  for (const anchor of model.get("anchors")) {
    draw(svg, "circle", { cx: right(anchor.valence), cy: down(anchor.arousal), r: 5, fill: anchor.colour,
      stroke: FAINT, "stroke-width": 0.5 });
    const leftwards = Math.abs(anchor.valence) > 0.5; // away from the middle, where the ring and the path are
    const side = leftwards ? "end" : "start", shift = leftwards ? -8 : 11;
    draw(svg, "text", { ...label, "text-anchor": side, x: right(anchor.valence) + shift,
      y: down(anchor.arousal) + 4 }, anchor.name);
  }
  const path = draw(svg, "g", { "data-emolib": "plane", stroke: INK, "stroke-width": 2, "pointer-events": "none" });
  const ring = draw(svg, "circle", { r: 9, fill: "transparent", stroke: "var(--jp-brand-color1, #1976d2)",
    "stroke-width": 3, class: "emolib-pad-point" });

  let at = null; // where the ring is while it is dragged
  const place = () => at ?? [model.get("valence"), model.get("arousal")];
  function show() {
    const [valence, arousal] = place();
    ring.setAttribute("cx", right(valence));
    ring.setAttribute("cy", down(arousal));
    svg.setAttribute("aria-valuetext", `valence ${valence.toFixed(2)}, arousal ${arousal.toFixed(2)}`);
  }
  function showPath() {
    const points = model.get("path").map(([valence, arousal]) => [right(inside(valence)), down(inside(arousal))]);
    // ipywidgets gives the handles of its sliders no name for screen readers
    for (const slider of document.querySelectorAll(".emolib-panel .widget-slider")) {
      slider.querySelector("[role=slider]")?.setAttribute("aria-label", slider.querySelector("label")?.textContent);
    }
    path.replaceChildren();
    if (!points.length) return;
    draw(path, "path", { d: `M${points.map((point) => point.join(" ")).join("L")}` });
    points.forEach(([cx, cy], index) => draw(path, "circle", { cx, cy, r: 5, fill: index ? INK : PAPER }));
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
  model.on("change:path", showPath);
  show();
  showPath();
}

export default { render };
