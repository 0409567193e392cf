// Keeps the page up to date: fetches it again, and replaces the sections that have changed.

const interval = 2000; // milliseconds
const timeout = 3 * interval; // or a service that hangs would look live for minutes
const live = document.getElementById("live");
const pause = document.getElementById("pause");
const shown = {}; // the HTML of each section
let updating = false;
let paused = false;

for (const section of document.querySelectorAll("section[id]")) shown[section.id] = section.outerHTML;

function showStatus(text) {
  if (live.textContent !== text) live.textContent = text;
}

async function update() {
  if (updating || paused || document.hidden) return;
  updating = true;
  try {
    const response = await fetch(location.pathname, { signal: AbortSignal.timeout(timeout) });
    if (response.status === 401) return location.reload(); // the session has ended
    if (!response.ok) throw new Error(response.statusText);
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    // While a button is pressed, a section that grows above it must not move it away.
    if (paused || document.documentElement.matches(":active")) return;
    for (const id in shown) replace(document.getElementById(id), page.getElementById(id));
    showStatus("Live.");
  } catch {
    if (!paused) showStatus("Not live.");
  } finally {
    updating = false;
  }
}

function replace(old, fresh) {
  const selection = getSelection(); // the user may be about to copy text
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

// The tag of an element without an id, and its index among the elements with this tag.
function position(element, section) {
  const name = element.tagName.toLowerCase();
  return [name, Array.from(section.querySelectorAll(name)).indexOf(element)];
}

pause.hidden = false;
pause.onclick = () => {
  paused = !paused;
  pause.textContent = paused ? "Continue" : "Pause";
  if (paused) showStatus("Paused.");
  else update();
};
setInterval(update, interval);
document.addEventListener("visibilitychange", update);
showStatus("Live.");
