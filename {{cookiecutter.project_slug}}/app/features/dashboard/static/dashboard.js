// Keeps the page up to date: asks for it again, and replaces the sections that have changed.

const every = 2000; // milliseconds
const patience = 3 * every; // for a service that hangs, and would look live for minutes
const live = document.getElementById("live");
const pause = document.getElementById("pause");
const shown = {}; // the HTML of each section
let asking = false;
let paused = false;

for (const section of document.querySelectorAll("section[id]")) shown[section.id] = section.outerHTML;

function say(text) {
  if (live.textContent !== text) live.textContent = text;
}

async function update() {
  if (asking || paused || document.hidden) return;
  asking = true;
  try {
    const response = await fetch(location.pathname, { signal: AbortSignal.timeout(patience) });
    if (response.status === 401) return location.reload(); // the session has ended
    if (!response.ok) throw new Error(response.statusText);
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    // Somebody presses a button, which a section above it that grows would move away.
    if (paused || document.documentElement.matches(":active")) return;
    for (const id in shown) replace(document.getElementById(id), page.getElementById(id));
    say("Live.");
  } catch {
    if (!paused) say("Not live.");
  } finally {
    asking = false;
  }
}

function replace(old, fresh) {
  const selection = getSelection(); // somebody is about to copy something
  if (!selection.isCollapsed && old.contains(selection.anchorNode)) return;
  if (shown[old.id] === fresh.outerHTML) return;
  shown[old.id] = fresh.outerHTML;
  for (const details of old.querySelectorAll("details[open]")) {
    const same = fresh.querySelector("#" + CSS.escape(details.id));
    if (same) same.open = true;
  }
  const focused = old.contains(document.activeElement) ? document.activeElement : null;
  const path = focused && position(focused, old);
  const scrolled = Array.from(old.querySelectorAll(".scroll, pre"), (box) => [box.scrollLeft, box.scrollTop]);
  old.replaceWith(fresh);
  fresh.querySelectorAll(".scroll, pre").forEach((box, index) => {
    [box.scrollLeft, box.scrollTop] = scrolled[index] || [0, 0];
  });
  const next = path && (focused.id ? document.getElementById(focused.id) : fresh.querySelectorAll(path[0])[path[1]]);
  if (next) next.focus({ preventScroll: true });
}

// Where an element without an id stands among its like.
function position(element, section) {
  const name = element.tagName.toLowerCase();
  return [name, Array.from(section.querySelectorAll(name)).indexOf(element)];
}

pause.hidden = false;
pause.onclick = () => {
  paused = !paused;
  pause.textContent = paused ? "Go on" : "Pause";
  if (paused) say("Paused.");
  else update();
};
setInterval(update, every);
document.addEventListener("visibilitychange", update);
say("Live.");
