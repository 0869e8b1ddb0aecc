"use strict";
// Draws the charts of a report as SVG from the JSON beside it, and sorts its tables. Nothing is computed here but places:
// every statistic comes from charts.py. Nothing is fetched and nothing is remembered.

const SVG = "http://www.w3.org/2000/svg";
const charts = JSON.parse(document.getElementById("data").textContent);
const tip = document.getElementById("tip");
const HUES = 8, DASHES = ["", "7 3", "2 3", "9 3 2 3"];
const TEXT = 13, INCHES = { "one column": 3.35, "two columns": 6.9 }, PRINT = 7.5; // points of a paper's figure text

// Small tools ---------------------------------------------------------------------------------------------------------
function make(name, attributes = {}, ...children) {
  const element = typeof name === "string" ? document.createElement(name) : name;
  for (const [key, value] of Object.entries(attributes))
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined) element.setAttribute(key, value);
  element.append(...children.filter((child) => child !== null));
  return element;
}

const draw = (name, attributes, ...children) => make(document.createElementNS(SVG, name), attributes, ...children);
const line = (x1, y1, x2, y2, kind) => draw("line", { x1, y1, x2, y2, class: kind });
const rect = (x, y, width, height, kind) => draw("rect", { x, y, width: Math.max(0, width), height, class: kind });
const write = (x, y, text, anchor = "start", kind = "") => draw("text", { x, y, "text-anchor": anchor, class: kind }, text);
const extent = (values) => values.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity]);
const known = (value) => value !== null && value !== undefined && Number.isFinite(value);
const minus = (text) => text.replace("-", "−");
function signed(value, digits) {
  const text = value.toFixed(digits);
  return +text === 0 ? text.replace("-", "") : (value > 0 ? "+" : "") + minus(text);
}
const figures = (value) => (typeof value === "number" ? minus(String(+value.toPrecision(4))) : String(value));

const ruler = document.createElement("canvas").getContext("2d");
function textWidth(text, weight = 400) {
  ruler.font = `${weight} ${TEXT}px system-ui, sans-serif`;
  return ruler.measureText(text).width;
}
function fitted(text, most) {
  if (textWidth(text) <= most) return text;
  let keep = text.length;
  while (keep > 1 && textWidth(text.slice(0, keep) + "…") > most) keep -= 1;
  return text.slice(0, keep) + "…";
}

// Scales: a function from value to place, with round ticks ------------------------------------------------------------
function linear([low, high], [from, to], wanted = 7) {
  if (low === high) [low, high] = [low - 1, high + 1];
  const rough = (high - low) / wanted, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const place = (value) => from + ((value - low) / (high - low)) * (to - from);
  place.ticks = [];
  for (let k = Math.ceil(low / step); k * step <= high + step / 1e6; k++) place.ticks.push(+(k * step).toPrecision(12));
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  place.label = (value) => (Math.abs(value) >= 1e5 || digits > 6 ? figures(value) : minus(value.toFixed(digits)));
  return place;
}

function logarithmic([low, high], [from, to]) {
  const [a, b] = [Math.log10(low), Math.log10(high === low ? low * 10 : high)];
  const place = (value) => from + ((Math.log10(value) - a) / (b - a)) * (to - from);
  const each = b - a < 1.2 ? [1, 2, 3, 5, 7] : b - a < 2.5 ? [1, 3] : [1];
  const every = Math.max(1, Math.ceil((b - a) / 6));
  place.ticks = [];
  for (let p = Math.floor(a); p <= b; p += every)
    for (const m of each) if (m * 10 ** p >= low * 0.999 && m * 10 ** p <= high * 1.001) place.ticks.push(+(m * 10 ** p).toPrecision(6));
  if (place.ticks.length < 2) place.ticks = [low, high];
  place.label = (value) => (value < 1e-3 || value >= 1e5 ? minus(value.toExponential(0)) : figures(value));
  return place;
}

function padded([low, high], share = 0.05) {
  const pad = (high - low || Math.abs(high) || 1) * share;
  return [low - pad, high + pad];
}

function bottomAxis(root, scale, [left, right], y, label, top) {
  for (const tick of scale.ticks) root.append(line(scale(tick), top, scale(tick), y, "grid"), write(scale(tick), y + 18, scale.label(tick), "middle", "soft"));
  root.append(line(left, y, right, y, "axis"), write((left + right) / 2, y + 38, fitted(label, right - left + 60), "middle", "soft"));
}

