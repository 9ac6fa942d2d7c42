// The table of sizes and qualities.

const body = document.querySelector("#figures tbody");
const COLUMNS = [
  ["bytes", (value) => value.toLocaleString("en")],
  ["bpp", (value) => value.toFixed(3)],
  ["psnr", (value) => value.toFixed(2)],
  ["ms_ssim", (value) => value.toFixed(4)],
];
const QUALITIES = ["psnr", "ms_ssim"];
const NONE = { bytes: "–", bpp: "–", psnr: "∞", ms_ssim: "–" }; // JSON has no infinity.

/** Empties the table, but for a row for each codec, waiting. */
export function wait(codecs) {
  body.replaceChildren(...codecs.map(([key, title]) => waiting(key, title)));
}

/** Fills a codec's row. */
export function fill(key, title, setting, figures) {
  const row = rowOf(key);
  row.replaceChildren(heading(title, setting));
  for (const [name, format] of COLUMNS) {
    const cell = row.insertCell();
    const value = figures[name];
    if (value === undefined) cell.textContent = "–";
    else cell.textContent = value === null ? NONE[name] : format(value);
    cell.dataset.name = name;
    cell.dataset.value = value ?? (name === "psnr" && value === null ? Infinity : "");
  }
  row.ariaBusy = "false";
  markBest();
}

/** Says in a codec's row why it has no figures. */
export function fail(key, title, message) {
  const row = rowOf(key);
  row.replaceChildren(heading(title));
  const cell = row.insertCell();
  cell.colSpan = COLUMNS.length;
  cell.className = "wide";
  cell.textContent = message;
  row.ariaBusy = "false";
}

function rowOf(key) {
  return body.querySelector(`[data-key="${key}"]`);
}

function waiting(key, title) {
  const row = document.createElement("tr");
  row.dataset.key = key;
  row.classList.toggle("ours", key === "model");
  row.append(heading(title));
  for (const _ of COLUMNS) row.insertCell().textContent = "…";
  row.ariaBusy = "true";
  return row;
}

function heading(title, setting = "") {
  const cell = document.createElement("th");
  cell.scope = "row";
  cell.textContent = title;
  if (setting) {
    const small = document.createElement("small");
    small.textContent = ` ${setting}`;
    cell.append(small);
  }
  return cell;
}

function markBest() {
  for (const name of QUALITIES) {
    const cells = [...body.querySelectorAll(`[data-name="${name}"]`)];
    const known = cells.filter((cell) => cell.dataset.value !== "");
    const best = Math.max(...known.map((cell) => Number(cell.dataset.value)));
    for (const cell of cells) {
      const wins = known.length > 1 && Number(cell.dataset.value) === best;
      cell.classList.toggle("best", wins && cell.dataset.value !== "");
    }
  }
}
