// Lists, one record, and everything else.

import {
  count, element, fieldValue, heading, missing, one, paging, read, recordLink, shown, table, time, words,
} from "./parts.js";

const TYPING_MILLISECONDS = 200;

// A line that says that the sandbox has gone on since this view was read.
function freshness(reload) {
  const button = element("button", { type: "button" }, "Read again");
  const line = element("p", { role: "status", class: "bar", hidden: true });
  const text = element("span");
  line.append(text, button);
  let begun = Infinity;
  button.addEventListener("click", reload);
  const begin = (writes) => {
    begun = writes;
    line.hidden = true;
  };
  const live = ({ writes }) => {
    line.hidden = writes <= begun;
    if (!line.hidden) text.textContent = `Writes since this was read: ${count(writes - begun)}`;
  };
  return { line, begin, live };
}

const FILTERS = { account: "Account", owner: "Owner", tags: "Tag", optedOut: "Opted out" };
const HINTS = { account: "Name or domain", tags: "Whole tag" };

export function list(object, parameters) {
  const search = element("input", { type: "search", id: "search", maxlength: 200,
    placeholder: "Words of any field, or an id", "aria-keyshortcuts": "/" });
  const filters = element("div", { class: "filters" });
  const status = element("p", { role: "status" });
  const results = element("div");
  const linked = element("p");
  let current = new AbortController();
  let typed;

  async function load() {
    current.abort();
    current = new AbortController();
    try {
      show(await read(`records/${object}?${parameters}`, current.signal));
    } catch (error) {
      if (error.name !== "AbortError") status.textContent = error.message;
    }
  }

  const isNarrowed = () => ["search", ...Object.keys(FILTERS)].some((name) => parameters.get(name));

  function show(page) {
    fresh.begin(page.last_write);
    if (!filters.childElementCount) filters.append(...offered(page.filters));
    const end = page.first + page.rows.length - 1;
    status.textContent = page.rows.length
      ? `${count(page.first)} to ${count(end)} of ${count(page.count)}`
      : isNarrowed() ? "No record fits these filters." : "There are none yet.";
    linked.replaceChildren(...(page.linked
      ? [`Only with the ${words(parameters.get("link"))} `, shown(page.linked), ". ",
        element("a", { href: `#/${object}` }, "Show all")] : []));
    const rows = page.rows.map((row) => element("tr", {},
      element("td", { "data-name": "Id", class: "number" },
        row.cells[0]?.object ? recordLink(object, row.id, row.id) : String(row.id)),
      ...row.cells.map((cell, place) => cellOf(page.columns[place], cell, place, row))));
    const last = Math.max(1, Math.ceil(page.count / page.page_size));
    results.replaceChildren(...(rows.length
      ? [sortable(["id", ...page.columns], rows), paging(object, parameters, last)] : []));
  }

  function cellOf(column, value, place, row) {
    const isTime = column.endsWith("At") && value;
    const content = place === 0 && !value?.object
      ? recordLink(object, row.id, row.title) : fieldValue(column, value);
    return element(place === 0 ? "th" : "td",
      place === 0 ? { scope: "row" }
        : { "data-name": heading(column), class: isTime && "time" }, content);
  }

  // A table whose columns are links that sort by them, and the other way when followed again.
  function sortable(names, rows) {
    const sorted = parameters.get("sort") ?? "";
    const head = names.map((name) => {
      const changed = new URLSearchParams(parameters);
      changed.delete("page");
      changed.set("sort", sorted === name ? `-${name}` : name);
      const way = sorted === name ? "ascending" : sorted === `-${name}` ? "descending" : null;
      const arrow = way && element("span", { "aria-hidden": "true" }, way === "ascending" ? " ▲" : " ▼");
      return element("th", { scope: "col", "aria-sort": way },
        element("a", { href: `#/${object}?${changed}` }, heading(name), arrow ?? ""));
    });
    return element("table", { class: "cards list" },
      element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows));
  }

  function offered(known) {
    return Object.entries(known).map(([name, choices]) => {
      const id = `filter-${name}`;
      const field = choices
        ? element("select", { id }, element("option", { value: "" }, "any"),
          ...choices.map(([value, text]) => element("option", { value }, text)))
        : element("input", { type: "search", id, maxlength: 200, placeholder: HINTS[name] });
      field.value = parameters.get(name) ?? "";
      field.addEventListener("input", () => later(name, field));
      return element("div", {}, element("label", { for: id }, FILTERS[name]), field);
    });
  }

  function later(name, field) {
    clearTimeout(typed);
    typed = setTimeout(() => {
      const changed = new URLSearchParams(parameters);
      changed.delete("page");
      changed.delete(name);
      if (field.value.trim()) changed.set(name, field.value.trim());
      parameters = changed;
      // The address tells what is shown, and each letter is no step back.
      history.replaceState(null, "", `#/${object}?${parameters}`);
      load();
    }, TYPING_MILLISECONDS);
  }

  const fresh = freshness(load);
  const form = element("form", { role: "search" },
    element("div", { class: "words" }, element("label", { for: "search" }, "Search"), search),
    filters);
  form.addEventListener("submit", (event) => event.preventDefault());
  search.addEventListener("input", () => later("search", search));
  search.value = parameters.get("search") ?? "";
  load();
  return {
    title: heading(object),
    content: [form, linked, status, fresh.line, results],
    live: fresh.live,
    leave: () => {
      clearTimeout(typed);
      current.abort();
    },
  };
}

