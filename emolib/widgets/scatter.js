// Points on a plane, each -1 to 1 both ways; a click or the arrow keys choose one.
const SIZE = 420, MARGIN = 26;
const SVG = "http://www.w3.org/2000/svg";

function draw(parent, kind, attributes, text) {
  const node = document.createElementNS(SVG, kind);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text) node.textContent = text;
  parent.appendChild(node);
  return node;
}

const right = (x) => MARGIN + ((x + 1) / 2) * (SIZE - 2 * MARGIN);
const down = (y) => MARGIN + ((1 - y) / 2) * (SIZE - 2 * MARGIN);

function render({ model, el }) {
  const svg = draw(el, "svg", { width: SIZE, height: SIZE, tabindex: 0, role: "listbox", class: "emolib-scatter",
    "aria-label": "clips on the plane of valence and arousal", style: "cursor: pointer" });
  draw(svg, "rect", { x: MARGIN, y: MARGIN, width: SIZE - 2 * MARGIN, height: SIZE - 2 * MARGIN, fill: "#fafafa",
    stroke: "#cccccc" });
  draw(svg, "path", { d: `M${right(-1)} ${down(0)}H${right(1)}M${right(0)} ${down(-1)}V${down(1)}`, stroke: "#dddddd" });
  const label = { "font-size": 12, "font-family": "sans-serif", fill: "#666666", "text-anchor": "middle" };
  draw(svg, "text", { ...label, x: SIZE / 2, y: SIZE - 7 }, "valence →");
  draw(svg, "text", { ...label, x: 15, y: SIZE / 2, transform: `rotate(-90 15 ${SIZE / 2})` }, "arousal →");
  const points = model.get("points");
  const inside = (value) => Math.min(1, Math.max(-1, value));
  for (const [valence, arousal, colour] of points) {
    draw(svg, "circle", { cx: right(inside(valence)), cy: down(inside(arousal)), r: 4, fill: colour, "fill-opacity": 0.6 });
  }
  const ring = draw(svg, "circle", { r: 8, fill: "none", stroke: "#222222", "stroke-width": 2, visibility: "hidden" });

  function show() {
    const chosen = model.get("chosen");
    ring.setAttribute("visibility", chosen < 0 ? "hidden" : "visible");
    if (chosen < 0) return;
    ring.setAttribute("cx", right(inside(points[chosen][0])));
    ring.setAttribute("cy", down(inside(points[chosen][1])));
  }
  function choose(index) {
    model.set("chosen", index);
    model.save_changes();
  }
  svg.addEventListener("click", (event) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * SIZE, y = ((event.clientY - box.top) / box.height) * SIZE;
    let nearest = -1, least = 20 * 20; // pixels: a click beside every point chooses none
    points.forEach(([valence, arousal], index) => {
      const far = (right(inside(valence)) - x) ** 2 + (down(inside(arousal)) - y) ** 2;
      if (far < least) [nearest, least] = [index, far];
    });
    if (nearest >= 0) choose(nearest);
  });
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step || !points.length) return;
    event.preventDefault();
    event.stopPropagation(); // the notebook has plans of its own for arrow keys
    choose((model.get("chosen") + step + points.length) % points.length);
  });
  model.on("change:chosen", show);
  show();
}

export default { render };
