"use strict";

const read = (id) => JSON.parse(document.getElementById(id).textContent);

// Curves. Even traces are the values, faint behind the smoothed ones, which are the odd traces.
const plots = [];
const font = { family: getComputedStyle(document.body).fontFamily };
const canHover = !matchMedia("(pointer: coarse)").matches;
for (const [index, figure] of read("figures").entries()) {
  const plot = document.getElementById(`plot-${index}`);
  const layout = { ...figure.layout, font, dragmode: canHover ? "zoom" : false };
  Plotly.newPlot(plot, figure.data, layout, { responsive: true, displayModeBar: false });
  plots.push([plot, figure.data.map((trace) => trace.y)]);
}

function smooth(isOn) {
  for (const [plot, values] of plots) {
    const front = values.map((_, i) => i).filter((i) => i % 2);
    Plotly.restyle(plot, { y: front.map((i) => values[isOn ? i : i - 1]) }, front);
    Plotly.restyle(plot, { opacity: isOn ? 0.25 : 0 }, front.map((i) => i - 1));
  }
}

const smoothing = document.getElementById("smooth");
smoothing.addEventListener("change", () => smooth(smoothing.checked));

// Sheets: one slider for all levels of a run.
for (const [index, sheets] of read("sheets").entries()) {
  const viewer = document.getElementById(`viewer-${index}`);
  if (!viewer) continue;

  const slider = viewer.querySelector("input");
  const show = () => {
    const images = sheets.images[slider.value];
    viewer.querySelectorAll(".levels img").forEach((image, level) => { image.src = images[level]; });
    viewer.querySelector("output").textContent = `${sheets.kimg[slider.value]} kimg`;
  };
  slider.addEventListener("input", show);
  show();

  // A click makes a level the large one.
  const levels = viewer.querySelectorAll(".levels button");
  for (const level of levels) {
    level.addEventListener("click", () => levels.forEach((other) => other.classList.toggle("large", other === level)));
  }
}

// Several runs: one viewer at a time.
const choice = document.getElementById("run");
if (choice) {
  choice.addEventListener("change", () => {
    document.querySelectorAll(".viewer").forEach((viewer) => { viewer.hidden = viewer.id !== `viewer-${choice.value}`; });
  });
}