function fields(entries) {
  const rows = entries.map(([name, value]) =>
    element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, value)));
  return element("table", { class: "fields" }, element("tbody", {}, ...rows));
}

function attributeName(attribute) {
  return attribute.label
    ? element("span", {}, attribute.name, " (", attribute.label, ")") : attribute.name;
}

const HOW = {
  POST: "Created by POST", PATCH: "Sent by PATCH", DELETE: "Deleted", import: "Imported",
  seed: "Put there past the API", edit: "Edited past the API",
};

const sent = (one) => [...one.attributes, ...one.relationships];
const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

// What a write set, with what the writes before it tell of what was there.
function changes(entry, earlier, isWhole) {
  const before = new Map(earlier.toReversed().flatMap(sent));
  return sent(entry).map(([name, value]) => {
    const isKnown = isWhole || before.has(name);
    const old = before.get(name) ?? null;
    return { name, value, old, isKnown, differs: isKnown && !same(old, value) };
  });
}

function outcome(entry, listed, isFirst) {
  if (!entry.changed) return element("span", { class: "outcome quiet" }, "changed nothing");
  if (isFirst || entry.method === "DELETE") return null;
  const names = listed.filter((one) => one.differs).map((one) => one.name);
  return element("span", { class: "outcome" }, `changed ${names.join(", ") || "something"}`);
}

function change({ name, value, old, isKnown, differs }, isFirst) {
  const now = fieldValue(name, value, "cleared");
  if (isFirst || !differs) {
    return element("dd", { class: isFirst || !isKnown ? "" : "quiet" }, now);
  }
  const wasEmpty = old === null || same(old, []) || same(old, "");
  return element("dd", {}, ...(wasEmpty ? [] : [element("del", {}, fieldValue(name, old)), " → "]),
    element("ins", {}, now));
}

function write(entry, earlier, isWhole, labels) {
  const isFirst = isWhole && !earlier.length;
  const listed = changes(entry, earlier, isWhole);
  const lines = listed.flatMap((one) => [
    element("dt", {}, attributeName({ name: one.name, label: labels.get(one.name) })),
    change(one, isFirst)]);
  const became = outcome(entry, listed, isFirst);
  const isCreate = isFirst || ["POST", "company"].includes(entry.method);
  const kind = entry.method === "DELETE" ? "deleted" : isCreate ? "created" : "updated";
  return element("li", { class: entry.changed && kind },
    element("strong", {}, HOW[entry.method] ?? entry.method), " ",
    element("time", { datetime: entry.at }, time(entry.at)), became && ", ", became,
    lines.length ? element("dl", {}, ...lines) : null);
}

