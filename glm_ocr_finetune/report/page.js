"use strict";
const PAGE = 50;
const percent = (value) => (100 * value).toFixed(2).replace("-", "−") + " %";
const signed = (value) => (value > 0 ? "+" : "") + percent(value).replace("%", "pp");
const trust = (value) => value < 1e-4 ? "< 0.0001" : value.toPrecision(2);
const collator = new Intl.Collator(undefined, { numeric: true });

/** An element with properties and children; texts are set as text, never as markup. */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Pictures are created when their place comes into view. */
const watcher = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    watcher.unobserve(target);
    target.src = target.picture.uri;
  }
}, { rootMargin: "300px" });

function picture(row, tallest) {
  const { width, height } = row.picture;
  const image = make("img", { className: "thumb", alt: "", picture: row.picture });
  image.style.width = `${Math.round(width * Math.min(1, tallest / height))}px`;
  image.style.aspectRatio = `${width} / ${height}`;
  watcher.observe(image);
  return image;
}

/** The columns of one table: how to sort by each and what its cell shows. */
function columnsOf({ systems, rows, truth }) {
  const several = systems.length > 1;
  const last = systems.length - 1;
  const text = (name, value) => ({ name, kind: "text", key: value, cell: (row) => textCell(value(row)) });
  const number = (name, value, shown, tone) => ({ name, kind: "number", key: value, cell: (row) => numberCell(value(row), shown, tone) });
  const cer = (i) => number(several ? `${systems[i]} CER` : "CER", (row) => row.readings[i].cer, percent);
  const columns = [{ name: "Sample", kind: "sample", key: (row) => row.id }, text(truth, (row) => row.truth)];
  systems.forEach((name, i) => columns.push(text(name, (row) => row.readings[i].text)));
  if ("score" in (rows[0] ?? {})) columns.push(number("Trust", (row) => row.score, trust));
  else systems.forEach((_, i) => columns.push(cer(i)));
  if (several) columns.push(number("Change", (row) => row.readings[last].cer - row.readings[0].cer, signed, true));
  return columns;
}

function textCell(value) {
  return make("td", { className: "text", dir: "auto" }, value ? make("div", { dir: "auto", textContent: value }) : make("span", { className: "blank", textContent: "empty" }));
}

function numberCell(value, shown, tone) {
  const cell = make("td", { className: "number", textContent: value == null ? "–" : shown(value) });
  if (tone && value) cell.classList.add(value > 0 ? "bad" : "good");
  return cell;
}

/** The two sides of a difference as texts with marks around what differs; whole runs, so that letters stay joined. */
function difference(row, reading, name, truthName) {
  const block = make("div", { className: "difference" }, make("h3", { textContent: name }));
  const truth = make("p", { dir: "auto" });
  const text = make("p", { dir: "auto" });
  const left = reading.truth_compared ?? row.truth;
  const right = reading.text_compared ?? reading.text;
  let i = 0, j = 0;
  for (let k = 0; k < reading.difference.length; k += 3) {
    const [equal, missed, written] = reading.difference.slice(k, k + 3);
    truth.append(left.slice(i, i + equal));
    text.append(right.slice(j, j + equal));
    i += equal;
    j += equal;
    if (missed) truth.append(make("del", { textContent: left.slice(i, i + missed) }));
    if (written) text.append(make("ins", { textContent: right.slice(j, j + written) }));
    i += missed;
    j += written;
  }
  for (const [side, shown] of [[left, truth], [right, text]]) if (!side) shown.append(make("small", { textContent: "empty" }));
  if (reading.difference.some((length, k) => k % 3 && length)) block.append(make("span", { textContent: truthName }), truth, make("span", { textContent: "Read as" }), text);
  else block.append(make("span", { textContent: "Read right" }), truth);
  return block;
}

function detailRow(row, { systems, columns, truth }) {
  const cell = make("td", { colSpan: columns.length });
  if (row.picture) cell.append(picture(row, 420));
  row.readings.forEach((reading, i) => cell.append(difference(row, reading, systems[i], truth)));
  cell.append(make("p", { className: "legend" }, make("del", { textContent: "struck" }), " was not read so; ",
    make("ins", { textContent: "underlined" }), " was read instead. Texts are shown as they are scored."));
  return make("tr", { className: "detail" }, cell);
}

/** Everything that one table of rows does: filter, chips, sort, pages, opening rows. */
class Browser {
  constructor(root) {
    const table = JSON.parse(document.getElementById(root.dataset.table).textContent);
    Object.assign(this, table, { root, columns: columnsOf(table), page: 0, sort: null, examples: null });
    this.pressed = new Set();
    this.filters = this.makeFilters();
    this.input = root.querySelector("input");
    this.input.addEventListener("input", () => this.show(true));
    this.makeChips();
    this.makeHead();
    root.querySelector(".previous").addEventListener("click", () => this.turn(-1));
    root.querySelector(".next").addEventListener("click", () => this.turn(1));
    this.show(true);
  }

  makeFilters() {
    const last = (row) => row.readings[row.readings.length - 1];
    const filters = new Map();
    if ("score" in (this.rows[0] ?? {})) return filters;
    if (this.systems.length > 1) {
      filters.set("worse than base", (row) => last(row).cer > row.readings[0].cer);
      filters.set("better than base", (row) => last(row).cer < row.readings[0].cer);
    }
    filters.set("did not stop", (row) => last(row).cut);
    filters.set("loops", (row) => last(row).loops);
    filters.set("empty", (row) => !last(row).text.trim());
    filters.set("exact", (row) => last(row).exact);
    filters.set("not exact", (row) => !last(row).exact);
    return filters;
  }