function leftAxis(root, scale, [left, right]) {
  for (const tick of scale.ticks) root.append(line(left, scale(tick), right, scale(tick), "grid"), write(left - 8, scale(tick) + 4, scale.label(tick), "end", "soft"));
}

function canvas(width, height, label) {
  return draw("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": label });
}

// Words: what a mark says to who hovers, focuses or listens -----------------------------------------------------------
function intervalWords(row, digits) {
  const [estimate, low, high] = row.interval;
  const within = known(low) ? `${signed(estimate, digits)}, interval ${signed(low, digits)} to ${signed(high, digits)}` : `${signed(estimate, digits)}, no interval`;
  const share = row.share ? `\nShapley share ${signed(row.share[0], digits)}, ${signed(row.share[1], digits)} to ${signed(row.share[2], digits)}` : "";
  const standing = row.told ? row.told : "not told apart";
  return `${row.name}\n${within}\n${[standing, row.note, `${row.n} seed${row.n === 1 ? "" : "s"}`].filter(Boolean).join(" · ")}${share}`;
}

function pointWords(point, group) {
  const [value, low, high] = point.y;
  const within = known(low) ? ` (${figures(low)} to ${figures(high)})` : "";
  return `${point.name}\n${group.y}: ${figures(value)}${within}\n${group.x}: ${figures(point.x)}${point.note ? `\n${point.note}` : ""}`;
}

// A mark says its words, and is one of those that the arrow keys walk through -------------------------------------------
function mark(kind, words, ...children) {
  return draw("g", { class: `mark ${kind}`, role: "img", tabindex: -1, "aria-label": words.replaceAll("\n", ", ") }, ...children);
}

function speak(root, marks, words) {
  if (marks.length) marks[0].setAttribute("tabindex", 0);
  const index = new Map(marks.map((each, i) => [each, i]));
  const at = (event) => index.get(event.target.closest(".mark"));
  root.addEventListener("pointermove", (event) => (at(event) === undefined ? hush() : show(words(at(event)), event.clientX, event.clientY)));
  root.addEventListener("pointerleave", hush);
  root.addEventListener("focusout", hush);
  root.addEventListener("focusin", (event) => {
    const i = at(event);
    if (i === undefined) return;
    const box = marks[i].getBoundingClientRect();
    show(words(i), box.left + Math.min(box.width / 2, 320), box.top + box.height / 2);
  });
  root.addEventListener("keydown", (event) => {
    const i = at(event), step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    const next = i === undefined ? undefined : event.key === "Home" ? 0 : event.key === "End" ? marks.length - 1 : step && i + step;
    if (event.key === "Escape") hush();
    if (next === undefined || !marks[next]) return;
    event.preventDefault();
    marks[i].setAttribute("tabindex", -1);
    marks[next].setAttribute("tabindex", 0);
    marks[next].focus();
  });
}

