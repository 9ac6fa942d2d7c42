// The table of size and quality by codec.

const head = document.querySelector("#figures thead tr");
const body = document.querySelector("#figures tbody");
const SIZES = [
  { name: "bytes", format: (value) => value.toLocaleString("en") },
  { name: "bpp", format: (value) => value.toFixed(3) },
];
let metrics = []; // As the server describes them: name, title, unit, digits, direction, min_side.
let columns = SIZES;
let side = Infinity; // The smaller side of the image.

/** Adds a column for each metric that the server measures. */
export function setMetrics(described) {
  metrics = described;
  const formatted = metrics.map(({ name, digits }) => ({
    name,
    format: (value) => value.toFixed(digits),
  }));
  columns = [...SIZES, ...formatted];
  for (const old of head.querySelectorAll("[data-metric]")) old.remove();
  head.append(...metrics.map(columnHeading));
}

/** Sets the size of the image: metrics have a minimum side. */
export function setSize(width, height) {
  side = Math.min(width, height);
}

/** Replaces all rows by one pending row for each codec. */
export function wait(codecs) {
  body.replaceChildren(...codecs.map(([key, title]) => pendingRow(key, title)));
}

/** Fills a codec's row. */
export function fill(key, title, setting, figures) {
  const row = rowOf(key);
  row.replaceChildren(rowHeading(title, setting));
  for (const { name, format } of columns) {
    const cell = row.insertCell();
    const value = figures[name] === null && isInfinite(name) ? Infinity : figures[name];
    if (value === undefined || value === null) cell.textContent = "–";
    else cell.textContent = value === Infinity ? "∞" : format(value);
    cell.dataset.name = name;
    cell.dataset.value = value ?? "";
  }
  row.ariaBusy = "false";
  markBest();
}

/** Shows an error in a codec's row. */
export function fail(key, title, message) {
  const row = rowOf(key);
  row.replaceChildren(rowHeading(title));
  const cell = row.insertCell();
  cell.colSpan = columns.length;
  cell.className = "wide";
  cell.textContent = message;
  row.ariaBusy = "false";
}

/** Whether null is an infinite value, which JSON lacks, and not that of too small an image. */
function isInfinite(name) {
  const metric = metrics.find((one) => one.name === name);
  return metric !== undefined && side >= metric.min_side;
}

function columnHeading({ name, title, unit }) {
  const cell = document.createElement("th");
  cell.scope = "col";
  cell.dataset.metric = name;
  cell.textContent = title;
  if (unit) cell.append(smallText(unit));
  return cell;
}

function rowOf(key) {
  return body.querySelector(`[data-key="${key}"]`);
}

function pendingRow(key, title) {
  const row = document.createElement("tr");
  row.dataset.key = key;
  row.classList.toggle("ours", key === "model");
  row.append(rowHeading(title));
  for (const _ of columns) row.insertCell().textContent = "…";
  row.ariaBusy = "true";
  return row;
}

function rowHeading(title, setting = "") {
  const cell = document.createElement("th");
  cell.scope = "row";
  cell.textContent = title;
  if (setting) cell.append(smallText(setting));
  return cell;
}

function smallText(text) {
  const small = document.createElement("small");
  small.textContent = ` ${text}`;
  return small;
}

function markBest() {
  for (const { name, higher_is_better: higherIsBetter } of metrics) {
    const cells = [...body.querySelectorAll(`[data-name="${name}"]`)];
    const known = cells.filter((cell) => cell.dataset.value !== "");
    const values = known.map((cell) => Number(cell.dataset.value));
    const best = higherIsBetter ? Math.max(...values) : Math.min(...values);
    for (const cell of cells) {
      const wins = known.length > 1 && Number(cell.dataset.value) === best;
      cell.classList.toggle("best", wins && cell.dataset.value !== "");
    }
  }
}
