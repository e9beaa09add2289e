/* A mask to paint, and the scores that follow: Dice, IoU, HD95 and lesion-wise F1, without Python.
   The scores are those of kenseg_utils.metrics; a test compares them on random masks. */
(() => {
  // --- Scores, of masks as arrays of 0 and 1, row by row -----------------------------------------

  const inside = (mask, wide, x, y) =>
    x >= 0 && y >= 0 && x < wide && y < mask.length / wide && mask[y * wide + x];
  const STEPS = [[1, 0], [-1, 0], [0, 1], [0, -1]];

  // Pixels with a side on the background or on the edge of the picture.
  function surface(mask, wide) {
    const found = [];
    mask.forEach((one, place) => {
      const x = place % wide, y = Math.floor(place / wide);
      if (one && !STEPS.every(([dx, dy]) => inside(mask, wide, x + dx, y + dy))) found.push([x, y]);
    });
    return found;
  }

  function percentile(values, share) {
    values.sort((one, other) => one - other);
    const at = share * (values.length - 1), low = Math.floor(at);
    return values[low] + (at - low) * (values[Math.min(low + 1, values.length - 1)] - values[low]);
  }

  function hd95(truth, mask, wide) {
    const both = [surface(truth, wide), surface(mask, wide)];
    if (!both[0].length && !both[1].length) return 0;
    if (!both[0].length || !both[1].length) return NaN;
    const oneWay = (from, to) => percentile(from.map(([x, y]) => {
      let least = Infinity;
      for (const [u, v] of to) least = Math.min(least, (x - u) ** 2 + (y - v) ** 2);
      return Math.sqrt(least);
    }), 0.95);
    return Math.max(oneWay(both[0], both[1]), oneWay(both[1], both[0]));
  }

  // Lesions are pixels that touch side by side: a number for each pixel, and how many there are.
  function lesions(mask, wide) {
    const label = new Int32Array(mask.length);
    let count = 0;
    mask.forEach((one, start) => {
      if (!one || label[start]) return;
      label[start] = ++count;
      const waiting = [start];
      while (waiting.length) {
        const place = waiting.pop(), x = place % wide, y = Math.floor(place / wide);
        for (const [dx, dy] of STEPS) {
          const next = (y + dy) * wide + x + dx;
          if (inside(mask, wide, x + dx, y + dy) && !label[next]) {
            label[next] = count;
            waiting.push(next);
          }
        }
      }
    });
    return { label, count };
  }

  function scores(truth, mask, wide) {
    let both = 0, either = 0, sum = 0;
    truth.forEach((one, place) => {
      both += one & mask[place];
      either += one | mask[place];
      sum += one + mask[place];
    });
    const real = lesions(truth, wide), drawn = lesions(mask, wide);
    const hit = new Set(), right = new Set();
    truth.forEach((one, place) => {
      if (one & mask[place]) { hit.add(real.label[place]); right.add(drawn.label[place]); }
    });
    const missed = real.count - hit.size, invented = drawn.count - right.size;
    const total = hit.size + (missed + invented) / 2;
    return {
      dice: sum ? 2 * both / sum : 1, iou: either ? both / either : 1, hd95: hd95(truth, mask, wide),
      f1: total ? hit.size / total : 1, found: hit.size, missed, invented,
    };
  }

  window.kensegScores = scores;
  const root = document.getElementById("kenseg-editor"), slice = window.kensegSlice;
  if (!root || !slice) return;

  // --- The page ----------------------------------------------------------------------------------

  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const { wide, high } = slice, grey = bytes(slice.grey), truth = bytes(slice.truth);
  const part = (name) => root.querySelector(`[data-part="${name}"]`);
  const canvas = part("picture"), pen = canvas.getContext("2d");
  const SCALE = canvas.width / wide, TRUTH = "#e69f00", DRAWN = "#56b4e9";
  let mask = Uint8Array.from(truth), cursor = null;

  function outline(one, colour, dashes) {
    pen.strokeStyle = colour;
    pen.lineWidth = 2.5;
    pen.setLineDash(dashes);
    pen.beginPath();
    one.forEach((on, place) => {
      if (!on) return;
      const x = place % wide, y = Math.floor(place / wide);
      const side = (dx, dy, x0, y0, x1, y1) => {
        if (inside(one, wide, x + dx, y + dy)) return;
        pen.moveTo((x + x0) * SCALE, (y + y0) * SCALE);
        pen.lineTo((x + x1) * SCALE, (y + y1) * SCALE);
      };
      side(0, -1, 0, 0, 1, 0);
      side(0, 1, 0, 1, 1, 1);
      side(-1, 0, 0, 0, 0, 1);
      side(1, 0, 1, 0, 1, 1);
    });
    pen.stroke();
    pen.setLineDash([]);
  }

  function letters() {
    pen.font = "bold 18px sans-serif";
    pen.fillStyle = "#fff";
    pen.strokeStyle = "#000";
    pen.lineWidth = 3;
    for (const [letter, x] of [["L", 8], ["R", canvas.width - 22]]) {
      pen.strokeText(letter, x, 22);
      pen.fillText(letter, x, 22);
    }
  }

  const small = document.createElement("canvas");
  small.width = wide;
  small.height = high;

  function show() {
    const picture = new ImageData(wide, high);
    grey.forEach((value, place) => {
      const blue = mask[place] ? 0.75 : 1;
      picture.data.set([value * blue, value * blue + (1 - blue) * 180,
                        value * blue + (1 - blue) * 233, 255], 4 * place);
    });
    small.getContext("2d").putImageData(picture, 0, 0);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(small, 0, 0, canvas.width, canvas.height);
    if (part("truth").checked) outline(truth, TRUTH, []);
    outline(mask, DRAWN, [SCALE / 2, SCALE / 2]);  // each pixel's side begins anew
    letters();
    if (cursor) {
      pen.strokeStyle = "#fff";
      pen.strokeRect((cursor.x - 0.5) * SCALE, (cursor.y - 0.5) * SCALE, 2 * SCALE, 2 * SCALE);
    }
    tell();
  }

  function tell() {
    const now = scores(truth, mask, wide);
    const pixels = mask.reduce((sum, one) => sum + one, 0);
    part("dice").textContent = now.dice.toFixed(3);
    part("iou").textContent = now.iou.toFixed(3);
    part("hd95").textContent = Number.isNaN(now.hd95) ? "none: a mask is empty"
      : `${now.hd95.toFixed(1)} mm`;
    part("f1").textContent = now.f1.toFixed(2);
    part("lesions").textContent =
      `${now.found} found, ${now.missed} missed, ${now.invented} invented`;
    canvas.setAttribute("aria-label", "The slice with the expert's mask in orange and yours in " +
      `blue: ${pixels} pixels, Dice ${now.dice.toFixed(3)}.`);
    root.kensegNow = now;
  }

  // --- What changes the mask ---------------------------------------------------------------------

  function brush(x, y) {
    const value = part("paint").checked ? 1 : 0, reach = part("size").valueAsNumber;
    for (let v = Math.ceil(y - reach); v <= y + reach; v++) {
      for (let u = Math.ceil(x - reach); u <= x + reach; u++) {
        if (u >= 0 && v >= 0 && u < wide && v < high && (u - x) ** 2 + (v - y) ** 2 <= reach ** 2) {
          mask[v * wide + u] = value;
        }
      }
    }
    show();
  }

  const each = (rule) => {
    mask = Uint8Array.from(mask, (_, place) =>
      rule(place % wide, Math.floor(place / wide)) ? 1 : 0);
  };
  const at = (one, x, y) => inside(one, wide, x, y);
  const CHANGES = {
    grow: (old) => each((x, y) => at(old, x, y) || STEPS.some(([a, b]) => at(old, x + a, y + b))),
    shrink: (old) => each((x, y) => at(old, x, y) && STEPS.every(([a, b]) => at(old, x + a, y + b))),
    shift: (old) => each((x, y) => at(old, x - 2, y)),
    spot: (old) => each((x, y) => at(old, x, y) || (x >= 6 && x < 10 && y >= 6 && y < 10)),
    empty: () => each(() => false),
    again: () => { mask = Uint8Array.from(truth); },
  };
  for (const button of root.querySelectorAll("button[data-change]")) {
    button.addEventListener("click", () => { CHANGES[button.dataset.change](mask); show(); });
  }

  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [Math.floor((event.clientX - box.left) / box.width * wide),
            Math.floor((event.clientY - box.top) / box.height * high)];
  };
  canvas.addEventListener("pointerdown", (event) => {
    cursor = null;
    canvas.setPointerCapture(event.pointerId);
    brush(...place(event));
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.buttons) brush(...place(event));
  });
  const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  canvas.addEventListener("keydown", (event) => {
    cursor ||= { x: Math.floor(wide / 2), y: Math.floor(high / 2) };
    if (MOVES[event.key]) {
      cursor.x = Math.max(0, Math.min(wide - 1, cursor.x + MOVES[event.key][0]));
      cursor.y = Math.max(0, Math.min(high - 1, cursor.y + MOVES[event.key][1]));
    } else if (event.key === " " || event.key === "Enter") {
      brush(cursor.x, cursor.y);
    } else {
      return;
    }
    event.preventDefault();
    show();
  });
  part("truth").addEventListener("change", show);
  root.hidden = false;
  show();
})();
