// The page: what is under the pointer is drawn here, what is kept is drawn by the server.

const MASK = rgba(80, 170, 255, 150); // under the pointer
const HEAT_ALPHA = 190; // of 255: the image shows through
const FRAME_MILLISECONDS = 350; // an iteration is shown

const element = (id) => document.getElementById(id);
const stage = element("stage"), layer = element("layer"), picture = element("picture");
const threshold = element("threshold"), view = element("view"), iteration = element("iteration");

let about = null; // what the server says once
let image = null; // number, name, width, height of the one that is open
let levels = null; // the confidence map of the last point, Uint8Array of 255ths
let proposals = null; // scores and peaks_xy, once asked for
let frames = []; // iterations of the last segmentation
let version = 0; // of what is kept: the browser must load its picture anew
let waiting = null, asking = false; // the latest point, and whether one is on its way

// A canvas's pixel as one number, as it lies in memory.
function rgba(...channels) {
  return new Uint32Array(new Uint8ClampedArray(channels).buffer)[0];
}

function say(error) {
  element("error").hidden = !error;
  element("error").textContent = error ? error.message : "";
}

// The answer's JSON; an error in the server's words otherwise.
async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("The server doesn't answer: is it still running?");
  }
  const answer = await response.json().catch(() => ({ error: `${path}: status ${response.status}` }));
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

const post = (path, content) => ask(path, { method: "POST", body: JSON.stringify(content) });
const path = (name) => `/image/${image.number}/${name}`;
const milliseconds = (value) => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const T = () => Number(threshold.value);

// Run what the user asked for; errors are shown, and the page says meanwhile that it is busy.
async function run(work) {
  document.body.classList.add("busy");
  try {
    say(null);
    await work();
  } catch (error) {
    say(error);
  } finally {
    document.body.classList.remove("busy");
  }
}

function opened(answer) {
  image = answer;
  levels = proposals = waiting = null;
  frames = [];
  layer.width = image.width;
  layer.height = image.height;
  element("hint").hidden = true;
  stage.hidden = false;
  element("iterations").hidden = true;
  element("backbone-time").textContent = milliseconds(image.milliseconds);
  element("head-time").textContent = "–";
  for (const id of ["segment", "clear"]) element(id).disabled = false;
  const stem = image.name.replace(/\.[^.]*$/, "");
  for (const [id, name] of [["labels", "labels.png"], ["objects", "objects.json"], ["overlay", "overlay.png"]]) {
    element(id).href = path(name);
    element(id).download = `${stem}-${name}`;
  }
  fit();
  kept([]);
  if (view.value === "proposals") showProposals();
}

// As large as the window allows, in the image's proportions.
function fit() {
  if (!image) return;
  const box = element("drop");
  const scale = Math.min((box.clientWidth - 16) / image.width, (box.clientHeight - 16) / image.height);
  stage.style.width = `${Math.floor(image.width * scale)}px`;
  stage.style.height = `${Math.floor(image.height * scale)}px`;
}

function upload(file) {
  run(async () => {
    if (file.size > about.max_bytes) {
      throw new Error(`${file.name}: has ${file.size} bytes, at most ${about.max_bytes} are taken; scale the image down or cut it`);
    }
    const name = encodeURIComponent(file.name);
    opened(await ask(`/upload?name=${name}`, { method: "POST", body: file }));
  });
}

function kept(objects) {
  picture.src = `${path("overlay.png")}?${++version}`;
  const count = objects.length === 1 ? "1 object" : `${objects.length} objects`;
  element("status").textContent = `${image.name}, ${image.width} × ${image.height}: ${count} kept`;
  stage.dataset.objects = objects.length;
}

function draw() {
  const context = layer.getContext("2d");
  context.clearRect(0, 0, layer.width, layer.height);
  if (!image) return;
  const values = view.value === "proposals" ? proposals && proposals.scores : levels;
  if (!values) return;
  const pixels = context.createImageData(layer.width, layer.height);
  const colors = new Uint32Array(pixels.data.buffer);
  const palette = about.heat.map((color, level) =>
    view.value !== "mask" ? rgba(...color, HEAT_ALPHA) : level > 255 * T() ? MASK : 0);
  for (let i = 0; i < values.length; i++) colors[i] = palette[values[i]];
  context.putImageData(pixels, 0, 0);
  if (view.value !== "proposals") return;
  context.fillStyle = "#7cfc00";
  const radius = Math.max(1, Math.min(layer.width, layer.height) / 120);
  for (const [x, y] of proposals.peaks_xy) {
    context.beginPath();
    context.arc(x + 0.5, y + 0.5, radius, 0, 2 * Math.PI);
    context.fill();
  }
}

