"use strict";
// The page works without this file: it adds the viewer, filters and keys. Records are only ever set as text or cloned from the page.

const byId = (id) => document.getElementById(id);
const viewer = byId("viewer"), help = byId("help"), stage = byId("stage"), mix = byId("mix");
const cards = [...document.querySelectorAll(".card")];
const MODES = ["side", "slider", "onion", "flip"];
const state = { id: null, mode: "side", front: "candidate", zoomed: false };

document.documentElement.classList.add("js");

// --- filter and sort ---

const harmsOf = (card) => JSON.parse(card.dataset.harms);

function harmOf(card) {
  const chosen = byId("filter-metric").value;
  const harms = harmsOf(card);
  if (chosen !== "") return harms[Number(chosen)];
  const known = harms.filter((harm) => harm !== null);
  return known.length ? Math.max(...known) : null;
}

function outcomeOf(harm) {
  if (harm === null) return "unscored";
  return harm >= 1 ? "worse" : harm <= -1 ? "better" : "within";
}

function matches(card) {
  const text = byId("filter-text").value.trim().toLowerCase();
  const tag = byId("filter-tag").value, outcome = byId("filter-outcome").value;
  return card.dataset.text.toLowerCase().includes(text)
    && (tag === "" || JSON.parse(card.dataset.tags).includes(tag))
    && (outcome === "" || outcomeOf(harmOf(card)) === outcome);
}

function compareCards(a, b) {
  const order = Number(a.dataset.order) - Number(b.dataset.order);
  const sort = byId("sort").value;
  if (sort === "order") return order;
  const last = sort === "harm" ? -Infinity : Infinity;
  const first = harmOf(a) ?? last, second = harmOf(b) ?? last;
  if (first === second) return order;
  return sort === "harm" ? second - first : first - second;
}

function applyFilters() {
  cards.sort(compareCards);
  for (const card of cards) card.hidden = !matches(card);
  byId("cards").append(...cards);
  byId("shown").textContent = `${visibleIds().length} of ${cards.length}`;
}

function visibleIds() {
  return cards.filter((card) => !card.hidden).map((card) => card.dataset.id);
}

// --- viewer ---

function find(id) {
  const same = (element) => element.dataset.id === id;
  return { card: cards.find(same), worst: [...document.querySelectorAll("article.worst")].find(same) };
}

function show(id) {
  const { card, worst } = find(id);
  const source = worst ?? card;
  if (!source) return false;
  state.id = id;
  stage.replaceChildren(...[...source.querySelectorAll(".shot")].map((shot) => shot.cloneNode(true)));
  byId("viewer-title").textContent = source.querySelector("h3, .text").textContent;
  byId("viewer-id").textContent = id;
  byId("viewer-note").textContent = worst ? "" : "A small preview: the whole picture is in views/ beside this report.";
  byId("viewer-scores").replaceChildren(source.querySelector(".scores").cloneNode(true));
  draw();
  return true;
}

function draw() {
  const single = stage.children.length < 2;
  stage.dataset.mode = single ? "side" : state.mode;
  stage.dataset.front = state.front;
  stage.dataset.zoom = state.zoomed ? "on" : "off";
  byId("zoom").setAttribute("aria-pressed", String(state.zoomed));
  stage.style.setProperty("--mix", mix.value);
  viewer.dataset.mode = stage.dataset.mode;
  for (const button of viewer.querySelectorAll("[data-mode]")) {
    if (button.tagName !== "BUTTON") continue;
    button.setAttribute("aria-pressed", String(button.dataset.mode === stage.dataset.mode));
    button.disabled = single && button.dataset.mode !== "side";
  }
  if (viewer.open) history.replaceState(null, "", hashOf());
}

const hashOf = () => `#pair=${encodeURIComponent(state.id)}&mode=${state.mode}`;

function open(id) {
  if (!show(id)) return;
  if (!viewer.open) viewer.showModal();
  stage.focus();
  // A followed link is an entry of the history already; a second one would make "back" do nothing.
  const followed = new URLSearchParams(location.hash.slice(1)).get("pair") === id;
  history[followed ? "replaceState" : "pushState"](null, "", hashOf());
}

function step(by) {
  const ids = visibleIds();
  if (ids.length) show(ids[(ids.indexOf(state.id) + by + ids.length) % ids.length]);
}

