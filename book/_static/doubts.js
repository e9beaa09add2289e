/* Is this a T1w of a whole head? prediction.doubts in the page (kenseg_utils/prediction/_doubts.py,
   _contrast.py, _facing.py, _pose.py and _sizes.py, rule by rule; tests compare the two). A volume is in RAS
   order, as nifti.js gives it; each doubt is { says, other }: a sentence, and whether it makes the
   scan no T1w of a head. */
(() => {
  const { CROSS, mapped, product, total, sorted, quantile, median, mean, range, rounded, walk, lines, everyThird,
    blockMeans, blurred, depths, dilated, settled, headMask, headBox, boxOfHead, headDepth, filledBox, shares,
    levelsOf } = self.kensegScan.tools;
  const THICK_MM = 3, COARSE_MM = 10, BLURRED = 3.35, BACKWARDS = -20;
  const FACING = [ // kenseg_utils/prediction/facing.tsv
    [0, -1, -5, -8, -1, -4, -6, -2, -5, -9, -5, -1],
    [-3, -2, -7, -2, -2, 3, 0, 1, 0, -3, -5, 0],
    [7, 2, -2, -9, 0, 3, -5, -5, -5, 1, 1, 1],
    [15, 7, -3, 1, -7, -8, 3, 4, 6, -1, 3, 5],
    [27, 2, 4, -6, -17, -12, 11, 23, 14, 7, 0, 2],
    [14, 5, -1, -3, 0, -4, 5, 20, 15, 0, 0, -1],
    [5, 1, -2, -4, -9, -17, -3, 13, 15, 2, 3, -3],
  ];

  const fixed = (value, digits) => (rounded(value * 10 ** digits) / 10 ** digits).toFixed(digits);
  const by = (sizes, digits = 0) => Array.from(sizes, (one) => fixed(one, digits)).join(" × ");
  const count = (some, test) => some.reduce((sum, one) => sum + (test(one) ? 1 : 0), 0);

  function blocksOf(volume, size, about) {
    const step = size.map((mm) => Math.max(1, rounded(about / mm)));
    return { ...blockMeans(settled(volume), step), step, size: size.map((mm, axis) => mm * step[axis]) };
  }

  // --- What cannot be a scan of a head ---------------------------------------------------------

  /* Whole numbers, and neighbours in the foreground nearly always equal: how many values, or 0. */
  function isLabelMap({ values, shape }) {
    const [X, Y, Z] = shape, level = X * Y, plane = (z) => values.subarray(level * z, level * (z + 1));
    const filled = [...Array(Z).keys()].filter((z) => {
      const some = plane(z);
      return some.some((one) => one !== some[0]);
    });
    const step = Math.max(1, Math.floor(filled.length / 40)), counts = new Map();
    const looked = (filled.length ? filled : [0]).filter((_, k) => k % step === 0).map(plane);
    for (const some of looked) {
      for (const one of some) {
        if (!Number.isInteger(one)) return 0;
        counts.set(one, (counts.get(one) || 0) + 1);
      }
    }
    if (counts.size > 3 && equals(looked, X, counts) <= 0.72) return 0;
    return new Set(values).size;
  }

  /* Of neighbours that are no background, the share that is equal. Background is the most frequent
     value; of many values, all that fill over a fiftieth. */
  function equals(looked, X, counts) {
    const all = looked.reduce((sum, some) => sum + some.length, 0), most = Math.max(...counts.values());
    const often = [...counts].filter(([, many]) => counts.size <= 300 ? many === most : many > 0.02 * all);
    const names = often.map(([one]) => one);
    const background = new Set(counts.size <= 300 ? [Math.min(...names)] : names);
    let same = 0, pairs = 0;
    for (const some of looked) {
      for (let at = 0; at + 1 < some.length; at++) {
        if (at % X === X - 1 || background.has(some[at]) || background.has(some[at + 1])) continue;
        pairs++;
        same += some[at] === some[at + 1];
      }
    }
    return pairs ? same / pairs : 0;
  }

  /* Why a volume cannot be a scan of a head, or "". */
  function refusal(volume, size) {
    const labels = isLabelMap(volume);
    if (labels) {
      return `it holds ${labels} values in pieces of one value each: it is a mask or a map of ` +
        "labels, and no scan. Give the T1w that it was drawn on.";
    }
    const blocks = blocksOf(volume, size, 3);
    const sides = headBox(blocks).map(([start, stop], axis) => (stop - start) * blocks.size[axis]);
    return Math.max(...sides) < 30
      ? `what is bright in it is ${by(sides)} mm large, and no head is that small.` : "";
  }

  // --- What speaks against it ------------------------------------------------------------------

  /* A sentence each. */
  function doubts(volume, size) {
    const told = [], tell = (says, other = false) => told.push({ says, other });
    if (Math.max(...size) > COARSE_MM) {
      tell(`its voxels are ${by(size, 1)} mm, and above 10 mm what is found is mostly invented.`, true);
    } else if (Math.max(...size) > THICK_MM * 1.02) {
      tell(`its voxels are ${by(size, 1)} mm: with slices this thick, small lesions and edges are lost ` +
        "(networks here learn from 1 mm).");
    }
    ofShear(volume.affine, tell);
    ofGaps(volume, tell);
    const blocks = blocksOf(volume, size, 1.5), ct = isCt(blocks.values);
    if (ct) tell("its grey values are those of a CT (air at about -1000): no T1w has them.", true);
    const depth = headDepth(blocks), noise = isNoisy(volume);
    if (!depth) tell("nothing in it stands out from its surroundings as a head does.");
    if (noise) {
      tell("the air in it is noise as bright as the head, as in an MP2RAGE's uniform image (UNI), and the " +
        "two cannot be told apart: set the air to 0, by the second inversion's image or by extracting the " +
        "brain, or give the denoised image.", true);
    }
    if (!depth || noise) return told.map(({ says }) => says); // where the head is cannot be told
    ofSize(blocks, tell);
    ofBlur(blocks, tell);
    const background = ct ? [] : ofBackground(volume);
    const grey = background.length ? background : ofContrast(blocks, depth);
    // Of what is no T1w, only that is said which makes it none.
    const isOther = [...told, ...grey].some(({ other }) => other);
    told.push(...grey.filter(({ other }) => other || !isOther));
    if (!isOther) ofPose(volume, size, blocks, tell);
    return told.map(({ says }) => says);
  }

  function ofShear(affine, tell) {
    const axes = [0, 1, 2].map((axis) => {
      const own = [0, 1, 2].map((row) => affine[row][axis]), long = Math.hypot(...own);
      return own.map((part) => part / long);
    });
    const dot = (one, other) => Math.abs(axes[one].reduce((sum, part, row) => sum + part * axes[other][row], 0));
    const most = Math.max(dot(0, 1), dot(0, 2), dot(1, 2));
    if (most <= 0.22) return;
    tell(`its header shears it: two axes of its voxels stand at ${fixed(Math.acos(most) * 180 / Math.PI, 0)} ` +
      "and not 90 degrees to each other, and lesions are invented in what is bent so far. Resample it to " +
      "axes at right angles.");
  }

  /* Air as bright as the head: on most faces of the volume, neighbours have nothing in common. */
  function isNoisy(volume) {
    const { values, shape } = volume, stride = [1, shape[0], shape[0] * shape[1]];
    if (Math.min(...shape) < 8) return false;
    const few = sorted(everyThird(volume)), all = quantile(few, 0.99) - quantile(few, 0.01);
    let noisy = 0;
    for (const axis of [0, 1, 2]) {
      const [a, b] = [0, 1, 2].filter((other) => other !== axis);
      for (const plane of [0, shape[axis] - 1]) {
        const value = (i, j) => values[plane * stride[axis] + i * stride[a] + j * stride[b]];
        const face = [], along = [], across = [];
        for (let i = 0; i < shape[a]; i++) {
          for (let j = 0; j < shape[b]; j++) {
            face.push(value(i, j));
            if (i) along.push(Math.abs(value(i, j) - value(i - 1, j)));
            if (j) across.push(Math.abs(value(i, j) - value(i, j - 1)));
          }
        }
        const ordered = Float64Array.from(face).sort();
        const spread = quantile(ordered, 0.75) - quantile(ordered, 0.25);
        const apart = Math.min(median(along), median(across));
        noisy += spread > 0.22 * all && apart > 0.3 * spread;
      }
    }
    return noisy >= 4;
  }

  /* Slices that hold nothing, again and again between others that do. */
  function ofGaps({ values, shape }, tell) {
    const low = shape.map((n) => new Float32Array(n).fill(Infinity));
    const high = shape.map((n) => new Float32Array(n).fill(-Infinity));
    const [a, b, c] = low, [d, e, f] = high;
    walk(shape, (at, x, y, z) => {
      const value = values[at];
      if (value < a[x]) a[x] = value;
      if (value < b[y]) b[y] = value;
      if (value < c[z]) c[z] = value;
      if (value > d[x]) d[x] = value;
      if (value > e[y]) e[y] = value;
      if (value > f[z]) f[z] = value;
    });
    for (const axis of [0, 1, 2]) {
      const filled = [...low[axis].keys()].filter((plane) => low[axis][plane] < high[axis][plane]);
      const gaps = filled.slice(1).map((plane, k) => plane - filled[k] - 1).filter((gap) => gap);
      if (gaps.length < 3) continue;
      tell(`${gaps.reduce((sum, gap) => sum + gap, 0)} of its slices hold one value only, between others ` +
        "that hold a head: export it again.", true);
      return;
    }
  }

  function isCt(values) {
    const least = range(values)[0];
    const air = count(values, (one) => one < -850 && one > -1150);
    const padding = count(values, (one) => Math.abs(one + 3024) <= 1);
    if (least >= -850 || least < -5000 || Math.max(air, padding) < 0.02 * values.length) return false;
    return count(values, (one) => one > -200 && one < 300) > 0.3 * count(values, (one) => one > -850);
  }

  function ofSize(blocks, tell) {
    const { shape, size } = blocks, head = headMask(blocks), top = filledBox(head, shape)[2][1];
    const from = Math.max(0, top - rounded(150 / size[2])), high = [shape[0], shape[1], top - from];
    const upper = levelsOf(head, shape, from, top), own = shares(upper, high), levels = shares(head, shape)[2];
    const sides = filledBox(upper, high).map(([start, stop], axis) => (stop - start) * size[axis]);
    const ends = (share, ...at) => Math.max(...at.map((one) => share.at(one))) > 0.15 * Math.max(...share);
    const cut = [["a side", ends(own[0], 0, -1)], ["the back", ends(own[1], 0)],
      ["the front", ends(own[1], -1)], ["the top", ends(levels, -1)]]
      .filter(([, is]) => is).map(([name]) => name);
    if (cut.length) {
      tell(`its field of view cuts the head at ${cut.join(", ")}: a lesion beyond is not seen, ` +
        "and the head may be laid wrongly.");
    }
    const whole = [!cut.includes("a side"), !cut.includes("the back") && !cut.includes("the front")];
    if ((sides[0] < 100 && whole[0]) || (sides[1] < 120 && whole[1])) {
      tell(`what is bright in it is ${by(sides)} mm large, less than an adult's head or brain.`,
        Math.min(sides[0], sides[1]) < 60);
    } else if (sides[2] < 110) {
      tell(`it shows ${fixed(sides[2], 0)} mm of a head from its top, and not all of a brain.`);
    }
    if (sides[0] > 230 || sides[1] > 290) {
      tell(`what is bright in it is ${by(sides)} mm large, more than a head: another part of ` +
        "the body?", true);
    }
  }

  /* How much more differ places 8 mm apart than 4 mm: four times as much where all is smooth. */
  function ofBlur(blocks, tell) {
    const { values, shape, size } = blocks, box = headBox(blocks), ratios = [];
    const cut = box.map(([start, stop]) => stop - start), head = new Float32Array(product(cut));
    walk(cut, (at, x, y, z) => {
      head[at] = values[x + box[0][0] + shape[0] * (y + box[1][0] + shape[1] * (z + box[2][0]))];
    });
    for (const axis of [0, 1, 2]) {
      const step = Math.max(1, rounded(4 / size[axis]));
      if (size[axis] > 5.1 || cut[axis] <= 4 * step) continue;
      const [near, far] = [step, 2 * step].map((apart) => {
        let sum = 0, many = 0;
        lines(cut, axis, (start, stride, length) => {
          for (let k = 0; k + apart < length; k++, many++) {
            sum += (head[start + (k + apart) * stride] - head[start + k * stride]) ** 2;
          }
        });
        return sum / many;
      });
      ratios.push(near ? far / near : 0);
    }
    if (!ratios.length || mean(ratios) <= BLURRED) return;
    tell("it is blurred, whatever the size of its voxels: nothing in it is sharper than some 10 mm, and " +
      "lesions are overlooked or invented. Give the scan as it was measured.");
  }

  /* A background far below all else: beside it, all of a head is one grey. */
  function ofBackground(volume) {
    const few = everyThird(volume), air = range(few)[0];
    const rest = few.filter((one) => one > air).sort();
    const [low, high] = rest.length ? [quantile(rest, 0.05), quantile(rest, 0.99)] : [air, air];
    if (air >= 0 || low - air < 8 * (high - low)) return [];
    return [{ other: true, says: `its background is ${Number(air.toPrecision(6))}, far below all else ` +
      `(${fixed(low, 0)} to ${fixed(high, 0)}), and beside it all of a head looks alike: set it to the grey ` +
      "value of air." }];
  }

  // --- Contrast --------------------------------------------------------------------------------

  /* What the grey values deep in the head say: at most one doubt. */
  function ofContrast({ values, shape, size }, depth) {
    const found = contrast(values, shape, size, depth), says = (text, other) => [{ says: text, other }];
    if (!found) {
      return says("whether it is a T1w could not be checked: too little of what is deep in a brain is in it.",
        false);
    }
    const { skew, rise, spread, black } = found;
    const largeLesion = skew < 0.12 && rise >= 1.3 && rise < Infinity && spread < 1.5;
    if (spread < 0.08) {
      return says("it shows hardly any contrast in the brain, as a CT does: it is no T1w.", true);
    }
    if (skew > 0 && !largeLesion) {
      return says("fluid in the brain is brighter than tissue, as in a T2w or a proton density image: " +
        "it does not look like a T1w.", true);
    }
    if (rise < 1.05) {
      return says("white matter is no brighter than grey matter, as in a FLAIR: it does not look like " +
        "a T1w.", true);
    }
    if (spread > 1.33 && black > 0.2) {
      return says("too much of the brain is nearly black for a T1w: it may be a map of white matter (or of " +
        "fractional anisotropy), in which grey matter passes for lesion.", false);
    }
    if (rise < (Math.max(...size) > 3.5 ? 1.12 : 1.08)) {
      return says("white matter is hardly brighter than grey matter: it may be a FLAIR, and no T1w.", false);
    }
    if (rise === Infinity) {
      return says("whether it is a T1w or a FLAIR could not be checked: its voxels are too large, or too " +
        "little of the brain is in it.", false);
    }
    return [];
  }

  /* Grey values 22 mm below the surface of a head's upper 110 mm, a bias field divided out. */
  function contrast(values, shape, size, depth) {
    const [X, Y] = shape, level = X * Y;
    let top = 0;
    depth.forEach((mm, at) => { if (mm > 0) top = Math.floor(at / level); });
    const from = Math.max(0, Math.trunc(top + 1 - 110 / size[2]));
    const inside = mapped(Uint8Array, depth, (mm, at) => mm > 22 && at >= from * level);
    const pick = (some, test) => some.filter((_, at) => test(at));
    if (total(inside) * product(size) < 1e5) return null;
    values = blurred({ values, shape }, size.map((mm) => 1 / mm)).values;
    const dark = quantile(sorted(values), 0.02), above = values.map((one) => one - dark);
    const own = pick(above, (at) => inside[at]).sort();
    const [low, fifth, middle, last, high] = [0.02, 0.05, 0.5, 0.95, 0.98].map((s) => quantile(own, s));
    if (middle <= 0) return null;
    const sigma = size.map((mm) => 20 / mm), blur = (some) => blurred({ values: some, shape }, sigma).values;
    const weight = blur(Float32Array.from(inside));
    const bright = blur(above.map((one, at) => inside[at] ? Math.max(low, Math.min(high, one)) : 0));
    const flat = above.map((one, at) =>
      inside[at] ? one / Math.max(bright[at] / (weight[at] + 1e-6), 0.1 * middle) : 0);
    const ordered = pick(flat, (at) => inside[at]).sort();
    const [least, half, most] = [0.01, 0.5, 0.99].map((s) => quantile(ordered, s));
    const tissue = flat.map((one, at) => !(inside[at] && one < half - 0.6 * (half - least)));
    const away = depths(Uint8Array.from(tissue), shape, size);
    const beside = pick(flat, (at) => inside[at] && tissue[at] && away[at] > 1.5 && away[at] <= 4.6);
    const far = pick(flat, (at) => inside[at] && tissue[at] && away[at] > 6.5);
    return {
      skew: ((most - half) - (half - least)) / Math.max(most - least, 1e-6),
      rise: Math.min(beside.length, far.length) > 500 ? median(far) / median(beside) : Infinity,
      spread: (last - fifth) / middle,
      black: own.filter((one) => one < 0.3 * high).length / own.length,
    };
  }

  // --- How it lies -----------------------------------------------------------------------------

  function ofPose(volume, size, blocks, tell) {
    const { flat, near } = ends(blocks);
    let why = "";
    if (flat.length && !flat.includes("the bottom")) {
      why = `it ends flat, as at a neck, at ${flat.join(" and ")}, and not at the bottom`;
    } else if (!flat.includes("a side")) { // of a head that is cut, the other half is missing
      why = ofMirrors(volume, size);
    }
    if (!why && !flat.length && Math.max(...blocks.size) <= 3.1) {
      const upsideDown = 1.3 * near["the top"] < near["the bottom"] && near["the bottom"] < 0.45;
      const onItsBack = near["the back"] < 0.75 * near["the front"];
      if (upsideDown || onItsBack) why = "it narrows where a brain does not";
    }
    const cut = ["a side", "the back", "the front"].some((end) => flat.includes(end));
    if (!why && !cut && facing(blocks) < BACKWARDS) {
      why = "its front seems to lie at the back, as where DICOM's axes (left, back) were taken for " +
        "NIfTI's (right, front)";
    }
    if (!why) return;
    tell(`the head does not seem to lie as its header says: ${why}. The mask may be wrong wherever it is, ` +
      "and so may sides. Look at the scan in a viewer, and mend the header.");
  }

  /* Where the head ends flat, as a neck does; and how full it is 16 mm from each end. */
  function ends(blocks) {
    const { shape, size } = blocks, head = headMask(blocks), flat = [], near = {};
    const names = [["a side", "a side"], ["the back", "the front"], ["the bottom", "the top"]];
    shares(head, shape).forEach((planes, axis) => {
      const most = Math.max(...planes, 1), share = planes.map((one) => one / most), mm = size[axis];
      const filled = [...share.keys()].filter((at) => share[at] > 0.01);
      const full = (place) => { // between the planes' middles
        const at = Math.max(0, Math.min(share.length - 1, place / mm - 0.5)), low = Math.floor(at);
        return share[low] + (at - low) * ((share[low + 1] ?? share[low]) - share[low]);
      };
      [[filled[0] * mm, 1, 0], [(filled[filled.length - 1] + 1) * mm, -1, share.length - 1]]
        .forEach(([end, inwards, edge], k) => {
          if (share[edge] > 0.15 || (axis && full(end + 8 * inwards) > 0.35)) flat.push(names[axis][k]);
          near[names[axis][k]] = full(end + 16 * inwards);
        });
    });
    return { flat, near };
  }

  /* How much a head seems to look to the front, by patches of 16 mm at the midline, each less the one
     as far on the other side of the head's middle. */
  function facing(blocks) {
    const { values, shape, size } = blocks, [X, Y, Z] = shape;
    const [rows, columns] = [2 * FACING.length, FACING[0].length];
    const head = headMask(blocks), box = boxOfHead(head, shape, Math.max(1, rounded(100 / size[2])));
    const middle = [0, 1].map((axis) => (box[axis][0] + box[axis][1]) / 2 * size[axis]);
    const air = range(values)[0], inside = values.filter((_, at) => head[at]);
    const most = inside.length ? 1.5 * (median(inside) - air) : 0;
    const sums = new Float64Array(rows * columns), counts = new Float64Array(rows * columns);
    for (let x = 0; x < X; x++) {
      if (Math.abs((x + 0.5) * size[0] - middle[0]) > 20) continue;
      for (let y = 0; y < Y; y++) {
        const row = Math.floor(((y + 0.5) * size[1] - middle[1]) / 16 + rows / 2);
        if (row < 0 || row >= rows) continue;
        for (let z = 0; z < Z; z++) {
          const column = Math.floor((box[2][1] - z - 0.5) * size[2] / 16);
          if (column < 0 || column >= columns) continue;
          sums[row * columns + column] += Math.min(values[x + X * (y + Y * z)] - air, most);
          counts[row * columns + column]++;
        }
      }
    }
    const patches = sums.map((sum, at) => sum / Math.max(counts[at], 1)), level = Math.max(mean(patches), 1e-9);
    return FACING.reduce((all, weights, row) => weights.reduce((sum, weight, column) => sum + weight *
      (patches[row * columns + column] - patches[(rows - 1 - row) * columns + column]) / level, all), 0);
  }

  /* Along which axis the head is most like its mirror image: it should be from side to side. */
  function ofMirrors(volume, size) {
    const blocks = blocksOf(volume, size, 4), { shape, step } = blocks;
    const turn = [0, 1, 2].map((row) => [0, 1, 2].map((axis) => volume.affine[row][axis] * step[axis]));
    const origin = [0, 1, 2].map((row) => volume.affine[row][3] +
      step.reduce((sum, n, axis) => sum + volume.affine[row][axis] * (n - 1) / 2, 0));
    const depth = headDepth(blocks);
    if (!depth) return "";
    const head = mapped(Uint8Array, depth, (mm) => mm > 0);
    const at = [];
    for (let x = 0; x < shape[0]; x++) { // in the order in which NumPy lists them
      for (let y = 0; y < shape[1]; y++) {
        for (let z = 0; z < shape[2]; z++) if (head[x + shape[0] * (y + shape[1] * z)]) at.push([x, y, z]);
      }
    }
    const every = Math.max(1, Math.floor(at.length / 3000)), some = at.filter((_, k) => k % every === 0);
    const [low] = range(blocks.values), inside = blocks.values.filter((_, k) => head[k]);
    const limit = low + 1.2 * (median(inside) - low), wide = dilated(head, shape, CROSS);
    const shown = blocks.values.map((one, k) => wide[k] ? Math.min(one, limit) : low);
    const alike = [0, 1, 2].map((axis) => likeness(shown, shape, some, turn, origin, axis));
    const best = alike.indexOf(Math.max(...alike));
    if (alike[best] < Math.max(0.6, alike[0] + 0.2)) return "";
    const along = ["from side to side", "from back to front", "from bottom to top"];
    return `it is more like its mirror image ${along[best]} than ${along[0]}`;
  }

  const times = (matrix, [x, y, z]) => matrix.map((row) => row[0] * x + row[1] * y + row[2] * z);

  /* How like its mirror image a head is, across the best plane that stands about on an axis. */
  function likeness(shown, shape, some, turn, origin, axis) {
    const places = some.map((place) => times(turn, place).map((mm, row) => mm + origin[row]));
    const centre = [0, 1, 2].map((row) => {
      const [low, high] = range(places.map((place) => place[row]));
      return (low + high) / 2;
    });
    const back = self.kensegNifti.inverse(turn), most = Math.max(100, some.length / 2);
    const here = some.map(([x, y, z]) => shown[x + shape[0] * (y + shape[1] * z)]);
    const own = new Float64Array(some.length), mirrored = new Float64Array(some.length);
    const [X, Y, Z] = shape.map((n) => n - 0.5);
    let best = -1;
    for (const one of [-0.2, 0, 0.2]) {
      for (const other of [-0.2, 0, 0.2]) {
        const normal = [Math.tan(one), Math.tan(other)];
        normal.splice(axis, 0, 1);
        const long = Math.hypot(...normal), unit = normal.map((part) => part / long);
        const [dx, dy, dz] = times(back, unit); // a mm along the normal, in voxels
        const beyond = places.map((place) => place.reduce((sum, mm, row) => sum + (mm - centre[row]) * unit[row], 0));
        for (let shift = -12; shift <= 12; shift += 4) {
          let many = 0;
          for (let k = 0; k < some.length; k++) {
            const far = 2 * (beyond[k] - shift), at = some[k];
            const x = at[0] - far * dx, y = at[1] - far * dy, z = at[2] - far * dz;
            if (!(x > -0.5 && x < X && y > -0.5 && y < Y && z > -0.5 && z < Z)) continue;
            own[many] = here[k];
            mirrored[many++] = between(shown, shape, x, y, z);
          }
          if (many < most) continue;
          best = Math.max(best, correlation(own.subarray(0, many), mirrored.subarray(0, many)));
        }
      }
    }
    return best;
  }

  /* A value between eight voxels; beyond the outermost, theirs. */
  function between(values, [X, Y, Z], x, y, z) {
    x = Math.max(0, Math.min(X - 1, x)); y = Math.max(0, Math.min(Y - 1, y)); z = Math.max(0, Math.min(Z - 1, z));
    const a = Math.floor(x), b = Math.floor(y), c = Math.floor(z), level = X * Y;
    const right = a + 1 < X ? 1 : 0, behind = b + 1 < Y ? X : 0, above = c + 1 < Z ? level : 0;
    const at = a + X * b + level * c, u = x - a, v = y - b, w = z - c;
    const row = (from) => values[from] + u * (values[from + right] - values[from]);
    const plane = (from) => row(from) + v * (row(from + behind) - row(from));
    return plane(at) + w * (plane(at + above) - plane(at));
  }

  function correlation(one, other) {
    const [a, b] = [mean(one), mean(other)];
    let ab = 0, aa = 0, bb = 0;
    one.forEach((value, k) => {
      ab += (value - a) * (other[k] - b);
      aa += (value - a) ** 2;
      bb += (other[k] - b) ** 2;
    });
    return aa && bb ? ab / Math.sqrt(aa * bb) : -1;
  }

  Object.assign(self.kensegScan, { refusal, doubts });
})();
