/* The head on the first page: a poster that a click brings alive. NiiVue and the volumes are
   loaded then, from this book, and not before; where they cannot be shown the poster stays. */
(() => {
  const root = document.getElementById("kenseg-head");
  if (!root) return;
  const part = (name) => root.querySelector(`[data-part="${name}"]`);
  const here = new URL(".", document.currentScript.src).href;
  const SMALL = 96; // pixels a side: what any machine draws
  // ms: what a picture may take while the head is turned, and once it rests.
  const TURNING = 60, RESTING = 400;
  const SIDES = ["behind", "behind and the left", "the left", "the front and the left", "the front",
    "the front and the right", "the right", "behind and the right"];
  const TURNS = { ArrowLeft: [10, 0], ArrowRight: [-10, 0], ArrowUp: [0, 10], ArrowDown: [0, -10] };
  const OPACITY = { head: 1, truth: 1, found: 0.6 };
  let asked = false;

  /* Whether the browser knows of WebGL 2, which costs nothing to ask. */
  function named() { return typeof WebGL2RenderingContext !== "undefined"; }

  /* Why the head cannot be turned here, or "". */
  function hindrance() {
    if (!root.dataset.library) {
      return "The picture stays as it is: this copy of the book was built without NiiVue, which " +
             "would turn it.";
    }
    if (!named() || !document.createElement("canvas").getContext("webgl2")) {
      return "The picture stays as it is: turning the head needs WebGL 2, which this browser " +
             "lacks, or has switched off.";
    }
    return "";
  }

  function stays(why) {
    part("ask").hidden = part("controls").hidden = true;
    part("stage").replaceChildren(poster);
    part("message").textContent = why;
    root.dataset.state = "poster";
  }

  function script(address) {
    return new Promise((done, failed) => {
      const tag = document.createElement("script");
      tag.src = address;
      tag.onload = done;
      tag.onerror = () => failed(new Error(`${address.split("/").pop()} did not load`));
      document.head.append(tag);
    });
  }

  async function load() {
    if (asked) return;
    asked = true;
    const why = hindrance();
    if (why) return stays(why);
    root.dataset.state = "loading";
    part("ask").hidden = true;
    part("message").textContent = "The head is being loaded, once.";
    try {
      await Promise.all([script(`${here}vendor/${root.dataset.library}`),
        script(`${here}head/head.js`)]);
      await show(window.kensegHead);
    } catch (error) {
      stays(`The picture stays as it is: the head could not be shown (${error.message}).`);
    }
  }

  function canvas() {
    const made = document.createElement("canvas");
    made.width = made.height = SMALL; // at first: how large it may be is found out
    made.tabIndex = 0;
    made.setAttribute("role", "application");
    made.setAttribute("aria-roledescription", "head that can be turned");
    made.setAttribute("aria-describedby", "kenseg-head-keys");
    return made;
  }

  async function show(stored) {
    const { Niivue, NVImage } = window.niivue;
    const view = canvas();
    let sizes = { turning: SMALL, resting: SMALL }, rest = 0;
    const scene = new Niivue({
      isResizeCanvas: false, backColor: [0, 0, 0, 1], show3Dcrosshair: false, isColorbar: false,
      dragAndDropEnabled: false, loadingText: "", logLevel: "silent",
      clipPlaneColor: [0, 0, 0, 0], renderOverlayBlend: 0.5,
    });
    const letters = ["R", "L"].map((letter) => {
      const made = document.createElement("span");
      made.textContent = letter;
      made.setAttribute("aria-hidden", "true");
      return made;
    });
    part("stage").replaceChildren(view, ...letters);
    // The wheel scrolls the page, and keys but ours are the browser's.
    for (const kind of ["wheel", "keydown", "keyup"]) {
      part("stage").addEventListener(kind, (event) => {
        if (event.ctrlKey || event.metaKey || event.altKey) return;
        event.stopPropagation();
        if (kind === "keydown") turned(event);
      }, true);
    }
    await scene.attachToCanvas(view);
    for (const [name, colour] of Object.entries(stored.colours)) {
      const [r, g, b] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
      scene.addColormap(name, { R: [0, r], G: [0, g], B: [0, b], A: [0, 255], I: [0, 255] });
    }
    const places = {};
    for (const [name, base64] of Object.entries(stored.volumes)) {
      places[name] = scene.volumes.length;
      scene.addVolume(await NVImage.loadFromBase64({
        base64, name: `${name}.nii.gz`, colormap: name === "head" ? "gray" : name,
        opacity: OPACITY[name],
      }));
    }
    scene.setSliceType(scene.sliceTypeRender);
    await scene.setVolumeRenderIllumination(0.4);
    scene.scene.volScaleMultiplier = 1.2;

    /* After each turn: what it is seen from, the letters at its sides, and the pixels. */
    function told() {
      const { renderAzimuth, renderElevation } = scene.scene;
      const side = SIDES[Math.round(renderAzimuth / 45 + 8) % 8];
      const above = renderElevation > 10 ? " and above" : renderElevation < -10 ? " and below" : "";
      view.setAttribute("aria-label", `The head in 3-D with its lesion, seen from ${side}${above}`);
      const turn = renderAzimuth * Math.PI / 180, lift = renderElevation * Math.PI / 180;
      letters.forEach((letter, place) => {
        const away = place ? -46 : 46; // % of the stage, along the ears
        letter.style.left = `${50 + away * Math.cos(turn)}%`;
        letter.style.top = `${50 - away * Math.sin(turn) * Math.sin(lift)}%`;
      });
      clearTimeout(rest);
      if (sizes.turning < sizes.resting) {
        resize(sizes.turning);
        rest = setTimeout(() => resize(sizes.resting), 500);
      }
    }

    function resize(side) {
      if (view.width === side) return;
      view.width = view.height = side;
      scene.drawScene();
    }

    function turned(event) {
      const turn = TURNS[event.key];
      if (!turn) return;
      event.preventDefault();
      const { renderAzimuth, renderElevation } = scene.scene;
      scene.setRenderAzimuthElevation((renderAzimuth + turn[0] + 360) % 360,
        Math.max(-90, Math.min(90, renderElevation + turn[1])));
    }

    /* Milliseconds that a picture takes: reading a pixel waits for it. */
    function taken() {
      const begun = performance.now(), pixel = new Uint8Array(4);
      scene.drawScene();
      scene.gl.readPixels(0, 0, 1, 1, scene.gl.RGBA, scene.gl.UNSIGNED_BYTE, pixel);
      return performance.now() - begun;
    }

    /* As many pixels as this machine draws in time, turning and at rest. */
    function fitted() {
      taken(); // the first picture compiles
      const once = Math.max(taken(), 1);
      const most = Math.round(view.clientWidth * Math.min(window.devicePixelRatio, 2));
      const within = (time) =>
        Math.max(SMALL, Math.min(most, Math.round(SMALL * Math.sqrt(time / once))));
      return { turning: within(TURNING), resting: within(RESTING) };
    }

    scene.onAzimuthElevationChange = told;
    part("cut").value = 100 * (stored.cut + 0.5);
    part("cut").addEventListener("input", () => {
      scene.setClipPlane([part("cut").value / 100 - 0.5, 0, 90]);
    });
    for (const name of ["truth", "found"]) {
      part(name)?.addEventListener("change", () => {
        scene.setOpacity(places[name], part(name).checked ? OPACITY[name] : 0);
      });
    }
    scene.setClipPlane([stored.cut, 0, 90]);
    scene.setRenderAzimuthElevation(stored.azimuth, stored.elevation);
    sizes = fitted();
    resize(sizes.resting);
    told();
    root.kensegScene = scene;
    part("controls").hidden = false;
    part("message").textContent = "";
    root.dataset.state = "live";
    view.focus({ preventScroll: true });
  }

  const poster = part("poster");
  if (!root.dataset.library || !named()) {
    stays(hindrance());
  } else {
    part("ask").hidden = false;
    part("load").addEventListener("click", load);
    poster.addEventListener("click", load);
    root.dataset.state = "asking";
  }
})();