function show(text, x, y) {
  tip.textContent = text;
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(8, Math.min(x + 16, innerWidth - box.width - 8))}px`;
  tip.style.top = `${y + 16 + box.height > innerHeight ? Math.max(8, y - box.height - 12) : y + 16}px`;
}
const hush = () => { tip.hidden = true; };

// The three kinds of charts: each takes (group, width, state) and gives an SVG ------------------------------------------
const kinds = {
  intervals(group, width) {
    const narrow = width < 560, row = group.rows.some((r) => r.dots || r.share) ? 38 : 30, head = narrow ? 18 : 0;
    const longest = Math.max(...group.rows.map((r) => textWidth(r.name)));
    const left = narrow ? 8 : Math.min(longest, width * 0.32) + 18, right = width - (narrow ? 8 : 128), top = 10;
    const bottom = top + group.rows.length * (row + head) + 4;
    const root = canvas(width, bottom + 46, `${group.x}: ${group.rows.length} rows`);
    const all = group.rows.flatMap((r) => [...r.interval, ...(r.share || []), ...(r.dots || []).map((d) => d[1])]).concat(0, group.margin ? [-group.margin, group.margin] : []);
    const x = linear(padded(extent(all.filter(known)), 0.04), [left, right], narrow ? 4 : 7);
    if (group.margin) root.append(rect(x(-group.margin), top, x(group.margin) - x(-group.margin), bottom - top, "margin"));
    bottomAxis(root, x, [left, right], bottom, group.x, top);
    root.append(line(x(0), top, x(0), bottom, "axis"));
    const marks = group.rows.map((r, i) => {
      const [estimate, low, high] = r.interval, y = top + i * (row + head) + head + row / 2 - (row > 30 ? 5 : 0);
      const value = `${signed(estimate, group.digits)}${known(low) ? ` ± ${((high - low) / 2).toFixed(group.digits)}` : ""}`;
      const name = fitted(r.name, narrow ? width - 140 : left - 16);
      return mark(r.told || "unclear", intervalWords(r, group.digits),
        rect(0, top + i * (row + head), width, row + head, "hit"),
        write(narrow ? left : left - 12, narrow ? y - 13 : y + 4.5, name, narrow ? "start" : "end"),
        write(width - 2, narrow ? y - 13 : y + 4.5, value, "end", "soft"),
        known(low) ? line(x(low), y, x(high), y, "span") : null,
        diamond(x(estimate), y, 6, r.told ? "full" : "hollow"),
        ...(r.share ? [line(x(r.share[1]), y + 13, x(r.share[2]), y + 13, "thin"), diamond(x(r.share[0]), y + 13, 4, "hollow")] : []),
        ...(r.dots || []).map(([, v]) => draw("circle", { cx: x(v), cy: y + 13, r: 2.6, class: "dot" })));
    });
    root.append(...marks);
    speak(root, marks, (i) => intervalWords(group.rows[i], group.digits));
    return root;
  },

  points(group, width) {
    const points = group.points, narrow = width < 560, height = narrow ? 300 : 380, top = 12, bottom = height - 46, right = width - (narrow ? 12 : 24);
    const root = canvas(width, height, `${group.y} over ${group.x}: ${points.length} points`);
    const values = points.flatMap((p) => p.y).filter(known), named = points.length <= 14;
    const y = linear(padded(extent(values), 0.07), [bottom, top]);
    const left = 16 + Math.max(...y.ticks.map((t) => textWidth(y.label(t))));
    const words = [...new Set(points.map((p) => p.x))], numeric = points.every((p) => typeof p.x === "number");
    const [low, high] = numeric ? extent(words) : [0, 1];
    const x = !numeric ? choices(words, [left, right])
      : low > 0 && high >= 20 * low && group.x !== "trial" ? logarithmic([low / 1.15, high * 1.15], [left, right])
      : linear(padded([low, high], named ? 0.12 : 0.02), [left, right], narrow ? 4 : 8);
    leftAxis(root, y, [left, right]);
    bottomAxis(root, x, [left, right], bottom, group.x, bottom);
    root.append(write(left, top - 1, group.y, "start", "soft"));
    if (group.line) root.append(draw("path", { class: "curve", style: "--c: var(--s0)", d: path(points.map((p) => [x(p.x), y(p.y[0])])) }));
    const marks = points.map((p) => {
      const at = [x(p.x), y(p.y[0])];
      return mark(p.told || "plain", pointWords(p, group),
        draw("circle", { cx: at[0], cy: at[1], r: 11, class: "hit" }),
        known(p.y[1]) ? line(at[0], y(p.y[1]), at[0], y(p.y[2]), "thin") : null,
        draw("circle", { cx: at[0], cy: at[1], r: p.told === "best" ? 6.5 : named ? 5 : 3.6, class: named || p.told ? "full" : "dot" }));
    });
    root.append(...[...marks].sort((a, b) => a.classList.contains("best") - b.classList.contains("best")));
    if (named) root.append(...nameBeside(points.map((p) => [x(p.x), y(p.y[0]), p.name]), [left, right], points.map((p) => [x(p.x), y(p.y[1] ?? p.y[0]), y(p.y[2] ?? p.y[0])])));
    speak(root, marks, (i) => pointWords(points[i], group));
    return root;
  },

  curves(group, width, state) {
    const narrow = width < 560, height = narrow ? 320 : 400, top = 14, bottom = height - 46;
    const shown = group.series.filter((s) => state.shown.has(s.name)), thin = group.thin;
    const root = canvas(width, height, `${group.y} over ${group.x}: ${shown.length} curves`);
    if (!shown.length) return root;
    const last = Math.max(...shown.map((s) => s.at.at(-1)));
    const y = (group.log ? logarithmic : linear)(heights(shown, last, group), [bottom, top]);
    const labels = y.ticks.map((t) => textWidth(y.label(t)));
    const left = 16 + Math.max(...labels), names = !thin && !narrow ? Math.min(170, Math.max(...shown.map((s) => textWidth(s.name, 600))) + 12) : 8;
    const right = width - names, x = linear([Math.min(1, last), last === 1 ? 2 : last], [left, right], narrow ? 4 : 8);
    x.ticks = x.ticks.filter(Number.isInteger);
    leftAxis(root, y, [left, right]);
    bottomAxis(root, x, [left, right], bottom, group.x, bottom);
    root.append(write(left, top - 2, group.y, "start", "soft"));
    if (!group.log && y.ticks.includes(0)) root.append(line(left, y(0), right, y(0), "axis"));
    const id = `clip-${Math.random().toString(36).slice(2)}`;
    root.append(draw("clipPath", { id }, rect(left, top, right - left, bottom - top + 1)));
    const inside = draw("g", { "clip-path": `url(#${id})` }), order = { best: 2, finished: 1 };
    const marks = shown.map((s) => {
      const at = (values) => s.at.map((epoch, i) => known(values[i]) && (!group.log || values[i] > 0) ? [x(epoch), y(values[i])] : null);
      const look = thin ? null : style(state.order.indexOf(s.name));
      const words = `${s.name}, ${s.note || `${s.n.at(-1)} seeds`}, ${figures(s.mean.findLast(known))} at epoch ${s.at.at(-1)}`;
      if (thin) return mark(s.told, words, draw("path", { class: "thread", d: path(at(s.mean)) }));
      const low = at(s.low), high = at(s.high), ring = s.at.map((_, i) => i).filter((i) => low[i] && high[i]);
      return draw("g", { class: "mark", style: `--c: var(--s${look.hue})`, role: "img", tabindex: -1, "aria-label": words },
        ring.length ? draw("path", { class: "area", d: `${path(ring.map((i) => high[i]))}L${ring.reverse().map((i) => low[i].join(" ")).join("L")}Z` }) : null,
        draw("path", { class: "curve", "stroke-dasharray": look.dash || null, d: path(at(s.mean)) }));
    });
    inside.append(...[...marks].sort((a, b) => Math.max(...Object.keys(order).map((k) => a.classList.contains(k) * order[k])) - Math.max(...Object.keys(order).map((k) => b.classList.contains(k) * order[k]))));
    root.append(inside);
    if (!thin && !narrow) root.append(...nameEnds(shown.map((s) => [y(s.mean.findLast(known)), s.name, style(state.order.indexOf(s.name)).hue]), right + 9, [top, bottom], names));
    crosshair(root, shown, marks, group, { x, y, left, right, top, bottom, width });
    return root;
  },
};

