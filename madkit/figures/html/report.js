"use strict";
(() => {
  // What is looked up is compressed text at the end of the file; each piece is unpacked when somebody looks at it.
  const parsed = new Promise((resolve) => {
    if (document.readyState === "loading") addEventListener("DOMContentLoaded", resolve);
    else resolve();
  });

  async function unpack(name) {
    const find = () => document.querySelector(`script[data-of="${CSS.escape(name)}"]`);
    if (!find()) await parsed;
    const letters = atob(find().textContent);
    const bytes = new Uint8Array(letters.length);
    for (let index = 0; index < letters.length; index += 1) bytes[index] = letters.charCodeAt(index);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  }

  const TOO_OLD = "This needs a browser of 2023 or later.";
  const units = Number(document.body.dataset.units);
  const pictures = new WeakMap();

  async function picture(frame) {
    const { svg, points, texts } = JSON.parse(await unpack(frame.parentElement.id));
    const image = new Image();
    image.alt = "";
    image.src = URL.createObjectURL(new Blob([svg], { type: "image/svg+xml" }));
    await image.decode();
    frame.replaceChildren(image);
    const place = { x: 0, y: 0, text: 0 };
    const described = points.x.map((_, index) => {
      for (const name of Object.keys(place)) place[name] += points[name][index];
      return [place.x / units, place.y / units, texts[place.text]];
    });
    return { url: image.src, points: described };
  }

  function load(frame) {
    if (!pictures.has(frame)) {
      pictures.set(frame, picture(frame).catch((error) => { frame.textContent = TOO_OLD; throw error; }));
    }
    return pictures.get(frame);
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
  const numbers = viewer.querySelector(".numbers");
  let opened = null;

  function listen(frame, source) {
    frame.addEventListener("pointermove", async (event) => {
      const shown = source();
      if (shown) speak(event, frame, (await shown).points);
    });
    frame.addEventListener("pointerleave", () => { tip.hidden = true; });
  }

  async function enlarge(frame) {
    opened = load(frame);
    const { url } = await opened;
    const image = new Image();
    image.alt = "";
    image.src = url;
    stage.replaceChildren(image);
    stage.style.aspectRatio = frame.style.aspectRatio;
    stage.style.width = `${Math.max(innerWidth - 20, 1000)}px`;
    numbers.open = false;
    viewer.querySelector(".name").textContent = frame.parentElement.querySelector("figcaption").firstChild.textContent;
    tip.hidden = true;
    viewer.showModal();
  }

  listen(stage, () => opened);
  numbers.addEventListener("toggle", async () => {
    if (!numbers.open) return;
    const words = new Set((await opened).points.map((point) => point[2]));
    numbers.querySelector("ul").replaceChildren(...[...words].map((text) => element("li", text)));
  });
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
  }

  // Tables: numbers by value, what has none last, all else by letter.
  function sort(head) {
    const table = head.closest("table");
    const column = head.cellIndex;
    const rows = [...table.tBodies[0].rows];
    const key = (row) => row.cells[column].textContent.trim();
    const numeric = rows.every((row) => key(row) === "-" || !Number.isNaN(parseFloat(key(row))));
    const down = head.ariaSort ? head.ariaSort === "ascending" : numeric;
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.ariaSort = down ? "descending" : "ascending";
    const sign = down ? -1 : 1;
    rows.sort((a, b) => {
      if (!numeric) return sign * key(a).localeCompare(key(b));
      const [x, y] = [parseFloat(key(a)), parseFloat(key(b))];
      if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
      return sign * (x - y);
    });
    table.tBodies[0].append(...rows);
  }

  addEventListener("click", (event) => {
    const button = event.target.closest("thead button");
    if (button) sort(button.parentElement);
  });

  function element(tag, text, name) {
    const made = document.createElement(tag);
    if (text) made.textContent = text;
    if (name) made.className = name;
    return made;
  }

  function grid(head, rows, label) {
    const box = element("div", "", "scroll");
    Object.assign(box, { tabIndex: 0, role: "group", ariaLabel: label });
    const table = box.appendChild(element("table"));
    const top = table.createTHead().insertRow();
    for (const text of head) top.append(Object.assign(element("th", text), { scope: "col" }));
    const body = table.createTBody();
    for (const [name, ...cells] of rows) {
      const row = body.insertRow();
      row.append(Object.assign(element("th", name), { scope: "row" }));
      for (const cell of cells) row.append(cell);
    }
    return box;
  }

  // One prompt: how strange it is at each site, and what it is like.
  function lookInside(part) {
    const { prompts, reference, sites, detectors, nearest, texts } = JSON.parse(part.querySelector("script").textContent);
    const select = part.querySelector("select");
    prompts.forEach((one, index) => {
      const first = one.text.replace(/\s+/g, " ");
      select.append(new Option(`${one.character}: ${first.length > 90 ? `${first.slice(0, 90)} ...` : first}`, index));
    });
    const show = () => {
      const index = select.selectedIndex;
      const { text, character, odds } = prompts[index];
      const inside = [element("pre", text)];
      inside.push(element("p", `${character} speaks${odds ? `; log odds of Yes ${odds}` : ""}. How strange it is: the share of ${reference} with a lower score; 100 is above all of them.`, "hint"));
      const rows = detectors.map((one) => [one.name, ...sites.map((site) => {
        const share = one.shares[index][one.sites.indexOf(site)];
        const cell = element("td", share === undefined || share === null ? "-" : `${share}%`);
        // Faint enough for the letters, in the light and in the dark.
        if (share > 50) cell.style.backgroundColor = `rgba(230, 140, 40, ${((share - 50) * 0.009).toFixed(2)})`;
        return cell;
      })]);
      inside.push(grid(["detector", ...sites], rows, "How strange the prompt is at each site"));
      for (const { site, typical, found } of nearest || []) {
        inside.push(element("h5", `Trusted prompts whose activations are nearest at ${site}`));
        const list = element("ol");
        for (const [number, distance] of found[index]) {
          const item = list.appendChild(element("li"));
          item.append(element("pre", texts[number]), element("p", typical ? `${(distance / typical).toFixed(2)} times as far as trusted prompts lie from their nearest ones` : `distance ${distance}`));
        }
        inside.push(found[index].length ? list : element("p", "not known"));
      }
      part.querySelector(".inside").replaceChildren(...inside);
    };
    select.addEventListener("change", show);
    show();
    return (row) => {
      select.selectedIndex = prompts.findIndex((one) => one.row === row);
      show();
      part.querySelector("h4").focus();
      part.scrollIntoView();
    };
  }

  // Prompts of the detector that is chosen.
  function showPrompts(part) {
    const look = part.querySelector(".look") && lookInside(part.querySelector(".look"));
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
          if (look) {
            const button = element("button", "Look inside");
            button.type = "button";
            button.addEventListener("click", () => look(prompt.row));
            box.append(button);
          }
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

  function showModels(root) {
    if (!filter) return;
    for (const part of root.querySelectorAll("[data-model]")) {
      part.hidden = Boolean(filter.value) && part.dataset.model !== filter.value;
    }
  }

  if (filter) filter.addEventListener("change", () => showModels(document));

  // Pages: an address that is one's shows it in place of everything else.
  const overview = document.getElementById("overview");
  const title = document.title;
  let left = { hash: location.hash, y: 0 }; // where the overview was left

  async function fill(page) {
    if (page.childElementCount) return;
    const back = element("a", "Back to all results");
    back.href = "#overview";
    back.className = "back";
    try {
      page.innerHTML = await unpack(page.id);
    } catch (error) {
      page.textContent = TOO_OLD;
      throw error;
    }
    page.prepend(back);
    for (const part of page.querySelectorAll(".prompts")) showPrompts(part);
    showModels(page);
  }

  async function route() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const page = target && target.closest(".page");
    if (page) await fill(page);
    const wasOverview = !overview.hidden;
    overview.hidden = Boolean(page);
    for (const other of document.querySelectorAll(".page")) other.hidden = other !== page;
    document.title = page ? `${page.getAttribute("aria-label")}: ${title}` : title;
    if (page) {
      scrollTo(0, 0);
      page.querySelector("h2").focus({ preventScroll: true });
    } else if (!wasOverview && (location.hash === left.hash || target === overview)) scrollTo(0, left.y);
    else if (target) target.scrollIntoView();
  }

  addEventListener("click", (event) => {
    if (event.target.closest("a[href^='#']") && !overview.hidden) left = { hash: location.hash, y: scrollY };
  });
  addEventListener("hashchange", route);
  if (location.hash) route();
})();
