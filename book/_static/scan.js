/* A T1w on the grid that the network knows, and an answer back: prediction.segment_volume in the
   page (kenseg_utils/prediction/_volumes.py and anatomy.py, rule by rule; tests compare the two).
   Volumes are {values: Float32Array, shape: [X, Y, Z]} in RAS order, x fastest; masks are
   Uint8Arrays of the same order. */
(() => {
  const BOX = [197, 233, 189], HEAD = [98, 117, 172], FRAME = [208, 240];
  const LEAST_ML = 0.03, LEAST_HEAD_ML = 200;

  // --- Numbers ---------------------------------------------------------------------------------

  /* A typed array of what comes of each; `Kind.from` goes by iterators, and takes many times as long. */
  function mapped(Kind, some, act) {
    const out = new Kind(some.length);
    for (let at = 0; at < some.length; at++) out[at] = act(some[at], at);
    return out;
  }

  const product = (some) => some.reduce((all, one) => all * one, 1);
  const sorted = (some) => new Float32Array(some).sort();

  function quantile(ordered, share) {
    const at = share * (ordered.length - 1), low = Math.floor(at);
    const high = Math.min(low + 1, ordered.length - 1);
    return ordered[low] + (at - low) * (ordered[high] - ordered[low]);
  }

  /* The value that is there, next to a quantile; half way, the one of even number. */
  function nearest(ordered, share) {
    return ordered[rounded(share * (ordered.length - 1))];
  }

  /* To the nearest whole number, halves to the even one, as Python and NumPy round. */
  function rounded(value) {
    const low = Math.floor(value), rest = value - low;
    return rest > 0.5 || (rest === 0.5 && low % 2) ? low + 1 : low;
  }

  const median = (some) => quantile(sorted(some), 0.5);

  function total(some) {
    let sum = 0;
    for (let at = 0; at < some.length; at++) sum += some[at];
    return sum;
  }

  function mean(some) {
    return total(some) / some.length;
  }

  function range(some) {
    let low = Infinity, high = -Infinity;
    for (let at = 0; at < some.length; at++) {
      if (some[at] < low) low = some[at];
      if (some[at] > high) high = some[at];
    }
    return [low, high];
  }

  function middleAndSpread(some) {
    const middle = median(some);
    return [middle, 1.4826 * median(some.map((one) => Math.abs(one - middle)))];
  }

  function otsu(values) {
    const [low, high] = range(values), bins = 256, counts = new Float64Array(bins);
    if (low === high) return low;
    const width = (high - low) / bins;
    for (const value of values) counts[Math.min(bins - 1, Math.floor((value - low) / width))]++;
    const centre = (bin) => low + (bin + 0.5) * width;
    const all = values.length;
    let sum = 0, below = 0, sumBelow = 0, best = -1, at = 0;
    for (let bin = 0; bin < bins; bin++) sum += counts[bin] * centre(bin);
    for (let bin = 0; bin < bins - 1; bin++) {
      below += counts[bin];
      sumBelow += counts[bin] * centre(bin);
      const apart = sumBelow / below - (sum - sumBelow) / (all - below);
      const between = below * (all - below) * apart * apart;
      if (between > best) [best, at] = [between, bin];
    }
    return centre(at);
  }

  // --- Volumes ---------------------------------------------------------------------------------

  const like = (volume, values) => ({ values, shape: volume.shape });

  /* Each voxel with its place, z slowest. */
  function walk([X, Y, Z], act) {
    let at = 0;
    for (let z = 0; z < Z; z++) for (let y = 0; y < Y; y++) for (let x = 0; x < X; x++) act(at++, x, y, z);
  }

  function everyNth({ values, shape }, steps) {
    const [X, Y, Z] = shape, kept = new Float32Array(product(shape.map((n, axis) => Math.ceil(n / steps[axis]))));
    let to = 0;
    for (let z = 0; z < Z; z += steps[2]) {
      for (let y = 0; y < Y; y += steps[1]) {
        for (let x = 0; x < X; x += steps[0]) kept[to++] = values[x + X * (y + Y * z)];
      }
    }
    return kept;
  }

  const everyThird = (volume) => everyNth(volume, volume.shape.map((n) => n > 9 ? 3 : 1));

  /* The values on the six faces; edges and corners belong to several. */
  function border({ values, shape }) {
    const step = [1, shape[0], shape[0] * shape[1]], [X, Y, Z] = shape;
    const found = new Float32Array(2 * (X * Y + Y * Z + X * Z));
    let to = 0;
    for (const axis of [0, 1, 2]) {
      const [one, other] = [0, 1, 2].filter((each) => each !== axis);
      for (const start of [0, (shape[axis] - 1) * step[axis]]) {
        for (let a = 0; a < shape[one]; a++) {
          for (let b = 0; b < shape[other]; b++) found[to++] = values[start + a * step[one] + b * step[other]];
        }
      }
    }
    return found;
  }

  /* Lines of an array along an axis: act(start, stride, length). */
  function lines(shape, axis, act) {
    const stride = [1, shape[0], shape[0] * shape[1]];
    const [one, other] = [0, 1, 2].filter((each) => each !== axis);
    for (let a = 0; a < shape[other]; a++) {
      for (let b = 0; b < shape[one]; b++) act(a * stride[other] + b * stride[one], stride[axis], shape[axis]);
    }
  }

  function blockMeans({ values, shape }, step) {
    const [X, Y] = shape, size = shape.map((n, axis) => Math.ceil(n / step[axis]));
    const sums = new Float64Array(product(size));
    const place = shape.map((n, axis) => Int32Array.from(
      { length: size[axis] * step[axis] }, (_, k) => Math.min(k, n - 1)));
    for (let z = 0; z < place[2].length; z++) {
      for (let y = 0; y < place[1].length; y++) {
        const from = X * (place[1][y] + Y * place[2][z]);
        const to = size[0] * (Math.floor(y / step[1]) + size[1] * Math.floor(z / step[2]));
        for (let x = 0; x < place[0].length; x++) sums[to + Math.floor(x / step[0])] += values[from + place[0][x]];
      }
    }
    const many = product(step);
    return { values: mapped(Float32Array, sums, (sum) => sum / many), shape: size };
  }

  function toFine(blocks, coarse, step, shape) {
    const fine = new blocks.constructor(product(shape));
    const place = shape.map((n, axis) => Int32Array.from(
      { length: n }, (_, k) => Math.min(Math.floor(k / step[axis]), coarse[axis] - 1)));
    walk(shape, (at, x, y, z) => {
      fine[at] = blocks[place[0][x] + coarse[0] * (place[1][y] + coarse[1] * place[2][z])];
    });
    return fine;
  }

  /* Each voxel becomes the largest (or least) of its neighbours at the offsets; beyond is `edge`. */
  function spread(mask, shape, offsets, largest, edge) {
    const [X, Y, Z] = shape, out = new Uint8Array(mask.length), wanted = largest ? 1 : 0;
    const apart = Int32Array.from(offsets, ([dx, dy, dz]) => dx + X * (dy + Y * dz));
    const outer = edge ? 1 : 0, near = (at, x, y, z) => offsets.some(([dx, dy, dz], k) => {
      const a = x + dx, b = y + dy, c = z + dz;
      const there = a >= 0 && b >= 0 && c >= 0 && a < X && b < Y && c < Z;
      return (there ? mask[at + apart[k]] : outer) === wanted;
    });
    let at = 0;
    for (let z = 0; z < Z; z++) {
      for (let y = 0; y < Y; y++) {
        const inner = z > 0 && z < Z - 1 && y > 0 && y < Y - 1;
        for (let x = 0; x < X; x++, at++) {
          let met = false;
          if (inner && x > 0 && x < X - 1) { // no neighbour lies beyond: most voxels, and the quick way
            for (let k = 0; k < apart.length && !met; k++) met = mask[at + apart[k]] === wanted;
          } else {
            met = near(at, x, y, z);
          }
          out[at] = met ? wanted : 1 - wanted;
        }
      }
    }
    return out;
  }

  const CROSS = [[0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]];
  const CUBE = [];
  for (const dz of [-1, 0, 1]) for (const dy of [-1, 0, 1]) for (const dx of [-1, 0, 1]) CUBE.push([dx, dy, dz]);
  const SQUARE = CUBE.filter(([, , dz]) => !dz);
  const dilated = (mask, shape, offsets = CROSS) => spread(mask, shape, offsets, true, 0);
  const eroded = (mask, shape, offsets = CROSS, edge = 0) => spread(mask, shape, offsets, false, edge);

  /* Pieces that hang together: {labels from 1, sizes by label}. */
  function pieces(mask, shape, offsets) {
    const [X, Y, Z] = shape, labels = new Int32Array(mask.length), sizes = [0], stack = [];
    const near = offsets.filter((step) => step.some((part) => part));
    for (let seed = 0; seed < mask.length; seed++) {
      if (!mask[seed] || labels[seed]) continue;
      const label = sizes.push(0) - 1;
      labels[seed] = label;
      stack.push(seed);
      while (stack.length) {
        const at = stack.pop(), x = at % X, y = Math.floor(at / X) % Y, z = Math.floor(at / (X * Y));
        sizes[label]++;
        for (const [dx, dy, dz] of near) {
          const a = x + dx, b = y + dy, c = z + dz;
          if (a < 0 || b < 0 || c < 0 || a >= X || b >= Y || c >= Z) continue;
          const next = a + X * (b + Y * c);
          if (mask[next] && !labels[next]) {
            labels[next] = label;
            stack.push(next);
          }
        }
      }
    }
    return { labels, sizes };
  }

  /* Holes of each plane across an axis filled: what no way of faces leads to from the border. */
  function filledPlanes(mask, shape, axis) {
    const stride = [1, shape[0], shape[0] * shape[1]], [i, j] = [0, 1, 2].filter((each) => each !== axis);
    const [I, J, one, other] = [shape[i], shape[j], stride[i], stride[j]];
    const filled = new Uint8Array(mask.length).fill(1), stack = new Int32Array(I * J);
    for (let plane = 0; plane < shape[axis]; plane++) {
      const start = plane * stride[axis];
      let top = 0;
      const reach = (a, b) => {
        const at = start + a * one + b * other;
        if (mask[at] || !filled[at]) return;
        filled[at] = 0;
        stack[top++] = a + I * b;
      };
      for (let a = 0; a < I; a++) { reach(a, 0); reach(a, J - 1); }
      for (let b = 0; b < J; b++) { reach(0, b); reach(I - 1, b); }
      while (top) {
        const here = stack[--top], a = here % I, b = (here - a) / I;
        if (a > 0) reach(a - 1, b);
        if (a < I - 1) reach(a + 1, b);
        if (b > 0) reach(a, b - 1);
        if (b < J - 1) reach(a, b + 1);
      }
    }
    return filled;
  }

  /* Linear resampling of the same extent to another number of voxels, axis by axis. */
  function resized(volume, wanted) {
    let { values, shape } = volume;
    wanted.forEach((length, axis) => {
      if (length === shape[axis]) return;
      const size = shape.map((n, each) => each === axis ? length : n), out = new Float32Array(product(size));
      const low = new Int32Array(length), high = new Int32Array(length), share = new Float64Array(length);
      for (let k = 0; k < length; k++) {
        const at = Math.max(0, Math.min(shape[axis] - 1, (k + 0.5) * shape[axis] / length - 0.5));
        low[k] = Math.min(Math.floor(at), shape[axis] - 1);
        high[k] = Math.min(low[k] + 1, shape[axis] - 1);
        share[k] = at - low[k];
      }
      const from = [];
      lines(shape, axis, (start) => from.push(start));
      let line = 0;
      lines(size, axis, (start, stride, count) => {
        const begin = from[line++];
        for (let k = 0; k < count; k++) {
          const a = values[begin + low[k] * stride], b = values[begin + high[k] * stride];
          out[start + k * stride] = a + share[k] * (b - a);
        }
      });
      [values, shape] = [out, size];
    });
    return { values, shape };
  }

  function blurred(volume, sigmas) {
    let { values, shape } = volume;
    sigmas.forEach((sigma, axis) => {
      if (sigma < 1e-15) return;
      const reach = Math.floor(4 * sigma + 0.5), out = new Float32Array(values.length);
      const weights = Float64Array.from({ length: 2 * reach + 1 }, (_, k) =>
        Math.exp(-0.5 * ((k - reach) / sigma) ** 2));
      const total = weights.reduce((sum, one) => sum + one, 0);
      const length = shape[axis], line = new Float64Array(length + 2 * reach);
      const mirrored = Int32Array.from({ length: line.length }, (_, k) => {
        const at = (((k - reach) % (2 * length)) + 2 * length) % (2 * length);
        return at < length ? at : 2 * length - 1 - at;
      });
      lines(shape, axis, (start, stride) => {
        let empty = true;
        for (let k = 0; k < line.length; k++) {
          line[k] = values[start + mirrored[k] * stride];
          empty = empty && line[k] === 0;
        }
        if (empty) return;
        for (let k = 0; k < length; k++) {
          let sum = 0;
          for (let w = 0; w < weights.length; w++) sum += weights[w] * line[k + w];
          out[start + k * stride] = sum / total;
        }
      });
      values = out;
    });
    return { values, shape };
  }

  /* How far each voxel of a mask lies from what is not in it, in mm: lower envelopes of parabolas,
     axis by axis. */
  function depths(mask, shape, size) {
    const far = 1e20, squares = mapped(Float64Array, mask, (one) => one ? far : 0);
    [0, 1, 2].forEach((axis) => {
      const step = size[axis] ** 2, most = shape[axis];
      const f = new Float64Array(most), v = new Int32Array(most), z = new Float64Array(most + 1);
      lines(shape, axis, (start, stride, length) => {
        for (let q = 0; q < length; q++) f[q] = squares[start + q * stride];
        let k = 0;
        v[0] = 0; z[0] = -Infinity; z[1] = Infinity;
        for (let q = 1; q < length; q++) {
          let cross;
          do {
            const p = v[k];
            cross = ((f[q] / step + q * q) - (f[p] / step + p * p)) / (2 * (q - p));
          } while (cross <= z[k] && --k >= 0);
          k++;
          v[k] = q; z[k] = cross; z[k + 1] = Infinity;
        }
        k = 0;
        for (let q = 0; q < length; q++) {
          while (z[k + 1] < q) k++;
          squares[start + q * stride] = step * (q - v[k]) ** 2 + f[v[k]];
        }
      });
    });
    return mapped(Float32Array, squares, Math.sqrt);
  }

  // --- Head and brain (anatomy.py) -------------------------------------------------------------

  function withoutSpikes(volume) {
    const ordered = sorted(everyThird(volume));
    const low = nearest(ordered, 0.001), high = nearest(ordered, 0.999), reach = 2 * (high - low);
    const [least, most] = range(volume.values);
    if (!reach || (least >= low - reach && most <= high + reach)) return volume;
    return like(volume, volume.values.map((one) => Math.max(low - reach, Math.min(high + reach, one))));
  }

  function withDarkAir(volume) {
    const counts = new Map(), faces = border(volume);
    for (const value of faces) counts.set(value, (counts.get(value) || 0) + 1);
    let air = NaN, most = 0;
    for (const [value, count] of counts) {
      if (count > most || (count === most && value < air)) [air, most] = [value, count];
    }
    if (most < 0.3 * faces.length) return volume;
    const few = sorted(everyThird(volume));
    const limit = air - 0.1 * Math.abs(quantile(few, 0.99) - air);
    if (few.filter((one) => one < limit).length / few.length < 0.01) return volume;
    const others = few.filter((one) => one !== air);
    const fluid = quantile(others, 0.01), white = quantile(others, 0.9);
    const dark = Math.min(range(volume.values)[0], fluid - (white - fluid) / 3);
    return like(volume, volume.values.map((one) => one === air ? dark : one));
  }

  /* What is asked of a volume again and again, and never changed, is worked out once. */
  function once(make) {
    const known = new WeakMap();
    return (volume) => {
      if (!known.has(volume)) known.set(volume, make(volume));
      return known.get(volume);
    };
  }

  const settled = once((volume) => withDarkAir(withoutSpikes(volume)));
  const airValue = (volume) => nearest(sorted(everyThird(volume)), 0.001);

  function enclosed(solid, shape) {
    const [X, Y, Z] = shape, wide = [X + 4, Y + 4, Z], edge = new Uint8Array(product(wide));
    const clip = (at, n) => Math.max(0, Math.min(n - 1, at - 2));
    walk(wide, (at, x, y, z) => { edge[at] = solid[clip(x, X) + X * (clip(y, Y) + Y * z)]; });
    const shut = eroded(dilated(edge, wide, SQUARE), wide, SQUARE), closed = new Uint8Array(solid);
    walk(shape, (at, x, y, z) => { closed[at] |= shut[x + 2 + wide[0] * (y + 2 + wide[1] * z)]; });
    const filled = new Uint8Array(closed);
    for (const axis of [0, 1, 2]) filledPlanes(closed, shape, axis).forEach((one, at) => { filled[at] |= one; });
    return filled;
  }

  /* The head on a coarse grid, or null where nothing of its kind stands out. */
  const findHead = once((volume) => {
    const step = volume.shape.map((n) => Math.max(1, Math.floor(n / 48)));
    const blocks = blockMeans(volume, step), { values, shape } = blocks;
    const middle = mean(values), above = values.filter((one) => one > middle);
    if (!above.length) return null;
    const bright = median(above), [air, noise] = middleAndSpread(border(blocks));
    const darkest = range(values)[0];
    const cut = darkest < bright ? otsu(values.map((one) => Math.min(one, bright))) : bright;
    const level = Math.max(middle, air + 4 * noise, darkest + 0.6 * (cut - darkest));
    const solid = mapped(Uint8Array, values, (one) => one > level);
    const core = eroded(enclosed(solid, shape), shape, CROSS, 1);
    const { labels, sizes } = pieces(core, shape, CROSS);
    if (sizes.length < 2) return null;
    const heights = new Float64Array(sizes.length), most = Math.max(...sizes);
    walk(shape, (at, x, y, z) => { heights[labels[at]] += z; });
    let chosen = 0, top = -Infinity; // of several large pieces the highest: shoulders are large
    sizes.forEach((size, label) => {
      if (label && size >= most / 2 && heights[label] / size > top) [top, chosen] = [heights[label] / size, label];
    });
    const head = mapped(Uint8Array, labels, (label) => label === chosen);
    const near = dilated(dilated(head, shape), shape);
    if (total(mapped(Uint8Array, solid, (one, at) => one & near[at])) < 0.3 * total(solid)) return null;
    return { blocks, head, step, bright };
  });

  const headMask = once((given) => {
    const volume = settled(given), { values, shape } = volume, found = findHead(volume);
    let level = mean(values);
    if (!found) return mapped(Uint8Array, values, (one) => one > level);
    let wide = found.head;
    for (let turn = 0; turn < 3; turn++) wide = dilated(wide, found.blocks.shape);
    const near = toFine(wide, found.blocks.shape, found.step, shape);
    const darkest = range(values)[0], beyond = new Float32Array(Math.ceil(values.length / 7)), [X, Y, Z] = shape;
    let count = 0, kept = 0;
    for (let x = 0; x < X; x++) {
      for (let y = 0; y < Y; y++) {
        for (let z = 0; z < Z; z++) {
          const at = x + X * (y + Y * z);
          if (!near[at] && count++ % 7 === 0) beyond[kept++] = values[at];
        }
      }
    }
    const noise = beyond.subarray(0, kept).filter((one) => one !== darkest);
    if (noise.length > 0.2 * kept) {
      const [air, spread] = middleAndSpread(noise);
      level = Math.max(level, Math.min(air + 3 * spread, darkest + 0.7 * (found.bright - darkest)));
    }
    const mask = new Uint8Array(values.length);
    for (let at = 0; at < mask.length; at++) mask[at] = values[at] > level ? near[at] : 0;
    return mask;
  });

  /* How many voxels of a mask each plane across each axis shows. */
  function shares(mask, shape) {
    const found = shape.map((n) => new Float64Array(n));
    walk(shape, (at, x, y, z) => {
      if (!mask[at]) return;
      found[0][x]++; found[1][y]++; found[2][z]++;
    });
    return found;
  }

  function filledBox(mask, shape) {
    return shares(mask, shape).map((share) => {
      const least = 0.01 * Math.max(...share), filled = [...share.keys()].filter((at) => share[at] > least);
      return filled.length ? [filled[0], filled[filled.length - 1] + 1] : [0, share.length];
    });
  }

  const levelsOf = (mask, [X, Y], from, to) => mask.subarray(X * Y * from, X * Y * to);

  function headBox(volume, height) {
    return boxOfHead(headMask(volume), volume.shape, height);
  }

  /* The same where headMask is known. */
  function boxOfHead(head, shape, height) {
    const box = filledBox(head, shape);
    if (!height || box[2][1] <= height) return box;
    const from = box[2][1] - height, upper = levelsOf(head, shape, from, box[2][1]);
    return [...filledBox(upper, [shape[0], shape[1], height]).slice(0, 2), box[2]];
  }

  /* How far below the surface of the head each voxel lies, in mm; null where there is none. */
  function headDepth(blocks) {
    const found = findHead(settled(blocks));
    if (!found) return null;
    const coarse = found.blocks.shape, [X, Y, Z] = coarse;
    const solid = filledPlanes(dilated(found.head, coarse), coarse, 2);
    const wide = [X + 2, Y + 2, Z + 1], padded = new Uint8Array(product(wide));
    walk(coarse, (at, x, y, z) => { padded[x + 1 + wide[0] * (y + 1 + wide[1] * z)] = solid[at]; });
    const deep = depths(padded, wide, found.step.map((n, axis) => n * blocks.size[axis]));
    const inner = new Float32Array(product(coarse));
    walk(coarse, (at, x, y, z) => { inner[at] = deep[x + 1 + wide[0] * (y + 1 + wide[1] * z)]; });
    return toFine(inner, coarse, found.step, blocks.shape);
  }

  /* Where a lesion may be: a generous hull of the brain; everything where no brain is found. */
  function brainHull(given) {
    const step = 3, { shape } = given, everything = () => new Uint8Array(product(shape)).fill(1);
    if (Math.min(...shape) < 8 * step) return everything();
    const volume = settled(given), whole = shape.map((n) => Math.floor(n / step) * step), [X, Y] = shape;
    const cut = new Float32Array(product(whole));
    walk(whole, (at, x, y, z) => { cut[at] = volume.values[x + X * (y + Y * z)]; });
    const coarse = blockMeans({ values: cut, shape: whole }, [step, step, step]);
    const middle = mean(coarse.values), bright = coarse.values.filter((one) => one > middle);
    if (!bright.length) return everything();
    const least = range(coarse.values)[0], level = least + 0.6 * (median(bright) - least);
    const tissue = mapped(Uint8Array, coarse.values, (one) => one > level);
    const core = eroded(eroded(tissue, coarse.shape), coarse.shape, CUBE);
    const { labels, sizes } = pieces(core, coarse.shape, CROSS);
    if (sizes.length < 2) return everything();
    const largest = sizes.indexOf(Math.max(...sizes));
    if (sizes[largest] * step ** 3 < 1000 * LEAST_HEAD_ML) return everything();
    const [[start, stop]] = headBox(coarse), points = [];
    walk(coarse.shape, (at, x, y, z) => {
      if (labels[at] === largest) points.push(x, y, z, start + stop - 1 - x, y, z);
    });
    const inside = betweenPlanes(points, coarse.shape, 4);
    return toFine(inside, coarse.shape, [step, step, step], shape);
  }

  function betweenPlanes(points, shape, margin) {
    const inside = new Uint8Array(product(shape)).fill(1), [X, Y, Z] = shape;
    for (let turn = 0; turn < 150; turn++) {
      const height = 1 - 2 * (turn + 0.5) / 150, angle = (turn + 0.5) * Math.PI * (3 - 5 ** 0.5);
      const radius = Math.sqrt(1 - height * height);
      const a = radius * Math.cos(angle), b = radius * Math.sin(angle);
      let most = -Infinity;
      for (let k = 0; k < points.length; k += 3) {
        const along = points[k] * a + points[k + 1] * b + points[k + 2] * height;
        if (along > most) most = along;
      }
      most += margin;
      let at = 0;
      for (let z = 0; z < Z; z++) {
        for (let y = 0; y < Y; y++) {
          const rest = y * b + z * height;
          for (let x = 0; x < X; x++, at++) if (x * a + rest > most) inside[at] = 0;
        }
      }
    }
    return inside;
  }

  // --- There and back (prediction/_volumes.py) -------------------------------------------------

  /* The way of a scan {values, shape} with voxels of `size` mm to the network's grid. */
  function workingGrid(volume, size) {
    const dark = withDarkAir(volume), { shape } = volume;
    const extent = shape.map((n, axis) => n * size[axis]);
    const scaled = shape.map((n, axis) => Math.abs(size[axis] - 1) <= 0.01 ? n
      : Math.max(1, rounded(extent[axis])));
    const ratio = scaled.map((n, axis) => n / shape[axis]);
    const smooth = Math.min(...ratio) < 0.75
      ? blurred(dark, ratio.map((one) => 0.4 * Math.max(0, 1 / one - 1))) : dark;
    const fine = resized(smooth, scaled);
    let corner = [0, 0, 0];
    if (scaled.some((n, axis) => n !== BOX[axis])) {
      const head = headBox(fine, BOX[2]);
      corner = [...head.slice(0, 2).map(([start, stop]) => Math.floor((start + stop) / 2)), head[2][1]]
        .map((at, axis) => at - HEAD[axis]);
    }
    return { fine, corner, scaled, shape };
  }

  function overlap({ corner, scaled }, act) {
    const start = corner.map((at) => Math.max(at, 0));
    const stop = corner.map((at, axis) => Math.max(Math.min(at + BOX[axis], scaled[axis]), start[axis]));
    for (let z = start[2]; z < stop[2]; z++) {
      for (let y = start[1]; y < stop[1]; y++) {
        const box = start[0] - corner[0] + BOX[0] * (y - corner[1] + BOX[1] * (z - corner[2]));
        act(box, start[0] + scaled[0] * (y + scaled[1] * z), stop[0] - start[0]);
      }
    }
  }

  /* What the network is asked about: {grid, image (normalised, on BOX), hull, air, levels}. */
  function prepared(volume, size) {
    const grid = workingGrid(withoutSpikes(volume), size);
    const working = { values: new Float32Array(product(BOX)).fill(airValue(grid.fine)), shape: BOX };
    overlap(grid, (box, fine, length) => {
      working.values.set(grid.fine.values.subarray(fine, fine + length), box);
    });
    delete grid.fine;
    const hull = brainHull(working), dark = airValue(working);
    hull.forEach((inside, at) => { if (!inside) working.values[at] = dark; });
    const apply = intensity(working);
    const image = like(working, working.values.map(apply));
    return { grid, image, hull, air: apply(dark), levels: levelsToSegment(image) };
  }

  function intensity(volume) {
    const sample = everyNth(volume, [2, 2, 2]), middle = mean(sample);
    const head = sample.filter((one) => one > middle).sort();
    const centre = head.length ? quantile(head, 0.5) : sample[0];
    const spread = head.length ? (quantile(head, 0.75) - quantile(head, 0.25)) / 1.349 || 1 : 1;
    return (value) => Math.max(-5, Math.min(5, (value - centre) / spread));
  }

  function levelsToSegment(image) {
    const filled = shares(headMask(image), image.shape)[2], most = Math.max(...filled);
    return [...filled.keys()].filter((z) => filled[z] > 0.05 * most);
  }

  /* The slice at a level in the frame that the network takes, row by row (x), and mirrored. */
  function framed({ image, air }, z, mirrored) {
    const [X, Y] = BOX, [rows, columns] = FRAME, frame = new Float32Array(rows * columns).fill(air);
    const top = Math.floor((rows - X) / 2), left = Math.floor((columns - Y) / 2);
    for (let x = 0; x < X; x++) {
      const row = mirrored ? rows - 1 - (x + top) : x + top;
      for (let y = 0; y < Y; y++) frame[row * columns + y + left] = image.values[x + X * (y + Y * z)];
    }
    return frame;
  }

  /* Adds a share of an answer about a framed slice to the whole answer. */
  function taken(answer, { hull }, probability, z, mirrored, share) {
    const [X, Y] = BOX, [rows, columns] = FRAME;
    const top = Math.floor((rows - X) / 2), left = Math.floor((columns - Y) / 2);
    for (let x = 0; x < X; x++) {
      const row = mirrored ? rows - 1 - (x + top) : x + top;
      for (let y = 0; y < Y; y++) {
        const at = x + X * (y + Y * z);
        if (hull[at]) answer[at] += share * probability[row * columns + y + left];
      }
    }
  }

  /* An answer on BOX as a mask on the scan's own voxels, without pieces that are too small. */
  function maskOf(answer, grid, millilitres, threshold = 0.5) {
    const fine = new Float32Array(product(grid.scaled));
    overlap(grid, (box, at, length) => { fine.set(answer.subarray(box, box + length), at); });
    const own = resized({ values: fine, shape: grid.scaled }, grid.shape);
    const mask = mapped(Uint8Array, own.values, (one) => one >= threshold);
    const { labels, sizes } = pieces(mask, grid.shape, CUBE);
    const kept = sizes.map((size, label) => label && size * millilitres >= LEAST_ML ? 1 : 0);
    return { mask: mapped(Uint8Array, labels, (label) => kept[label]),
      pieces: kept.reduce((sum, one) => sum + one, 0) };
  }

  self.kensegScan = { BOX, FRAME, prepared, framed, taken, maskOf, brainHull, headMask,
    tools: { CROSS, mapped, product, total, sorted, quantile, median, mean, range, rounded, walk, lines, everyThird,
      blockMeans, blurred, depths, dilated, settled, headMask, headBox, boxOfHead, headDepth, filledBox, shares,
      levelsOf } };
})();
