// The log of requests, the newest first.

import { element, span, table } from "./parts.js";

const MOST_ROWS = 200;
const KINDS = {
  all: "all requests", lookup: "lookups", read: "other reads", create: "creates",
  update: "updates", delete: "deletes", import: "imports", token: "tokens and logins",
  other: "others", refused: "refused or dropped",
};

function row(entry) {
  const parameters = entry.parameters.length
    ? element("div", { class: "quiet" }, entry.parameters.join(", ")) : null;
  const isGood = entry.status !== null && entry.status < 400;
  const made = element("tr", {},
    element("td", { class: "age" }),
    element("td", {}, entry.method),
    element("td", { class: "path" }, element("code", {}, entry.path), parameters),
    element("td", { class: isGood ? "good" : "bad" },
      entry.status === null ? "no answer" : String(entry.status)),
    element("td", { class: "number" }, `${entry.milliseconds} ms`));
  return { made, ended: Date.now() - entry.age * 1000 };
}

export function requests(parameters, wake) {
  const asked = parameters.get("kind");
  const kind = Object.hasOwn(KINDS, asked ?? "") ? asked : "all";
  const select = element("select", { id: "kind" }, ...Object.entries(KINDS).map(
    ([value, text]) => element("option", { value, selected: value === kind }, text)));
  const pause = element("button", { type: "button", "aria-pressed": "false" }, "Pause");
  const none = element("p", { class: "quiet" }, "None yet.");
  const log = table("log", ["Age", "Method", "Path", "Status", "Took"], []);
  const body = log.tBodies[0];
  let rows = [];
  let after = 0;

  select.addEventListener("change", () => {
    location.hash = `#/requests?kind=${select.value}`;
  });
  pause.addEventListener("click", () => {
    const paused = pause.getAttribute("aria-pressed") !== "true";
    pause.setAttribute("aria-pressed", String(paused));
    if (!paused) wake();
  });

  function live({ finished, requests: entries }) {
    if (pause.getAttribute("aria-pressed") !== "true") {
      after = finished;
      const added = entries.map(row);
      body.prepend(...added.map((one) => one.made));
      rows = [...added, ...rows];
      rows.splice(MOST_ROWS).forEach((one) => one.made.remove());
    }
    rows.forEach(({ made, ended }) => {
      made.firstChild.textContent = span(Math.max(0, Date.now() - ended) / 1000);
    });
    none.hidden = rows.length > 0;
    log.hidden = rows.length === 0;
  }

  log.hidden = true;
  const bar = element("div", { class: "bar" },
    element("label", { for: "kind" }, "Show"), select, pause);
  return {
    title: "Requests",
    content: [bar, none, log],
    live,
    query: () => `limit=${MOST_ROWS}&kind=${kind}&after=${after}`,
  };
}
