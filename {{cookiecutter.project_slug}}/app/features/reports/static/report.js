// Sends the upload form and shows its errors without losing the input, and updates the page of a
// report without a reload. Both pages work without this script.
"use strict";

const INTERVAL = 500; // milliseconds

function showProblem(text) {
  const problem = document.getElementById("problem");
  problem.textContent = text;
  problem.hidden = false;
}

async function send(form) {
  const { size } = form.elements.namedItem("file").files[0] ?? {};
  if (size > form.dataset.maxBytes) return showProblem("the file is too large");
  const request = { method: "POST", body: new FormData(form), headers: { Accept: "application/json" } };
  const answer = await fetch(form.action, request).catch(() => null);
  if (answer?.ok) return location.assign(answer.headers.get("Location"));
  if (answer?.status === 401) return location.reload(); // the session has ended
  const fallback = answer ? `the service answered with ${answer.status}` : "the service cannot be reached";
  const problem = await answer?.json().catch(() => null); // a proxy may answer in HTML
  const { detail, errors } = { detail: fallback, ...problem };
  const messages = errors?.map(({ loc, msg }) => `${loc.at(-1)}: ${msg.replace("Value error, ", "")}`);
  showProblem(messages?.join("; ") ?? detail);
}

async function update(shown) {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } }).catch(() => null);
  if (answer?.redirected || answer?.status === 404) return location.reload();
  const page = new DOMParser().parseFromString((await answer?.text().catch(() => "")) ?? "", "text/html");
  const fresh = page.getElementById("report") ?? shown; // after an error: try again later
  if (fresh.dataset.status !== shown.dataset.status) {
    document.getElementById("state").textContent = `The report is ${fresh.dataset.status}.`;
  }
  shown.replaceWith(fresh);
  watch();
}

function watch() {
  const report = document.querySelector("#report[aria-busy]");
  if (report) setTimeout(update, INTERVAL, report);
}

document.getElementById("upload")?.addEventListener("submit", async (event) => {
  event.preventDefault();
  event.submitter.disabled = true;
  await send(event.target);
  event.submitter.disabled = false;
});
watch();
