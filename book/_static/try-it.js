/* The page "The network, in this page": slices in, lesions out, nothing leaves the browser, and
   no network is loaded before it is asked for. Whole scans are try-scan.js's.
   Arrays are in the book's order, place = x * side + y, x to the right and y to the front. */
(() => {
  const stored = window.kensegNetwork;
  const root = document.getElementById("kenseg-try");
  if (!root || !stored) return;
  const part = (name) => root.querySelector(`[data-part="${name}"]`);
  const { side, slices } = stored;
  const here = new URL(".", document.currentScript.src).href;
  const TRUTH = "#E69F00", FOUND = "#56B4E9";
  const MOST_BYTES = 30e6, MOST_PIXELS = 40e6, PATIENCE = 90000;

  let worker = null; // the network, while it can be run
  let live = false; // whether it has answered that it is ready
  let alarm = 0; // rings where it does not start in time
  let own = null; // the reader's picture: a canvas of grey values
  let current = null; // what is shown: {image, truth, probability, from}
  let asked = 0, busy = false, waiting = null;

  // --- Stored slices ---------------------------------------------------------------------------

  function bytes(text) {
    return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
  }

  function opened(slice) {
    return {
      image: Float32Array.from(new Int16Array(bytes(slice.image)), (grey) => grey / stored.steps),
      truth: new Uint8Array(bytes(slice.truth)),
      probability: Float32Array.from(new Uint16Array(bytes(slice.probability)), (p) => p / 65535),
      from: "stored when the book was built",
    };
  }

  // --- Drawing ---------------------------------------------------------------------------------

  function greys(image) {
    const sorted = Float32Array.from(image).sort();
    const low = sorted[0], high = sorted[Math.floor(0.995 * (sorted.length - 1))];
    return (value) => 255 * Math.min(1, (value - low) / (high - low || 1));
  }

  function drawSlice(canvas) {
    const small = document.createElement("canvas");
    small.width = small.height = side;
    const pixels = new ImageData(side, side), grey = greys(current.image);
    for (let x = 0; x < side; x++) {
      for (let y = 0; y < side; y++) {
        const to = 4 * ((side - 1 - y) * side + x);
        pixels.data.fill(grey(current.image[x * side + y]), to, to + 3);
        pixels.data[to + 3] = 255;
      }
    }
    small.getContext("2d").putImageData(pixels, 0, 0);
    const pen = canvas.getContext("2d");
    pen.drawImage(small, 0, 0, canvas.width, canvas.height);
    const step = canvas.width / side, frame = { wide: side, high: side, across: step, down: step };
    const within = (inside) => (x, y) => inside[x * side + y];
    if (current.truth && part("truth").checked) outline(pen, within(current.truth), frame, TRUTH, 1);
    if (current.probability) outline(pen, within(mask()), frame, FOUND, 0.6);
  }

  function mask() {
    const threshold = Number(part("threshold").value);
    return Uint8Array.from(current.probability, (p) => p >= threshold);
  }

  // Tinted inside, and a line along each side of a pixel that borders on the outside; of the line
  // only the share `drawn`, so that less than one gives dashes. `frame`: how many pixels wide and
  // high, how large they are drawn, and whether left and right are exchanged.
  function outline(pen, inside, { wide, high, across, down, mirrored }, colour, drawn) {
    const at = (x, y) => x >= 0 && y >= 0 && x < wide && y < high && inside(x, y);
    const gapX = across * (1 - drawn) / 2, gapY = down * (1 - drawn) / 2;
    pen.strokeStyle = pen.fillStyle = colour;
    pen.lineWidth = 2.5;
    pen.beginPath();
    for (let x = 0; x < wide; x++) {
      for (let y = 0; y < high; y++) {
        if (!at(x, y)) continue;
        const left = (mirrored ? wide - 1 - x : x) * across, top = (high - 1 - y) * down;
        pen.globalAlpha = 0.22;
        pen.fillRect(left, top, across, down);
        for (const [dx, dy] of [[-1, 0], [1, 0], [0, -1], [0, 1]]) {
          if (at(x + dx, y + dy)) continue;
          const right = mirrored ? dx < 0 : dx > 0;
          const from = dx ? left + (right ? across : 0) : left + gapX;
          const level = dx ? top + gapY : top + (dy < 0 ? down : 0);
          pen.moveTo(from, level);
          pen.lineTo(dx ? from : left + across - gapX, dx ? top + down - gapY : level);
        }
      }
    }
    pen.globalAlpha = 1;
    pen.stroke();
  }

  function dice(truth, found) {
    let both = 0, sum = 0;
    for (let place = 0; place < truth.length; place++) {
      both += truth[place] && found[place];
      sum += truth[place] + found[place];
    }
    return sum ? 2 * both / sum : 1;
  }

  function show() {
    const canvas = part("picture"), words = [];
    drawSlice(canvas);
    const threshold = Number(part("threshold").value).toFixed(2);
    part("threshold-value").textContent = threshold;
    if (current.probability) {
      const found = mask(), count = found.reduce((sum, one) => sum + one, 0);
      words.push(`At threshold ${threshold}, ${count} of ${side * side} pixels are called lesion`);
      if (current.truth) words.push(`Dice with the true lesion ${dice(current.truth, found).toFixed(2)}`);
      words.push(current.from);
    } else {
      words.push(live ? "The network is at work" : "The network is not loaded yet");
    }
    const said = `${words.join("; ")}.`;
    part("result").textContent = said;
    canvas.setAttribute("aria-label", `The slice with its lesion outlined. ${said}`);
  }

  function say(message) { part("message").textContent = message; }

  // --- The network -----------------------------------------------------------------------------

  function ask() {
    if (!live) return;
    if (busy) { waiting = current; return; }
    busy = true;
    worker.postMessage({ id: ++asked, image: current.image, side, model: `${here}network/network.onnx` });
    current.id = asked;
  }

  function answered({ id, probability, milliseconds }) {
    busy = false;
    if (current.id === id) {
      current.probability = probability;
      current.from = `computed in this browser in ${Math.round(milliseconds)} ms`;
      root.kensegResult = { image: current.image, probability, mask: mask() };
      show();
      root.dispatchEvent(new CustomEvent("segmented"));
    }
    if (waiting) { waiting = null; ask(); }
  }

  function withoutNetwork(why) {
    worker?.terminate();
    worker = null;
    live = busy = false;
    part("own").hidden = part("window").hidden = part("ask").hidden = true;
    scans?.close();
    say(`${why} Below is what the network answered when the book was built; the threshold still ` +
        "moves.");
    if (own || !current) choose();
    root.dataset.state = "stored";
  }

  /* Why the network cannot be run here, or "". */
  function hindrance() {
    if (!stored.runtime) {
      return "This copy of the book was built without the network's runtime (npm or the exporter " +
             "was missing).";
    }
    if (typeof WebAssembly !== "object" || typeof Worker !== "function" ||
        typeof DecompressionStream !== "function") {
      return "Running the network needs a browser with WebAssembly and Web Workers, as all " +
             "current ones have; this one lacks them, or they are switched off.";
    }
    if (location.protocol === "file:") {
      return "A page opened from a file may not load a network. Serve the folder instead " +
             "(python -m http.server in it) and open http://localhost:8000.";
    }
    return "";
  }

  function offer() {
    const why = hindrance();
    if (why) return withoutNetwork(why);
    root.dataset.state = "asking";
    part("ask").hidden = part("own").hidden = false;
    part("load").textContent = `Load the network (${network.megabytes("weight")} MB)`;
    say("What you see was stored when the book was built. Nothing more is loaded before you ask.");
  }

  function load() {
    if (worker) return;
    root.dataset.state = "loading";
    part("ask").hidden = true;
    say("The network is being loaded, once.");
    try {
      worker = new Worker(`${here}try-it-worker.js`);
    } catch (error) {
      return withoutNetwork(`The network could not be started (${error.message}).`);
    }
    alarm = setTimeout(() => withoutNetwork("The network did not start in time."), PATIENCE);
    worker.onerror = (event) => {
      clearTimeout(alarm);
      withoutNetwork(`The network could not be started (${event.message || "it did not load"}).`);
    };
    worker.onmessage = ({ data }) => {
      clearTimeout(alarm);
      if (data.scan || data.of || data.mask) return scans.answered(data);
      if (data.error) return withoutNetwork(`The network stopped (${data.error}).`);
      if (!data.ready) return answered(data);
      live = true;
      root.dataset.state = "live";
      say("The network is ready, and runs in this page.");
      if (current && !scans.open()) ask();
      scans.ready();
    };
    worker.postMessage({ open: { runtime: `${here}${stored.runtime}` } });
  }

  /* What a scan asks of the network's worker; asked again, it starts anew. */
  const network = {
    here, stored, outline, FOUND, say,
    live: () => live,
    /* What is still to be loaded for one of the networks. */
    megabytes: (name) => ((stored[name] + (live ? 0 : stored.runtime_weight)) / 1e6).toFixed(1),
    load,
    send: (message) => worker.postMessage(message),
    stop() {
      worker?.terminate();
      worker = null;
      live = busy = false;
      load();
    },
  };

  // --- The reader's own picture ----------------------------------------------------------------

  function choose() {
    own = null;
    part("window").hidden = true;
    part("truth-line").hidden = part("slices").hidden = false;
    scans.close();
    current = opened(slices[Number(part("slice").value)]);
    show();
    ask();
  }

  function refused(file, why) {
    part("file").value = "";
    say(`“${file.name}” is not used: ${why}`);
  }

  async function take(file) {
    if (!file) return;
    if (await isVolume(file)) return scans.take(file);
    if (file.size > MOST_BYTES) {
      return refused(file, `it has ${Math.round(file.size / 1e6)} MB, and at most ` +
                           `${MOST_BYTES / 1e6} are taken. Save one slice as PNG or JPEG.`);
    }
    const picture = new Image(), address = URL.createObjectURL(file);
    picture.onerror = () => {
      URL.revokeObjectURL(address);
      refused(file, "this browser cannot read it as a picture. One axial slice as PNG, JPEG or " +
                    "WebP is needed, or a whole scan as NIfTI (.nii, .nii.gz).");
    };
    picture.onload = () => {
      const { naturalWidth: wide, naturalHeight: high } = picture;
      if (wide * high > MOST_PIXELS) {
        refused(file, `it has ${wide} × ${high} pixels, and at most ${MOST_PIXELS / 1e6} million ` +
                      "are taken. Save it smaller.");
      } else if (Math.min(wide, high) < 16) {
        refused(file, `it has only ${wide} × ${high} pixels, and at least 16 each way are needed.`);
      } else {
        adopt(picture, file.name);
      }
      URL.revokeObjectURL(address);
    };
    picture.src = address;
  }

  /* By its name or its first bytes: what could be NIfTI is read as such, or refused in its terms. */
  async function isVolume(file) {
    if (/\.(nii|nii\.gz|dcm|hdr|img|mgz)$/i.test(file.name)) return true;
    const start = new Uint8Array(await file.slice(0, 4).arrayBuffer());
    const length = start.length < 4 ? 0 : new DataView(start.buffer).getInt32(0, true);
    return length === 348 || length === 0x5c010000 || (start[0] === 0x1f && start[1] === 0x8b);
  }

  function adopt(picture, name) {
    const shrink = Math.min(1, 512 / Math.max(picture.naturalWidth, picture.naturalHeight));
    own = part("whole");
    own.width = Math.round(picture.naturalWidth * shrink);
    own.height = Math.round(picture.naturalHeight * shrink);
    own.kensegPicture = picture;
    part("window").hidden = part("slices").hidden = false;
    part("truth-line").hidden = true;
    scans.close();
    say(`“${name}” stays in this page. Move the window until it frames what you want to ask about.`);
    place();
  }

  // The window, in pixels of the shown picture.
  function frame() {
    const share = (name) => Number(part(name).value) / 100;
    const size = share("size") * Math.max(own.width, own.height);
    return { size, left: share("across") * own.width - size / 2,
             top: (1 - share("up")) * own.height - size / 2 };
  }

  function greyPixels(pen, wide, high) {
    const { data } = pen.getImageData(0, 0, wide, high);
    return Float32Array.from({ length: wide * high }, (_, k) =>
      0.299 * data[4 * k] + 0.587 * data[4 * k + 1] + 0.114 * data[4 * k + 2]);
  }

  // As slices.Intensity: median and robust spread of what is brighter than the mean.
  function intensity(values) {
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const head = values.filter((value) => value > mean).sort();
    if (!head.length) return { centre: values[0], spread: 1 };
    const quantile = (share) => {
      const at = share * (head.length - 1), low = Math.floor(at);
      return head[low] + (at - low) * (head[Math.min(low + 1, head.length - 1)] - head[low]);
    };
    return { centre: quantile(0.5), spread: (quantile(0.75) - quantile(0.25)) / 1.349 || 1 };
  }

  function place() {
    const pen = own.getContext("2d", { willReadFrequently: true });
    const { size, left, top } = frame();
    for (const name of ["size", "across", "up"]) {
      part(`${name}-value`).textContent = `${part(name).value} %`;
    }
    pen.fillStyle = "#000";
    pen.fillRect(0, 0, own.width, own.height);
    pen.drawImage(own.kensegPicture, 0, 0, own.width, own.height);
    const { centre, spread } = intensity(greyPixels(pen, own.width, own.height));
    const cut = document.createElement("canvas");
    cut.width = cut.height = side;
    const cutPen = cut.getContext("2d", { willReadFrequently: true });
    cutPen.fillRect(0, 0, side, side);
    cutPen.drawImage(own, left, top, size, size, 0, 0, side, side);
    const shown = greyPixels(cutPen, side, side), image = new Float32Array(side * side);
    for (let x = 0; x < side; x++) {
      for (let y = 0; y < side; y++) {
        const value = (shown[(side - 1 - y) * side + x] - centre) / spread;
        image[x * side + y] = Math.max(-5, Math.min(5, value));
      }
    }
    pen.strokeStyle = FOUND;
    pen.lineWidth = 3;
    pen.strokeRect(left, top, size, size);
    current = { image, truth: null, probability: null };
    show();
    ask();
  }

  // --- Controls --------------------------------------------------------------------------------

  slices.forEach((slice, number) => part("slice").add(new Option(slice.name, number)));
  part("slice").value = Math.floor(slices.length / 2);
  part("slice").addEventListener("change", choose);
  part("threshold").addEventListener("input", () => show());
  part("truth").addEventListener("change", () => show());
  part("file").addEventListener("change", (event) => take(event.target.files[0]));
  for (const name of ["size", "across", "up"]) part(name).addEventListener("input", place);
  root.addEventListener("dragover", (event) => event.preventDefault());
  root.addEventListener("drop", (event) => {
    event.preventDefault();
    if (!part("own").hidden) take(event.dataTransfer.files[0]);
  });
  part("provenance").textContent = `The network for slices: ${stored.provenance}.` +
    (stored.whole ? ` The network for scans: ${stored.whole_made}.` : "");
  part("load").addEventListener("click", load);
  const scans = window.kensegTryScan(root, network);
  root.hidden = false;
  choose();
  offer();
})();
