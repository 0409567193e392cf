// Sends the form and says beside each field what is wrong with it, so that nothing that was entered
// is lost. Without this script the browser sends it, and an error is the answer of the API.
"use strict";

const form = document.getElementById("upload");
const file = form.elements.namedItem("file");
const button = form.querySelector("button");
const state = document.getElementById("state");

function check() {
  const limit = Number(form.dataset.maxBytes);
  const tooLarge = file.files.length > 0 && file.files[0].size > limit;
  file.setCustomValidity(tooLarge ? "This file is too large." : "");
  if (tooLarge) file.reportValidity();
}

function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1).replace(/\.?$/, ".");
}

function tell(field, text) {
  const shown = document.getElementById(field ? `${field}-problem` : "problem");
  shown.textContent = text ? sentence(text) : "";
  shown.hidden = !text;
  if (field) form.elements.namedItem(field).setAttribute("aria-invalid", Boolean(text));
}

function explain(problem) {
  const messages = { file: "", email: "" };
  for (const { loc, msg } of problem.errors ?? []) messages[loc.at(-1)] = msg;
  if (messages.file) messages.file = "choose a CSV file";
  Object.entries(messages).forEach(([field, text]) => tell(field, text.replace("Value error, ", "")));
  tell("", problem.errors ? "please change what is marked below" : problem.detail);
}

async function send() {
  const request = { method: "POST", body: new FormData(form), headers: { Accept: "application/json" } };
  let answer;
  try {
    answer = await fetch(form.action, request);
  } catch {
    return explain({ detail: "the service cannot be reached; please try again" });
  }
  if (answer.ok) location.assign(answer.headers.get("Location"));
  else if (answer.status === 401) location.reload(); // the session has ended
  else explain(await answer.json());
}

file.addEventListener("change", check);
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  button.disabled = true;
  state.textContent = "The file is on its way. Please wait.";
  await send();
  button.disabled = false;
  state.textContent = "";
});