function setMode(mode) {
  state.mode = mode;
  draw();
}

function flip() {
  state.mode = "flip";
  state.front = state.front === "candidate" ? "baseline" : "candidate";
  draw();
}

function zoom() {
  state.zoomed = !state.zoomed;
  draw();
}

function lookAt(event) {
  const frame = event.target.closest(".frame");
  if (!frame) return;
  const box = frame.getBoundingClientRect();
  stage.style.setProperty("--x", `${(100 * (event.clientX - box.left)) / box.width}%`);
  stage.style.setProperty("--y", `${(100 * (event.clientY - box.top)) / box.height}%`);
}

function setKeypoints(on) {
  byId("keypoints").checked = on;
  byId("viewer-keypoints").setAttribute("aria-pressed", String(on));
}

function followHash() {
  const parameters = new URLSearchParams(location.hash.slice(1));
  const id = parameters.get("pair");
  if (MODES.includes(parameters.get("mode"))) state.mode = parameters.get("mode");
  if (id !== null) open(id);
  else if (viewer.open) viewer.close();
}

// --- keys ---

const typing = (target) => target.matches("input:not([type=checkbox]), select, textarea");

function onKey(event) {
  if (!byId("shortcuts").checked || event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
  const action = actionOf(event);
  if (!action) return;
  event.preventDefault();
  action();
}

function actionOf(event) {
  const key = event.key;
  if (key === "?" && !help.open) return () => help.showModal();
  if (help.open) return null;
  if (key === "k") return () => setKeypoints(!byId("keypoints").checked);
  if (!viewer.open) return key === "/" ? () => byId("filter-text").focus() : null;
  if (key === "ArrowRight") return () => step(1);
  if (key === "ArrowLeft") return () => step(-1);
  if (key === "z") return zoom;
  if (key === " " && event.target.tagName !== "BUTTON") return flip;
  if ("1234".includes(key)) return () => setMode(MODES[Number(key) - 1]);
  return null;
}

// Storage is refused in some sandboxes; then the switch lasts as long as the page.
function remember(key, value) {
  try { localStorage.setItem(key, value); } catch { /* see above */ }
}

function recall(key) {
  try { return localStorage.getItem(key); } catch { return null; }
}

const tags = new Set(cards.flatMap((card) => JSON.parse(card.dataset.tags)));
for (const tag of [...tags].sort()) byId("filter-tag").append(new Option(tag, tag));
byId("filters").addEventListener("input", applyFilters);
byId("filters").addEventListener("submit", (event) => event.preventDefault());
byId("filters").addEventListener("reset", () => setTimeout(applyFilters));
for (const opener of document.querySelectorAll(".open")) {
  opener.addEventListener("click", (event) => {
    event.preventDefault();
    open(opener.dataset.id);
  });
}
for (const button of viewer.querySelectorAll("button[data-mode]")) {
  button.addEventListener("click", (event) => {
    setMode(button.dataset.mode);
    // After a mouse click Space should flip, not press the button again.
    if (event.detail > 0) stage.focus();
  });
}
mix.addEventListener("input", draw);
stage.addEventListener("click", (event) => { lookAt(event); zoom(); });
stage.addEventListener("mousemove", lookAt);
byId("zoom").addEventListener("click", zoom);
byId("previous").addEventListener("click", () => step(-1));
byId("next").addEventListener("click", () => step(1));
byId("close").addEventListener("click", () => viewer.close());
viewer.addEventListener("close", () => {
  if (location.hash.startsWith("#pair=")) history.replaceState(null, "", location.pathname + location.search);
});
byId("keypoints").addEventListener("change", (event) => setKeypoints(event.target.checked));
byId("viewer-keypoints").addEventListener("click", () => setKeypoints(!byId("keypoints").checked));
byId("open-help").addEventListener("click", () => help.showModal());
byId("shortcuts").checked = recall("sana-bench-shortcuts") !== "off";
byId("shortcuts").addEventListener("change", (event) => remember("sana-bench-shortcuts", event.target.checked ? "on" : "off"));
document.addEventListener("keydown", onKey);
addEventListener("hashchange", followHash);
setKeypoints(byId("keypoints").checked);
applyFilters();
followHash();