function diamond(x, y, r, kind) {
  return draw("path", { class: kind, d: `M${x} ${y - r}L${x + r} ${y}L${x} ${y + r}L${x - r} ${y}Z` });
}

function path(points) {
  let d = "", pen = false;
  for (const point of points) {
    if (point) d += `${pen ? "L" : "M"}${point[0].toFixed(1)} ${point[1].toFixed(1)}`;
    pen = Boolean(point);
  }
  return d;
}

const style = (place) => ({ hue: place % HUES, dash: DASHES[Math.floor(place / HUES) % DASHES.length] });

function choices(words, [left, right]) {
  const place = (word) => left + ((words.indexOf(word) + 0.5) / words.length) * (right - left);
  place.ticks = words;
  place.label = (word) => fitted(figures(word), (right - left) / words.length - 6);
  return place;
}

// Where curves part: the first fifth of training may leave the picture, as long as each curve's end stays in it.
function heights(shown, last, group) {
  const late = (part) => shown.flatMap((s) => (s[part] || []).filter((v, i) => s.at[i] > last / 5 && known(v)));
  const means = shown.flatMap((s) => s.mean).filter((v) => known(v) && (!group.log || v > 0));
  if (group.log) return extent(means);
  const values = group.thin ? late("mean").sort((a, b) => a - b) : [...late("mean"), ...late("low"), ...late("high")];
  if (!values.length) return padded(extent(means));
  const seen = group.thin ? [values[Math.floor(values.length / 20)], values[values.length - 1 - Math.floor(values.length / 100)]] : extent(values);
  return padded(extent([...seen, ...shown.filter((s) => !group.thin || s.told === "best").map((s) => s.mean.findLast(known))]));
}

