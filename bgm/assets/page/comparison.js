"use strict";
const find = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const runLabels = JSON.parse(find("#runs").textContent);

// The tables: a click on a heading sorts, a second one the other way; rows without a value stay last.
all("table").forEach((table) => all("th", table).forEach((heading, column) => {
  find("button", heading).addEventListener("click", () => {
    const down = heading.getAttribute("aria-sort") === "ascending";
    all("th", table).forEach((other) => other.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = all("tbody tr", table).map((row) => {
      const cell = row.cells[column];
      return { row, text: cell.textContent, number: parseFloat(cell.dataset.value) };
    });
    const order = (a, b) => {
      if (!a.text !== !b.text) return a.text ? -1 : 1;
      const numbers = !Number.isNaN(a.number) && !Number.isNaN(b.number);
      const way = numbers ? a.number - b.number : a.text.localeCompare(b.text, undefined, { numeric: true });
      return down ? -way : way;
    };
    find("tbody", table).append(...rows.sort(order).map((entry) => entry.row));
  });
}));

// The rows of a run and its points in the plots light up together.
runLabels.forEach((_, run) => {
  const rows = all(`tr[data-run="${run}"]`);
  const points = all(`svg g[id$="-${run}"]`).filter((g) => /^(front|distribution)-/.test(g.id));
  const light = (on) => [...rows, ...points].forEach((one) => one.classList.toggle("lit", on));
  [...rows, ...points].forEach((one) => {
    one.addEventListener("mouseenter", () => light(true));
    one.addEventListener("mouseleave", () => light(false));
  });
});
find("#score")?.addEventListener("change", (event) => {
  all(".plots").forEach((plots) => { plots.hidden = plots.dataset.score !== event.target.value; });
});

// What comes near the window is told so, once.
const hiddenRuns = new Set();
const nearby = new Map();
const watcher = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    watcher.unobserve(target);
    nearby.get(target)();
    nearby.delete(target);
  }
}, { rootMargin: "600px" });
const whenNear = (element, act) => { nearby.set(element, act); watcher.observe(element); };

// The pictures of an image: in the page, or in a file of their own beside it.
const articles = all("article");
const unpacked = new Map(), awaited = new Map();
const picturesOf = (article) => unpacked.get(article);
const arrive = (article, pictures) => {
  unpacked.set(article, pictures);
  for (const act of awaited.get(article) ?? []) act(pictures);
  awaited.delete(article);
};
const withPictures = (article, act) => {
  const own = find("script", article);
  if (own && !unpacked.has(article)) unpacked.set(article, JSON.parse(own.textContent));
  if (unpacked.has(article)) { act(unpacked.get(article)); return; }
  if (awaited.has(article)) { awaited.get(article).push(act); return; }
  awaited.set(article, [act]);
  const script = document.createElement("script");
  script.onload = () => script.remove();
  script.onerror = () => arrive(article, { lost: article.dataset.piece, panels: runLabels.map(() => ({})) });
  script.src = article.dataset.piece;
  document.head.append(script);
};
const byPiece = new Map(articles.map((article) => [article.dataset.piece, article]));
const piece = (path, pictures) => arrive(byPiece.get(path), pictures); // such files call it
const panel = (pictures, run, layer) => ({ source: pictures.source, truth: pictures.truth }[run] ?? pictures.panels[run]?.[layer]);

// The gallery: a strip for each image, its pictures shown when they come near the window.
const element = (name, attributes, ...children) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (value !== undefined) made.setAttribute(key, value);
  made.append(...children);
  return made;
};
const picture = (run, layer, alt) => element("button", { type: "button", "data-run": run < 0 ? undefined : run, "data-layer": layer[0] },
  element("img", { "data-run": layer[1] ?? run, "data-layer": layer[2] ?? layer[0], alt }));
