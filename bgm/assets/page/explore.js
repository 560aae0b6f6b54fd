// Charts of runs and of images, the worst images of each run, which runs are shown.
const data = JSON.parse(find("#data").textContent);
const SYMBOLS = ["M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0", "M-5 -5H5V5H-5Z", "M0 -6L6 5H-6Z", "M0 -7L7 0L0 7L-7 0Z", "M-6 -5H6L0 6Z", "M-2 -6H2V-2H6V2H2V6H-2V2H-6V-2H-2Z"];
const COLOURS = 8; // --c0 to --c7 in the styles
const svgElement = (name, attributes, text) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
};
const distinct = (key) => (key ? [...new Set(data.runs.map((run) => run.settings[key] ?? ""))] : []);
const short = (value) => (value === null ? "" : Math.abs(value) >= 1000 ? value.toFixed(0) : String(Number(value.toPrecision(4))));

// A chart of points {x, y, label, colour, symbol, open}; logarithmic where that is asked for.
const drawChart = (svg, points, { x, y, log, front }) => {
  const width = 640, height = 400, left = 64, bottom = 44, top = 14, right = 14;
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const positive = log && points.every((p) => p.x > 0 && p.y > 0);
  const scale = positive ? Math.log10 : (v) => v;
  const axis = (key, from, to) => {
    const values = points.map((p) => scale(p[key]));
    let low = Math.min(...values), high = Math.max(...values);
    const margin = (high - low) * 0.08 || Math.abs(high) * 0.1 || 1;
    low -= margin; high += margin;
    return { place: (v) => from + ((scale(v) - low) / (high - low)) * (to - from), low, high };
  };
  if (!points.length) {
    svg.append(svgElement("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, "nothing to show"));
    return;
  }
  const across = axis("x", left, width - right), up = axis("y", height - bottom, top);
  for (let i = 0; i <= 4; i++) {
    for (const [a, vertical] of [[across, true], [up, false]]) {
      const at = a.low + ((a.high - a.low) * i) / 4, value = positive ? 10 ** at : at, place = a.place(value);
      svg.append(svgElement("line", vertical ? { x1: place, x2: place, y1: top, y2: height - bottom, class: "grid" } : { x1: left, x2: width - right, y1: place, y2: place, class: "grid" }));
      svg.append(svgElement("text", vertical ? { x: place, y: height - bottom + 16, "text-anchor": "middle", class: "tick" } : { x: left - 6, y: place + 4, "text-anchor": "end", class: "tick" }, short(value)));
    }
  }
  svg.append(svgElement("text", { x: (left + width) / 2, y: height - 6, "text-anchor": "middle" }, x));
  svg.append(svgElement("text", { x: 14, y: (height - bottom) / 2, "text-anchor": "middle", transform: `rotate(-90 14 ${(height - bottom) / 2})` }, y));
  if (front) {
    const best = [];
    for (const p of [...points].sort((a, b) => a.x - b.x || a.y - b.y)) if (!best.length || p.y < best.at(-1).y) best.push(p);
    best.forEach((p) => { p.open = false; });
    const path = best.map((p, i) => `${i ? `H${across.place(p.x)}V${up.place(p.y)}` : `M${across.place(p.x)} ${up.place(p.y)}`}`).join("");
    svg.append(svgElement("path", { d: path, class: "front" }));
  }
  for (const p of points) {
    const mark = svgElement("path", { d: SYMBOLS[p.symbol ?? 0], transform: `translate(${across.place(p.x)} ${up.place(p.y)})`, class: p.open ? "point open" : "point", tabindex: 0, role: "img", "aria-label": p.label });
    mark.style.setProperty("--point", `var(--c${(p.colour ?? 0) % COLOURS})`);
    mark.append(svgElement("title", {}, p.label));
    if (p.run !== undefined) mark.dataset.run = p.run;
    if (p.open === false && p.name) svg.append(svgElement("text", { x: across.place(p.x) + 9, y: up.place(p.y) - 7, class: "tick" }, p.name));
    if (p.act) {
      mark.addEventListener("click", p.act);
      mark.addEventListener("keydown", (event) => { if (event.key === "Enter") p.act(); });
    }
    svg.append(mark);
  }
};

// Runs: any figure against any other, settings as colour and symbol.
const legend = (element, key, kind) => distinct(key).forEach((value, index) => {
  const item = document.createElement("span");
  const mark = svgElement("svg", { viewBox: "-8 -8 16 16", width: 14, height: 14, "aria-hidden": "true" });
  const path = svgElement("path", { d: SYMBOLS[kind === "symbol" ? index % SYMBOLS.length : 0], class: "point" });
  path.style.setProperty("--point", kind === "colour" ? `var(--c${index % COLOURS})` : "var(--muted)");
  mark.append(path);
  item.append(mark, `${key}=${value}`);
  element.append(item);
});
const drawRuns = () => {
  const svg = find("#runs-chart");
  if (!svg) return;
  const x = find("#runs-x").value, y = find("#runs-y").value, colour = find("#runs-colour").value, symbol = find("#runs-symbol").value;
  const points = data.runs.flatMap((run, number) => (hiddenRuns.has(number) || run.figures[x] == null || run.figures[y] == null ? [] : [{
    x: run.figures[x], y: run.figures[y], run: number, name: run.name, open: true,
    label: `${runLabels[number]}: ${data.columns[x]} ${short(run.figures[x])}, ${data.columns[y]} ${short(run.figures[y])}`,
    colour: colour ? distinct(colour).indexOf(run.settings[colour] ?? "") : 0,
    symbol: symbol ? distinct(symbol).indexOf(run.settings[symbol] ?? "") % SYMBOLS.length : 0,
  }]));
  drawChart(svg, points, { x: data.columns[x], y: data.columns[y], log: find("#runs-log").checked, front: true });
  const box = find("#runs-legend");
  box.replaceChildren();
  legend(box, colour, "colour");
  if (symbol !== colour) legend(box, symbol, "symbol");
};

// Images: any figure of one run against any figure of another.
const drawImages = () => {
  const svg = find("#images-chart");
  if (!svg) return;
  const chosen = ["x", "y"].map((side) => ({ figure: find(`#images-${side}`).value, run: Number(find(`#images-${side}-run`).value) }));
  const points = data.names.flatMap((name, index) => {
    const [a, b] = chosen.map(({ figure, run }) => data.values[figure]?.[run]?.[index] ?? null);
    return a === null || b === null ? [] : [{ x: a, y: b, label: `${name}: ${short(a)}, ${short(b)}`, act: () => openByName(name, chosen[0].run, chosen[1].run) }];
  });
  const titles = chosen.map(({ figure, run }) => `${data.figures[figure]}, ${data.runs[run].name}`);
  drawChart(svg, points, { x: titles[0], y: titles[1], log: find("#images-log").checked });
};
const openByName = (name, left, right) => {
  const article = articles.find((one) => one.dataset.name === name);
  if (article) openAt(article, left, "alpha", { left, right });
};

// The worst images of each run, by a figure or by how much worse than the reference they are.
const drawWorst = () => {
  const box = find("#worst-list");
  if (!box) return;
  const key = find("#worst-figure").value, relative = find("#worst-by").value === "difference", reference = data.references[key] ?? 0;
  box.replaceChildren();
  data.runs.forEach((run, number) => {
    const values = data.values[key]?.[number];
    if (!values || hiddenRuns.has(number) || (relative && number === reference)) return;
    const rated = data.names.map((name, index) => ({ name, value: values[index] ?? null, than: data.values[key][reference]?.[index] ?? null }))
      .filter((one) => one.value !== null && (!relative || (one.than !== null && one.value > one.than)))
      .map((one) => ({ ...one, by: relative ? one.value - one.than : one.value }));
    const row = document.createElement("div"), heading = document.createElement("h3");
    heading.textContent = runLabels[number];
    row.className = "worst";
    for (const one of rated.sort((a, b) => b.by - a.by).slice(0, 6)) {
      const article = articles.find((other) => other.dataset.name === one.name);
      const button = element("button", { type: "button" }, `${one.name} ${relative ? "+" : ""}${short(one.by)}`);
      if (article) {
        const img = element("img", { alt: "" });
        button.prepend(img);
        whenNear(button, () => withPictures(article, ({ panels }) => { img.src = (panels[number]?.alpha ?? panels[number]?.cutout)?.data ?? ""; }));
        button.addEventListener("click", () => withPictures(article, ({ truth }) => openByName(one.name, number, relative ? reference : truth ? "truth" : reference)));
      }
      row.append(button);
    }
    box.append(heading, row);
  });
};

// Which runs are shown: by words of their names and settings, and by each setting's values.
const filterRuns = () => {
  const words = find("#search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const off = all("#settings input").filter((box) => !box.checked).map((box) => [box.dataset.key, box.value]);
  hiddenRuns.clear();
  data.runs.forEach((run, number) => {
    const text = `${runLabels[number]} ${Object.entries(run.settings).map(([key, value]) => `${key}=${value}`).join(" ")}`.toLowerCase();
    const shown = words.every((word) => text.includes(word)) && !off.some(([key, value]) => (run.settings[key] ?? "") === value);
    if (!shown) hiddenRuns.add(number);
  });
  all("tbody tr").forEach((row) => { row.hidden = hiddenRuns.has(Number(row.dataset.run)); });
  all(".strip figure[data-run]").forEach((figure) => { figure.hidden = hiddenRuns.has(Number(figure.dataset.run)); });
  find("#shown").textContent = `${data.runs.length - hiddenRuns.size} of ${data.runs.length} runs shown`;
  drawRuns();
  drawWorst();
};
find("#search").addEventListener("input", filterRuns);
find("#settings")?.addEventListener("change", filterRuns);
for (const id of ["runs-x", "runs-y", "runs-colour", "runs-symbol", "runs-log"]) find(`#${id}`)?.addEventListener("change", drawRuns);
for (const id of ["images-x", "images-y", "images-x-run", "images-y-run", "images-log"]) find(`#${id}`)?.addEventListener("change", drawImages);
for (const id of ["worst-figure", "worst-by"]) find(`#${id}`)?.addEventListener("change", drawWorst);
all("#commands button").forEach((button) => button.addEventListener("click", async () => {
  const code = button.parentElement.querySelector("code");
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(code);
    button.textContent = "Selected";
  }
}));
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.target.closest("input, select, dialog")) { event.preventDefault(); find("#search").focus(); }
});

// Permanent links: the image and the runs that are on the stage.
const remember = () => {
  const name = (run) => data.runs[run]?.name ?? run;
  const state = viewer.open ? new URLSearchParams({ image: view.article.dataset.name, left: name(view.left), right: name(view.right), layer: view.layer }) : null;
  history.replaceState(null, "", state ? `#${state}` : location.pathname + location.search);
};
const recall = () => {
  const state = new URLSearchParams(location.hash.slice(1));
  const article = articles.find((one) => one.dataset.name === state.get("image"));
  if (!article) return;
  const number = (text) => { const at = data.runs.findIndex((run) => run.name === text); return at < 0 ? text : at; };
  const runs = ["left", "right"].map((side) => number(state.get(side))).map((run) => (typeof run === "number" || ["source", "truth"].includes(run) ? run : 0));
  const layer = ["cutout", "alpha", "heat"].includes(state.get("layer")) ? state.get("layer") : "cutout";
  openAt(article, runs[0], layer, { left: runs[0], right: runs[1] });
};
viewer.addEventListener("close", remember);
addEventListener("hashchange", recall);
filterRuns();
drawImages();
recall();
