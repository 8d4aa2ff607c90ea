// The page of the mail sink. Everything shown is set as text; mail in HTML goes into a sandboxed frame.
const LOADED = 500;
const byId = (id) => document.getElementById(id);
const messages = new Map();
let last = 0;
let shown = null;
let view = "html";

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

async function ask(path, options) {
  const answer = await fetch(path, options);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer;
}

const clock = (time) => {
  const date = new Date(time * 1000);
  const today = date.toDateString() === new Date().toDateString();
  return today ? date.toLocaleTimeString() : date.toLocaleString();
};
const size = (bytes) => bytes < 1024 ? `${bytes} B`
  : bytes < 1048576 ? `${(bytes / 1024).toFixed(1)} kB` : `${(bytes / 1048576).toFixed(1)} MB`;
const to = (message) => message.recipients.length > 3
  ? `${message.recipients.slice(0, 3).join(", ")} and ${message.recipients.length - 3} more`
  : message.recipients.join(", ");

// The list

function row(message) {
  const link = element("a", { href: `#${message.number}` },
    element("strong", { textContent: message.subject || "(no subject)" }),
    element("small", { textContent: clock(message.time) }),
    element("small", { textContent: `to ${to(message)}` }),
    element("small", { textContent: size(message.size) }));
  link.dataset.number = message.number;
  return element("li", {}, link);
}

function matches(message) {
  const wanted = byId("search").value.trim().toLowerCase();
  return !wanted || [message.subject, message.envelope, ...message.recipients]
    .some((text) => text.toLowerCase().includes(wanted));
}