// Names at the ends of curves, pushed apart where they crowd.
function nameEnds(ends, x, [top, bottom], room) {
  const gap = 16, sorted = ends.sort((a, b) => a[0] - b[0]), places = [];
  for (const [y] of sorted) places.push(Math.max(Math.min(Math.max(y, top + 6), bottom), places.length ? places.at(-1) + gap : -Infinity));
  const over = Math.max(0, places.at(-1) - bottom);
  const middle = sorted.reduce((sum, [y], i) => sum + (places[i] - y), 0) / sorted.length;
  const shift = Math.min(Math.max(over, middle), Math.max(0, places[0] - top - 6));
  return sorted.map(([, name, hue], i) => draw("text", { x, y: places[i] - shift + 4.5, class: "name", style: `--c: var(--s${hue})` }, fitted(name, room - 12)));
}

// Names beside points: of the places around each the first that no other name, point or interval takes.
function nameBeside(points, [left, right], spans) {
  const taken = [...points.map(([x, y]) => [x - 7, y - 7, x + 7, y + 7]), ...spans.map(([x, a, b]) => [x - 3, Math.min(a, b), x + 3, Math.max(a, b)])];
  const free = (box) => !taken.some((t) => box[0] < t[2] && t[0] < box[2] && box[1] < t[3] && t[1] < box[3]);
  return points.map(([px, py, name]) => {
    const w = textWidth(name), tries = [4, -9, 17, -22, 30, -35].flatMap((dy) => [[px + 10, py + dy], [px - 10 - w, py + dy]]);
    const boxed = ([x, y]) => [x, y - 11, x + w, y + 3];
    const spot = tries.find((t) => t[0] >= left && t[0] + w <= right + 20 && free(boxed(t)));
    if (!spot) return write(px, py, ""); // its mark still says its name
    taken.push(boxed(spot));
    return write(...spot, name);
  });
}

// The epoch under the pointer, or walked to by the arrow keys: what every curve has there.
function crosshair(root, shown, marks, group, place) {
  const epochs = [...new Set(shown.flatMap((s) => s.at))].sort((a, b) => a - b);
  const cross = line(0, place.top, 0, place.bottom, "cross");
  const pad = draw("rect", { x: place.left, y: place.top, width: place.right - place.left, height: place.bottom - place.top, fill: "transparent", tabindex: 0, role: "img",
    "aria-label": `${group.y}: ${epochs.length} epochs; left and right arrow walk through them` });
  let at = epochs.length - 1, nearest = null;
  const words = (pointer) => {
    const epoch = epochs[at];
    const values = shown.map((s, i) => [s, s.mean[s.at.indexOf(epoch)], i]).filter(([, v]) => known(v));
    marks[nearest]?.classList.remove("chosen");
    if (group.thin) {
      const y = pointer ?? place.top, [best, value, i] = values.reduce((a, b) => (Math.abs(place.y(b[1]) - y) < Math.abs(place.y(a[1]) - y) ? b : a), values[0]);
      nearest = i;
      marks[i].classList.add("chosen");
      return `${best.name}\nepoch ${epoch}: ${figures(value)}\n${best.note}`;
    }
    const listed = values.sort((a, b) => b[1] - a[1]).map(([s, v]) => {
      const i = s.at.indexOf(epoch), half = known(s.low[i]) ? ` ± ${figures((s.high[i] - s.low[i]) / 2)}` : "";
      return `${s.name}  ${figures(v)}${half}`;
    });
    return [`epoch ${epoch}`, ...listed.slice(0, 12), ...(listed.length > 12 ? [`and ${listed.length - 12} more`] : [])].join("\n");
  };
  const move = (clientX, clientY, pointer) => {
    cross.setAttribute("x1", place.x(epochs[at]));
    cross.setAttribute("x2", place.x(epochs[at]));
    if (!cross.parentNode) root.append(cross);
    show(words(pointer), clientX, clientY);
  };
  pad.addEventListener("pointermove", (event) => {
    const box = root.getBoundingClientRect(), x = ((event.clientX - box.left) / box.width) * place.width;
    at = epochs.reduce((best, e, i) => (Math.abs(place.x(e) - x) < Math.abs(place.x(epochs[best]) - x) ? i : best), 0);
    move(event.clientX, event.clientY, ((event.clientY - box.top) / box.width) * place.width);
  });
  const focused = () => {
    const box = root.getBoundingClientRect();
    move(box.left + (place.x(epochs[at]) / place.width) * box.width, box.top + 30);
  };
  pad.addEventListener("focus", focused);
  pad.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step || !epochs[at + step]) return;
    event.preventDefault();
    at += step;
    focused();
  });
  const leave = () => { cross.remove(); marks[nearest]?.classList.remove("chosen"); hush(); };
  pad.addEventListener("pointerleave", leave);
  pad.addEventListener("blur", leave);
  root.append(pad);
}

