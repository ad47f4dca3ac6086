/* What moves in a report: sorting tables, the map of the samples, the table of the samples, printing.

   Plain ES2020. Everything from outside goes through textContent or onto a canvas, never through innerHTML, and
   the page's content security policy would stop what tried to run all the same.

   Ids and roles that tests may rely on:
     #contents                nav; the link of the section in view has aria-current="true"
     table[data-sortable]     its heads hold buttons; the sorted one has aria-sort
     #report-data             the samples, as JSON columns
     #map-view                the map and its controls; hidden without JavaScript or without samples
     #map-canvas              role application; arrows walk, Enter pins, Escape lets go, + - 0 zoom
     #map-card                what is under the pointer or the keyboard: a picture and facts
     #map-status              role status; what was reached, and how many samples are shown
     #map-pins                pinned samples, a figure.card[data-row] each
     #map-legend              a checkbox for every category of the chosen colour; its value is the category
     input[name=colour]       label, predicted, error, finding or part
     #map-all, #map-none      show every category, or none
     #map-legend-filter       finds a category where there are many
     #map-pictures            draws pictures in place of points
     #map-zoom-in, -out, -all
     #samples-table           one page of what the map shows; #samples-filter, -previous, -next, -status
     canvas[data-tile]        a picture out of the atlas, by row of the sample */
"use strict";

