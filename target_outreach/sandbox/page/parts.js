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

export const recordLink = (object, id, title) => element("a", { href: `#/${object}/${id}` }, title);

// A value: a text, a list of texts, a link to another record, or nothing.
export function shown(value, nothing = "") {
  if (value === null) return element("span", { class: "quiet" }, nothing);
  if (value === "") return element("span", { class: "quiet" }, "empty text");
  if (typeof value === "string") return element("span", { class: "value" }, value);
  if (!Array.isArray(value)) return recordLink(value.object, value.id, value.title);
  if (value.length === 0) return element("span", { class: "quiet" }, nothing && "empty list");
  return element("ul", { class: "values" }, ...value.map((one) => element("li", {}, one)));
}

export function table(kind, names, rows) {
  const head = names.map((name) => element("th", { scope: "col" }, name));
  return element("table", { class: kind },
    element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows));
}
