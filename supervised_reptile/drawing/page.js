"use strict";
const $ = (id) => document.getElementById(id);
const make = (tag, ...content) => {
  const made = document.createElement(tag);
  made.append(...content);
  return made;
};
const PEN = 12; // of 224 pixels: 1.5 of the 28 that the network sees
const paper = $("canvas").getContext("2d");
let classes = []; // {name, drawings: addresses of PNG files, seen: the same, 28 x 28}
let strokes = []; // on the paper: [[x, y], ...] each
let most = 2;

// Drawing

function repaint() {
  paper.fillStyle = "#fff";
  paper.fillRect(0, 0, 224, 224);
  paper.strokeStyle = "#000";
  paper.lineWidth = PEN;
  paper.lineCap = paper.lineJoin = "round";
  for (const stroke of strokes) {
    paper.beginPath();
    paper.moveTo(...stroke[0]);
    for (const point of stroke) paper.lineTo(...point);
    paper.stroke();
  }
}

function place(event) {
  const scale = 224 / $("canvas").clientWidth;
  return [event.offsetX * scale, event.offsetY * scale];
}

let pen = null; // the pointer that is down
$("canvas").addEventListener("pointerdown", (event) => {
  if (!event.isPrimary || event.button) return;
  event.target.setPointerCapture(pen = event.pointerId);
  strokes.push([place(event)]);
  repaint();
});
$("canvas").addEventListener("pointermove", (event) => {
  if (event.pointerId !== pen) return;
  strokes.at(-1).push(place(event));
  repaint();
});
for (const end of ["pointerup", "pointercancel"]) {
  $("canvas").addEventListener(end, (event) => {
    if (event.pointerId === pen) drawn(strokes);
  });
}

function drawn(now) {
  pen = null; // undo also ends a stroke
  strokes = now;
  repaint();
  const buttons = document.querySelectorAll("#undo, #clear, .add");
  for (const button of buttons) button.disabled = !strokes.length;
  ask();
}
$("undo").onclick = () => drawn(strokes.slice(0, -1));
$("clear").onclick = () => drawn([]);
document.addEventListener("keydown", (event) => {
  if (event.key === "z" && (event.ctrlKey || event.metaKey) && !event.target.matches("input")) {
    drawn(strokes.slice(0, -1));
  }
});

// Classes

function image(address, kind, words) {
  const made = new Image();
  Object.assign(made, { src: address, className: kind, alt: words });
  if (kind === "seen") made.title = "28 × 28 pixels";
  return made;
}

function show() {
  const known = () => [...$("classes").querySelectorAll("button, input")];
  const focused = known().indexOf(document.activeElement);
  $("classes").replaceChildren(...classes.map((one) => {
    const card = $("class").content.cloneNode(true);
    const name = card.querySelector("input");
    name.value = one.name;
    name.oninput = () => { one.name = name.value; };
    name.onchange = ask;
    card.querySelector(".remove").onclick = () => {
      classes = classes.filter((other) => other !== one);
      changed();
    };
    const add = card.querySelector(".add");
    add.disabled = !strokes.length;
    add.onclick = () => {
      one.drawings.push($("canvas").toDataURL());
      strokes = [];
      changed();
    };
    card.querySelector("ul").append(...one.drawings.map((address, index) => {
      const button = make("button", image(address, "drawn", `Drawing ${index + 1}`));
      button.append(image(one.seen[index] ?? "", "seen", "as the network sees it"));
      button.title = "Remove this drawing";
      button.onclick = () => {
        one.drawings.splice(index, 1);
        one.seen.splice(index, 1);
        changed();
      };
      return make("li", button);
    }));
    return card;
  }));
  if (focused >= 0) known()[focused]?.focus();
  $("add-class").disabled = classes.length >= most;
  $("clear-all").disabled = $("save").disabled = !classes.length;
}

function changed() {
  show();
  drawn(strokes);
}
$("add-class").onclick = () => {
  let number = classes.length + 1;
  while (classes.some((one) => one.name === `class ${number}`)) number += 1;
  classes.push({ name: `class ${number}`, drawings: [], seen: [] });
  changed();
  $("classes").lastElementChild.querySelector("input").select();
};
$("clear-all").onclick = () => { classes = []; changed(); };

// Questions

async function post(path) {
  const query = strokes.length ? $("canvas").toDataURL() : "";
  const parts = classes.map(({ name, drawings }) => ({ name, drawings }));
  const body = JSON.stringify({ classes: parts, query });
  const response = await fetch(path, { method: "POST", body });
  if (!response.ok) throw new Error(await response.text());
  return response;
}

let asking = false, again = false; // one question at a time; the last one counts
async function ask() {
  again = asking;
  if (asking) return;
  asking = true;
  $("status").ariaBusy = true; // what it says is of an earlier drawing
  try {
    const found = await (await post("answer")).json();
    if (!again) tell(found);
  } catch (error) {
    $("bars").replaceChildren();
    $("status").textContent = error instanceof TypeError
      ? "The program has ended: start it again."
      : `This cannot be answered: ${error.message}.`;
  }
  asking = false;
  $("status").ariaBusy = again;
  if (again) ask();
}

function tell({ seen, adapted, answered, probabilities }) {
  // The cards stay: somebody may be typing in one of them, or pressing a button.
  $("classes").querySelectorAll(".seen").forEach((made, index) => { made.src = seen[index]; });
  for (const one of classes) one.seen = seen.splice(0, one.drawings.length);
  $("query-seen").replaceChildren();
  for (const address of seen) {
    $("query-seen").append("the network sees", image(address, "seen", "your drawing"));
  }
  const best = Math.max(...probabilities ?? []);
  $("bars").replaceChildren(...classes.flatMap(({ name }, index) => {
    const part = probabilities?.[index];
    if (part == null) return [];
    const bar = make("i"), words = `${(100 * part).toFixed(1)} %`;
    bar.style.width = `${100 * part}%`;
    const item = make("li", bar, make("span", name), make("span", words));
    item.className = part === best ? "best" : "";
    return [item];
  }));
  const number = classes.reduce((sum, one) => sum + one.drawings.length, 0);
  let words = "Give at least two classes a drawing each.";
  if (adapted != null) words = `Adapted to ${number} drawings in ${Math.round(adapted)} ms`;
  if (answered != null) words += `, answered in ${Math.round(answered)} ms.`;
  else if (adapted != null) words += ". Now draw one of the classes.";
  $("status").textContent = words;
}

$("save").onclick = async () => {
  try {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await (await post("zip")).blob());
    link.download = "drawings.zip";
    link.click();
    URL.revokeObjectURL(link.href);
  } catch (error) {
    $("status").textContent = `The drawings cannot be saved: ${error.message}.`;
  }
};

fetch("start").then((response) => response.json()).then((start) => {
  most = start.most;
  classes = start.classes.map((one) => ({ ...one, seen: [] }));
  changed();
});