const fill = (article, pictures) => {
  const name = article.dataset.name, strip = find(".strip", article);
  const none = (text) => element("span", { class: "none" }, text);
  const first = element("div", { class: "pair" }, pictures.source ? picture(-1, ["source", "source", "source"], `the photograph ${name}`)
    : none(pictures.lost ? `${pictures.lost} is not beside this page` : "the photograph is no longer there"));
  if (pictures.truth) first.append(picture(-1, ["source", "truth", "alpha"], `the true alpha of ${name}`));
  strip.append(element("figure", {}, first, element("figcaption", {}, pictures.truth ? "source, true alpha" : "source")));
  pictures.panels.forEach((layers, run) => {
    const pair = ["cutout", "alpha"].map((layer) => (layers[layer] ? picture(run, [layer], `${layer} of ${name} in ${runLabels[run]}`) : none(`no ${layer}`)));
    const figure = element("figure", { "data-run": run }, element("div", { class: "pair" }, ...pair), element("figcaption", {}, runLabels[run]));
    figure.hidden = hiddenRuns.has(run);
    strip.append(figure);
  });
};
const reveal = (article) => withPictures(article, (pictures) => {
  if (article.dataset.piece) fill(article, pictures);
  for (const img of all("img", article)) img.src = panel(pictures, img.dataset.run, img.dataset.layer).data;
});
articles.forEach((article) => {
  if (!article.dataset.piece) withPictures(article, (pictures) => fill(article, pictures));
  whenNear(article, () => reveal(article));
});
find("#order")?.addEventListener("change", (event) => {
  const byName = (a, b) => a.dataset.name.localeCompare(b.dataset.name, undefined, { numeric: true });
  const byDifference = (a, b) => b.dataset.difference - a.dataset.difference || byName(a, b);
  const bySuspicion = (a, b) => b.dataset.suspicion - a.dataset.suspicion || byName(a, b);
  articles.sort({ name: byName, suspicion: bySuspicion }[event.target.value] ?? byDifference);
  find("#gallery").append(...articles);
});
find("#filter")?.addEventListener("input", (event) => {
  const wanted = event.target.value.toLowerCase();
  articles.forEach((article) => { article.hidden = !article.dataset.name.toLowerCase().includes(wanted); });
});

// The viewer: two runs on one stage, a divider between them, one zoom for both.
const viewer = find("#viewer"), stage = find("#stage"), divider = find("#divider");
const sides = { left: find("#side-left"), right: find("#side-right") };
const view = { article: null, layer: "cutout", left: 0, right: 0, split: 0.5, scale: 1, x: 0, y: 0, fitted: true };
let flickering = 0, showsLeft = true;

