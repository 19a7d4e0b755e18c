// Draws the charts of a page from the tables of their numbers.
"use strict";

const drawn = new Map();

function tone(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// The numbers of a chart, column by column; days are told from times by their form.
function numbersOf(figure) {
  const table = figure.querySelector("table");
  const heads = [...table.tHead.rows[0].cells].slice(1);
  const rows = [...table.tBodies[0].rows];
  const moments = rows.map((row) => row.cells[0].querySelector("time"));
  const column = (head, index) => {
    const cells = rows.map((row) => row.cells[index + 1]);
    return {
      name: head.textContent,
      tone: head.dataset.tone,
      values: cells.map((cell) => (cell.dataset.value === "" ? null : Number(cell.dataset.value))),
      texts: cells.map((cell) => cell.textContent),
    };
  };
  const columns = heads.map(column);
  const isSaying = (column) => column.values.some((value) => value !== null && value !== 0);
  return {
    isDays: moments.length > 0 && !moments[0].dateTime.includes("T"),
    times: moments.map((time) => Date.parse(time.dateTime) / 1000),
    labels: moments.map((time) => time.textContent),
    columns: columns.filter(isSaying),
  };
}

// What each column adds up to with those before it, so that bars stand on each other.
function stacked(columns) {
  let below = columns[0].values.map(() => 0);
  return columns.map(({ values }) => {
    below = below.map((sum, index) => sum + (values[index] ?? 0));
    return below;
  });
}

function legend(columns) {
  const list = document.createElement("ul");
  list.className = "legend";
  for (const column of columns) {
    const item = document.createElement("li");
    const mark = document.createElement("span");
    mark.className = "mark";
    mark.style.background = tone(column.tone);
    item.append(mark, column.name);
    list.append(item);
  }
  return list;
}

// Shows the numbers of the step that the pointer is over.
function tooltip(numbers) {
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  const fill = (index) => {
    const title = document.createElement("strong");
    title.textContent = numbers.labels[index];
    tip.replaceChildren(title);
    for (const column of numbers.columns) {
      const line = document.createElement("span");
      line.textContent = `${column.name}: ${column.texts[index]}`;
      tip.append(line);
    }
  };
  return {
    hooks: {
      init: (plot) => plot.over.append(tip),
      setCursor: (plot) => {
        const { idx, left } = plot.cursor;
        tip.hidden = idx === null || idx === undefined || left < 0;
        if (tip.hidden) return;
        fill(idx);
        const isRight = left > plot.over.clientWidth / 2;
        tip.style.left = `${isRight ? left - tip.offsetWidth - 12 : left + 12}px`;
      },
    },
  };
}

function axes(numbers, unit) {
  const style = getComputedStyle(document.body);
  const shared = {
    stroke: tone("--quiet"),
    font: `12px ${style.fontFamily}`,
    labelFont: `12px ${style.fontFamily}`,
    grid: { stroke: tone("--line"), width: 1 },
    ticks: { stroke: tone("--line"), width: 1 },
  };
  const short = new Intl.NumberFormat(undefined, { notation: "compact" });
  const values = (_, ticks) => ticks.map((tick) => short.format(tick));
  return [
    { ...shared, grid: { show: false }, values: numbers.isDays ? dayMarks : hourMarks, size: numbers.isDays ? 32 : 48 },
    { ...shared, label: unit, values, size: 56, incrs: unit === "%" ? [25, 50] : WHOLE },
  ];
}

// Whole numbers alone are counted, so no line stands between two of them.
const WHOLE = Array.from({ length: 36 }, (_, index) => [1, 2, 5][index % 3] * 10 ** Math.floor(index / 3));

function dayMarks(_, ticks) {
  const day = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", timeZone: "UTC" });
  return ticks.map((tick) => day.format(tick * 1000));
}

// Hours of the reader's zone; where a day begins, or is first seen, it is named.
function hourMarks(_, ticks) {
  const hour = new Intl.DateTimeFormat(undefined, { hour: "numeric" });
  const day = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });
  let before = "";
  return ticks.map((tick) => {
    const today = day.format(tick * 1000);
    const mark = today === before ? hour.format(tick * 1000) : `${hour.format(tick * 1000)}\n${today}`;
    before = today;
    return mark;
  });
}

function options(figure, numbers, size) {
  const isStacked = figure.dataset.kind === "bars";
  const bars = uPlot.paths.bars({ size: [0.8, 48] });
  const one = (column) => {
    const colour = tone(column.tone);
    if (isStacked) return { label: column.name, stroke: colour, fill: colour, width: 0, paths: bars, points: { show: false } };
    return { label: column.name, stroke: colour, width: 2, spanGaps: false, points: { show: true, size: 5 } };
  };
  const columns = isStacked ? [...numbers.columns].reverse() : numbers.columns;
  const half = numbers.times.length > 1 ? (numbers.times[1] - numbers.times[0]) / 2 : 1800;
  const top = (_, __, most) => [0, figure.dataset.unit === "%" ? 100 : Math.max(1, most * 1.1)];
  return {
    ...size,
    legend: { show: false },
    cursor: { y: false, drag: { setScale: false, x: false, y: false }, points: { show: false } },
    tzDate: (seconds) => (numbers.isDays ? uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC") : new Date(seconds * 1000)),
    scales: { x: { range: (_, least, most) => [least - half, most + half] }, y: { range: top } },
    series: [{}, ...columns.map(one)],
    axes: axes(numbers, figure.dataset.unit),
    plugins: [tooltip(numbers)],
  };
}

function draw(figure) {
  const place = figure.querySelector(".plot");
  const numbers = numbersOf(figure);
  drawn.get(figure)?.destroy();
  drawn.delete(figure);
  place.hidden = false;
  if (numbers.columns.length === 0) {
    place.textContent = "Nothing in this time.";
    place.className = "plot quiet";
    return;
  }
  const canvas = document.createElement("div");
  canvas.className = "canvas";
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `Chart of the table below: ${figure.querySelector("figcaption").textContent}`);
  place.replaceChildren(legend(numbers.columns), canvas);
  const values = figure.dataset.kind === "bars" ? stacked(numbers.columns).reverse() : numbers.columns.map((one) => one.values);
  const size = { width: canvas.clientWidth, height: canvas.clientHeight };
  drawn.set(figure, new uPlot(options(figure, numbers, size), [numbers.times, ...values], canvas));
}

const resized = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const plot = drawn.get(target);
    const canvas = target.querySelector(".canvas");
    if (plot && canvas && plot.width !== canvas.clientWidth) {
      plot.setSize({ width: canvas.clientWidth, height: canvas.clientHeight });
    }
  }
});

function drawAll() {
  for (const figure of drawn.keys()) {
    if (!figure.isConnected) {
      resized.unobserve(figure);
      drawn.get(figure).destroy();
      drawn.delete(figure);
    }
  }
  for (const figure of document.querySelectorAll("figure.chart")) {
    draw(figure);
    resized.observe(figure);
  }
}

drawAll();
document.addEventListener("htmx:after:swap", drawAll);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
