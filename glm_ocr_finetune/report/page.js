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

/** Whether a picture is a line of text: it then has the whole width of the page above its row. */
const isLine = ({ picture }) => picture && picture.width >= 3 * picture.height && picture.height <= 200;

/** A picture that is at most as large as its file, and never narrower than ``least`` pixels, if need be by scrolling. */
function picture({ picture: { width, height, uri } }, least) {
  const image = make("img", { className: "thumb", alt: "", picture: { uri } });
  image.style.width = `min(${width}px, max(100%, ${least}px))`;
  image.style.aspectRatio = `${width} / ${height}`;
  watcher.observe(image);
  return make("div", { className: "picture" }, image);
}

const linePicture = (row) => picture(row, Math.round(28 * row.picture.width / row.picture.height));
const pagePicture = (row) => picture(row, 760);

function smallPicture(row) {
  const { width, height } = row.picture;
  const box = picture(row, 0);
  box.firstChild.style.width = `min(${Math.round(width * Math.min(1, 180 / height))}px, 100%)`;
  return box;
}

/** The tables of a text that are not inside another one, parsed into a document of their own that runs and loads nothing. */
function tablesIn(text) {
  if (!/<table\b/i.test(text)) return [];
  const tables = new DOMParser().parseFromString(text, "text/html").querySelectorAll("table");
  return [...tables].filter((table) => !table.parentElement.closest("table"));
}

const shownText = (text) => {
  const tables = tablesIn(text);
  if (!tables.length) return text;
  return tables.map((table) => [...table.rows].slice(0, 8).map((row) => [...row.cells].map((cell) => cell.textContent.trim()).join(" | ")).join("\n")).join("\n\n");
};

const MAX_ROWS = 400;
const INLINE = new Set(["B", "STRONG", "I", "EM", "U", "S", "SUB", "SUP", "BR"]);
const UNSHOWN = new Set(["SCRIPT", "STYLE", "TEMPLATE"]);

/** Copy text, and of its markup only what cannot do anything: bold, italic, raised, lowered, line breaks. */
function copyText(from, to) {
  for (const node of from.childNodes) {
    if (node.nodeType === Node.TEXT_NODE) to.append(node.data);
    else if (node.nodeType === Node.ELEMENT_NODE && !UNSHOWN.has(node.tagName)) {
      const target = INLINE.has(node.tagName) ? to.appendChild(document.createElement(node.tagName)) : to;
      copyText(node, target);
    }
  }
}

const plain = (cell) => cell.textContent.normalize("NFC").replace(/\s+/g, " ").trim();

/** For each row of cell texts the row of the other table that stands for it, in order, so that most cells agree. */
function pairRows(rows, others) {
  const agree = (row, other) => row.filter((text, k) => text === other[k]).length;
  const best = [new Array(others.length + 1).fill(0)];
  rows.forEach((row, i) => {
    best.push([0]);
    others.forEach((other, j) => best[i + 1].push(Math.max(best[i][j + 1], best[i + 1][j], best[i][j] + agree(row, other))));
  });
  const pairs = new Map();
  for (let i = rows.length, j = others.length; i && j;) {
    if (best[i][j] === best[i - 1][j]) i--;
    else if (best[i][j] === best[i][j - 1]) j--;
    else pairs.set(--i, others[--j]);
  }
  return pairs;
}

/** A table drawn anew from the cells, texts and spans of a parsed one; cells that the other has not are marked. */
function drawTable(parsed, other) {
  const drawn = make("table", { className: "drawn" });
  const [rows, others] = [parsed, other].map((table) => [...(table?.rows ?? [])].slice(0, MAX_ROWS).map((row) => [...row.cells].map(plain)));
  const pairs = other && pairRows(rows, others);
  rows.forEach((texts, i) => {
    const line = drawn.appendChild(make("tr"));
    texts.forEach((text, j) => {
      const cell = parsed.rows[i].cells[j];
      const copy = make(cell.tagName === "TH" ? "th" : "td", { colSpan: Math.min(cell.colSpan, 100), rowSpan: Math.min(cell.rowSpan, MAX_ROWS), dir: "auto" });
      copyText(cell, copy);
      copy.classList.toggle("differs", Boolean(pairs && pairs.get(i)?.[j] !== text));
      line.append(copy);
    });
  });
  if (parsed.rows.length > MAX_ROWS) drawn.append(make("caption", { textContent: `${parsed.rows.length - MAX_ROWS} more rows are not shown` }));
  return drawn;
}