const size = () => {
  const { width, height } = picturesOf(view.article);
  return { width: width || find("img", sides.left).naturalWidth || 1, height: height || find("img", sides.left).naturalHeight || 1 };
};
const fitScale = () => Math.min(stage.clientWidth / size().width, stage.clientHeight / size().height);
const place = () => {
  const { width, height } = size();
  if (view.fitted) {
    view.scale = fitScale();
    view.x = (stage.clientWidth - width * view.scale) / 2;
    view.y = (stage.clientHeight - height * view.scale) / 2;
  }
  for (const img of all(".side img", stage)) {
    img.style.width = `${width}px`;
    img.style.height = `${height}px`;
    img.style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.scale})`;
    img.classList.toggle("pixels", view.scale * devicePixelRatio >= 2);
  }
  const at = view.split * stage.clientWidth;
  divider.style.left = `${at}px`;
  divider.setAttribute("aria-valuenow", Math.round(view.split * 100));
  const covers = view.layer === "heat";
  divider.hidden = covers;
  sides.right.style.clipPath = covers ? "none" : flickering ? (showsLeft ? "inset(0 0 0 100%)" : "none") : `inset(0 0 0 ${at}px)`;
  find("#tag-left").classList.toggle("off", !showsLeft);
  find("#tag-right").classList.toggle("off", showsLeft);
  find("#zoom").textContent = view.fitted ? "fit" : `${Math.round(view.scale * 100)} %`;
};
const show = () => {
  const pictures = picturesOf(view.article);
  find("#viewer-name").textContent = view.article.dataset.name;
  stage.className = view.layer;
  const layer = view.layer === "heat" ? "alpha" : view.layer;
  const missing = [];
  for (const side of ["left", "right"]) {
    const img = find("img", sides[side]), chosen = panel(pictures, view[side], layer);
    find(`#${side}`).value = view[side];
    find(`#tag-${side}`).textContent = (runLabels[view[side]] ?? { source: "source", truth: "true alpha" }[view[side]]) + (chosen ? "" : ": no picture");
    img.onload = img.onerror = null;
    img.src = chosen?.data ?? "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=";
    if (!chosen?.file) { missing.push(side); continue; }
    const full = new Image();
    full.onload = () => { if (panel(picturesOf(view.article), view[side], layer) === chosen) { img.src = full.src; resolution(); } };
    full.src = chosen.file;
  }
  find("#layer").value = view.layer;
  resolution();
  place();
  remember();
};
const resolution = () => {
  const embedded = all(".side img", stage).some((img) => img.src.startsWith("data:"));
  find("#resolution").textContent = embedded ? "reduced pictures" : "full resolution";
};
const zoomBy = (factor, x = stage.clientWidth / 2, y = stage.clientHeight / 2) => {
  const scale = clamp(view.scale * factor, Math.min(fitScale(), 1) / 2, 64);
  view.x = x - (x - view.x) * (scale / view.scale);
  view.y = y - (y - view.y) * (scale / view.scale);
  Object.assign(view, { scale, fitted: false });
  place();
};
const flicker = (on) => {
  clearInterval(flickering);
  showsLeft = true;
  flickering = on ? setInterval(() => { showsLeft = !showsLeft; place(); }, 500) : 0;
  stage.classList.toggle("flickering", on);
  find("#flicker").setAttribute("aria-pressed", on);
  place();
};
const step = (by) => {
  const shown = all("article").filter((article) => !article.hidden), from = view.article;
  const next = shown[(shown.indexOf(from) + by + shown.length) % shown.length];
  withPictures(next, () => {
    if (view.article === from) { Object.assign(view, { article: next, fitted: true }); show(); }
  });
};
const openAt = (article, run, layer, chosen = {}) => withPictures(article, (pictures) => {
  const matted = pictures.panels.flatMap((layers, index) => (Object.keys(layers).length ? [index] : []));
  const left = run === "source" ? (matted[0] ?? "source") : Number(run);
  const right = matted.find((index) => index !== left) ?? "source";
  Object.assign(view, { article, layer: layer === "source" ? "cutout" : layer, left, right, split: 0.5, fitted: true }, chosen);
  if (!viewer.open) viewer.showModal();
  show();
});
for (const select of [find("#left"), find("#right")]) {
  select.append(...runLabels.map((name, index) => new Option(name, index)), new Option("source", "source"), new Option("true alpha", "truth"));
  select.addEventListener("change", () => { view[select.id] = Number.isNaN(Number(select.value)) ? select.value : Number(select.value); show(); });
}
find("#gallery").addEventListener("click", (event) => {
  const button = event.target.closest(".pair button");
  if (button) openAt(button.closest("article"), button.dataset.run ?? "source", button.dataset.layer);
});
find("#layer").addEventListener("change", (event) => { view.layer = event.target.value; show(); });
find("#flicker").addEventListener("click", () => flicker(!flickering));
find("#zoom-in").addEventListener("click", () => zoomBy(1.5));
find("#zoom-out").addEventListener("click", () => zoomBy(1 / 1.5));
find("#pixels").addEventListener("click", () => zoomBy(1 / devicePixelRatio / view.scale));
find("#fit").addEventListener("click", () => { view.fitted = true; place(); });
find("#previous").addEventListener("click", () => step(-1));
find("#next").addEventListener("click", () => step(1));
find("#close").addEventListener("click", () => viewer.close());
viewer.addEventListener("close", () => flicker(false));
viewer.addEventListener("keydown", (event) => {
  if (event.target.closest("select, input")) return;
  if (event.key === " " && event.target.tagName !== "BUTTON") { event.preventDefault(); flicker(!flickering); }
  if (event.key === "+") zoomBy(1.5);
  if (event.key === "-") zoomBy(1 / 1.5);
  if (event.target !== divider && event.key === "ArrowRight") step(1);
  if (event.target !== divider && event.key === "ArrowLeft") step(-1);
});
divider.addEventListener("keydown", (event) => {
  const by = { ArrowLeft: -0.02, ArrowRight: 0.02 }[event.key];
  if (by) { view.split = clamp(view.split + by, 0, 1); place(); }
});
stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  const box = stage.getBoundingClientRect();
  zoomBy(Math.exp(-event.deltaY / 400), event.clientX - box.left, event.clientY - box.top);
}, { passive: false });

// One pointer drags the divider or the picture; two pinch.
const pointers = new Map();
const gap = () => { const [a, b] = [...pointers.values()]; return Math.hypot(a.x - b.x, a.y - b.y); };
stage.addEventListener("pointerdown", (event) => {
  pointers.set(event.pointerId, { x: event.clientX, y: event.clientY, divides: event.target === divider });
  stage.setPointerCapture(event.pointerId);
});
stage.addEventListener("pointermove", (event) => {
  const last = pointers.get(event.pointerId);
  if (!last) return;
  const before = pointers.size === 2 ? gap() : 0, box = stage.getBoundingClientRect();
  const moved = { x: event.clientX - last.x, y: event.clientY - last.y };
  Object.assign(last, { x: event.clientX, y: event.clientY });
  if (before) {
    const [a, b] = [...pointers.values()];
    zoomBy(gap() / before, (a.x + b.x) / 2 - box.left, (a.y + b.y) / 2 - box.top);
  } else if (last.divides) {
    view.split = clamp((event.clientX - box.left) / box.width, 0, 1);
    place();
  } else {
    Object.assign(view, { x: view.x + moved.x, y: view.y + moved.y, fitted: false });
    place();
  }
});
for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, (event) => pointers.delete(event.pointerId));
addEventListener("resize", () => { if (viewer.open) place(); });
