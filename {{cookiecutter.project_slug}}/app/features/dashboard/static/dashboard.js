// Keeps the page up to date: the server sends each section that has changed, as HTML.

const page = location.pathname;
const sections = Array.from(document.querySelectorAll("section[id]"), (section) => section.id);
const again = 10000; // milliseconds
const soon = 200;
const live = document.getElementById("live");
const pause = document.getElementById("pause");
let stream = null;
let timer = 0;
let paused = false;
const latest = {}; // HTML that is not shown yet

function say(text) {
  if (live.textContent !== text) live.textContent = text;
}

function connect() {
  clearTimeout(timer);
  if (stream || paused || document.hidden) return;
  stream = new EventSource(page + "/events");
  stream.onopen = () => say("Live.");
  stream.onerror = () => {
    if (stream.readyState !== EventSource.CLOSED) return say("Connecting again…");
    // The server refused: the session has ended, or too many pages are open.
    stream = null;
    say("Not live.");
    timer = setTimeout(connect, again);
  };
  for (const id of sections) {
    stream.addEventListener(id, (event) => {
      const waits = id in latest;
      latest[id] = event.data;
      if (!waits) replace(id);
    });
  }
}

function disconnect() {
  clearTimeout(timer);
  if (stream) stream.close();
  stream = null;
}

function replace(id) {
  const old = document.getElementById(id);
  const selection = getSelection();
  // Somebody is about to copy something, or presses a button, which a section above it that grows
  // would move away.
  const pressed = document.documentElement.matches(":active");
  if ((!selection.isCollapsed && old.contains(selection.anchorNode)) || pressed) {
    setTimeout(replace, soon, id);
    return;
  }
  const template = document.createElement("template");
  template.innerHTML = latest[id];
  delete latest[id];
  const fresh = template.content.querySelector("section");
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
  disconnect();
  if (paused) say("Paused.");
  else connect();
};
document.addEventListener("visibilitychange", () => (document.hidden ? disconnect() : connect()));
addEventListener("pagehide", disconnect);
addEventListener("pageshow", connect);
