// Which view is shown, and the one loop that asks what is new: not while nobody looks.

import { OBJECTS, count, missing, read, element, span } from "./parts.js";
import { list, record, rest } from "./records.js";
import { request, requests } from "./requests.js";

const PAUSE_MILLISECONDS = 1000;
const TROUBLE_MILLISECONDS = 5000;

const main = document.getElementById("main");
const put = (id, text) => { document.getElementById(id).textContent = text; };
let view = null;
let timer;
let instance = null;

function chosen() {
  const [path, query] = (location.hash.slice(2) || OBJECTS[0]).split("?");
  const [name, id] = path.split("/");
  const parameters = new URLSearchParams(query);
  if (name === "requests") return id ? request(id) : requests(parameters, wake);
  if (name === "rest") return rest();
  if (!OBJECTS.includes(name)) {
    return { title: "Nothing here",
      content: missing("The sandbox has no such page.", `#/${OBJECTS[0]}`, "Back to the start") };
  }
  return id ? record(name, id) : list(name, parameters);
}

function open() {
  view?.leave?.();
  view = chosen();
  document.title = `${view.title} · Outreach sandbox`;
  const title = element("h2", { tabindex: -1, class: view.bare ? "quiet" : "" }, view.title);
  main.replaceChildren(...(view.bare ? [] : [title]), ...view.content);
  const place = `#/${location.hash.slice(2).split(/[?/]/)[0] || OBJECTS[0]}`;
  for (const link of document.querySelectorAll("header nav a")) {
    if (link.getAttribute("href") === place) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  wake();
}

function budget({ limit, used, remaining, reset }, now) {
  const gauge = document.getElementById("gauge");
  Object.assign(gauge, { max: limit, low: limit * 0.7, high: limit * 0.9, optimum: 0, value: used });
  put("limit", count(limit));
  put("used", count(used));
  put("remaining", count(remaining));
  put("reset", `in ${span(Math.max(0, reset - now))}`);
}

function show(news) {
  if (instance !== null && instance !== news.instance) {
    location.reload();
    return;
  }
  instance = news.instance;
  budget(news.budget, news.now);
  const counts = { ...news.counts, requests: news.finished };
  for (const place of document.querySelectorAll("[data-count]")) {
    place.textContent = count(counts[place.dataset.count] ?? 0);
  }
  view.live?.(news);
}

async function ask() {
  const asker = view;
  let pause = PAUSE_MILLISECONDS;
  try {
    const news = await read(`live?${view.query?.() ?? ""}`);
    if (asker === view) show(news);
    put("trouble", "");
  } catch (error) {
    pause = TROUBLE_MILLISECONDS;
    put("trouble", error.status ? error.message : "The sandbox does not answer. Does it still run?");
  }
  return pause;
}

let isAsking = false;

async function wake() {
  clearTimeout(timer);
  if (document.hidden || isAsking) return;
  isAsking = true;
  const asker = view;
  const pause = await ask();
  isAsking = false;
  timer = setTimeout(wake, asker === view ? pause : 0);
}

addEventListener("keydown", (event) => {
  const isTyping = event.target.matches("input, select, textarea");
  const search = document.getElementById("search");
  if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && search) {
    event.preventDefault();
    search.focus();
  }
});
addEventListener("hashchange", () => {
  if (location.hash && !location.hash.startsWith("#/")) return; // the link that skips
  open();
  scrollTo(0, 0);
  main.focus();
});
document.addEventListener("visibilitychange", wake);
open();
