/* Runs the network beside the page's own thread, so that the page never hangs.
   Gets {open: {runtime, model}} once, then {id, image, side}; answers {ready}, {id, probability,
   milliseconds} or {error}. */
let session;

async function open({ runtime, model }) {
  importScripts(`${runtime}ort.wasm.min.js`);
  ort.env.wasm.wasmPaths = runtime;
  ort.env.wasm.numThreads = 1; // several would need headers that few servers send
  session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
  postMessage({ ready: true });
}

async function segment({ id, image, side }) {
  const begun = performance.now();
  const output = await session.run({ image: new ort.Tensor("float32", image, [1, side, side, 1]) });
  const { data, dims } = output.probabilities;
  const classes = dims[3];
  const probability = new Float32Array(side * side);
  for (let place = 0; place < probability.length; place++) {
    probability[place] = data[place * classes + classes - 1];
  }
  const milliseconds = performance.now() - begun;
  postMessage({ id, probability, milliseconds }, [probability.buffer]);
}

onmessage = async ({ data }) => {
  try {
    await (data.open ? open(data.open) : segment(data));
  } catch (error) {
    postMessage({ error: String(error?.message || error) });
  }
};
