"use strict";
(() => {
  const store = document.getElementById("figures");
  const { figures, classes } = store ? JSON.parse(store.textContent) : { figures: {}, classes: [] };
  const LIGHT = ["#1f6feb", "#c2410c", "#15803d", "#9333ea", "#0e7490", "#b91c1c", "#a16207", "#4b5563"];
  const DARK = ["#6cabff", "#ff9b6a", "#5fd38d", "#c79bff", "#56c8dc", "#ff8f8f", "#e3bd4a", "#a7b0ba"];
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let printed = false;

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // A figure's layout has what the figure says, in the colours and the size of the page.
  function layout(own, width) {
    const axis = { gridcolor: colour("--line"), linecolor: colour("--line"), zeroline: false, automargin: true };
    const narrow = width < 520;
    return {
      ...own,
      width,
      height: own.height || (printed ? 270 : narrow ? 360 : 340),
      margin: { l: 48, r: 12, t: 12, b: 44 },
      font: { family: getComputedStyle(document.body).fontFamily, size: narrow || printed ? 11 : 12, color: colour("--text") },
      colorway: dark.matches && !printed ? DARK : LIGHT,
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      hoverlabel: { bgcolor: colour("--card"), bordercolor: colour("--line"), font: { color: colour("--text") }, namelength: -1 },
      hovermode: own.xaxis.ticktext ? "closest" : "x unified",
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, itemsizing: "constant" },
      xaxis: { ...axis, ...own.xaxis },
      yaxis: { ...axis, ...own.yaxis },
    };
  }

  function draw(element) {
    const figure = figures[element.dataset.figure];
    const data = figure.data.map((trace) => trace.type === "heatmap"
      ? { ...trace, colorscale: [[0, colour("--ramp-0")], [1, colour("--ramp-1")]] }
      : trace);
    const width = printed || element.clientWidth;
    return Plotly.react(element, data, layout(figure.layout, width), {
      displayModeBar: false,
    });
  }

  const drawn = [...document.querySelectorAll("[data-figure]")];
  const drawAll = () => drawn.forEach(draw);
  drawAll();
  dark.addEventListener("change", drawAll);
  let waiting = 0;
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width || printed) return;
    width = innerWidth;
    clearTimeout(waiting);
    waiting = setTimeout(drawAll, 100);
  });
  // Paper has light colours, and two figures side by side where they are not wide.
  addEventListener("beforeprint", () => {
    drawn.forEach((each) => {
      printed = each.classList.contains("wide") ? 660 : 330;
      draw(each);
    });
  });
  addEventListener("afterprint", () => { printed = false; drawAll(); });

  // A class that is chosen has its curve among those of precision and recall.
  const select = document.getElementById("class-chosen");
  const table = document.getElementById("classes");
  function choose(number) {
    const own = figures.precision;
    own.data = own.data.filter((trace) => !trace.chosen);
    if (number !== "") {
      own.data.push({
        type: "scatter", mode: "lines", chosen: true, name: `${classes[number].name}, IoU 0.5`,
        x: own.data[0].x, y: classes[number].y, line: { width: 2.5, dash: "dot" },
      });
    }
    draw(document.getElementById("figure-precision"));
    select.value = number;
    table.querySelectorAll("tbody button").forEach((button) => {
      button.setAttribute("aria-pressed", String(button.closest("tr").dataset.class === number));
    });
  }
  if (select && table) {
    select.addEventListener("change", () => choose(select.value));
    table.tBodies[0].addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) choose(button.getAttribute("aria-pressed") === "true" ? "" : button.closest("tr").dataset.class);
    });
  }

  // A heading sorts its table: numbers with the greatest first, a dash last.
  document.querySelectorAll("table.sorted thead button").forEach((button) => {
    button.addEventListener("click", () => {
      const head = button.closest("th");
      const column = head.cellIndex;
      const body = head.closest("table").tBodies[0];
      const numeric = head.classList.contains("number");
      const descending = head.getAttribute("aria-sort") ? head.getAttribute("aria-sort") === "ascending" : numeric;
      const value = (row) => row.cells[column].textContent.trim();
      const number = (row) => Number.parseFloat(value(row).replaceAll(",", ""));
      const last = (x) => (Number.isNaN(x) ? -Infinity : x);
      const compare = numeric
        ? (a, b) => (descending ? last(number(b)) - last(number(a)) : number(a) - number(b)) || 0
        : (a, b) => (descending ? -1 : 1) * value(a).localeCompare(value(b));
      body.append(...[...body.rows].sort(compare));
      head.parentElement.querySelectorAll("th").forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    });
  });
})();