/** Truth and readings as tables beside each other, each reading with its TEDS; null where neither holds a table. */
function tableComparison(row, systems, truthName) {
  const truths = tablesIn(row.truth);
  const readings = row.readings.map((reading) => tablesIn(reading.text));
  if (!truths.length && !readings.some((tables) => tables.length)) return null;
  const side = (name, note, tables, others) => make("section", { className: "side" }, make("h3", { textContent: name }, ...(note ? [make("small", { textContent: note })] : [])),
    make("div", { className: "drawing", tabIndex: 0 }, ...(tables.length ? tables.map((table, i) => drawTable(table, others?.[i])) : [make("p", { className: "blank", textContent: "no table" })])));
  const figures = ({ teds, structure, table_note }) => table_note ?? (teds == null ? "" : `TEDS ${percent(teds)}, structure ${percent(structure)}`);
  return make("div", { className: "sides" }, side(truthName, "", truths),
    ...row.readings.map((reading, i) => side(systems[i], figures(reading), readings[i], truths)));
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
  const teds = (i) => number(several ? `${systems[i]} TEDS` : "TEDS", (row) => row.readings[i].teds, percent);
  if (rows.some((row) => row.readings.some((reading) => "teds" in reading))) systems.forEach((_, i) => columns.push(teds(i)));
  if ("score" in (rows[0] ?? {})) columns.push(number("Trust", (row) => row.score, trust));
  else systems.forEach((_, i) => columns.push(cer(i)));
  if (several) columns.push(number("Change", (row) => row.readings[last].cer - row.readings[0].cer, signed, true));
  return columns;
}

function textCell(value) {
  return make("td", { className: "text", dir: "auto" }, value ? make("div", { dir: "auto", textContent: shownText(value) }) : make("span", { className: "blank", textContent: "empty" }));
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
  if (row.picture && !isLine(row)) cell.append(pagePicture(row));
  const tables = tableComparison(row, systems, truth);
  const texts = tables ? make("details", {}, make("summary", { textContent: "Difference of the HTML, character by character" })) : cell;
  if (tables) cell.append(tables, make("p", { className: "legend", textContent: "Tinted cells are not as the truth has them." }), texts);
  row.readings.forEach((reading, i) => texts.append(difference(row, reading, systems[i], truth)));
  texts.append(make("p", { className: "legend" }, make("del", { textContent: "struck" }), " was not read so; ",
    make("ins", { textContent: "underlined" }), " was read instead. Texts are shown as they are scored."));
  return make("tr", { className: "detail" }, cell);
}

/** Everything that one table of rows does: filter, chips, sort, pages, opening rows. */
class Browser {
  constructor(root) {
    const table = JSON.parse(document.getElementById(root.dataset.table).textContent);
    Object.assign(this, table, { root, columns: columnsOf(table), page: 0, sort: null, examples: null });
    root.querySelector("table").classList.toggle("slim", !table.rows.some((row) => row.picture && !isLine(row)));
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
    this.root.querySelector("tbody").replaceChildren(...visible.flatMap((row) => this.rowElements(row)));
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

  /** The row of a sample, below its picture where that is a line of text. */
  rowElements(row) {
    const element = make("tr");
    for (const column of this.columns) {
      const cell = column.cell ? column.cell(row) : this.sampleCell(row, element);
      if (column.cell) cell.dataset.label = column.name;
      element.append(cell);
    }
    if (!isLine(row)) return [element];
    return [make("tr", { className: "strip" }, make("td", { colSpan: this.columns.length }, linePicture(row))), element];
  }

  sampleCell(row, element) {
    const last = row.readings[row.readings.length - 1];
    const button = make("button", { type: "button", className: "expand", textContent: row.id, ariaExpanded: "false" });
    button.addEventListener("click", () => this.toggle(row, element, button));
    const cell = make("td", { className: "sample" });
    if (row.picture && !isLine(row)) cell.append(smallPicture(row));
    cell.append(button);
    const place = row.picture ? row.source : [row.source, row.image].filter(Boolean).join(" · ");
    for (const text of [place, row.note]) if (text) cell.append(make("span", { className: "meta", textContent: text }));
    if (last.table_note) cell.append(make("span", { className: "meta", textContent: `Table ${last.table_note}` }));
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
