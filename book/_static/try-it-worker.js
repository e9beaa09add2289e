/* Runs the networks beside the page's own thread, so that the page never hangs.
   Gets {open: {runtime}} once; then {id, image, side, model} for a slice, answered by
   {id, probability, milliseconds}; or {scan: {values, shape, size, millilitres}, model, twice},
   answered by {step, of} over and over and at last {mask, pieces, milliseconds}. What goes wrong is
   {error}, or {error, scan: true} where the rest goes on. */
importScripts("scan.js");
const sessions = {};

async function open({ runtime }) {
  importScripts(`${runtime}ort.wasm.min.js`);
  ort.env.wasm.wasmPaths = runtime;
  ort.env.wasm.numThreads = 1; // several would need headers that few servers send
  ort.env.wasm.wasmBinary = await unpacked(`${runtime}ort.wasm.gz`);
  postMessage({ ready: true });
}

/* Packed by the book's build, so that it is small whatever the server. */
async function unpacked(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${address.split("/").pop()}: ${answer.status}`);
  const stream = answer.body.pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

async function session(model) {
  sessions[model] ||= await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
  return sessions[model];
}

/* The lesion's probability in each pixel of one slice. */
async function answer(model, image, rows, columns) {
  const output = await (await session(model)).run(
    { image: new ort.Tensor("float32", image, [1, rows, columns, 1]) });
  const { data, dims } = output.probabilities, classes = dims[3];
  const probability = new Float32Array(rows * columns);
  for (let place = 0; place < probability.length; place++) {
    probability[place] = data[place * classes + classes - 1];
  }
  return probability;
}

async function segment({ id, image, side, model }) {
  const begun = performance.now();
  const probability = await answer(model, image, side, side);
  postMessage({ id, probability, milliseconds: performance.now() - begun }, [probability.buffer]);
}

async function segmentScan({ scan, model, twice }) {
  const begun = performance.now(), { FRAME, prepared, framed, taken, maskOf } = self.kensegScan;
  const ready = prepared(scan, scan.size), ways = twice ? [false, true] : [false];
  const found = new Float32Array(ready.image.values.length);
  for (const [step, z] of ready.levels.entries()) {
    postMessage({ step, of: ready.levels.length });
    for (const mirrored of ways) {
      const probability = await answer(model, framed(ready, z, mirrored), ...FRAME);
      taken(found, ready, probability, z, mirrored, 1 / ways.length);
    }
  }
  const { mask, pieces } = maskOf(found, ready.grid, scan.millilitres);
  postMessage({ mask, pieces, milliseconds: performance.now() - begun }, [mask.buffer]);
}

async function work(data) {
  try {
    await (data.open ? open(data.open) : data.scan ? segmentScan(data) : segment(data));
  } catch (error) {
    postMessage({ error: String(error?.message || error), scan: Boolean(data.scan) });
  }
}

let turn = Promise.resolve(); // one after the other
onmessage = ({ data }) => { turn = turn.then(() => work(data)); };
