// The log of requests, the newest first.

import { count, element, fieldValue, heading, missing, one, paging, read, recordLink, span, table } from "./parts.js";

const MOST_ROWS = 200;
const A_PAGE = 100;
const KINDS = {
  all: "all requests", lookup: "lookups", read: "other reads", create: "creates",
  update: "updates", delete: "deletes", import: "imports", token: "tokens and logins",
  other: "others", refused: "refused or dropped",
};

const isGood = (entry) => entry.status !== null && entry.status < 400;
const status = (entry) => entry.status === null ? "no answer" : String(entry.status);

function row(entry) {
  const parameters = entry.parameters.length
    ? element("div", { class: "quiet" }, entry.parameters.join(", ")) : null;
  const made = element("tr", { class: "request" },
    element("td", { class: "age" }),
    element("td", {}, entry.method),
    element("td", { class: "path" },
      element("a", { href: `#/requests/${entry.number}` }, element("code", {}, entry.path)), parameters),
    element("td", { class: isGood(entry) ? "good" : "bad" }, status(entry)),
    element("td", { class: "number" }, `${entry.milliseconds.toFixed(1)} ms`));
  return { made, run: entry.run, ended: Date.now() - entry.age * 1000 };
}

// The rows of a run are together, below a line that says which one it is.
function group(run) {
  const name = element("th", { scope: "rowgroup", colspan: 5 });
  return element("tbody", { "data-run": run }, element("tr", { class: "run" }, name));
}

export function requests(parameters, wake) {
  const asked = parameters.get("kind");
  const kind = Object.hasOwn(KINDS, asked ?? "") ? asked : "all";
  const page = Number(parameters.get("page") ?? 1);
  const select = element("select", { id: "kind" }, ...Object.entries(KINDS).map(
    ([value, text]) => element("option", { value, selected: value === kind }, text)));
  const pause = element("button", { type: "button", "aria-pressed": "false" }, "Pause");
  const none = element("p", { class: "quiet" }, "None yet.");
  const log = table("log", ["Age", "Method", "Path", "Status", "Took"], []);
  const pages = element("div");
  let rows = [];
  let after = null;

  select.addEventListener("change", () => {
    location.hash = `#/requests?kind=${select.value}`;
  });
  pause.addEventListener("click", () => {
    const paused = pause.getAttribute("aria-pressed") !== "true";
    pause.setAttribute("aria-pressed", String(paused));
    if (!paused) wake();
  });

  // Add rows, the newest first, above all others or below them.
  function add(added, isAbove) {
    for (const one of isAbove ? added.toReversed() : added) {
      const edge = isAbove ? log.tBodies[0] : log.tBodies[log.tBodies.length - 1];
      let body = edge;
      if (edge?.dataset.run !== String(one.run)) {
        body = group(one.run);
        if (isAbove && edge) edge.before(body);
        else log.append(body);
      }
      if (isAbove) body.rows[0].after(one.made);
      else body.append(one.made);
    }
    rows = isAbove ? [...added, ...rows] : [...rows, ...added];
    rows.splice(MOST_ROWS).forEach((one) => one.made.remove());
    for (const body of [...log.tBodies]) {
      const number = body.rows.length - 1;
      if (!number) body.remove();
      else body.rows[0].cells[0].textContent =
        `Run ${body.dataset.run}: ${count(number)} ${number === 1 ? "request" : "requests"} here`;
    }
  }

  async function load() {
    try {
      const found = await read(`requests?kind=${kind}&page=${page}`);
      add(found.requests.map(row), false);
      after = found.finished;
      pages.replaceChildren(paging("requests", parameters, Math.max(1, Math.ceil(found.count / A_PAGE))));
      tell();
      wake();
    } catch (error) {
      none.textContent = error.message;
    }
  }

  function tell() {
    rows.forEach(({ made, ended }) => {
      made.firstChild.textContent = span(Math.max(0, Date.now() - ended) / 1000);
    });
    none.hidden = rows.length > 0;
    log.hidden = rows.length === 0;
  }

  function live({ finished, requests: entries }) {
    if (after !== null && page === 1 && pause.getAttribute("aria-pressed") !== "true") {
      const added = entries.filter((entry) => entry.number > after).map(row);
      after = Math.max(after, finished);
      add(added, true);
    }
    tell();
  }

  log.tBodies[0].remove();
  log.hidden = true;
  load();
  const bar = element("div", { class: "bar" },
    element("label", { for: "kind" }, "Show"), select, page === 1 ? pause : null);
  return {
    title: "Requests",
    content: [bar, none, log, pages],
    live,
    query: () => `limit=${after === null || page > 1 ? 0 : MOST_ROWS}&kind=${kind}&after=${after ?? 0}`,
  };
}

// One request as a whole.

function part(name, text) {
  return [element("h3", {}, name), text
    ? element("pre", { tabindex: 0, "aria-label": name, role: "region" }, text)
    : element("p", { class: "quiet" }, text === null ? "It is no longer kept." : "None.")];
}

export function request(number) {
  const place = element("div");

  function show(found) {
    const query = found.query.map(([name, value]) => element("tr", {},
      element("th", { scope: "row" }, name), element("td", {}, fieldValue(name, value))));
    const records = found.records.map(([object, id]) =>
      element("li", {}, recordLink(object, id, `${one(object)} ${id}`)));
    place.replaceChildren(
      element("p", {}, element("code", {}, `${found.method} ${found.path}`), " ",
        element("span", { class: isGood(found) ? "good" : "bad" }, status(found)),
        element("span", { class: "quiet" },
          `, ${found.milliseconds.toFixed(1)} ms, ${span(found.age)} ago, run ${found.run}`)),
      ...(found.is_secret
        ? [element("p", { class: "quiet" }, "What it said is not shown: it holds tokens.")]
        : [element("h3", {}, "Records"),
          records.length ? element("ul", {}, ...records) : element("p", { class: "quiet" }, "None."),
          element("h3", {}, "Query"),
          query.length
            ? element("table", { class: "fields" }, element("tbody", {}, ...query))
            : element("p", { class: "quiet" }, "None."),
          ...part("Body", found.body), ...part("Answer", found.answer)]),
      element("p", {}, element("a", { href: "#/requests" }, "Back to all requests")));
  }

  read(`requests/${encodeURIComponent(number)}`).then(show, (error) => place.replaceChildren(...missing(
    error.status === 404 ? `There is no request ${number}.` : error.message,
    "#/requests", "Back to all requests")));
  return { title: `${heading("request")} ${number}`, content: [place] };
}
