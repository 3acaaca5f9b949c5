"use strict";
(() => {
  // Figures are compressed text; each is unpacked when it comes into view.
  const pictures = new WeakMap();

  async function unpack(text) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  async function load(frame) {
    if (pictures.has(frame)) return pictures.get(frame);
    const promise = (async () => {
      const { svg, points } = await unpack(frame.parentElement.querySelector("script.data").textContent);
      const image = new Image();
      image.alt = "";
      image.src = URL.createObjectURL(new Blob([svg], { type: "image/svg+xml" }));
      await image.decode();
      frame.replaceChildren(image);
      return { url: image.src, points };
    })();
    pictures.set(frame, promise);
    try {
      return await promise;
    } catch (error) {
      frame.textContent = "This figure needs a browser of 2023 or later.";
      throw error;
    }
  }

  const tip = document.getElementById("tip");

  function speak(event, frame, points) {
    const box = frame.getBoundingClientRect();
    let best = null;
    let least = 18 ** 2; // pixels from the pointer
    for (const [x, y, words] of points) {
      const distance = (x * box.width + box.left - event.clientX) ** 2 + (y * box.height + box.top - event.clientY) ** 2;
      if (distance < least) [least, best] = [distance, words];
    }
    tip.hidden = best === null;
    if (best === null) return;
    // In an open dialog only what is inside it can be seen.
    (frame.closest("dialog") || document.body).append(tip);
    tip.textContent = best;
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - width - 4))}px`;
    tip.style.top = `${event.clientY + 18 + height > innerHeight ? event.clientY - height - 12 : event.clientY + 18}px`;
  }

  const viewer = document.getElementById("viewer");
  const stage = viewer.querySelector(".frame");
  let opened = null;

  function listen(frame, source) {
    frame.addEventListener("pointermove", async (event) => {
      const shown = source();
      if (shown) speak(event, frame, (await shown).points);
    });
    frame.addEventListener("pointerleave", () => { tip.hidden = true; });
  }

  async function enlarge(frame) {
    const figure = frame.parentElement;
    opened = load(frame);
    const { url } = await opened;
    const image = new Image();
    image.alt = "";
    image.src = url;
    stage.replaceChildren(image);
    stage.style.aspectRatio = frame.style.aspectRatio;
    stage.style.width = `${Math.max(innerWidth - 20, 1000)}px`;
    viewer.querySelector(".name").textContent = figure.querySelector("figcaption").firstChild.textContent;
    tip.hidden = true;
    viewer.showModal();
  }

  listen(stage, () => opened);
  viewer.addEventListener("close", () => { document.body.append(tip); tip.hidden = true; });
  viewer.querySelector("[data-close]").addEventListener("click", () => viewer.close());
  for (const button of viewer.querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", () => {
      stage.style.width = `${Math.max(200, stage.getBoundingClientRect().width * Number(button.dataset.zoom))}px`;
    });
  }

  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) load(entry.target);
  }, { rootMargin: "600px" });
  for (const frame of document.querySelectorAll("figure .frame")) {
    watch.observe(frame);
    listen(frame, () => pictures.get(frame));
    frame.addEventListener("click", () => enlarge(frame));
    frame.addEventListener("keydown", (event) => { if (event.key === "Enter") enlarge(frame); });
  }

  // Tables: numbers by value, what has none last, all else by letter.
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
      const rows = [...table.tBodies[0].rows];
      const key = (row) => row.cells[column].textContent.trim();
      const numeric = rows.every((row) => key(row) === "-" || !Number.isNaN(parseFloat(key(row))));
      const down = head.ariaSort ? head.ariaSort === "ascending" : numeric;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.ariaSort = down ? "descending" : "ascending";
      const sign = down ? -1 : 1;
      rows.sort((a, b) => {
        if (!numeric) return sign * key(a).localeCompare(key(b));
        const [x, y] = [parseFloat(key(a)), parseFloat(key(b))];
        if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
        return sign * (x - y);
      });
      table.tBodies[0].append(...rows);
    }));
  }

  function element(tag, text, name) {
    const made = document.createElement(tag);
    if (text) made.textContent = text;
    if (name) made.className = name;
    return made;
  }

  // Prompts of the detector that is chosen.
  for (const part of document.querySelectorAll(".prompts")) {
    const detectors = JSON.parse(part.querySelector("script").textContent);
    const select = part.querySelector("select");
    detectors.forEach((one, index) => select.append(new Option(one.detector, index)));
    const show = () => {
      const one = detectors[select.value];
      const kinds = [
        ["Normal (Alice), yet a high score", one.normal, "above", "anomalous"],
        ["Anomalous (Bob), yet a low score", one.anomalous, "below", "normal"],
      ].map(([title, prompts, side, other]) => {
        const list = element("div");
        list.append(element("h5", title));
        for (const prompt of prompts) {
          const box = element("div", "", "prompt");
          box.append(element("pre", prompt.text));
          const odds = prompt.odds ? `; log odds of Yes ${prompt.odds}` : "";
          box.append(element("p", `score ${prompt.score}, ${side} ${prompt.share} of ${other} prompts; label of own character ${prompt.label}, labels ${prompt.agree}${odds}`));
          list.append(box);
        }
        return list;
      });
      part.querySelector(".shown").replaceChildren(...kinds);
    };
    select.addEventListener("change", show);
    show();
  }

  const filter = document.getElementById("model-filter");
  if (filter) filter.addEventListener("change", () => {
    for (const part of document.querySelectorAll("[data-model]")) {
      part.hidden = Boolean(filter.value) && part.dataset.model !== filter.value;
    }
  });
})();
