// Asks for the page again until the report is done, and puts it in place without a reload.
// Without this script the page reloads itself.
"use strict";

const SPOKEN = {
  processing: "The file is being read.",
  done: "The report is done.",
  failed: "No report could be made.",
};
const FIRST_PAUSE = 300; // milliseconds, longer each time
const LONGEST_PAUSE = 5000;

async function look(pause) {
  const shown = document.getElementById("report");
  if (await replace(shown)) {
    setTimeout(look, pause, Math.min(pause * 1.3, LONGEST_PAUSE));
  }
}

// Returns whether to look again.
async function replace(shown) {
  let answer;
  try {
    answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  } catch {
    return true; // the service is away for a moment, or the network is
  }
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.getElementById("report");
  if (fresh === null) {
    if (answer.redirected || answer.status === 404) location.reload(); // the session has ended
    return !answer.redirected && answer.status !== 404;
  }
  if (fresh.dataset.status !== shown.dataset.status) {
    shown.replaceWith(document.adoptNode(fresh));
    document.getElementById("state").textContent = SPOKEN[fresh.dataset.status] ?? "";
  } else {
    shown.querySelector(".card").replaceWith(fresh.querySelector(".card")); // its progress
  }
  return fresh.hasAttribute("aria-busy");
}

setTimeout(look, FIRST_PAUSE, FIRST_PAUSE);