(() => {
  const byId = (id) => document.getElementById(id);
  const number = new Intl.NumberFormat("en").format;

  /* An element with properties; strings among the children become text. */
  const make = (tag, properties = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name === "dataset") Object.assign(node.dataset, value);
      else if (name.includes("-") || name === "role") node.setAttribute(name, value);
      else node[name] = value;
    }
    node.append(...children.filter((child) => child !== null));
    return node;
  };

  /* ------------------------------------------------------------------------------------ contents */

  const followContents = () => {
    const nav = byId("contents");
    const links = new Map([...nav.querySelectorAll("a")].map((link) => [link.hash.slice(1), link]));
    const observer = new IntersectionObserver((entries) => {
      const entered = entries.filter((entry) => entry.isIntersecting).pop();
      if (!entered) return;
      for (const [id, link] of links) {
        if (id === entered.target.id) link.setAttribute("aria-current", "true");
        else link.removeAttribute("aria-current");
      }
      // On a narrow screen the contents are a strip; the page itself must not move.
      const link = links.get(entered.target.id);
      nav.scrollTo({ left: link.offsetLeft - nav.clientWidth / 2 + link.offsetWidth / 2 });
    }, { rootMargin: "-12% 0px -80% 0px" });
    for (const id of links.keys()) observer.observe(byId(id));
  };

  /* -------------------------------------------------------------------------------------- tables */

  const sortKey = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
  };

  const compare = (a, b) => (typeof a === "number" && typeof b === "number"
    ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));

  /* Turns heads into buttons; `sort` is told the column and the direction, 1 or -1. */
  const makeHeadsSort = (heads, sort) => {
    heads.forEach((head, column) => {
      if (head.classList.contains("bar") || !head.textContent) return;
      const button = make("button", { type: "button" }, head.textContent);
      button.addEventListener("click", () => {
        // Numbers are most often read from the largest.
        const first = head.classList.contains("number") ? "descending" : "ascending";
        const other = first === "ascending" ? "descending" : "ascending";
        const order = head.getAttribute("aria-sort") === first ? other : first;
        for (const each of heads) each.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", order);
        sort(column, order === "ascending" ? 1 : -1);
      });
      head.replaceChildren(button);
    });
  };

  const makeSortable = (table) => {
    makeHeadsSort([...table.tHead.rows[0].cells], (column, direction) => {
      const body = table.tBodies[0];
      const rows = [...body.rows].map((row) => [sortKey(row, column), row]);
      rows.sort(([a], [b]) => direction * compare(a, b));
      body.append(...rows.map(([, row]) => row));
    });
  };

  /* ------------------------------------------------------------------------------------- samples */

  const N_COLOURS = 7;
  const N_SHAPES = 6;
  const NO_CATEGORY = { colour: "--none", shape: 0, isQuiet: true };

  /* Colour and shape of a class: 7 and 6 share no factor, so 42 classes look unlike each other. */
  const lookOf = (index) => ({ colour: `--class-${index % N_COLOURS}`, shape: index % N_SHAPES });

  const percent = (thousandths) => (thousandths < 0 ? "" : `${(thousandths / 10).toFixed(1)}\u00a0%`);

  class Samples {
    constructor(data) {
      Object.assign(this, data);
      this.length = data.ids.length;
      this.colourings = this.makeColourings();
      // Categories that are not shown, of each colouring.
      this.hidden = Object.fromEntries(Object.keys(this.colourings).map((name) => [name, new Set()]));
    }

    makeColourings() {
      const rows = [...this.ids.keys()];
      const classes = this.classes.map((name, index) => ({ name, ...lookOf(index) }));
      const kinds = this.kinds.map((name, index) => ({ name, ...lookOf(index) }));
      const parts = this.parts.map((name, index) => ({ name, ...lookOf(index) }));
      const errors = [
        { name: "right", colour: "--right", shape: 0 },
        { name: "wrong", colour: "--wrong", shape: 3 },
        { name: "not asked", ...NO_CATEGORY },
      ];
      const missing = (codes, count) => codes.map((code) => (code < 0 ? count : code));
      return {
        label: {
          categories: [...classes, { name: "no label", ...NO_CATEGORY }],
          of: missing(this.label, classes.length),
        },
        predicted: {
          categories: [...classes, { name: "not asked", ...NO_CATEGORY }],
          of: missing(this.predicted, classes.length),
        },
        error: { categories: errors, of: rows.map((row) => this.errorOf(row)) },
        finding: {
          categories: [...kinds, { name: "nothing found", ...NO_CATEGORY }],
          of: rows.map((row) => (this.found[row] ? this.found[row][0][0] : kinds.length)),
        },
        part: { categories: parts, of: this.part },
      };
    }

    errorOf(row) {
      if (this.predicted[row] < 0 || this.label[row] < 0) return 2;
      return this.predicted[row] === this.label[row] ? 0 : 1;
    }

    isShown(row) {
      return Object.entries(this.hidden).every(
        ([name, categories]) => !categories.size || !categories.has(this.colourings[name].of[row]));
    }

    /* What the answers of a head are called: of two, each by its name. */
    predictionBy(place) {
      return this.predictedB ? `predicted by ${this.heads[place]}` : "predicted";
    }

    className(code, none) {
      return code < 0 ? none : this.classes[code];
    }

    findingsOf(row) {
      return (this.found[row] || []).map(([kind, reason]) => [this.kinds[kind], this.reasons[reason]]);
    }

    /* One sample as words, for a screen reader. */
    describe(row) {
      const said = [this.ids[row], `labelled ${this.className(this.label[row], "nothing")}`];
      if (this.predicted[row] >= 0) {
        const chance = this.confidence[row] < 0 ? "" : ` (${percent(this.confidence[row])})`;
        said.push(`predicted ${this.classes[this.predicted[row]]}${chance}`);
      }
      said.push(`part ${this.parts[this.part[row]]}`, ...this.findingsOf(row).map(([kind]) => kind));
      return said.join(", ");
    }
  }

  /* ------------------------------------------------------------------------------------ pictures */

  class PictureBook {
    constructor(samples) {
      this.samples = samples;
      this.atlas = byId("atlas");
      this.isReady = false;
      // Galleries hold larger pictures than the atlas.
      this.large = new Map();
      for (const image of document.querySelectorAll("#galleries figure[data-row] > img")) {
        this.large.set(Number(image.parentElement.dataset.row), image.src);
      }
    }

    /* Resolves when tiles can be drawn; a picture that a browser cannot read leaves the page without. */
    async load() {
      if (!this.atlas) return;
      try {
        await this.atlas.decode();
        this.isReady = true;
      } catch {
        this.isReady = false;
      }
    }

    tileOf(row) {
      if (!this.isReady) return -1;
      const { tiles } = this.samples.pictures;
      return tiles === null ? row : tiles[row];
    }

    draw(context, row, x, y, side) {
      const tile = this.tileOf(row);
      if (tile < 0) return false;
      const { size, columns } = this.samples.pictures;
      const [left, top] = [(tile % columns) * size, Math.floor(tile / columns) * size];
      context.drawImage(this.atlas, left, top, size, size, x, y, side, side);
      return true;
    }

    /* The best picture of a sample as an element, or a box that says that there is none; null where none has one. */
    element(row) {
      if (!this.samples.pictures) return null;
      if (this.large.has(row)) return make("img", { src: this.large.get(row), alt: this.nameOf(row) });
      if (this.tileOf(row) < 0) return make("div", { className: "no-picture" }, "no picture");
      return this.tile(row);
    }

    nameOf(row) {
      return `Picture of ${this.samples.ids[row]}`;
    }

    /* The small picture of a sample that has one. */
    tile(row) {
      const canvas = make("canvas", { className: "picture", role: "img", "aria-label": this.nameOf(row) });
      this.fill(canvas, row);
      return canvas;
    }

    fill(canvas, row) {
      canvas.width = canvas.height = this.samples.pictures.size;
      this.draw(canvas.getContext("2d"), row, 0, 0, canvas.width);
    }
  }

  /* ---------------------------------------------------------------------------------------- marks */

  const SHAPES = [
    (c, r) => c.arc(0, 0, r, 0, 2 * Math.PI),
    (c, r) => c.rect(-0.88 * r, -0.88 * r, 1.76 * r, 1.76 * r),
    (c, r) => { c.moveTo(0, -1.15 * r); c.lineTo(1.1 * r, 0.8 * r); c.lineTo(-1.1 * r, 0.8 * r); c.closePath(); },
    (c, r) => { c.moveTo(0, -1.25 * r); c.lineTo(1.25 * r, 0); c.lineTo(0, 1.25 * r); c.lineTo(-1.25 * r, 0); c.closePath(); },
    (c, r) => { c.moveTo(0, 1.15 * r); c.lineTo(1.1 * r, -0.8 * r); c.lineTo(-1.1 * r, -0.8 * r); c.closePath(); },
    (c, r) => { c.rect(-1.2 * r, -0.42 * r, 2.4 * r, 0.84 * r); c.rect(-0.42 * r, -1.2 * r, 0.84 * r, 2.4 * r); },
  ];

  const colourOf = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  /* A mark as a picture of its own: thousands of them are copied faster than drawn. */
  const makeMark = (look, radius, ratio, edge) => {
    const side = Math.ceil(2 * (1.4 * radius + 1.5) * ratio);
    const canvas = make("canvas", { width: side, height: side });
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, side / 2, side / 2);
    context.beginPath();
    SHAPES[look.shape](context, radius);
    if (edge) {
      context.strokeStyle = edge;
      context.lineWidth = 1.2;
      context.stroke();
    }
    context.fillStyle = colourOf(look.colour);
    context.fill();
    return canvas;
  };

  const makeSwatch = (look, className) => {
    const canvas = makeMark(look, 4.4, window.devicePixelRatio || 1, null);
    canvas.className = className;
    canvas.setAttribute("aria-hidden", "true");
    return canvas;
  };

  /* ------------------------------------------------------------------------------------------ map */

  const REACH = 16;
  const MAX_ZOOM = 60;
  const MARGIN = 22;
  const TILE = 44;

  class SampleMap {
    constructor(samples, pictures) {
      this.samples = samples;
      this.pictures = pictures;
      this.canvas = byId("map-canvas");
      this.card = byId("map-card");
      this.colouring = "label";
      this.current = -1;
      this.pins = [];
      this.pointers = new Map();
      this.bounds = this.makeBounds();
      this.reset();
      this.shown = this.samples.ids.map((_, row) => row);
      this.onFilter = () => {};
      this.listen();
      this.makeLegend();
      new ResizeObserver(() => this.resize()).observe(this.canvas);
    }

    makeBounds() {
      // Not Math.min(...x): a spread of very many samples overflows the stack.
      const range = (values) => values.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);
      return { x: range(this.samples.x), y: range(this.samples.y) };
    }

    /* ----------------------------------------------------------------------------- what is seen */

    reset() {
      const { x, y } = this.bounds;
      this.view = { zoom: 1, x: (x[0] + x[1]) / 2, y: (y[0] + y[1]) / 2 };
      this.canvas.classList.remove("zoomed");
    }

    resize() {
      const { clientWidth, clientHeight } = this.canvas;
      if (!clientWidth || document.documentElement.dataset.printing) return;
      this.ratio = window.devicePixelRatio || 1;
      [this.width, this.height] = [clientWidth, clientHeight];
      this.canvas.width = Math.round(clientWidth * this.ratio);
      this.canvas.height = Math.round(clientHeight * this.ratio);
      this.draw();
    }

    /* Pixels for one step of the data's grid. */
    get step() {
      const { x, y } = this.bounds;
      const fit = Math.min((this.width - 2 * MARGIN) / Math.max(1, x[1] - x[0]), (this.height - 2 * MARGIN) / Math.max(1, y[1] - y[0]));
      return fit * this.view.zoom;
    }

    place(row) {
      const { step, view } = this;
      return [
        this.width / 2 + (this.samples.x[row] - view.x) * step,
        // The data's y rises, the screen's falls.
        this.height / 2 - (this.samples.y[row] - view.y) * step,
      ];
    }

    zoomBy(factor, at = [this.width / 2, this.height / 2]) {
      const zoom = Math.min(MAX_ZOOM, Math.max(1, this.view.zoom * factor));
      if (zoom === 1) {
        this.reset();
      } else {
        const before = this.step;
        const [dx, dy] = [at[0] - this.width / 2, this.height / 2 - at[1]];
        const after = before * zoom / this.view.zoom;
        this.view.x += dx / before - dx / after;
        this.view.y += dy / before - dy / after;
        this.view.zoom = zoom;
        // A finger scrolls the page over the whole map, and moves the map when it is enlarged.
        this.canvas.classList.add("zoomed");
      }
      this.hideCard();
      this.draw();
    }

    panBy(dx, dy) {
      if (this.view.zoom === 1) return;
      this.view.x -= dx / this.step;
      this.view.y += dy / this.step;
      this.draw();
    }

    /* ---------------------------------------------------------------------------------- drawing */

    draw() {
      if (!this.width || this.isDrawing) return;
      this.isDrawing = true;
      requestAnimationFrame(() => {
        this.isDrawing = false;
        this.drawNow();
      });
    }

    drawNow() {
      const context = this.canvas.getContext("2d");
      context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
      context.clearRect(0, 0, this.width, this.height);
      const box = byId("map-pictures");
      if (box && box.checked && this.pictures.isReady) this.drawPictures(context);
      else this.drawMarks(context);
      for (const row of this.pins) if (this.samples.isShown(row)) this.drawRing(context, row, "--ink");
      if (this.current >= 0) this.drawRing(context, this.current, "--accent");
    }

    drawMarks(context) {
      const { categories, of } = this.samples.colourings[this.colouring];
      const { step, view, width, height, ratio } = this;
      const size = (this.samples.length > 1500 ? 3.4 : 4.4) * (width < 500 ? 0.75 : 1);
      const radius = Math.min(7, size * view.zoom ** 0.22);
      const edge = colourOf("--panel");
      const marks = categories.map((look) => makeMark(look, look.isQuiet ? 0.72 * radius : radius, ratio, edge));
      // What is of no category lies below, and wrong answers above right ones.
      const layers = categories.map((_, index) => index).sort((a, b) => Boolean(categories[b].isQuiet) - Boolean(categories[a].isQuiet) || a - b);
      const rows = categories.map(() => []);
      for (const row of this.shown) rows[of[row]].push(row);
      // Classes are drawn in turns, so that none covers another; other colourings have layers.
      const order = this.colouring === "error" || this.colouring === "finding"
        ? layers.flatMap((category) => rows[category]) : this.shown;
      context.globalAlpha = 0.9;
      for (const row of order) {
        const x = width / 2 + (this.samples.x[row] - view.x) * step;
        const y = height / 2 - (this.samples.y[row] - view.y) * step;
        if (x < -9 || y < -9 || x > width + 9 || y > height + 9) continue;
        const mark = marks[of[row]];
        const side = mark.width / ratio;
        context.drawImage(mark, x - side / 2, y - side / 2, side, side);
      }
      context.globalAlpha = 1;
    }

    /* Pictures where there is room: one for each cell of a grid that moves with the map. */
    drawPictures(context) {
      const { categories, of } = this.samples.colourings[this.colouring];
      const colours = categories.map((look) => colourOf(look.colour));
      const taken = new Set();
      for (const row of this.shown) {
        const [x, y] = this.place(row);
        if (x < -TILE || y < -TILE || x > this.width + TILE || y > this.height + TILE) continue;
        const cells = [-0.5, 0.5].flatMap((dx) => [-0.5, 0.5].map((dy) => `${Math.round(x / TILE + dx)} ${Math.round(y / TILE + dy)}`));
        if (cells.some((cell) => taken.has(cell))) continue;
        for (const cell of cells) taken.add(cell);
        const half = TILE / 2 - 2;
        context.fillStyle = colours[of[row]];
        context.fillRect(x - half - 2, y - half - 2, 2 * half + 4, 2 * half + 4);
        if (!this.pictures.draw(context, row, x - half, y - half, 2 * half)) {
          context.clearRect(x - half, y - half, 2 * half, 2 * half);
        }
      }
    }

    drawRing(context, row, colour) {
      const [x, y] = this.place(row);
      for (const [width, name] of [[5, "--panel"], [2.5, colour]]) {
        context.beginPath();
        context.arc(x, y, 9.5, 0, 2 * Math.PI);
        context.lineWidth = width;
        context.strokeStyle = colourOf(name);
        context.stroke();
      }
    }

    /* ---------------------------------------------------------------------------- one sample */

    nearest(x, y, reach = REACH) {
      let [found, least] = [-1, reach * reach];
      for (const row of this.shown) {
        const [px, py] = this.place(row);
        const distance = (px - x) ** 2 + (py - y) ** 2;
        if (distance <= least) [found, least] = [row, distance];
      }
      return found;
    }

    /* The next sample in a direction: near, and rather ahead than aside. */
    next(dx, dy) {
      if (this.current < 0) return this.nearest(this.width / 2, this.height / 2, Infinity);
      const [x, y] = this.place(this.current);
      let [found, least] = [-1, Infinity];
      for (const row of this.shown) {
        const [px, py] = this.place(row);
        const ahead = (px - x) * dx + (py - y) * dy;
        const aside = Math.abs((px - x) * dy - (py - y) * dx);
        const cost = ahead + 2.5 * aside;
        if (row !== this.current && ahead > 0.01 && cost < least) [found, least] = [row, cost];
      }
      return found < 0 ? this.current : found;
    }

    select(row, { isSaid = true } = {}) {
      if (row === this.current && !this.card.hidden) return;
      this.current = row;
      if (row < 0) this.hideCard();
      else this.showCard(row);
      if (isSaid && row >= 0) this.say(this.samples.describe(row));
      this.draw();
    }

    /* Brings a sample that is out of sight into it. */
    reveal(row) {
      const [x, y] = this.place(row);
      if (x > 0 && y > 0 && x < this.width && y < this.height) return;
      [this.view.x, this.view.y] = [this.samples.x[row], this.samples.y[row]];
    }

    showCard(row) {
      this.card.replaceChildren(...[this.pictures.element(row), this.facts(row)].filter(Boolean));
      this.card.hidden = false;
      const [x, y] = this.place(row);
      const stage = this.canvas.getBoundingClientRect();
      const [width, height] = [this.card.offsetWidth, this.card.offsetHeight];
      // Beside the point, on the side with room, and never over it.
      const left = x + 18 + width <= stage.width ? x + 18 : Math.max(0, x - 18 - width);
      this.card.style.left = `${left}px`;
      this.card.style.top = `${Math.min(Math.max(0, y - height / 2), Math.max(0, stage.height - height))}px`;
    }

    hideCard() {
      this.card.hidden = true;
    }

    facts(row) {
      const { samples } = this;
      const list = make("dl", { className: "facts" });
      const add = (term, text, className = "") => list.append(
        make("div", { className }, make("dt", {}, term), make("dd", { dir: "auto" }, text)));
      add("label", samples.className(samples.label[row], "none"));
      const isWrong = samples.errorOf(row) === 1;
      if (samples.predicted[row] >= 0) {
        const chance = samples.confidence[row] < 0 ? "" : ` ${percent(samples.confidence[row])}`;
        add(samples.predictionBy(0), `${samples.classes[samples.predicted[row]]}${chance}`, isWrong ? "is-wrong" : "");
      }
      if (samples.predictedB && samples.predictedB[row] >= 0) {
        add(samples.predictionBy(1), samples.classes[samples.predictedB[row]]);
      }
      add("part", samples.parts[samples.part[row]]);
      for (const [kind, reason] of samples.findingsOf(row)) add(kind, reason, "reason");
      list.append(make("code", { dir: "auto" }, samples.ids[row]));
      return list;
    }

    togglePin(row) {
      if (row < 0) return;
      const isPinned = this.pins.includes(row);
      this.pins = isPinned ? this.pins.filter((pin) => pin !== row) : [...this.pins, row];
      this.say(`${isPinned ? "Unpinned" : "Pinned"} ${this.samples.ids[row]}`);
      this.drawPins();
      this.draw();
    }

    drawPins() {
      const box = byId("map-pins");
      box.replaceChildren(...this.pins.map((row) => {
        const close = make("button", { type: "button", "aria-label": `Unpin ${this.samples.ids[row]}` }, "×");
        close.addEventListener("click", () => {
          this.togglePin(row);
          this.canvas.focus();
        });
        return make("figure", { className: "card", dataset: { row } }, this.pictures.element(row), this.facts(row), close);
      }));
      box.hidden = !this.pins.length;
    }

    say(text) {
      byId("map-status").textContent = text;
    }

    /* ------------------------------------------------------------------------------- the legend */

    setColouring(name) {
      this.colouring = name;
      this.makeLegend();
      this.draw();
    }

    makeLegend() {
      const { categories, of } = this.samples.colourings[this.colouring];
      const hidden = this.samples.hidden[this.colouring];
      const counts = categories.map(() => 0);
      for (const category of of) counts[category] += 1;
      const items = categories.map((category, index) => {
        const box = make("input", { type: "checkbox", value: String(index), checked: !hidden.has(index) });
        box.addEventListener("change", () => {
          if (box.checked) hidden.delete(index);
          else hidden.add(index);
          this.filter();
        });
        const name = make("span", { className: "name", dir: "auto" }, category.name);
        const count = make("span", { className: "quiet" }, number(counts[index]));
        return make("label", {}, box, makeSwatch(category, ""), name, count);
      });
      byId("map-legend").replaceChildren(...items.filter((_, index) => counts[index]));
      const find = byId("map-legend-filter");
      find.hidden = items.length < 14;
      find.value = "";
    }

    showCategories(isShown) {
      const hidden = this.samples.hidden[this.colouring];
      hidden.clear();
      if (!isShown) this.samples.colourings[this.colouring].categories.forEach((_, index) => hidden.add(index));
      this.makeLegend();
      this.filter();
    }

    filter() {
      this.shown = this.samples.ids.map((_, row) => row).filter((row) => this.samples.isShown(row));
      if (this.current >= 0 && !this.samples.isShown(this.current)) this.select(-1);
      const others = Object.entries(this.samples.hidden)
        .filter(([name, hidden]) => hidden.size && name !== this.colouring).map(([name]) => name);
      const also = others.length ? `, filtered by ${others.join(" and ")} too` : "";
      this.say(`Showing ${number(this.shown.length)} of ${number(this.samples.length)} samples${also}.`);
      this.onFilter();
      this.draw();
    }

    /* ---------------------------------------------------------------------------- what is pressed */

    listen() {
      const { canvas } = this;
      canvas.addEventListener("pointerdown", (event) => this.pressed(event));
      canvas.addEventListener("pointermove", (event) => this.moved(event));
      for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => this.released(event));
      canvas.addEventListener("pointerleave", (event) => {
        // A finger leaves whenever it is lifted; what it chose stays.
        if (event.pointerType === "mouse" && !canvas.matches(":focus")) this.select(-1, { isSaid: false });
      });
      canvas.addEventListener("wheel", (event) => this.wheeled(event), { passive: false });
      canvas.addEventListener("dblclick", (event) => this.zoomBy(2, this.at(event)));
      canvas.addEventListener("keydown", (event) => this.keyed(event));
      byId("map-zoom-in").addEventListener("click", () => this.zoomBy(1.6));
      byId("map-zoom-out").addEventListener("click", () => this.zoomBy(1 / 1.6));
      byId("map-zoom-all").addEventListener("click", () => { this.reset(); this.hideCard(); this.draw(); });
      byId("map-all").addEventListener("click", () => this.showCategories(true));
      byId("map-none").addEventListener("click", () => this.showCategories(false));
      for (const radio of document.querySelectorAll("input[name=colour]")) {
        radio.addEventListener("change", () => this.setColouring(radio.value));
        // A browser keeps what was chosen when a page is loaded again.
        if (radio.checked) this.colouring = radio.value;
      }
      const box = byId("map-pictures");
      if (box) box.addEventListener("change", () => this.draw());
      byId("map-legend-filter").addEventListener("input", (event) => {
        const wanted = event.target.value.toLowerCase();
        for (const label of byId("map-legend").children) {
          label.hidden = !label.querySelector(".name").textContent.toLowerCase().includes(wanted);
        }
      });
    }

    at(event) {
      const box = this.canvas.getBoundingClientRect();
      return [event.clientX - box.left - this.canvas.clientLeft, event.clientY - box.top - this.canvas.clientTop];
    }

    pressed(event) {
      this.pointers.set(event.pointerId, this.at(event));
      this.travelled = 0;
      if (event.pointerType === "mouse") this.canvas.setPointerCapture(event.pointerId);
    }

    moved(event) {
      const at = this.at(event);
      const before = this.pointers.get(event.pointerId);
      if (!before) {
        if (event.pointerType === "mouse") this.select(this.nearest(...at), { isSaid: false });
        return;
      }
      const other = [...this.pointers].find(([id]) => id !== event.pointerId);
      const [dx, dy] = [at[0] - before[0], at[1] - before[1]];
      this.travelled += Math.hypot(dx, dy);
      if (other) {
        const apart = (point) => Math.hypot(point[0] - other[1][0], point[1] - other[1][1]);
        this.zoomBy(apart(at) / Math.max(1, apart(before)), [(at[0] + other[1][0]) / 2, (at[1] + other[1][1]) / 2]);
      } else if (this.travelled > 4) {
        this.canvas.classList.add("dragging");
        this.hideCard();
        this.panBy(dx, dy);
      }
      this.pointers.set(event.pointerId, at);
    }

    released(event) {
      const isClick = event.type === "pointerup" && this.travelled <= 4 && this.pointers.size === 1;
      this.pointers.delete(event.pointerId);
      this.canvas.classList.remove("dragging");
      if (!isClick) return;
      const isMouse = event.pointerType === "mouse";
      const row = this.nearest(...this.at(event), isMouse ? REACH : 1.6 * REACH);
      // A finger looks first, and pins by a second tap.
      if (isMouse || row === this.current) this.togglePin(row);
      this.select(row);
    }

    wheeled(event) {
      // Who scrolls through the page is not held up by the map.
      if (!event.ctrlKey && document.activeElement !== this.canvas) return;
      event.preventDefault();
      this.zoomBy(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.002)), this.at(event));
    }

    keyed(event) {
      const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (steps[event.key]) {
        const row = this.next(...steps[event.key]);
        if (row >= 0) this.reveal(row);
        this.hideCard();
        this.select(row);
      } else if (event.key === "Enter" || event.key === " ") this.togglePin(this.current);
      else if (event.key === "Escape") this.select(-1);
      else if (event.key === "+" || event.key === "=") this.zoomBy(1.6);
      else if (event.key === "-") this.zoomBy(1 / 1.6);
      else if (event.key === "0") this.zoomBy(1e-9);
      else return;
      event.preventDefault();
    }
  }

  /* -------------------------------------------------------------------------- the table of samples */

  const PAGE = 12;

  class SampleTable {
    constructor(samples, pictures, map) {
      Object.assign(this, { samples, pictures, map, start: 0, sorting: null });
      this.table = byId("samples-table");
      this.columns = this.makeColumns();
      const heads = this.columns.map(({ title, isNumber }) => make("th", { scope: "col", className: isNumber ? "number" : "" }, title));
      this.table.tHead.rows[0].append(...heads);
      makeHeadsSort(heads, (column, direction) => {
        this.sorting = [this.columns[column].key, direction];
        this.refresh();
      });
      byId("samples-filter").addEventListener("input", () => this.refresh());
      byId("samples-previous").addEventListener("click", () => this.turn(-PAGE));
      byId("samples-next").addEventListener("click", () => this.turn(PAGE));
      this.refresh();
    }

    makeColumns() {
      const { samples } = this;
      const findings = (row) => samples.findingsOf(row).map(([kind]) => kind).join(", ");
      const isAsked = samples.predicted.some((code) => code >= 0);
      return [
        { title: "sample", key: (row) => samples.ids[row] },
        samples.pictures && { title: "", key: null },
        { title: "label", key: (row) => samples.className(samples.label[row], ""), codes: samples.label },
        isAsked && { title: samples.predictionBy(0), key: (row) => samples.className(samples.predicted[row], ""), codes: samples.predicted },
        samples.predictedB && { title: samples.predictionBy(1), key: (row) => samples.className(samples.predictedB[row], ""), codes: samples.predictedB },
        isAsked && { title: "confidence", key: (row) => samples.confidence[row], isNumber: true, text: (row) => percent(samples.confidence[row]) },
        { title: "part", key: (row) => samples.parts[samples.part[row]] },
        samples.kinds.length > 0 && { title: "findings", key: findings },
      ].filter(Boolean);
    }

    /* Of what the map shows, what is looked for. */
    refresh() {
      const wanted = byId("samples-filter").value.toLowerCase();
      const named = this.columns.filter(({ key, isNumber }) => key && !isNumber);
      this.rows = this.map.shown.filter((row) => !wanted || named.some(({ key }) => key(row).toLowerCase().includes(wanted)));
      if (this.sorting) {
        const [key, direction] = this.sorting;
        this.rows.sort((a, b) => direction * compare(key(a), key(b)) || a - b);
      }
      this.start = 0;
      this.turn(0);
    }

    turn(by) {
      this.start += by;
      const rows = this.rows.slice(this.start, this.start + PAGE);
      this.table.tBodies[0].replaceChildren(...rows.map((row) => this.row(row)));
      const total = number(this.rows.length);
      byId("samples-status").textContent = rows.length
        ? `${number(this.start + 1)} to ${number(this.start + rows.length)} of ${total} samples` : "No sample";
      byId("samples-previous").disabled = this.start === 0;
      byId("samples-next").disabled = this.start + PAGE >= this.rows.length;
    }

    row(row) {
      const cells = this.columns.map((column) => this.cell(column, row));
      return make("tr", { dataset: { row } }, ...cells);
    }

    cell({ title, key, codes, isNumber, text }, row) {
      if (title === "sample") {
        const button = make("button", { type: "button", dir: "auto", className: "long", title: "Show on the map" }, this.samples.ids[row]);
        button.addEventListener("click", () => {
          this.map.reveal(row);
          this.map.canvas.focus();
          this.map.select(row);
        });
        return make("th", { scope: "row" }, button);
      }
      if (key === null) return make("td", {}, this.pictures.tileOf(row) < 0 ? "" : this.pictures.tile(row));
      if (isNumber) return make("td", { className: "number" }, text(row));
      const swatch = codes && codes[row] >= 0 ? makeSwatch(lookOf(codes[row]), "mark") : null;
      const shown = key(row);
      return make("td", {}, make("span", { className: "named" }, swatch, make("bdi", { className: shown.length > 24 ? "long" : "" }, shown)));
    }
  }

  /* ---------------------------------------------------------------------------------------- start */

  const startMap = async (block) => {
    const samples = new Samples(JSON.parse(block.textContent));
    const pictures = new PictureBook(samples);
    byId("map-view").hidden = byId("samples-view").hidden = false;
    const map = new SampleMap(samples, pictures);
    const redraw = () => { map.makeLegend(); map.drawNow(); };
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
    // Paper is light: the canvas is drawn anew before it is printed, and after.
    addEventListener("beforeprint", () => { document.documentElement.dataset.printing = "true"; redraw(); });
    addEventListener("afterprint", () => { delete document.documentElement.dataset.printing; redraw(); });
    await pictures.load();
    const table = new SampleTable(samples, pictures, map);
    map.onFilter = () => table.refresh();
    map.draw();
    for (const canvas of document.querySelectorAll("canvas[data-tile]")) pictures.fill(canvas, Number(canvas.dataset.tile));
    document.documentElement.dataset.ready = "true";
  };

  followContents();
  document.querySelectorAll("table[data-sortable]").forEach(makeSortable);
  const block = byId("report-data");
  if (block) startMap(block);
  else document.documentElement.dataset.ready = "true";
})();
