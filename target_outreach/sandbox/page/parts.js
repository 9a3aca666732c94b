// What all views are made of. Values are put in as text only: nothing here reads HTML.

export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value !== null && value !== undefined && value !== false) {
      made.setAttribute(name, value === true ? "" : value);
    }
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export async function read(path, signal) {
  const answer = await fetch(`/_sandbox/${path}`, { cache: "no-store", signal });
  const content = answer.headers.get("Content-Type") === "application/json"
    ? await answer.json() : {};
  if (!answer.ok) {
    throw Object.assign(new Error(content.error ?? "Not found."), { status: answer.status });
  }
  return content;
}

export const count = (number) => number.toLocaleString("en");

// Outreach writes times in UTC, with milliseconds that are always zero.
export const time = (text) => `${text.slice(0, 19).replace("T", " ")} UTC`;

export function span(seconds) {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds % 3600 / 60)} min`;
}

// camelCase to words, as people read them: customId is "custom id".
export const words = (name) => name.replace(/([a-z0-9])([A-Z])/g, "$1 $2").toLowerCase();

export function heading(name) {
  const text = words(name);
  return text[0].toUpperCase() + text.slice(1);
}

// A name of an object's record: "opportunity stage" for opportunityStages.
const types = new Map(document.getElementById("main").dataset.objects.split(" ")
  .map((one) => one.split(":")));
export const OBJECTS = [...types.keys()];
export const one = (object) => words(types.get(object) ?? object);

export const recordLink = (object, id, title) => element("a", { href: `#/${object}/${id}` }, title);

const TIME = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}/;

// A value of a field: times are written alike everywhere, and tags are chips.
export function fieldValue(name, value, nothing) {
  if (typeof value === "string" && TIME.test(value)) {
    return element("time", { datetime: value }, time(value));
  }
  const made = shown(value, nothing);
  if (name === "tags") made.classList.add("chips");
  return made;
}

// A text that breaks behind an @ rather than amid a name.
const text = (value) => value.split(/(?<=@)/).flatMap((part, place) =>
  place ? [element("wbr"), part] : [part]);

// A value: a text, a list of texts, a link to another record, or nothing.
export function shown(value, nothing = "") {
  if (value === null) return element("span", { class: "quiet" }, nothing);
  if (value === "") return element("span", { class: "quiet" }, "empty text");
  if (typeof value === "string") return element("span", { class: "value" }, ...text(value));
  if (!Array.isArray(value)) return recordLink(value.object, value.id, value.title);
  if (value.length === 0) return element("span", { class: "quiet" }, nothing && "empty list");
  return element("ul", { class: "values" }, ...value.map((one) => element("li", {}, ...text(one))));
}

export function table(kind, names, rows) {
  const head = names.map((name) => element("th", { scope: "col" }, name));
  return element("table", { class: kind },
    element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows));
}

// Links to the first, previous, next and last page of a list.
export function paging(address, parameters, last) {
  const here = Number(parameters.get("page") ?? 1);
  const to = (number, text) => {
    const changed = new URLSearchParams(parameters);
    changed.set("page", number);
    return element("a", { href: `#/${address}?${changed}` }, text);
  };
  if (last <= 1 && here <= 1) return "";
  return element("nav", { "aria-label": "Pages", class: "paging" },
    here > 1 ? to(1, "First page") : null,
    here > 1 ? to(Math.min(here - 1, last), "Previous page") : null,
    element("span", { class: "quiet" }, `Page ${count(here)} of ${count(last)}`),
    here < last ? to(here + 1, "Next page") : null,
    here < last ? to(last, "Last page") : null);
}

// What an address that leads nowhere says, with a way back.
export const missing = (said, address, back) => [
  element("p", {}, said), element("p", {}, element("a", { href: address }, back))];
