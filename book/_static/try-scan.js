/* A whole scan in the page: looked at when it is given, segmented when that is asked for. */
window.kensegTryScan = (root, network) => {
  const part = (name) => root.querySelector(`[data-part="${name}"]`);
  const MOST_BYTES = 400e6;
  let scan = null; // {name, volume, size, grey, mask, millilitres}
  let wanted = false; // whether the scan is to be segmented as soon as the network is there
  let running = false, address = "";

  function close() {
    if (running) stop();
    scan = null;
    part("scan").hidden = true;
    part("slices").hidden = false;
  }

  function refused(name, why) {
    part("file").value = "";
    network.say(`“${name}” is not used: ${why}`);
  }

  async function take(file) {
    if (file.size > MOST_BYTES) {
      return refused(file.name, `it has ${Math.round(file.size / 1e6)} MB, and this page takes up ` +
                                `to ${MOST_BYTES / 1e6}. Chapter 12 takes larger ones.`);
    }
    network.say(`“${file.name}” is being read.`);
    try {
      const volume = await window.kensegNifti.read(file), size = window.kensegNifti.spacing(volume.affine);
      const why = window.kensegScan.refusal(volume, size);
      if (why) return refused(file.name, why);
      adopt(file.name, volume, size);
    } catch (error) {
      const known = error instanceof window.kensegNifti.Refused;
      refused(file.name, known ? error.message : `it cannot be read (${error.message}).`);
    }
  }

  function adopt(name, volume, size) {
    close();
    const sample = volume.values.filter((_, at) => at % 29 === 0).sort();
    const low = sample[0], high = sample[Math.floor(0.995 * (sample.length - 1))];
    const { determinant } = window.kensegNifti;
    scan = { name, volume, size, mask: null,
      grey: (value) => 255 * Math.max(0, Math.min(1, (value - low) / (high - low || 1))),
      millilitres: Math.abs(determinant(volume.affine.map((row) => row.slice(0, 3)))) / 1000 };
    part("scan").hidden = false;
    part("slices").hidden = part("window").hidden = true;
    const level = part("scan-level");
    level.max = volume.shape[2] - 1;
    level.value = Math.round(0.55 * volume.shape[2]);
    part("scan-result").textContent = "";
    part("save-line").hidden = true;
    tell(volume.notes);
    const looked = scan;
    setTimeout(() => { // after the picture: it takes a second or two
      if (scan !== looked) return;
      const doubts = window.kensegScan.doubts(volume, size);
      tell([...volume.notes, ...doubts.map((one) => `This scan looks doubtful: ${one}`)]);
      root.dispatchEvent(new CustomEvent("looked", { detail: name }));
    }, 60);
    network.say(`“${name}” stays in this page: ${volume.shape.join(" × ")} voxels, stored as ` +
                `${volume.code}, turned so that the nose is up.`);
    rest();
    draw();
  }

  function tell(sentences) {
    part("doubts").replaceChildren(...sentences.map((sentence) => {
      const line = document.createElement("li");
      line.textContent = sentence;
      return line;
    }));
  }

  // --- Looking ---------------------------------------------------------------------------------

  function draw() {
    const { volume, size, grey, mask } = scan, [X, Y] = volume.shape, z = Number(part("scan-level").value);
    const canvas = part("scan-picture"), mirrored = part("radiological").checked;
    const scale = Math.min(512 / (X * size[0]), 512 / (Y * size[1]));
    canvas.width = Math.round(X * size[0] * scale);
    canvas.height = Math.round(Y * size[1] * scale);
    const small = document.createElement("canvas");
    [small.width, small.height] = [X, Y];
    const pixels = new ImageData(X, Y);
    for (let y = 0; y < Y; y++) {
      for (let x = 0; x < X; x++) {
        const to = 4 * ((Y - 1 - y) * X + (mirrored ? X - 1 - x : x));
        pixels.data.fill(grey(volume.values[x + X * (y + Y * z)]), to, to + 3);
        pixels.data[to + 3] = 255;
      }
    }
    small.getContext("2d").putImageData(pixels, 0, 0);
    const pen = canvas.getContext("2d");
    pen.drawImage(small, 0, 0, canvas.width, canvas.height);
    if (mask) {
      const frame = { wide: X, high: Y, across: canvas.width / X, down: canvas.height / Y, mirrored };
      network.outline(pen, (x, y) => mask[x + X * (y + Y * z)], frame, network.FOUND, 0.6);
    }
    const letters = !volume.sidesKnown ? ["?", "?"] : mirrored ? ["R", "L"] : ["L", "R"];
    pen.font = "bold 22px sans-serif";
    pen.textBaseline = "middle";
    [[letters[0], 8, "left"], [letters[1], canvas.width - 8, "right"]].forEach(([letter, x, align]) => {
      pen.textAlign = align;
      pen.lineWidth = 4;
      pen.strokeStyle = "#000";
      pen.strokeText(letter, x, canvas.height / 2);
      pen.fillStyle = "#fff";
      pen.fillText(letter, x, canvas.height / 2);
    });
    const sides = !volume.sidesKnown ? "Which side is left is not known."
      : mirrored ? "The patient's left is on the right (radiological)."
        : "The patient's left is on the left (neurological, as in this book).";
    part("level-value").textContent = `${z + 1} of ${volume.shape[2]}`;
    part("sides").textContent = sides;
    const here = mask ? volumeOf(z) : null;
    canvas.setAttribute("aria-label", `Axial slice ${z + 1} of ${volume.shape[2]} of the scan. ${sides}` +
      (here === null ? "" : ` Called lesion in it: ${here} pixels, in blue dashes.`));
  }

  function volumeOf(z) {
    const [X, Y] = scan.volume.shape;
    return scan.mask.subarray(X * Y * z, X * Y * (z + 1)).reduce((sum, one) => sum + one, 0);
  }

  // --- Asking ----------------------------------------------------------------------------------

  function rest() {
    running = wanted = false;
    const able = Boolean(network.stored.whole);
    part("segment").disabled = part("twice").disabled = !able;
    part("stop").hidden = part("progress").hidden = true;
    part("segment").textContent = able
      ? `Load the network (${network.megabytes("whole_weight")} MB) and segment this scan`
      : "This copy of the book was built without a network for scans";
  }

  function segment() {
    part("segment").disabled = part("twice").disabled = true;
    wanted = true;
    if (network.live()) ready();
    else network.load();
  }

  function ready() {
    if (!wanted || !scan) return;
    wanted = false;
    running = true;
    scan.mask = null;
    part("save-line").hidden = true;
    part("scan-result").textContent = "The scan is being brought to the network's grid.";
    part("stop").hidden = part("progress").hidden = false;
    part("progress").removeAttribute("value");
    const { values, shape } = scan.volume, { size, millilitres } = scan;
    network.send({ scan: { values, shape, size, millilitres }, twice: part("twice").checked,
                   model: `${network.here}network/${network.stored.whole}` });
  }

  function stop() {
    network.stop();
    rest();
    part("scan-result").textContent = "Stopped.";
  }

  async function answered(data) {
    if (!running || !scan) return;
    if (data.error) {
      rest();
      part("scan-result").textContent = `The network stopped at this scan (${data.error}).`;
      return;
    }
    if (data.of) {
      part("progress").max = data.of;
      part("progress").value = data.step;
      part("scan-result").textContent = `Slice ${data.step + 1} of ${data.of}.`;
      return;
    }
    const asked = scan;
    asked.mask = data.mask;
    const file = await window.kensegNifti.maskFile(asked.volume, data.mask);
    if (scan !== asked) return;
    URL.revokeObjectURL(address);
    address = URL.createObjectURL(file);
    part("save").href = address;
    part("save").download = `${asked.name.replace(/\.nii(\.gz)?$/i, "")}_mask.nii.gz`;
    part("save-line").hidden = false;
    rest();
    part("segment").textContent = "Segment it again";
    const count = data.mask.reduce((sum, one) => sum + one, 0), depth = asked.volume.shape[2];
    const levels = Array.from({ length: depth }, (_, z) => volumeOf(z));
    if (count) part("scan-level").value = levels.indexOf(Math.max(...levels));
    const seconds = Math.round(data.milliseconds / 1000);
    part("scan-result").textContent = `${count ? `Called lesion: ${(count * asked.millilitres).toFixed(2)} ml ` +
      `in ${data.pieces} ${data.pieces === 1 ? "piece" : "pieces"}` : "Nothing is called lesion"}; ` +
      `computed in this browser in ${seconds} s. Research and teaching only: not for clinical use.`;
    draw();
    root.dispatchEvent(new CustomEvent("scanned"));
  }

  part("scan-level").addEventListener("input", draw);
  part("radiological").addEventListener("change", draw);
  part("segment").addEventListener("click", segment);
  part("stop").addEventListener("click", stop);
  return { take, close, answered, ready, open: () => Boolean(scan) };
};