// A chart in its place: what to choose, the picture, and what to take --------------------------------------------------
function mount(figure, chart) {
  const series = chart.kind === "curves" ? chart.groups[0].series : [];
  const state = { group: chart.groups[0], order: series.map((s) => s.name), shown: new Set(series.filter((s) => s.shown).map((s) => s.name)) };
  let picture = make("span"), width = 0;
  const paint = () => {
    width = Math.max(300, Math.round(figure.clientWidth));
    const next = kinds[chart.kind](state.group, width, state);
    picture.replaceWith(next);
    picture = next;
  };
  const pick = (group) => { state.group = group; paint(); table.open = false; };
  const table = make("details", { ontoggle: () => table.open && fill(table, tabulate(chart.kind, state)) }, make("summary", {}, "Show as a table"));
  figure.append(chooser(chart.groups, pick), picture, legend(chart, state, paint), make("div", { class: "buttons" }, ...Object.keys(INCHES).map((size) =>
    make("button", { type: "button", class: "take", onclick: () => save(chart, state, size) }, `SVG, ${size}`))), table);
  paint();
  new ResizeObserver(() => Math.abs(figure.clientWidth - width) > 1 && figure.clientWidth && paint()).observe(figure);
}

function chooser(groups, pick) {
  if (groups.length < 2) return "";
  if (groups.length > 4) {
    const options = groups.map((group, i) => make("option", { value: i }, group.name));
    return make("div", { class: "controls" }, make("select", { "aria-label": "What is shown", onchange: (event) => pick(groups[event.target.value]) }, ...options));
  }
  const buttons = groups.map((group, i) => make("button", { type: "button", "aria-pressed": i === 0, onclick: () => {
    buttons.forEach((button, k) => button.setAttribute("aria-pressed", k === i));
    pick(group);
  } }, group.name));
  return make("div", { class: "controls", role: "group", "aria-label": "What is shown" }, ...buttons);
}

function legend(chart, state, paint) {
  const ways = Map.groupBy(chart.groups[0].series || chart.groups[0].points || [], (each) => (chart.groups[0].thin || each.note ? each.told : ""));
  ways.delete("");
  if (ways.size) return make("p", { class: "ways" }, ...[...ways].map(([told, all]) =>
    make("span", {}, draw("svg", { viewBox: "0 0 10 10", "aria-hidden": "true" }, mark(told, told, draw("circle", { cx: 5, cy: 5, r: 4, class: "full" }))), `${told} (${all.length})`)));
  if (chart.kind !== "curves") return "";
  const boxes = state.order.map((name, i) => {
    const look = style(i), box = make("input", { type: "checkbox", onchange: () => { box.checked ? state.shown.add(name) : state.shown.delete(name); paint(); } });
    box.checked = state.shown.has(name);
    const swatch = draw("svg", { viewBox: "0 0 24 8", "aria-hidden": "true", style: `--c: var(--s${look.hue})` }, draw("path", { class: "curve", d: "M0 4L24 4", "stroke-dasharray": look.dash || null }));
    return make("label", {}, box, swatch, name);
  });
  return make("fieldset", {}, make("legend", {}, "Arms that are drawn"), ...boxes);
}

function tabulate(kind, { group }) {
  const ends = (values) => values.map((v) => (known(v) ? figures(v) : "–"));
  if (kind === "intervals") return [["name", "estimate", "low", "high", "n", ""], group.rows.map((r) => [r.name, ...ends(r.interval), r.n, [r.told, r.note].filter(Boolean).join(", ")])];
  if (kind === "points") return [["name", group.x, group.y, "low", "high", ""], group.points.map((p) => [p.name, figures(p.x), ...ends(p.y), p.note || ""])];
  if (group.thin) return [["name", "last epoch", group.y, ""], group.series.map((s) => [s.name, s.at.at(-1), figures(s.mean.at(-1)), s.note])];
  const rows = group.series.flatMap((s) => s.at.map((epoch, i) => [s.name, epoch, ...ends([s.mean[i], s.low[i], s.high[i]]), s.n[i]]));
  return [["arm", "epoch", group.y, "low", "high", "n"], rows];
}

