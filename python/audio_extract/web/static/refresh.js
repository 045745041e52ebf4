// Keeps the page fresh. Reading works without it; a recording that plays is never interrupted.
"use strict";
async function refresh() {
  const playing = [...document.querySelectorAll("audio")].some((audio) => !audio.paused);
  const busy = playing || document.hidden || document.querySelector("main").contains(document.activeElement);
  if (!busy) {
    const answer = await fetch("/", { headers: { Accept: "text/html" } });
    if (answer.ok) {
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of ["main", "header", "footer"]) {
        document.querySelector(part).replaceWith(page.querySelector(part));
      }
    }
  }
}
function lost() {
  const state = document.querySelector(".overall");
  state.className = "overall unhealthy";
  state.textContent = "🔴 the service does not answer";
}
setInterval(() => refresh().catch(lost), 2000);
