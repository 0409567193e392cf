// Tells that a file is too large before it is sent, and that a large one is on its way.
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

function idle() {
  button.disabled = false;
  state.textContent = "";
}

file.addEventListener("change", check);
form.addEventListener("submit", () => {
  button.disabled = true;
  state.textContent = "The file is on its way. Please wait.";
});
addEventListener("pageshow", idle); // also when the browser goes back to the form