export function record(object, id) {
  const place = element("div");
  const title = heading(object);

  async function load() {
    try {
      show(await read(`records/${object}/${id}`));
    } catch (error) {
      place.replaceChildren(...missing(
        error.status === 404 ? `There is no ${one(object)} ${id}.` : error.message,
        `#/${object}`, `Back to all ${words(object)}`));
    }
  }

  function show(found) {
    fresh.begin(found.last_write);
    const set = found.attributes.filter((one) => !one.blank);
    const blank = found.attributes.filter((one) => one.blank);
    const rows = (some) => some.map((one) =>
      [attributeName(one), fieldValue(one.name, one.value, "nothing")]);
    const labels = new Map(found.attributes.map((one) => [one.name, one.label]));
    const links = found.relationships.filter((one) => one.link);
    const linkRows = links.map((one) => [words(one.name), shown(one.link)]);
    const back = found.linked_from.map((one) => [
      `as ${words(one.link)} of`,
      element("a", { href: `#/${one.object}?link=${one.link}&id=${found.id}` },
        `${words(one.object)} (${count(one.count)})`),
    ]);
    place.replaceChildren(
      element("h2", {}, found.title),
      element("p", { class: "quiet" }, `${title}, id ${found.id}, `,
        element("code", {}, found.address)),
      found.deleted ? element("p", { class: "bad" }, "This record has been deleted.") : "",
      element("div", { class: "halves" },
        found.deleted ? null : element("div", {},
          element("h3", {}, "Fields"), fields(rows(set)),
          element("details", {},
            element("summary", {}, `${blank.length} fields without a value`), fields(rows(blank))),
          element("h3", {}, "Links"),
          links.length || back.length
            ? fields([...linkRows, ...back]) : element("p", { class: "quiet" }, "None.")),
        element("div", {},
          element("h3", {}, `History (${count(found.writes)})`),
          found.history.length < found.writes
            ? element("p", { class: "quiet" }, `The last ${found.history.length} writes.`) : null,
          element("ol", { class: "history" }, ...found.history.map((entry, place, all) =>
            write(entry, all.slice(place + 1), found.history.length === found.writes, labels))))));
  }

  const fresh = freshness(load);
  load();
  return { title: `${title} ${id}`, content: [fresh.line, place], live: fresh.live, bare: true };
}

export function rest() {
  const objects = element("div");
  const place = element("div");

  function live({ counts }) {
    const names = Object.keys(counts).filter(
      (name) => !document.querySelector(`header [data-count="${name}"]`));
    const list = names.map((name) => [
      element("a", { href: `#/${name}` }, heading(name)), count(counts[name]),
    ]);
    // Focus stays where it is unless there is something new to show.
    const text = JSON.stringify(counts);
    if (objects.dataset.shown !== text) objects.replaceChildren(fields(list));
    objects.dataset.shown = text;
  }

  function show(found) {
    const custom = found.custom_fields.map((one) => element("tr", {},
      element("th", { scope: "row" }, one.label || one.name),
      ...[["Field", one.name], ["Of", one.object], ["Type", one.type],
        ["Options", one.definition], ["Needed", one.required === "true" ? "yes" : "no"]].map(
        ([name, value]) => element("td", { "data-name": name }, shown(value)))));
    const imports = found.imports.map((one) => element("tr", {},
      element("th", { scope: "row" }, String(one.id)),
      ...[["Accepted", time(one.at)], ["Method", one.dupe_method], ["Records", count(one.total)],
        ["State", one.error ? `${one.state}: ${one.error}` : one.state],
        ["Outcomes", Object.entries(one.outcomes).map(([name, n]) => `${count(n)} ${name}`)],
      ].map(([name, value]) => element("td", { "data-name": name }, shown(value)))));
    const none = () => element("p", { class: "quiet" }, "None.");
    place.replaceChildren(
      element("h3", {}, "Custom fields"),
      custom.length
        ? table("cards", ["Label", "Field", "Of", "Type", "Options", "Needed"], custom) : none(),
      element("h3", {}, "Imports"),
      imports.length
        ? table("cards", ["Id", "Accepted", "Method", "Records", "State", "Outcomes"], imports) : none(),
      element("h3", {}, "Organisation"), element("p", {}, found.organisation));
  }

  read("rest").then(show, (error) => place.replaceChildren(error.message));
  return { title: "Everything else", content: [objects, place], live };
}
