/* NIfTI-1 in the page: what nibabel does for the package (kenseg_utils/atlas/_nifti.py and
   _orientation.py), for one volume of real numbers. Nothing is asked of any server.

   A volume is {values, shape, affine, stored, sidesKnown, notes}: Float32Array with x fastest,
   axes turned to RAS (x to the patient's right, y to the front, z up); affine, 4 rows, leads from
   its voxels to mm. `stored` remembers how the file lay, so that a mask can lie as it did. */
(() => {
  const HEADER = 348;
  const MOST_VOXELS = 2 ** 26;
  const MM = { 1: ["metres", 1000], 3: ["microns", 0.001] };
  const TYPES = {
    2: [1, "getUint8"], 256: [1, "getInt8"], 4: [2, "getInt16"], 512: [2, "getUint16"],
    8: [4, "getInt32"], 768: [4, "getUint32"], 1024: [8, "getBigInt64"],
    1280: [8, "getBigUint64"], 16: [4, "getFloat32"], 64: [8, "getFloat64"],
  };
  const AGAIN = "Copy or export it again.";

  class Refused extends Error {}

  // --- Bytes -----------------------------------------------------------------------------------

  /* A file's bytes as they are asked for, unpacked where it is packed. */
  function source(file, zipped) {
    const stream = file.stream();
    const reader = (zipped ? stream.pipeThrough(new DecompressionStream("gzip")) : stream)
      .getReader();
    let waiting = new Uint8Array(0), broken = "";
    async function into(target, filled) {
      while (filled < target.length) {
        if (!waiting.length) {
          try {
            const { done, value } = await reader.read();
            if (done) break;
            waiting = value;
          } catch (error) {
            broken = error.message;
            break;
          }
        }
        const taken = waiting.subarray(0, target.length - filled);
        target.set(taken, filled);
        filled += taken.length;
        waiting = waiting.subarray(taken.length);
      }
      return filled;
    }
    /* Past the end lies the checksum of a gzip file; what follows that is no part of it. */
    async function end() {
      if (!zipped || waiting.length) return;
      try {
        await reader.read();
      } catch (error) {
        if (!/junk|trailing|after the end|unexpected input/i.test(error.message)) {
          throw new Refused(`it is damaged: its gzip stream breaks off. ${AGAIN}`);
        }
      }
    }
    return { into, end, close: () => reader.cancel().catch(() => {}), broken: () => broken };
  }

  async function read(file) {
    if (typeof DecompressionStream !== "function") {
      throw new Refused("this browser is too old to unpack files: all of the last years can.");
    }
    const start = new Uint8Array(await file.slice(0, 540).arrayBuffer());
    const zipped = start[0] === 0x1f && start[1] === 0x8b;
    const bytes = source(file, zipped);
    try {
      const head = new Uint8Array(HEADER);
      const got = await bytes.into(head, 0);
      const header = opened(head.subarray(0, got), zipped, bytes.broken());
      const size = header.offset + header.count * header.bytes;
      const most = zipped ? file.size * 1040 : file.size; // deflate shrinks by 1032 at most
      if (size > most) throw new Refused(cut(Math.min(most, file.size), size, zipped));
      const content = new Uint8Array(size);
      content.set(head);
      const filled = await bytes.into(content, HEADER);
      if (filled < size) throw new Refused(cut(filled, size, false));
      await bytes.end();
      return turned(header, new DataView(content.buffer, header.offset), head);
    } finally {
      bytes.close();
    }
  }

  function cut(there, size, zipped) {
    const said = zipped ? "more than it can hold" : `and ${there.toLocaleString("en")} are there`;
    return `it is cut off: its header promises ${size.toLocaleString("en")} bytes, ${said}. ` +
      AGAIN;
  }

  // --- The header ------------------------------------------------------------------------------

  function opened(head, zipped, broken) {
    if (broken) throw new Refused(`it is cut off or damaged: it cannot be unpacked. ${AGAIN}`);
    const view = new DataView(head.buffer, head.byteOffset, head.length);
    const size = head.length >= 4 ? [view.getInt32(0, true), view.getInt32(0, false)] : [0, 0];
    if (size.includes(540)) {
      throw new Refused("it is NIfTI-2, and this page reads NIfTI-1: chapter 12 takes both.");
    }
    if (!size.includes(HEADER)) {
      const dicom = head.length > 131 && text(head, 128, 4) === "DICM";
      throw new Refused(dicom ? "it is DICOM: convert the series to NIfTI (dcm2niix does)."
        : "it is no NIfTI file: a volume as .nii or .nii.gz is needed.");
    }
    if (head.length < HEADER) throw new Refused(`it is cut off: not even its header is whole. ${AGAIN}`);
    const little = size[0] === HEADER;
    const magic = text(head, 344, 3);
    if (magic === "ni1") {
      throw new Refused("it is half of a pair (.hdr and .img): save it as one .nii file.");
    }
    if (magic !== "n+1") throw new Refused("it is no NIfTI file, or its header is damaged.");
    const short = (at) => view.getInt16(at, little), float = (at) => view.getFloat32(at, little);
    const floats = (at, count) => Array.from({ length: count }, (_, k) => float(at + 4 * k));
    const header = { little, sform: short(254), qform: short(252), units: head[123],
      pixdim: floats(76, 4), quatern: floats(256, 6),
      rows: [floats(280, 4), floats(296, 4), floats(312, 4)] };
    return Object.assign(header, dimensions(short), numbers(short, float));
  }

  const text = (bytes, at, count) => String.fromCharCode(...bytes.subarray(at, at + count));

  function dimensions(short) {
    const axes = short(40);
    const lengths = Array.from({ length: Math.max(0, Math.min(7, axes)) }, (_, k) => short(42 + 2 * k));
    if (axes < 1 || axes > 7 || Math.min(...lengths) < 1) {
      throw new Refused(`its header is damaged: its dimensions make no sense. ${AGAIN}`);
    }
    const product = (some) => some.reduce((all, length) => all * length, 1);
    if (axes < 3 || product(lengths.slice(3)) !== 1) {
      throw new Refused(`it is ${axes}-dimensional (${lengths.join(" × ")}), and one volume of ` +
        "three dimensions is needed. Save the volume that you want as a file of its own.");
    }
    const shape = lengths.slice(0, 3), count = product(shape);
    if (count > MOST_VOXELS) {
      throw new Refused(`it has ${shape.join(" × ")} voxels, and this page takes up to ` +
        `${Math.floor(MOST_VOXELS / 1e6)} million. Chapter 12 takes larger ones.`);
    }
    return { shape, count };
  }

  function numbers(short, float) {
    const type = TYPES[short(70)];
    if (!type) {
      throw new Refused("its voxels are no single real numbers (colours, or complex ones). " +
        "Convert it to 16-bit integers or 32-bit floats.");
    }
    const offset = float(108), slope = float(112), shift = float(116);
    if (!(offset >= HEADER && offset < 2 ** 24)) {
      throw new Refused(`its header is damaged: its data start nowhere. ${AGAIN}`);
    }
    const scaled = slope !== 0 && Number.isFinite(slope);
    if (scaled && !Number.isFinite(shift)) {
      throw new Refused(`its header is damaged: its grey values have no scale. ${AGAIN}`);
    }
    return { bytes: type[0], getter: type[1], offset: Math.floor(offset),
      slope: scaled ? slope : 1, shift: scaled ? shift : 0 };
  }

  // --- Where it lies ---------------------------------------------------------------------------

  function quaternion(header) {
    let [b, c, d] = header.quatern;
    let square = b * b + c * c + d * d;
    if (square > 1 && square <= 1.001) { // longer than 1 by rounding alone
      [b, c, d] = [b, c, d].map((part) => part / Math.sqrt(square));
      square = 1;
    }
    if (!(square <= 1)) return null;
    const a = Math.sqrt(1 - square), [, ...size] = header.pixdim.map(Math.abs);
    size[2] *= header.pixdim[0] === -1 ? -1 : 1;
    return [
      [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
      [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
      [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
    ].map((row, k) => [...row.map((part, axis) => part * size[axis]), header.quatern[3 + k]]);
  }

  /* Sform, else qform, else a guess; and whether left and right are more than a guess. */
  function placed(header) {
    const [, ...size] = header.pixdim, notes = [];
    const sform = header.sform > 0 ? header.rows : null;
    const qform = header.qform > 0 ? quaternion(header) : null;
    if (!sform && size.some((mm) => !mm || !Number.isFinite(mm))) {
      throw new Refused("it does not say how large its voxels are. Export it again.");
    }
    if (!sform && header.qform > 0 && !qform) {
      throw new Refused(`its orientation is damaged. ${AGAIN}`);
    }
    let affine = sform || qform, sidesKnown = true;
    if (!affine) {
      affine = size.map(Math.abs).map((mm, axis) => {
        const row = [0, 0, 0, 0];
        row[axis] = axis ? mm : -mm;
        row[3] = -row[axis] * (header.shape[axis] - 1) / 2;
        return row;
      });
      sidesKnown = false;
      notes.push("Its header gives no orientation, so which side is left is a guess, and so is what " +
        "is up and what is front: none of its axes is known.");
    }
    if (!sform && size.some((mm) => mm < 0)) {
      sidesKnown = false;
      notes.push("Its header gives a negative voxel size: which side is left is a guess.");
    }
    const [unit, factor] = MM[header.units & 7] || ["", 1];
    if (unit) notes.push(`Its header is in ${unit}, which are taken as such.`);
    if (sform && qform && turnedApart(sform, qform)) {
      sidesKnown = false;
      notes.push("Its header places it twice, and not with the same side left: which is which is " +
        "a guess.");
    }
    affine = affine.map((row) => row.map((part) => part * factor));
    return { affine, sidesKnown, notes: [...notes, ...checked(affine, header.shape, unit)] };
  }

  /* Whether two forms leave open which side is left: their axes from left to right, seen from the
     voxels, lie over 30 degrees apart. No head lies askew by more. */
  function turnedApart(sform, qform) {
    const size = spacing(sform);
    const [one, other] = [sform, qform].map((form) => size.map((mm, axis) => form[0][axis] / mm));
    const dot = one.reduce((sum, part, axis) => sum + part * other[axis], 0);
    return !(dot >= Math.cos(Math.PI / 6) * Math.hypot(...one) * Math.hypot(...other));
  }

  function checked(affine, shape, unit) {
    const size = spacing(affine);
    const sound = affine.flat().every(Number.isFinite) && Math.min(...size) > 0 &&
      Math.abs(determinant(affine.map((row) => row.slice(0, 3).map((part, k) => part / size[k])))) > 1e-3;
    if (!sound) throw new Refused(`its affine (voxel to mm) cannot be used. ${AGAIN}`);
    const longest = Math.max(...shape.map((count, axis) => count * size[axis]));
    if (longest < (Math.max(...shape) > 40 ? 40 : 10) || longest > 1000) {
      throw new Refused(`it would be ${longest.toPrecision(3)} mm long, and no head is: its ` +
        `header (${unit || "millimetres, or no unit"}) has a wrong unit or voxel size.`);
    }
    return longest < 60 || longest > 450
      ? [`It is ${longest.toPrecision(3)} mm long, which is unusual for a head.`] : [];
  }

  const spacing = (affine) => [0, 1, 2].map((axis) =>
    Math.hypot(affine[0][axis], affine[1][axis], affine[2][axis]));

  function cofactors(m) {
    return [0, 1, 2].map((row) => [0, 1, 2].map((column) => {
      const [a, b] = [0, 1, 2].filter((k) => k !== row);
      const [c, d] = [0, 1, 2].filter((k) => k !== column);
      return (m[a][c] * m[b][d] - m[a][d] * m[b][c]) * ((row + column) % 2 ? -1 : 1);
    }));
  }

  const determinant = (m) => cofactors(m)[0].reduce((sum, part, k) => sum + part * m[0][k], 0);

  const inverse = (m) => {
    const part = cofactors(m), size = determinant(m);
    return [0, 1, 2].map((row) => [0, 1, 2].map((column) => part[column][row] / size));
  };

  /* For each axis of the file, the axis of space that it follows most and which way, as nibabel's
     io_orientation: the nearest rotation decides, and each axis of space is taken once. */
  function orientation(affine) {
    const size = spacing(affine);
    let near = affine.map((row) => row.slice(0, 3).map((part, axis) => part / size[axis]));
    for (let turn = 0; turn < 60; turn++) { // Newton's way to the rotation of a polar decomposition
      const det = determinant(near), parts = cofactors(near);
      near = near.map((row, r) => row.map((part, c) => (part + parts[r][c] / det) / 2));
    }
    const strongest = (axis) => Math.max(...near.map((row) => Math.round(row[axis] ** 2 * 1e12)));
    const order = [0, 1, 2].sort((one, other) => strongest(other) - strongest(one) || one - other);
    const left = new Set([0, 1, 2]), found = [];
    for (const axis of order) {
      let best = -1;
      for (const space of [...left].sort()) {
        if (best < 0 || Math.abs(near[space][axis]) > Math.abs(near[best][axis]) + 1e-12) best = space;
      }
      left.delete(best);
      found[axis] = { space: best, way: near[best][axis] < 0 ? -1 : 1 };
    }
    return found;
  }

  // --- Turned to RAS, and back -----------------------------------------------------------------

  /* Strides: the place in the file of voxel (x, y, z) in RAS is first + x·along[0] + … */
  function strides(shape, axes) {
    const step = [1, shape[0], shape[0] * shape[1]], along = [], ras = [];
    let first = 0;
    axes.forEach(({ space, way }, axis) => {
      ras[space] = shape[axis];
      along[space] = step[axis] * way;
      if (way < 0) first += step[axis] * (shape[axis] - 1);
    });
    return { ras, along, first };
  }

  function each([X, Y, Z], { along: [sx, sy, sz], first }, act) {
    let to = 0;
    for (let z = 0; z < Z; z++) {
      for (let y = 0; y < Y; y++) {
        let from = first + y * sy + z * sz;
        for (let x = 0; x < X; x++, from += sx) act(to++, from);
      }
    }
  }

  function turned(header, view, head) {
    const { affine, sidesKnown, notes } = placed(header);
    const axes = orientation(affine), way = strides(header.shape, axes);
    const { bytes, getter, little, slope, shift } = header;
    const values = new Float32Array(header.count);
    each(way.ras, way, (to, from) => {
      values[to] = Number(view[getter](from * bytes, little)) * slope + shift;
    });
    let low = Infinity, high = -Infinity, odd = 0;
    for (const value of values) {
      if (!Number.isFinite(value)) odd++;
      if (value < low) low = value;
      if (value > high) high = value;
    }
    if (odd) throw new Refused(`${odd.toLocaleString("en")} of its voxels are NaN or infinite.`);
    if (low === high) throw new Refused(`every voxel of it is ${low}: it holds no image.`);
    const ras = affine.map((row) => {
      const mine = [0, 0, 0, row[3]];
      axes.forEach(({ space, way: sign }, axis) => {
        mine[space] = row[axis] * sign;
        if (sign < 0) mine[3] += row[axis] * (header.shape[axis] - 1);
      });
      return mine;
    });
    return { values, shape: way.ras, affine: ras, sidesKnown, notes,
      code: axes.map(({ space, way: sign }) => (sign > 0 ? "RAS" : "LPI")[space]).join(""),
      stored: { shape: header.shape, way, little, head: head.slice() } };
  }

  /* A mask in RAS order as a NIfTI file on the scan's own voxels: geometry and byte order are the
     scan's; nothing else of its header is passed on, since that may name a person. */
  async function maskFile(volume, mask) {
    const { shape, way, little, head } = volume.stored;
    const content = new Uint8Array(352 + mask.length), view = new DataView(content.buffer);
    const kept = new DataView(head.buffer);
    view.setInt32(0, HEADER, little);
    content[38] = 114; // "regular", as the format's first readers ask
    [3, ...shape, 1, 1, 1, 1].forEach((length, k) => view.setInt16(40 + 2 * k, length, little));
    view.setInt16(70, 2, little); // uint8
    view.setInt16(72, 8, little);
    for (let k = 0; k < 4; k++) view.setFloat32(76 + 4 * k, kept.getFloat32(76 + 4 * k, little), little);
    for (let k = 4; k < 8; k++) view.setFloat32(76 + 4 * k, 1, little);
    view.setFloat32(108, 352, little);
    view.setFloat32(112, 1, little); // slope
    content[123] = head[123] & 7;
    view.setFloat32(124, 1, little); // the brightest value to show
    content.set(head.subarray(252, 328), 252); // both forms
    content.set([0x6e, 0x2b, 0x31, 0], 344);
    each(way.ras, way, (to, from) => { content[352 + from] = mask[to]; });
    const zipped = new Blob([content]).stream().pipeThrough(new CompressionStream("gzip"));
    return new Blob([await new Response(zipped).arrayBuffer()], { type: "application/gzip" });
  }

  self.kensegNifti = { read, maskFile, Refused, spacing, determinant, inverse, orientation };
})();
