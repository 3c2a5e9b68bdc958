// Continues a series and draws history, forecast and interval.

import { json } from "./api.js";

const byId = (id) => document.getElementById(id);
const SHOWN = 4; // times the horizon, of the history

export class Forecast {
  constructor(modelName) {
    this.modelName = modelName;
    this.drawn = null;
    byId("forecast-form").addEventListener("submit", async (event) => {
      event.preventDefault();
      await this.ask();
    });
    byId("series-file").addEventListener("change", async ({ target }) => {
      byId("values").value = await target.files[0].text();
      target.value = "";
      this.say("The file is open.");
    });
    byId("column").addEventListener("change", () => this.draw());
    if (!byId("values").value) byId("values").value = example().join("\n");
  }

  use(model) {
    byId("tab-forecast").disabled = !model.modalities.includes("series") || !model.heads.queries.length;
  }

  say(text, bad = false) {
    byId("forecast-status").textContent = text;
    byId("forecast-status").classList.toggle("bad", bad);
  }

  async ask() {
    this.say("Forecasting.");
    try {
      const { names, values } = table(byId("values").value);
      const horizon = Number(byId("horizon").value);
      const found = await json("v1/forecast", {
        method: "POST",
        body: { model: this.modelName(), values, horizon },
      });
      this.drawn = { names, values, found };
      byId("column").replaceChildren(...names.map((name) => new Option(name)));
      byId("chart-figure").hidden = false;
      this.draw();
      this.say("");
    } catch (error) {
      this.say(error.message, true);
    }
  }

  draw() {
    const { names, values, found } = this.drawn;
    const column = Math.max(byId("column").selectedIndex, 0);
    const pick = (rows) => rows.map((row) => row[column]);
    const history = pick(values).slice(-SHOWN * found.horizon);
    const points = pick(found.points);
    const levels = Object.keys(found.quantiles).sort((a, b) => a - b);
    const low = levels.length > 1 ? pick(found.quantiles[levels[0]]) : null;
    const high = levels.length > 1 ? pick(found.quantiles[levels.at(-1)]) : null;
    byId("interval-key").hidden = !low;
    if (low) byId("interval-key").textContent = `${levels[0]} to ${levels.at(-1)} quantile`;
    chart(byId("chart"), { history, points, low, high });
    byId("chart-title").textContent =
      `${names[column]}: ${history.length} points of history, then a forecast of ${points.length} points ` +
      `from ${short(points[0])} to ${short(points.at(-1))}.`;
    const head = ["point", "forecast", ...levels];
    const rows = points.map((point, i) => [i + 1, point, ...levels.map((level) => found.quantiles[level][i][column])]);
    fill(byId("table"), head, rows);
  }
}

// Numbers of CSV: a first line of words names the columns; lines without numbers are errors.
function table(text) {
  const lines = text.trim().split(/\r?\n/).map((line) => line.split(/[,;\t]/).map((cell) => cell.trim()));
  const isNumber = (cell) => cell !== "" && Number.isFinite(Number(cell));
  const named = lines.length > 0 && !lines[0].some(isNumber);
  const rows = named ? lines.slice(1) : lines;
  if (!rows.length) throw new Error("There are no numbers.");
  const numeric = rows[0].map((_, column) => column).filter((column) => rows.every((row) => isNumber(row[column] ?? "")));
  if (!numeric.length) throw new Error("No column holds a number in every line.");
  return {
    names: numeric.map((column) => (named ? lines[0][column] : `column ${column + 1}`)),
    values: rows.map((row) => numeric.map((column) => Number(row[column]))),
  };
}

function example() {
  return Array.from({ length: 96 }, (_, hour) => (10 + 4 * Math.sin(hour / 4) + Math.cos(hour / 1.7)).toFixed(2));
}

function chart(svg, { history, points, low, high }) {
  const { width, height } = { width: 800, height: 320 };
  const pad = { left: 56, right: 16, top: 16, bottom: 28 };
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const all = [...history, ...points, ...(low ?? []), ...(high ?? [])];
  const [least, most] = [Math.min(...all), Math.max(...all)];
  const span = most - least || 1;
  const last = Math.max(history.length + points.length - 1, 1);
  const x = (place) => pad.left + (place / last) * (width - pad.left - pad.right);
  const y = (value) => height - pad.bottom - ((value - least) / span) * (height - pad.top - pad.bottom);
  const line = (values, from) => values.map((value, i) => `${i ? "L" : "M"}${x(from + i).toFixed(1)} ${y(value).toFixed(1)}`).join("");
  const now = history.length - 1;
  const end = history.at(-1);
  const parts = [];
  for (let step = 0; step <= 4; step++) {
    const value = least + (span * step) / 4;
    parts.push(["line", { class: "grid", x1: pad.left, x2: width - pad.right, y1: y(value), y2: y(value) }]);
    parts.push(["text", { x: pad.left - 8, y: y(value) + 4, "text-anchor": "end" }, short(value)]);
  }
  if (low) {
    const back = [end, ...low].map((value, i) => [x(now + i), y(value)]).reverse();
    const edge = back.map(([px, py]) => `L${px.toFixed(1)} ${py.toFixed(1)}`).join("");
    parts.push(["path", { class: "interval", d: `${line([end, ...high], now)}${edge}Z` }]);
  }
  parts.push(["line", { class: "now", x1: x(now), x2: x(now), y1: pad.top, y2: height - pad.bottom }]);
  parts.push(["path", { class: "history", d: line(history, 0) }]);
  parts.push(["path", { class: "predicted", d: line([end, ...points], now) }]);
  parts.push(["text", { x: x(now), y: height - 8, "text-anchor": "middle" }, "now"]);
  parts.push(["text", { x: x(last), y: height - 8, "text-anchor": "end" }, `+${points.length}`]);
  const title = svg.querySelector("title");
  svg.replaceChildren(title, ...parts.map(([name, attributes, text]) => draw(name, attributes, text)));
}

function draw(name, attributes, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

function fill(place, head, rows) {
  const row = (cells, kind) => {
    const made = document.createElement("tr");
    cells.forEach((cell) => {
      const each = document.createElement(kind);
      each.textContent = typeof cell === "number" ? short(cell) : cell;
      if (kind === "th") each.scope = "col";
      made.append(each);
    });
    return made;
  };
  place.replaceChildren(row(head, "th"), ...rows.map((cells) => row(cells, "td")));
}

function short(value) {
  return String(Number(value.toPrecision(4)));
}
