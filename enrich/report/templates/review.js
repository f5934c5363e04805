"use strict";
{
  const data = JSON.parse(document.getElementById("data").textContent);
  const { questions, attributes, pictures, blind } = data;
  const at = (id) => document.getElementById(id);
  const by = at("by");
  const kept = `review-${data.id}`;
  const RESERVED = ["not_applicable", "other"];
  const SPOKEN = { not_applicable: "does not apply", other: "other" };
  // Keys that do something else than jump to a value.
  const COMMANDS = { n: "not_applicable", x: "other", u: "undo", " ": "skip" };
  const DIGITS = blind ? 9 : 3;
  // A label is worth a person's time if it changes what is published in one of so many cases.
  const WORTH = 0.1;

  // What was done, in order: number of a question, its label (null: skipped) and when.
  let done = [];
  let marked = -1;

  const has = (question, label) =>
    RESERVED.includes(label) || attributes[question.attribute].some(([one]) => one === label);

  function restore() {
    try {
      const found = JSON.parse(localStorage.getItem(kept) || "{}");
      by.value = typeof found.by === "string" ? found.by : "";
      const isUsable = (one) =>
        questions[one.number] && (one.label === null || has(questions[one.number], one.label));
      done = (found.done || []).filter(isUsable);
      keep();
    } catch {
      at("unkept").hidden = false;
    }
  }

  function keep() {
    localStorage.setItem(kept, JSON.stringify({ by: by.value, done }));
  }

  function changed() {
    try { keep(); } catch { at("unkept").hidden = false; }
    show();
  }

  const labelled = () => done.filter((one) => one.label !== null);

  function current() {
    const seen = new Set(done.map((one) => one.number));
    return questions.findIndex((_, number) => !seen.has(number));
  }

  function choose(label) {
    const number = current();
    if (number < 0) return;
    done.push({ number, label, at: new Date().toISOString() });
    changed();
  }

  function run(command) {
    if (command === "undo") {
      if (done.length) { done.pop(); changed(); }
    } else if (command === "skip") {
      choose(null);
    } else if (command === "again") {
      done = labelled();
      changed();
    } else if (command === "save") {
      save();
    } else {
      choose(command);
    }
  }

  // How many more are worth it. The chance that the best value is wrong is 1 less its confidence,
  // times how much more often it was wrong so far than that says.
  function estimate() {
    const given = labelled();
    const left = questions.length - done.length;
    if (!left) return "";
    if (blind) {
      const points = (products) => Math.max(1, Math.round(196 * Math.sqrt(0.09 / products)));
      const all = `±${points(questions.length)} points after all ${questions.length}`;
      const soFar = given.length < 10 ? "" : `±${points(given.length)} points so far, `;
      return `the share of right labels is known to ${soFar}${all}`;
    }
    const doubt = (question) => (question.best.length ? 1 - question.best[0][1] : 1);
    const expected = given.reduce((sum, one) => sum + doubt(questions[one.number]), 0);
    const wrong = given.filter((one) => {
      const [best] = questions[one.number].best;
      return !best || best[0] !== one.label;
    });
    const scale = (wrong.length + 1) / (expected + 1);
    const seen = new Set(done.map((one) => one.number));
    const worth = questions.filter((question, number) =>
      !seen.has(number) && (question.abstained || scale * doubt(question) >= WORTH));
    if (!worth.length) return "you can stop: the rest is most likely right";
    if (worth.length === left) return `all ${left} left are worth a look`;
    return `about ${worth.length} of the ${left} left are worth a look`;
  }

  function make(tag, classes, ...content) {
    const element = document.createElement(tag);
    if (classes) element.className = classes;
    element.append(...content);
    return element;
  }

  function button(label, swatch, classes, ...before) {
    const made = make("button", classes, ...before);
    made.type = "button";
    made.dataset.label = label;
    if (swatch) {
      const dot = make("span", "dot");
      dot.style.background = swatch;
      made.append(dot);
    }
    return made;
  }

  // The letter that jumps to a value: its first one that is no command.
  const jump = (label) => label.match(/(?![nxu])\p{L}/iu);

  function withJump(label) {
    const found = jump(label);
    if (!found) return [label];
    const end = found.index + found[0].length;
    return [label.slice(0, found.index), make("u", "", found[0]), label.slice(end)];
  }

  function showBest(question) {
    const swatches = new Map(attributes[question.attribute]);
    at("best").replaceChildren(...question.best.map(([label, confidence], place) => {
      const made = button(label, null, "", make("kbd", "", String(place + 1)));
      const name = make("span", "", make("bdi", "", label));
      if (swatches.get(label)) {
        const dot = make("span", "dot");
        dot.style.background = swatches.get(label);
        name.prepend(dot);
      }
      const share = make("span", "share");
      share.style.width = `${100 * confidence}%`;
      made.append(name, make("span", "confidence", `${Math.round(100 * confidence)} %`), share);
      return make("li", "", made);
    }));
    at("best").hidden = !question.best.length;
  }

  function showValues(question) {
    at("values").replaceChildren(...attributes[question.attribute].map(([label, swatch], place) => {
      const digit = blind && place < DIGITS ? [make("kbd", "", String(place + 1))] : [];
      const made = button(label, swatch, "", ...digit);
      made.append(make("bdi", "", ...withJump(label)));
      return make("li", "", made);
    }));
    at("others").hidden = !question.best.length;
  }

  function mark(place) {
    const buttons = [...at("values").querySelectorAll("button")];
    marked = place;
    buttons.forEach((one, number) => one.classList.toggle("marked", number === place));
    if (buttons[place]) buttons[place].scrollIntoView({ block: "nearest" });
  }

  function step(by) {
    const values = at("values").children.length;
    mark(marked < 0 && by < 0 ? values - 1 : (marked + by + values) % values);
  }

  function jumpTo(letter) {
    const labels = attributes[questions[current()].attribute].map(([label]) => label);
    const fits = labels.map((label) => (jump(label) || [""])[0].toLowerCase() === letter);
    const order = labels.map((_, number) => (marked + 1 + number) % labels.length);
    const next = order.find((number) => fits[number]);
    if (next !== undefined) mark(next);
  }

  function show() {
    const number = current();
    const given = labelled();
    const skipped = done.length - given.length;
    const last = done[done.length - 1];
    at("progress").value = done.length / Math.max(1, questions.length);
    at("done").textContent = `${done.length} of ${questions.length}`
      + (skipped ? `, ${skipped} skipped` : "");
    at("worth").textContent = estimate();
    at("save").disabled = !given.length;
    at("last").textContent = last ? SPOKEN[last.label] || last.label || "skipped" : "";
    document.querySelector('#actions [data-do="undo"]').disabled = !done.length;
    at("ask").hidden = number < 0;
    at("end").hidden = number >= 0;
    for (const one of document.querySelectorAll("#actions button:not([data-do=undo])")) {
      one.hidden = number < 0;
    }
    if (number < 0) {
      at("summary").textContent = `${given.length} labelled, ${skipped} skipped.`;
      at("again").hidden = !skipped;
      const who = by.value.trim() || !data.needs_name ? "" : " --by NAME";
      at("command").textContent = `${data.command} ${fileName()}${data.flags}${who}`;
      return;
    }
    const question = questions[number];
    const before = at("attribute").textContent;
    at("attribute").textContent = question.attribute.replaceAll("_", " ");
    if (before && before !== at("attribute").textContent) {
      at("attribute").closest("section").classList.remove("flash");
      requestAnimationFrame(() => at("attribute").closest("section").classList.add("flash"));
    }
    at("title").textContent = question.title || "no title";
    at("product").textContent = question.product_id;
    const picture = pictures[question.picture];
    at("picture").hidden = !picture;
    at("no-picture").hidden = Boolean(picture);
    if (picture) at("picture").src = picture;
    showBest(question);
    showValues(question);
    marked = -1;
    // Whoever scrolled down to a value sees the next picture.
    if (at("ask").getBoundingClientRect().top < 0) scrollTo(0, 0);
  }

  // A browser would give a second file of the same name another one.
  const fileName = () => `labels-${data.id}-${labelled().length}.csv`;

  function save() {
    // An apostrophe keeps a spreadsheet from taking an id for a formula; the import removes it.
    const guard = (id) => (/^'*[=+\-@\uff1d\uff0b\uff0d\uff20\t\r\n]/.test(id) ? `'${id}` : id);
    const rows = labelled().map(({ number, label, at: when }) => {
      const { product_id: id, attribute } = questions[number];
      return [guard(id), attribute, label, by.value.trim(), when];
    });
    const quote = (text) => `"${text.replaceAll('"', '""')}"`;
    const lines = [["product_id", "attribute", "label", "by", "at"], ...rows]
      .map((row) => row.map(quote).join(",") + "\n");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(["\ufeff", ...lines], { type: "text/csv" }));
    link.download = fileName();
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }

  function press(key) {
    if (COMMANDS[key]) return run(COMMANDS[key]);
    if (current() < 0) return undefined;
    if (/^[1-9]$/.test(key)) {
      const buttons = at(blind ? "values" : "best").querySelectorAll("button");
      const chosen = Number(key) <= DIGITS ? buttons[Number(key) - 1] : null;
      return chosen && choose(chosen.dataset.label);
    }
    if (key === "enter" && marked >= 0) {
      return choose(at("values").querySelectorAll("button")[marked].dataset.label);
    }
    if (key === "arrowright" || key === "arrowdown") return step(1);
    if (key === "arrowleft" || key === "arrowup") return step(-1);
    if (key === "escape") return mark(-1);
    return /^\p{L}$/u.test(key) ? jumpTo(key) : undefined;
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key.toLowerCase();
    if (event.target === by) {
      if (key === "enter") by.blur();
      return;
    }
    const isOnButton = event.target.closest("button");
    if (isOnButton && (key === "enter" || key === " ")) return;
    if (key === " " || key.startsWith("arrow")) event.preventDefault();
    // A key that is held down would label what nobody has seen.
    if (!event.repeat || key.startsWith("arrow")) press(key);
  });

  document.addEventListener("click", (event) => {
    const clicked = event.target.closest("button");
    // The second click of two would label what nobody has seen.
    if (!clicked || event.detail > 1) return;
    clicked.blur();
    if (clicked.id === "save") save();
    else if (clicked.dataset.do) run(clicked.dataset.do);
    else choose(clicked.dataset.label);
  });

  by.addEventListener("input", changed);
  document.querySelector(".most").textContent = String(DIGITS);
  restore();
  show();
}
