"use strict";
// Colours of text and axes are those of the page, so a change of theme or a printer needs no new drawing.
const ink = "currentColor";
const config = {
  background: null,
  font: "system-ui, -apple-system, 'Segoe UI', Roboto, Arial, sans-serif",
  view: { stroke: null },
  axis: {
    labelColor: ink, titleColor: ink, tickColor: ink, domainColor: ink, gridColor: ink, gridOpacity: 0.13,
    domainOpacity: 0.4, tickOpacity: 0.4, labelOpacity: 0.85, labelFontSize: 11, titleFontSize: 11, titleFontWeight: 500,
  },
  legend: { labelColor: ink, titleColor: ink, labelFontSize: 11, symbolSize: 80 },
  text: { fill: ink }, rule: { color: ink },
};
const options = {
  mode: "vega-lite", renderer: "svg", ast: true, config,
  actions: { export: true, source: false, compiled: false, editor: false },
  tooltip: { theme: "custom" },
};

function draw(figure, spec) {
  return vegaEmbed(figure, spec, options)
    .then(() => { figure.dataset.drawn = "yes"; })
    .catch((error) => { figure.textContent = "This chart could not be drawn: " + error.message; throw error; });
}

function theme() {
  const told = document.documentElement.dataset.theme;
  if (told) return told;
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

// A file opened from disk may have no storage; the choice is then for this page alone.
function remembered(value) {
  try {
    if (value) localStorage.setItem("inferometer-theme", value);
    return localStorage.getItem("inferometer-theme");
  } catch { return null; }
}

function open(hash) {
  const wanted = hash.length > 1 && document.getElementById(decodeURIComponent(hash.slice(1)));
  for (let at = wanted; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  if (wanted) wanted.scrollIntoView();
}

const before = remembered();
if (before) document.documentElement.dataset.theme = before;
document.getElementById("theme").addEventListener("click", () => {
  document.documentElement.dataset.theme = theme() === "dark" ? "light" : "dark";
  remembered(document.documentElement.dataset.theme);
});
addEventListener("hashchange", () => open(location.hash));
open(location.hash);
const closed = [];
addEventListener("beforeprint", () => {
  for (const each of document.querySelectorAll("details.prints:not([open])")) { each.open = true; closed.push(each); }
});
addEventListener("afterprint", () => { for (const each of closed.splice(0)) each.open = false; });

const specs = JSON.parse(document.getElementById("specs").textContent);
Promise.allSettled(Object.entries(specs).map(([id, spec]) => draw(document.getElementById(id), spec)))
  .then(() => { document.documentElement.dataset.ready = "yes"; });