function fill(details, [head, rows]) {
  const cells = (tag, texts, scope) => texts.map((text) => make(tag, { scope }, String(text)));
  const body = rows.map((row) => make("tr", {}, ...cells("th", row.slice(0, 1), "row"), ...cells("td", row.slice(1))));
  const table = make("table", {}, make("thead", {}, make("tr", {}, ...cells("th", head, "col"))), make("tbody", {}, ...body));
  details.querySelector(".scroll")?.remove();
  details.append(make("div", { class: "scroll", role: "region", "aria-label": "The chart as a table", tabindex: 0 }, table));
}

// A picture for a paper: drawn anew at the column's width, on white, with every look written onto its marks.
const LOOKS = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray", "stroke-linecap", "stroke-linejoin", "font-size", "font-weight", "text-anchor"];
function forPaper(chart, state, size) {
  const inches = INCHES[size], width = Math.round((inches * 72 * TEXT) / PRINT);
  const host = make("div", { style: `color-scheme: light; position: absolute; left: -99999px; width: ${width}px` });
  document.body.append(host);
  host.append(make("figure", {}, kinds[chart.kind](state.group, width, state)));
  const svg = host.querySelector("svg");
  svg.querySelectorAll(".hit, [fill=transparent]").forEach((each) => each.remove());
  const marks = [...svg.querySelectorAll("*")];
  const looks = marks.map((each) => LOOKS.map((name) => [name, getComputedStyle(each)[name]])); // all, before a class is gone
  marks.forEach((each, i) => {
    for (const [name, value] of looks[i]) if (["fill", "stroke"].includes(name) || !["", "none", "1", "normal"].includes(value)) each.setAttribute(name, value);
    for (const name of ["class", "style", "tabindex", "role", "aria-label"]) each.removeAttribute(name);
  });
  svg.setAttribute("xmlns", SVG);
  svg.setAttribute("font-family", "Helvetica, Arial, sans-serif");
  svg.setAttribute("width", `${inches}in`);
  svg.setAttribute("height", `${((inches * svg.viewBox.baseVal.height) / width).toFixed(3)}in`);
  host.remove();
  return svg.outerHTML;
}

function save(chart, state, size) {
  const address = URL.createObjectURL(new Blob([forPaper(chart, state, size)], { type: "image/svg+xml" }));
  make("a", { href: address, download: `${chart.id}-${size.replace(" ", "-")}.svg` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

// Tables are sorted by their headers, and say so -----------------------------------------------------------------------
function sortable(table) {
  const body = table.tBodies[0], rows = [...body.rows], heads = [...table.tHead.rows[0].cells];
  if (rows.length < 2) return;
  heads.forEach((head, column) => {
    const button = make("button", { type: "button", onclick: () => sort(head, column) }, ...head.childNodes);
    head.replaceChildren(button);
  });
  function sort(head, column) {
    const numbers = rows.some((row) => row.cells[column].dataset.value !== undefined);
    const first = numbers ? "descending" : "ascending", other = numbers ? "ascending" : "descending";
    const way = head.getAttribute("aria-sort") === first ? other : first, sign = way === "ascending" ? 1 : -1;
    heads.forEach((each) => each.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", way);
    const value = (row) => (numbers ? row.cells[column].dataset.value : row.cells[column].textContent);
    const compare = (a, b) => (numbers ? a - b : a.localeCompare(b, undefined, { numeric: true }));
    const there = rows.filter((row) => value(row) !== undefined), none = rows.filter((row) => value(row) === undefined);
    body.append(...there.sort((a, b) => sign * compare(value(a), value(b))), ...none); // what has no number stays below
  }
}

// Light or dark: the reader's system decides, until the button is pressed.
function themes() {
  const button = document.getElementById("theme"), root = document.documentElement;
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);
  const name = () => { button.textContent = dark() ? "Light" : "Dark"; button.setAttribute("aria-label", `${button.textContent} colours`); };
  button.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; name(); });
  button.hidden = false;
  name();
}

themes();
document.querySelectorAll("table").forEach(sortable);
document.querySelectorAll("figure[data-chart]").forEach((figure) => mount(figure, charts[figure.dataset.chart]));
if (window.top !== window.self) // MLflow shows files in a frame that may not hand out any
  document.querySelectorAll(".take").forEach((each) => { each.hidden = true; });
