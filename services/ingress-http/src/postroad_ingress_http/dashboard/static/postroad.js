// What pages do better with a script. Everything on them works without it.
"use strict";

// The server writes times in this zone.
document.cookie = `postroad_zone=${Intl.DateTimeFormat().resolvedOptions().timeZone}; path=/dashboard; max-age=31536000; samesite=lax`;

// Copy buttons.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "Copied";
  } catch {
    const range = document.createRange();
    range.selectNodeContents(button.parentElement.querySelector("code"));
    const selection = window.getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
    button.textContent = "Selected";
  }
  setTimeout(() => { button.textContent = label; }, 2000);
});

// The bars of a chart are one stop of the tabulator key; arrows lead from bar to bar.
function barsOf(bar) { return [...bar.parentNode.querySelectorAll(".bar")]; }

document.addEventListener("keydown", (event) => {
  const bar = event.target.closest?.(".bar");
  const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
  if (!bar || step === undefined) return;
  event.preventDefault();
  const bars = barsOf(bar);
  const next = bars[Math.max(0, Math.min(bars.length - 1, bars.indexOf(bar) + step))];
  bar.setAttribute("tabindex", "-1");
  next.setAttribute("tabindex", "0");
  next.focus();
});

function gatherBars() {
  for (const chart of document.querySelectorAll(".chart")) {
    [...chart.querySelectorAll(".bar")].forEach((bar, at, all) => bar.setAttribute("tabindex", at === all.length - 1 ? "0" : "-1"));
  }
}

// Parts of a page with `data-live="seconds"` and an id are fetched anew while the page is seen, and
// changed in place, so that the focus, open details and what was typed stay.
const STATE = new Set(["open", "checked", "value", "selected", "tabindex"]);
const LONGEST_WAIT = 120;

function morph(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeType !== Node.ELEMENT_NODE) {
    old.nodeValue = fresh.nodeValue;
    return;
  }
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !STATE.has(name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value && !STATE.has(name)) old.setAttribute(name, value);
  }
  const keyed = new Map([...old.children].filter((child) => child.dataset.key).map((child) => [child.dataset.key, child]));
  let at = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const match = child.dataset?.key ? keyed.get(child.dataset.key) : sameKind(at, child);
    if (!match) {
      old.insertBefore(document.importNode(child, true), at);
      continue;
    }
    if (match === at) at = at.nextSibling;
    else old.insertBefore(match, at);
    morph(match, child);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function sameKind(from, child) {
  for (let node = from; node; node = node.nextSibling) {
    if (node.nodeName === child.nodeName && !node.dataset?.key) return node;
  }
  return null;
}

function startLive() {
  const parts = [...document.querySelectorAll("[data-live]")].filter((part) => part.id);
  const note = document.querySelector("[data-live-note]");
  if (!parts.length || !note) return;
  const [text, button] = [note.querySelector("span"), note.querySelector("button")];
  const pace = Math.min(...parts.map((part) => Number(part.dataset.live)));
  let wait = pace;
  let timer = 0;
  let paused = false;
  let busy = false;

  function later() {
    clearTimeout(timer);
    if (!paused && document.visibilityState === "visible") timer = setTimeout(refresh, wait * 1000);
  }

  function end(said) {
    clearTimeout(timer);
    paused = true;
    text.textContent = said;
    button.hidden = true;
  }

  async function refresh() {
    if (busy) return;
    busy = true;
    try {
      const answer = await fetch(location.href, { redirect: "manual", headers: { "X-Postroad-Live": "1" }, signal: AbortSignal.timeout(10000) });
      if (answer.type === "opaqueredirect") return end("You are logged out: reload the page.");
      if (!answer.ok) throw new Error(answer.status);
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of parts) {
        const anew = fresh.getElementById(part.id);
        if (anew) morph(part, anew);
      }
      wait = pace;
      text.textContent = `Updated ${new Date().toLocaleTimeString([], { hour12: false })}, every ${pace} s.`;
      if (!parts.some((part) => part.dataset.live)) return end("Nothing more is expected to happen.");
    } catch {
      wait = Math.min(wait * 2, LONGEST_WAIT);
      text.textContent = `The server does not answer; next try in ${wait} s.`;
    } finally {
      busy = false;
    }
    later();
  }

  button.addEventListener("click", () => {
    paused = !paused;
    button.textContent = paused ? "Go on" : "Pause";
    if (paused) clearTimeout(timer);
    else refresh();
  });
  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (!paused && document.visibilityState === "visible") refresh();
  });
  text.textContent = `Updates every ${pace} s.`;
  note.hidden = false;
  later();
}

// A search that has found nothing yet goes on by itself until it has, or has seen every message.
async function searchOn() {
  for (;;) {
    const link = document.querySelector("#found [data-search-on]");
    if (!link) return;
    const address = link.href;
    const answer = await fetch(address, { redirect: "manual" });
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    history.replaceState(null, "", address);
    morph(document.getElementById("found"), fresh.getElementById("found"));
  }
}

// What was typed into a form stays in this tab until a page answers it, so that somebody who turns
// out to be logged out finds it again after logging in. Passwords, codes and files are left out.
const UNSENT = "postroad_unsent";
const SECRET = /password|one-time-code/;

function user() { return document.querySelector(".logout a")?.title; }

function typedIn(form) {
  return [...form.elements].filter((field) => field.name && !["hidden", "password", "file", "submit", "button", "fieldset"].includes(field.type) && !SECRET.test(field.autocomplete));
}

function valueOf(field) { return ["checkbox", "radio"].includes(field.type) ? field.checked : field.value; }

document.addEventListener("submit", ({ target: form }) => {
  const page = form.elements.page?.value;
  if (form.method !== "post" || form.target || !page || !user()) return;
  const fields = typedIn(form).map((field) => [field.name, valueOf(field)]);
  sessionStorage.setItem(UNSENT, JSON.stringify({ user: user(), page, action: form.action, fields }));
});

function findUnsent() {
  const kept = JSON.parse(sessionStorage.getItem(UNSENT) ?? "null");
  if (!kept || (!user() && location.pathname.startsWith("/dashboard/login"))) {
    if (kept) sessionStorage.setItem(UNSENT, JSON.stringify({ ...kept, lost: true }));
    return;
  }
  sessionStorage.removeItem(UNSENT);
  if (!kept.lost || kept.user !== user() || kept.page !== location.pathname + location.search) return;
  const form = [...document.forms].find((one) => one.method === "post" && one.action === kept.action && `${typedIn(one).map(({ name }) => name)}` === `${kept.fields.map(([name]) => name)}`);
  if (!form || !kept.fields.length) return;
  typedIn(form).forEach((field, at) => { field[["checkbox", "radio"].includes(field.type) ? "checked" : "value"] = kept.fields[at][1]; });
  for (let around = form.closest("details"); around; around = around.parentElement.closest("details")) around.open = true;
  const note = Object.assign(document.createElement("p"), { className: "notice warn", textContent: "Here is again what you had typed. Nothing has been done with it yet." });
  note.setAttribute("role", "status");
  form.prepend(note);
  note.scrollIntoView({ block: "center" });
}

document.addEventListener("DOMContentLoaded", () => {
  findUnsent();
  gatherBars();
  startLive();
  searchOn().catch(() => {}); // the link stays
});

// The preview of a template follows what is typed; without this its button shows it.
for (const form of document.querySelectorAll("form[data-preview]")) {
  const button = form.querySelector("[data-preview-button]");
  if (!button) continue;
  let timer;
  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => form.requestSubmit(button), 600);
  });
  form.requestSubmit(button);
}
