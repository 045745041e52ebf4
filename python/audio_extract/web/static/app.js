// What the pages do beyond reading: live figures, the player, links to copy. Every page can be read without it.
document.documentElement.classList.add("js");

const told = document.getElementById("told");
let silence;

function tell(...content) {
  told.replaceChildren(...content);
  clearTimeout(silence);
  silence = setTimeout(() => told.replaceChildren(), 12000);
}

// ── Times in the reader's own time zone ──────────────────────────────────────────────────────────────────────

const two = (number) => String(number).padStart(2, "0");

function localTimes(root) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    const time = new Date(element.dateTime);
    if (Number.isNaN(time.valueOf())) continue;
    const day = `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}`;
    element.textContent = `${day} ${two(time.getHours())}:${two(time.getMinutes())}`;
    element.title = time.toLocaleString(undefined, { dateStyle: "full", timeStyle: "long" });
  }
}
localTimes(document);

// ── The player: one for the page, so that a list that is drawn anew does not interrupt it ────────────────────

const player = document.getElementById("player");
const audio = player.querySelector("audio");
let renewed = 0;

function play(source, name) {
  player.hidden = false;
  player.querySelector("[data-name]").textContent = name;
  audio.setAttribute("aria-label", `Audio of ${name}`);
  audio.src = source;
  renewed = 0;
  audio.play().catch(() => {}); // The error event says what is wrong.
}

// A signed link works for a while only. The same address gives a new one: go on where it stopped.
function renewing(element) {
  element.addEventListener("error", () => {
    const at = element.currentTime;
    if (!element.getAttribute("src") || Date.now() - renewed < 30000) {
      if (element.getAttribute("src")) tell("The audio cannot be played. Does the link on its row still work?");
      return;
    }
    renewed = Date.now();
    element.src = element.getAttribute("src");
    element.addEventListener("loadedmetadata", () => { element.currentTime = at; }, { once: true });
    if (at > 0) element.play().catch(() => {});
  });
}
document.querySelectorAll("audio").forEach(renewing);

function closePlayer() {
  audio.pause();
  audio.removeAttribute("src");
  audio.load();
  player.hidden = true;
}

// ── Links to copy ────────────────────────────────────────────────────────────────────────────────────────────

async function answerOf(response) {
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.detail ?? `the server answered ${response.status}`);
  return answer;
}

async function copyLink(storagePath) {
  const response = await fetch("/api/refresh-url", {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/json" },
    body: JSON.stringify({ storage_path: storagePath }),
  });
  const { url, expires_at: expires } = await answerOf(response);
  const until = expires ? ` It works until ${new Date(expires).toLocaleString()}.` : "";
  try {
    await navigator.clipboard.writeText(url);
    tell(`Link copied.${until}`);
  } catch {
    // Browsers give the clipboard only to https and loopback: the link to copy by hand.
    const field = Object.assign(document.createElement("input"), { value: url, readOnly: true });
    field.setAttribute("aria-label", "The link");
    tell(`Copy the link:${until}`, field);
    field.select();
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.play) play(button.dataset.play, button.dataset.name);
  if (button.dataset.copy) copyLink(button.dataset.copy).catch((error) => tell(`No link: ${error.message}`));
  if ("close" in button.dataset) closePlayer();
});

// Forms act without leaving the page; where this script does not run they lead to the recording.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!("act" in form.dataset)) return;
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)), redirect: "manual", headers: { Accept: "application/problem+json" } })
    .then(async (response) => {
      if (response.type !== "opaqueredirect") await answerOf(response);
      tell(`${button.getAttribute("aria-label") ?? button.textContent}: done.`);
      await refresh();
    })
    .catch((error) => tell(error.message))
    .finally(() => { button.disabled = false; });
});

document.addEventListener("keydown", (event) => {
  const search = document.getElementById("search");
  if (event.key === "/" && search && !event.target.closest("input, textarea, select")) {
    event.preventDefault();
    search.focus();
  }
});

// ── What changes while one looks ─────────────────────────────────────────────────────────────────────────────

const live = document.getElementById("live");
const fresh = "[data-fresh]";
const seen = new WeakMap();

