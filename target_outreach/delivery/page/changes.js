
// Lists the records of a run. Values are put in as text only: nothing here reads HTML.

const PAGE = 100;
const LONG = 120; // letters of a text from which on only what differs is shown
const AROUND = 30; // letters that are shown before and behind that

const at = (id) => document.getElementById(id);
const count = (number) => number.toLocaleString("en");

function element(tag, properties, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// Texts of values

const written = (value) => typeof value === "string" ? value : JSON.stringify(value);
const isEmpty = (value) => value === null || value === undefined || value === "" ||
  (Array.isArray(value) && !value.length);
const old = (...what) => element("del", {}, element("span", { class: "said" }, "before: "), ...what);
const fresh = (...what) => element("ins", {}, element("span", { class: "said" }, "now: "), ...what);

function* eachText(value) {
  if (value === null || typeof value !== "object") yield String(value);
  else for (const one of Object.values(value)) yield* eachText(one);
}

// How many letters two texts have in common, from the start or from the end.
function alike(one, other, most, letter) {
  let length = 0;
  while (length < most && letter(one, length) === letter(other, length)) length += 1;
  return length;
}

// Of long texts only the part that differs, and a little around it.
function shorten(before, after) {
  const most = Math.min(before.length, after.length);
  const head = alike(before, after, most, (text, n) => text[n]);
  const tail = alike(before, after, most - head, (text, n) => text[text.length - 1 - n]);
  const from = Math.max(0, head - AROUND);
  const cut = (text) => {
    const until = Math.min(text.length, Math.max(text.length - tail + AROUND, from + LONG));
    return (from ? "…" : "") + text.slice(from, until) + (until < text.length ? "…" : "");
  };
  return [cut(before), cut(after)];
}

function texts(before, after) {
  const both = [written(before), written(after)];
  return Math.max(...both.map((text) => text.length)) > LONG && !isEmpty(before)
    ? shorten(...both) : both;
}

function lists(before, after) {
  const chip = (made) => element("span", { class: "chip" }, made);
  const has = (list) => { const known = new Set(list.map(written)); return (one) => known.has(written(one)); };
  const [wasThere, stays] = [has(before), has(after)];
  return [
    ...before.filter((one) => !stays(one)).map((one) => chip(old(written(one)))),
    ...after.map((one) => chip(wasThere(one) ? written(one) : fresh(written(one)))),
  ];
}

function diff(change) {
  const { old: before, new: after } = change;
  if (Array.isArray(after) && "old" in change && (before === null || Array.isArray(before))) {
    return after.length || before?.length ? lists(before ?? [], after) : [fresh("empty")];
  }
  const [was, is] = texts(before ?? null, after);
  const now = fresh(isEmpty(after) ? "empty" : is);
  if (!("old" in change)) return ["not read → ", now];
  return isEmpty(before) ? [now] : [old(was), " → ", now];
}

// One record

const pairs = (values) => Object.entries(values ?? {})
  .map(([name, value]) => `${name} ${Array.isArray(value) ? value.join(", ") : written(value)}`);

function who(row) {
  const key = pairs(row.key).join(", ");
  const source = pairs(row.source_key).map((text) => `source ${text}`);
  const places = [
    row.id ? (row.id < 0 ? "not in Outreach yet" : `id ${row.id}`) : null,
    row.line ? `line ${count(row.line)}` : null,
    row.relationship ? `made to be linked to as ${row.relationship}` : null,
    ...(key ? source : []),
    about.streams.length > 1 ? row.stream : null,
  ];
  const name = key || source.join(", ") || "without a key";
  return [element("div", {}, name),
    element("div", { class: "soft" }, places.filter(Boolean).join(", "))];
}

function field(stream, name) {
  const title = about.titles[stream]?.[name];
  return element("dt", title ? { title } : {}, about.labels[stream]?.[name] ?? name);
}

function what(row) {
  const parts = [];
  if (row.reason) {
    parts.push(element("div", {}, `${about.reasons[row.reason] ?? row.reason}.`));
    if (row.message) parts.push(element("div", { class: "soft" }, row.message));
  }
  const listed = Object.entries(row.changes ?? row.opt_out?.changes ?? {});
  if (row.opt_out) parts.push(element("div", { class: "soft" }, "Its opt-out is delivered all the same:"));
  const lines = listed.flatMap(([name, change]) =>
    [field(row.stream, name), element("dd", {}, ...diff(change))]);
  for (const [name, value] of Object.entries(row.kept ?? {})) {
    lines.push(field(row.stream, name), element("dd", {}, "Outreach kept ", fresh(written(value))));
  }
  for (const name of Object.keys(row.held_back ?? {})) {
    lines.push(field(row.stream, name), element("dd", { class: "soft" }, "not changed, by a rule"));
  }
  if (lines.length) parts.push(element("dl", {}, ...lines));
  return parts;
}

function line(row) {
  return element("tr", {},
    element("th", { scope: "row", class: `action ${row.action}` }, about.actions[row.action] ?? row.action),
    element("td", {}, ...who(row)), element("td", {}, ...what(row)));
}

// Filters

const fieldsOf = (row) => [
  ...Object.keys(row.changes ?? row.opt_out?.changes ?? {}), ...Object.keys(row.held_back ?? {}),
  ...(row.action === "reject" && row.field ? [row.field] : []),
];
const searched = new Map();

function holds(row, words) {
  if (!searched.has(row)) {
    const { stream, action, ...rest } = row;
    searched.set(row, [...eachText(rest), about.reasons[row.reason] ?? ""].join("\n").toLowerCase());
  }
  return words.every((word) => searched.get(row).includes(word));
}

let about;
let rows = [];
let found = [];
let page = 0;

function choose() {
  const actions = new Set([...document.querySelectorAll("#actions input:checked")].map((one) => one.value));
  const [stream, name] = [at("stream").value, at("field").value];
  const words = at("text").value.toLowerCase().split(/\s+/).filter(Boolean);
  found = rows.filter((row) => actions.has(row.action) && (!stream || row.stream === stream) &&
    (!name || fieldsOf(row).includes(name)) && (!words.length || holds(row, words)));
  page = 0;
  show();
}

function show() {
  const first = page * PAGE;
  const shown = found.slice(first, first + PAGE);
  at("count").textContent = shown.length
    ? `${count(first + 1)} to ${count(first + shown.length)} of ${count(found.length)} records`
    : rows.length ? "No record fits these filters." : "There are no records.";
  const head = ["What", "Record", "Change"].map((name) => element("th", { scope: "col" }, name));
  at("list").replaceChildren(...(shown.length ? [element("table", {},
    element("thead", {}, element("tr", {}, ...head)),
    element("tbody", {}, ...shown.map(line)))] : []));
  const last = Math.max(0, Math.ceil(found.length / PAGE) - 1);
  at("pages").hidden = last === 0;
  const places = { First: 0, Previous: page - 1, Next: page + 1, Last: last };
  for (const button of at("pages").querySelectorAll("button")) {
    const to = places[button.textContent];
    button.disabled = to < 0 || to > last || to === page;
    button.value = to;
  }
  at("pages").querySelector("span").textContent = `Page ${count(page + 1)} of ${count(last + 1)}`;
}

function turn(event) {
  page = Number(event.target.value);
  show();
  at("count").scrollIntoView();
}

function counted(names) {
  const counts = new Map();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return counts;
}

function offer(select, all, counts) {
  const options = [...counts].sort().map(([value, number]) =>
    element("option", { value }, `${value} (${count(number)})`));
  select.replaceChildren(element("option", { value: "" }, all), ...options);
}

function start() {
  about = JSON.parse(at("about").textContent);
  rows = JSON.parse(at("rows").textContent);
  rows.pop();
  at("rows").remove();
  const actions = counted(rows.map((row) => row.action));
  for (const [action, name] of Object.entries(about.actions)) {
    const left = about.left_out[action] ?? 0;
    const number = (actions.get(action) ?? 0) + left;
    if (!number) continue;
    at("actions").append(element("label", {},
      element("input", { type: "checkbox", value: action, checked: "" }), `${name} (${count(number)})`));
  }
  offer(at("stream"), "All streams", counted(rows.map((row) => row.stream)));
  offer(at("field"), "All fields", counted(rows.flatMap(fieldsOf)));
  const more = Object.values(about.left_out).reduce((sum, one) => sum + one, 0);
  at("left-out").hidden = !more;
  at("left-out").textContent = `${count(more)} more records are counted but not listed: ` +
    `this page has the first ${count(about.most)} of each kind. JSON Lines have them all.`;
  const made = new Date(about.at); // "sv" writes it as UTC is written
  at("made").replaceChildren(
    `target-outreach ${about.version}, `,
    element("time", { datetime: about.at }, `${about.at.slice(0, 19).replace("T", " ")} UTC`),
    made.getTimezoneOffset() ? ` (${made.toLocaleString("sv")} here). ` : ". ",
    about.unsettled ? `The run ended before ${count(about.unsettled)} of the records were delivered.` : "");
  at("pages").append(...["First", "Previous"].map(button), element("span", {}), ...["Next", "Last"].map(button));
  at("filters").hidden = false;
  at("filters").addEventListener("submit", (event) => event.preventDefault());
  for (const name of ["change", "input"]) at("filters").addEventListener(name, later);
  choose();
}

function button(name) {
  const made = element("button", { type: "button" }, name);
  made.addEventListener("click", turn);
  return made;
}

let timer;
function later() {
  clearTimeout(timer);
  timer = setTimeout(choose, 100);
}

addEventListener("keydown", (event) => {
  if (event.key === "/" && !/^(INPUT|SELECT)$/.test(document.activeElement.tagName)) {
    event.preventDefault();
    at("text").focus();
  }
});
requestAnimationFrame(() => setTimeout(start)); // the page is painted before the rows are read