function showProposals() {
  run(async () => {
    const of = image.number;
    const answer = await ask(path("proposals"));
    if (of !== image.number) return;
    proposals = { scores: bytes(answer.scores), peaks_xy: answer.peaks_xy };
    element("status").textContent = `${proposals.peaks_xy.length} point proposals`;
    draw();
  });
}

// Pixel coordinates, whole numbers at pixel centres.
function point(event) {
  const box = layer.getBoundingClientRect();
  const along = (offset, shown, size) => Math.max(0, Math.min(size - 1, Math.floor((offset / shown) * size)));
  return {
    x: along(event.clientX - box.left, box.width, image.width),
    y: along(event.clientY - box.top, box.height, image.height),
  };
}

// One question at a time; of the points in between only the latest is asked for.
async function hover(at) {
  waiting = at;
  if (asking) return;
  asking = true;
  while (waiting) {
    const { x, y } = waiting, of = image.number;
    waiting = null;
    try {
      const answer = await ask(`${path("confidence")}?x=${x}&y=${y}`);
      if (of !== image.number) continue;
      levels = bytes(answer.confidence);
      element("head-time").textContent = milliseconds(answer.milliseconds);
      draw();
    } catch (error) {
      if (of === image.number) say(error);
    }
  }
  asking = false;
}

function segment() {
  run(async () => {
    const of = image.number;
    const answer = await post(path("segment"), { mask_threshold: T() });
    if (of !== image.number) return;
    frames = answer.frames;
    levels = null;
    draw();
    element("iterations").hidden = !frames.length;
    iteration.max = frames.length;
    for (let i = 0; i < frames.length && of === image.number; i++) {
      iteration.value = i;
      await showIteration();
      await new Promise((done) => setTimeout(done, FRAME_MILLISECONDS));
    }
    if (of !== image.number) return;
    iteration.value = frames.length;
    await showIteration();
    kept(answer.objects);
    element("status").textContent += `, ${answer.iterations} iterations in ${milliseconds(answer.milliseconds)}`;
  });
}

// Behind the last iteration comes the result.
async function showIteration() {
  const index = Number(iteration.value), frame = frames[index];
  element("iteration-value").textContent = frame ? `${frame.number}${frame.accepted ? "" : ", ignored"}` : "result";
  const shown = new Promise((done) => {
    for (const kind of ["load", "error"]) picture.addEventListener(kind, done, { once: true });
  });
  picture.src = frame ? path(`iterations/${index}.png?${version}`) : `${path("overlay.png")}?${++version}`;
  await shown;
}

element("file").addEventListener("change", (event) => {
  if (event.target.files.length) upload(event.target.files[0]);
  event.target.value = ""; // the same file can be chosen again
});
element("given").addEventListener("change", (event) => {
  const index = event.target.value;
  if (index !== "") run(async () => opened(await post(`/open/${index}`, {})));
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    element("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) upload(event.dataTransfer.files[0]);
  });
}
layer.addEventListener("pointermove", (event) => {
  if (view.value !== "proposals") hover(point(event));
});
layer.addEventListener("pointerleave", () => {
  waiting = null;
  if (view.value === "mask") {
    levels = null;
    draw();
  }
});
layer.addEventListener("click", (event) => {
  const at = point(event);
  run(async () => {
    const what = event.shiftKey ? "remove" : "keep";
    kept((await post(path(what), { ...at, mask_threshold: T() })).objects);
  });
});
threshold.addEventListener("input", () => {
  element("threshold-value").textContent = T().toFixed(2);
  draw();
});
view.addEventListener("change", () => {
  draw();
  if (view.value === "proposals" && image && !proposals) showProposals();
});
iteration.addEventListener("input", showIteration);
element("segment").addEventListener("click", segment);
element("clear").addEventListener("click", () => run(async () => kept((await post(path("clear"), {})).objects)));
new ResizeObserver(fit).observe(element("drop")); // the window, or a row of the page, changed

run(async () => {
  about = await ask("/about");
  threshold.value = about.mask_threshold;
  element("threshold-value").textContent = T().toFixed(2);
  const given = element("given");
  given.hidden = !about.images.length;
  given.add(new Option("Images given", ""));
  about.images.forEach((name, index) => given.add(new Option(name, index)));
});