function replaceable(part) {
  const isPlaying = [...part.querySelectorAll("audio")].some((element) => !element.paused);
  const isSelected = !document.getSelection().isCollapsed && part.contains(document.getSelection().anchorNode);
  return !isPlaying && !isSelected;
}

// What a person did in a part lives on in the newer one: where the focus was, what was unfolded.
const nameOf = (element) => element.getAttribute("aria-label") ?? element.getAttribute("href") ?? element.textContent;
const rowOf = (element) => element.closest("tr")?.querySelector("th")?.textContent ?? "";

function replace(part, newer) {
  const focused = part.contains(document.activeElement) ? document.activeElement : null;
  const unfolded = new Set([...part.querySelectorAll("details[open]")].map(rowOf));
  part.replaceChildren(...newer.childNodes);
  for (const details of part.querySelectorAll("details")) details.open = unfolded.has(rowOf(details));
  if (!focused) return;
  const same = [...part.querySelectorAll(focused.localName)].find((element) => nameOf(element) === nameOf(focused));
  (same ?? document.getElementById("main")).focus({ preventScroll: true });
}

async function refresh() {
  const response = await fetch(location.href, { headers: { Accept: "text/html" } });
  // The session is over: to the form, and back here.
  if (response.status === 401 || new URL(response.url).pathname === "/login") return location.reload();
  if (!response.ok || response.redirected) throw new Error(`the server answered ${response.status}`);
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const part of document.querySelectorAll(fresh)) {
    const newer = page.getElementById(part.id);
    if (newer && newer.innerHTML !== seen.get(part) && replaceable(part)) {
      seen.set(part, newer.innerHTML);
      replace(part, newer);
      localTimes(part);
      part.querySelectorAll("audio").forEach(renewing);
    }
  }
  setOverall(page.getElementById("overall"));
  document.title = page.title;
  localTimes(page);
  document.querySelector("footer").replaceWith(page.querySelector("footer"));
}

function setOverall(newer) {
  const element = document.getElementById("overall");
  if (!element || !newer) return;
  if (element.textContent !== newer.textContent) element.textContent = newer.textContent;
  element.className = newer.className;
}

// Soon, and after the longest time that the server keeps its counts: by then the first look makes it count again,
// and the second one sees what came of it.
let soon;
let later;
function refreshSoon() {
  const look = () => refresh().catch(lost);
  soon ??= setTimeout(() => {
    soon = undefined;
    look();
  }, 400);
  clearTimeout(later);
  later = setTimeout(() => {
    look();
    later = setTimeout(look, 1500);
  }, 7000);
}

function lost() {
  const element = document.getElementById("overall");
  if (!element) return;
  element.className = "overall unhealthy";
  element.textContent = "🔴 the service does not answer";
}

function showActive(transfers) {
  const inWork = document.getElementById("in-work");
  if (inWork) inWork.textContent = transfers.length;
  const rows = new Map([...live.querySelectorAll("[data-transfer]")].map((row) => [row.dataset.transfer, row]));
  const same = rows.size === transfers.length && transfers.every((transfer) => rows.has(transfer.id));
  if (!same) return refreshSoon();
  for (const transfer of transfers) {
    const row = rows.get(transfer.id);
    row.querySelector("[data-stage]").textContent = transfer.stage;
    row.querySelector("[data-text]").textContent = transfer.text;
    const bar = row.querySelector("progress");
    if (transfer.fraction === null) bar.removeAttribute("value");
    else bar.value = transfer.fraction;
  }
}

if (document.querySelector(fresh)) {
  const events = new EventSource("/api/events");
  if (live) events.addEventListener("active", (event) => showActive(JSON.parse(event.data)));
  for (const name of ["recording", "health", "reload"]) events.addEventListener(name, refreshSoon);
  let wasLost = false;
  events.addEventListener("error", () => {
    wasLost = true;
    lost();
    // The server refuses for good, and the browser does not come back by itself.
    if (events.readyState === EventSource.CLOSED) refreshSoon();
  });
  events.addEventListener("open", () => { if (wasLost) refreshSoon(); wasLost = false; });
}