  makeChips() {
    const chips = this.root.querySelector(".chips");
    for (const [name, matches] of this.filters) {
      const count = this.rows.filter(matches).length;
      if (!count) continue;
      const chip = make("button", { type: "button", textContent: name, ariaPressed: "false" }, make("span", { textContent: count.toLocaleString("en") }));
      chip.addEventListener("click", () => {
        if (!this.pressed.delete(name)) this.pressed.add(name);
        chip.ariaPressed = String(this.pressed.has(name));
        this.show(true);
      });
      chips.append(chip);
    }
  }

  makeHead() {
    const head = this.root.querySelector("thead tr");
    for (const column of this.columns) {
      const button = make("button", { type: "button", textContent: column.name });
      button.addEventListener("click", () => this.sortBy(column));
      column.head = make("th", { scope: "col", className: column.kind }, button);
      head.append(column.head);
    }
  }

  sortBy(column) {
    const first = column.kind === "number" ? -1 : 1;
    const direction = this.sort?.column === column ? -this.sort.direction : first;
    for (const { head } of this.columns) head.removeAttribute("aria-sort");
    column.head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
    this.sort = { column, direction };
    this.show(true);
  }

  turn(by) {
    this.page += by;
    this.show();
    this.root.scrollIntoView();
  }

  /** Show only the samples with these ids; null shows all again. */
  pick(ids) {
    this.examples = ids && new Set(ids);
    this.show(true);
    if (ids) this.root.scrollIntoView();
  }

  chosen() {
    const wanted = this.input.value.trim().normalize("NFC").toLowerCase();
    const filters = [...this.pressed].map((name) => this.filters.get(name));
    const rows = this.rows.filter((row) => (!this.examples || this.examples.has(row.id)) && filters.every((matches) => matches(row)) && (!wanted || this.searchable(row).includes(wanted)));
    return this.sort ? this.sorted(rows) : rows;
  }

  searchable(row) {
    row.searchable ??= [row.id, row.source, row.image, row.truth, ...row.readings.map((reading) => reading.text)].join("\n").normalize("NFC").toLowerCase();
    return row.searchable;
  }

  sorted(rows) {
    const { column: { key, kind }, direction } = this.sort;
    const order = kind === "number" ? (a, b) => a - b : collator.compare;
    return rows.map((row) => [key(row) ?? -1, row]).sort((a, b) => direction * order(a[0], b[0])).map(([, row]) => row);
  }

  show(fromStart = false) {
    if (fromStart) this.page = 0;
    const rows = this.chosen();
    const start = this.page * PAGE;
    const visible = rows.slice(start, start + PAGE);
    this.root.querySelector("tbody").replaceChildren(...visible.map((row) => this.rowElement(row)));
    this.root.querySelector(".pager").hidden = rows.length <= PAGE;
    this.root.querySelector(".previous").disabled = start === 0;
    this.root.querySelector(".next").disabled = start + PAGE >= rows.length;
    this.showStatus(rows.length, start, visible.length);
  }

  showStatus(count, start, shown) {
    const number = (value) => value.toLocaleString("en");
    const range = shown ? `${number(start + 1)}–${number(start + shown)} of ${number(count)}` : "No row matches";
    const status = this.root.querySelector(".status");
    status.replaceChildren(count < this.rows.length ? `${range}, filtered from ${number(this.rows.length)}` : range);
    if (!this.sort) status.append(`, ${this.order}`);
    if (!this.examples) return;
    const clear = make("button", { type: "button", className: "link", textContent: "show all again" });
    clear.addEventListener("click", () => this.pick(null));
    status.append(" (examples of one confusion; ", clear, ")");
  }

  rowElement(row) {
    const element = make("tr");
    for (const column of this.columns) {
      const cell = column.cell ? column.cell(row) : this.sampleCell(row, element);
      if (column.cell) cell.dataset.label = column.name;
      element.append(cell);
    }
    return element;
  }

  sampleCell(row, element) {
    const last = row.readings[row.readings.length - 1];
    const button = make("button", { type: "button", className: "expand", textContent: row.id, ariaExpanded: "false" });
    button.addEventListener("click", () => this.toggle(row, element, button));
    const cell = make("td", { className: "sample" });
    if (row.picture) cell.append(picture(row, 150));
    cell.append(button);
    const place = row.picture ? row.source : [row.source, row.image].filter(Boolean).join(" · ");
    for (const text of [place, row.note]) if (text) cell.append(make("span", { className: "meta", textContent: text }));
    for (const [flag, name] of [["cut", "did not stop"], ["loops", "loops"]]) if (last[flag]) cell.append(make("span", { className: "tag", textContent: name }));
    return cell;
  }

  toggle(row, element, button) {
    const opened = element.classList.toggle("open");
    button.ariaExpanded = String(opened);
    if (opened) element.after(detailRow(row, this));
    else element.nextElementSibling.remove();
  }
}

function followScheme() {
  const root = document.documentElement;
  const button = document.getElementById("scheme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const current = () => root.dataset.scheme ?? (system.matches ? "dark" : "light");
  const label = () => { button.textContent = current() === "dark" ? "Light" : "Dark"; };
  button.addEventListener("click", () => {
    root.dataset.scheme = current() === "dark" ? "light" : "dark";
    label();
  });
  system.addEventListener("change", label);
  label();
}

followScheme();
const browsers = Object.fromEntries([...document.querySelectorAll(".browser")].map((root) => [root.dataset.table, new Browser(root)]));
for (const button of document.querySelectorAll("[data-examples]")) {
  button.addEventListener("click", () => browsers.samples.pick(JSON.parse(button.dataset.examples)));
}
document.documentElement.dataset.readyMs = Math.round(performance.now());