function mark() {
  for (const link of byId("list").querySelectorAll("a")) {
    if (Number(link.dataset.number) === shown) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}

function redraw() {
  byId("list").replaceChildren(...[...messages.values()].reverse().filter(matches).map(row));
  mark();
}

function take(found) {
  for (const message of found) {
    messages.set(message.number, message);
    last = Math.max(last, message.number);
    if (matches(message)) byId("list").prepend(row(message));
  }
  while (messages.size > LOADED) messages.delete(messages.keys().next().value);
  while (byId("list").children.length > LOADED) byId("list").lastChild.remove();
  nothing();
  mark();
}

function nothing() {
  byId("empty").hidden = messages.size > 0;
}

async function status() {
  const [counts, rules] = await Promise.all(
    ["/counts", "/behaviour"].map(async (path) => (await ask(path)).json()));
  const refused = Object.values(counts.refused).reduce((sum, one) => sum + one, 0);
  const words = [`${counts.accepted} accepted`];
  if (refused) words.push(`${refused} refused`);
  words.push(`${counts.connections.now} connected`);
  if (counts.discard) words.push("counting only, nothing is kept");
  const text = words.join(" · ");
  if (byId("counts").textContent !== text) byId("counts").textContent = text;
  byId("rules").hidden = rules.length === 0;
  byId("rule-list").replaceChildren(...rules.map((rule) => element("li", {
    textContent: Object.entries(rule).filter(([name, value]) => name !== "number" && value !== null)
      .map(([name, value]) => `${name} ${typeof value === "object" ? JSON.stringify(value) : value}`)
      .join(", "),
  })));
}

function notice(text) {
  byId("notice").textContent = text;
  byId("notice").hidden = !text;
}

async function follow() {
  for (;;) {
    try {
      const found = await (await ask(`/messages?since=${last}&limit=${LOADED}&wait=20`)).json();
      take(found);
      notice("");
      // Under load one look per half second is enough.
      await new Promise((resolve) => setTimeout(resolve, 500));
    } catch {
      notice("The sink does not answer. Trying again…");
      await new Promise((resolve) => setTimeout(resolve, 2000));
    }
  }
}

// One message

function facts(message) {
  const tls = message.tls ? `${message.tls.version}, ${message.tls.cipher}` : "none";
  const parameters = (given) => Object.entries(given)
    .map(([name, value]) => value ? `${name}=${value}` : name).join(" ");
  const rows = [
    ["Envelope from", `<${message.envelope}> ${parameters(message.mail_parameters)}`],
    ...message.recipients.slice(0, 20).map((address, place) =>
      [place ? "" : "Envelope to", `<${address}> ${parameters(message.recipient_parameters[place])}`]),
    ["Received", `${clock(message.time)}, ${size(message.size)}, number ${message.number}`],
    ["Client", `${message.helo} [${message.client}], ${message.protocol}, TLS ${tls}`],
  ];
  if (message.recipients.length > 20) rows.splice(21, 0, ["", `and ${message.recipients.length - 20} more`]);
  if (message.bare_line_ends) rows.push(["Beware", "it has a CR or LF that stands alone"]);
  byId("facts").replaceChildren(...rows.flatMap(([name, value]) =>
    [element("dt", { textContent: name }), element("dd", { textContent: value })]));
}

function frame(message) {
  const made = element("iframe", { title: "The message in HTML" });
  made.setAttribute("sandbox", "allow-popups allow-popups-to-escape-sandbox");
  made.referrerPolicy = "no-referrer";
  made.src = `/messages/${message.number}/html?frame=1`;
  const images = element("button", { type: "button", className: "images", textContent: "Load remote images" });
  images.addEventListener("click", () => {
    made.src += "&images=1";
    images.remove();
  });
  return [images, made];
}

async function draw(message) {
  for (const tab of byId("tabs").children) {
    const chosen = tab.dataset.view === view;
    tab.setAttribute("aria-selected", chosen);
    tab.tabIndex = chosen ? 0 : -1;
    tab.hidden = (tab.dataset.view === "html" && message.html === null)
      || (tab.dataset.view === "text" && message.text === null);
  }
  byId("panel").setAttribute("aria-labelledby", `tab-${view}`);
  const panel = byId("panel");
  if (view === "html") panel.replaceChildren(...frame(message));
  else if (view === "text") panel.replaceChildren(element("pre", { textContent: message.text }));
  else if (view === "headers") {
    panel.replaceChildren(element("pre", {
      textContent: message.headers.map(([name, value]) => `${name}: ${value}`).join("\n"),
    }));
  } else {
    const source = await (await ask(`/messages/${message.number}/raw`)).text();
    if (shown === message.number) panel.replaceChildren(element("pre", { textContent: source }));
  }
}

function parts(message) {
  const attached = message.parts.filter((part) => part.attached || part.filename);
  byId("parts").hidden = attached.length === 0;
  byId("parts").replaceChildren(...attached.map((part) => element("a", {
    href: `/messages/${message.number}/parts/${part.number}`,
    download: part.filename || `part-${part.number}`,
    textContent: `${part.filename || part.content_type}, ${size(part.size)}`,
  })));
}

let current = null;

async function open(number) {
  shown = number;
  mark();
  try {
    current = await (await ask(`/messages/${number}`)).json();
  } catch {
    notice("That message is no longer there.");
    location.hash = "";
    return;
  }
  if (shown !== number) return;
  byId("subject").textContent = current.subject || "(no subject)";
  facts(current);
  parts(current);
  if (view === "html" && current.html === null) view = current.text === null ? "source" : "text";
  else if (view === "text" && current.html !== null && current.text === null) view = "html";
  byId("message").hidden = false;
  byId("hint").hidden = true;
  document.body.classList.add("reading");
  await draw(current);
  byId("subject").focus({ preventScroll: true });
}

function leave() {
  shown = null;
  byId("message").hidden = true;
  byId("hint").hidden = false;
  document.body.classList.remove("reading");
  mark();
}

function route() {
  const number = Number(location.hash.slice(1));
  if (number) open(number);
  else leave();
}

function step(by) {
  const links = [...byId("list").querySelectorAll("a")];
  const at = links.findIndex((link) => Number(link.dataset.number) === shown);
  const next = links[Math.min(links.length - 1, Math.max(0, at + by))];
  if (next) {
    location.hash = next.getAttribute("href");
    next.scrollIntoView({ block: "nearest" });
  }
}

// Hands

window.addEventListener("hashchange", route);
byId("search").addEventListener("input", redraw);
byId("back").addEventListener("click", () => {
  const number = shown;
  location.hash = "";
  leave();
  byId("list").querySelector(`a[data-number="${number}"]`)?.focus();
});
byId("delete").addEventListener("click", async () => {
  if (!window.confirm("Delete all messages?")) return;
  await ask("/messages", { method: "DELETE" });
  messages.clear();
  location.hash = "";
  leave();
  redraw();
  nothing();
});
byId("behave").addEventListener("click", async () => {
  await ask("/behaviour", { method: "DELETE" });
  await status();
});
byId("tabs").addEventListener("click", (event) => {
  if (event.target.dataset.view && current) {
    view = event.target.dataset.view;
    draw(current);
  }
});
byId("tabs").addEventListener("keydown", (event) => {
  const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!by) return;
  const tabs = [...byId("tabs").children].filter((tab) => !tab.hidden);
  const next = tabs[(tabs.indexOf(document.activeElement) + by + tabs.length) % tabs.length];
  next.focus();
  next.click();
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target instanceof HTMLInputElement;
  if (event.key === "Escape") {
    if (typing) event.target.blur();
    else if (shown !== null) byId("back").click();
  } else if (typing) return;
  else if (event.key === "j") step(1);
  else if (event.key === "k") step(-1);
  else if (event.key === "/") {
    event.preventDefault();
    byId("search").focus();
  }
});

async function watch() {
  for (;;) {
    await status().catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 2000));
  }
}

route();
follow();
watch();
