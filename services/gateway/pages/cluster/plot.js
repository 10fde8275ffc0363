// How is a plot over time drawn? On a canvas, sharp on any screen: lines or stacked areas, a grid with units, a cursor that all plots
// share and that is moved by pointer or arrow keys, and a legend that tells the values under it, or the latest ones. A plot reads the
// past and the present it is given, keeps nothing, and is drawn only when it is asked.
import { make } from '../shared/dom.js';
import { UNITS, clock, ticks_to, time_step } from './scale.js';

const LEFT = 46;
const BOTTOM = 18;
const TOP = 8;
const RIGHT = 6;
const DASHES = { solid: [], dashed: [6, 4], dotted: [1.5, 3] };
// Points further apart than this many seconds are not joined: nothing is known between them.
const GAP_SECONDS = 1.5;

// Which second the reader points at; null: none. Plots register a redraw.
export class Cursor {
  time = null;
  #listeners = [];

  listen(call) {
    this.#listeners.push(call);
  }

  move(time) {
    if (time === this.time) return;
    this.time = time;
    for (const call of this.#listeners) call();
  }
}

export class Plot {
  // what: { id, title, hint, unit, stacked, series: [{ name, tone, dash, values(past, i) -> number or null }], top(past) -> least upper end }
  constructor(what, cursor) {
    this.what = what;
    this.cursor = cursor;
    this.past = null;
    this.end = 0;
    this.over = 300;
    this.time_text = make('span', { class: 'at' });
    this.values = what.series.map(() => make('span', { class: 'value' }, '–'));
    this.marks = what.series.map((series) => make('i', { class: `mark ${series.tone} ${series.dash ?? ''} ${what.stacked ? 'area' : ''}`, 'aria-hidden': 'true' }));
    this.canvas = make('canvas', { tabindex: '0', role: 'img', 'aria-describedby': `${what.id}-legend` });
    this.node = make('figure', { class: 'plot', id: what.id },
      make('figcaption', {}, make('h3', {}, what.title), this.time_text),
      this.canvas,
      make('ul', { class: 'legend', id: `${what.id}-legend` },
        ...what.series.map((series, i) => make('li', {}, this.marks[i], make('span', { class: 'name' }, series.name), this.values[i]))));
    if (what.hint) this.node.title = what.hint;
    this.#listen();
  }

  #listen() {
    const at = (event) => {
      const box = this.canvas.getBoundingClientRect();
      const share = (event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT);
      this.cursor.move(share < 0 || share > 1 ? null : Math.floor(this.end - this.over + share * this.over));
    };
    this.canvas.addEventListener('pointermove', at);
    this.canvas.addEventListener('pointerdown', at);
    this.canvas.addEventListener('pointerleave', () => this.cursor.move(null));
    this.canvas.addEventListener('blur', () => this.cursor.move(null));
    this.canvas.addEventListener('keydown', (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 }[event.key];
      if (event.key === 'Escape') this.cursor.move(null);
      if (!step || !this.past?.length) return;
      event.preventDefault();
      const last = this.past.end - 1;
      const from = this.cursor.time ?? last + (step < 0 ? 1 : 0);
      this.cursor.move(Math.min(last, Math.max(Math.ceil(this.end - this.over), from + step)));
    });
  }

  // The past up to the unix time `end`, the last `over` seconds of it.
  show(past, end, over) {
    this.past = past;
    this.end = end;
    this.over = over;
    this.draw();
  }

  // What is drawn: a list of values for each series, of the visible seconds. In a stack each is the upper edge.
  #visible() {
    const first = this.past.index_from(this.end - this.over - 1);
    const times = this.past.columns.time.slice(first);
    const rows = this.what.series.map((series) => times.map((_, i) => series.values(this.past, first + i)));
    if (this.what.stacked)
      for (let k = 1; k < rows.length; ++k) rows[k] = rows[k].map((value, i) => (value ?? 0) + (rows[k - 1][i] ?? 0));
    return { first, times, rows };
  }

  draw() {
    if (!this.past) return;
    const box = this.canvas.getBoundingClientRect();
    if (!box.width || !box.height) return;
    const sharp = globalThis.devicePixelRatio || 1;
    const [width, height] = [Math.round(box.width * sharp), Math.round(box.height * sharp)];
    if (this.canvas.width !== width || this.canvas.height !== height) [this.canvas.width, this.canvas.height] = [width, height];
    const pen = this.canvas.getContext('2d');
    pen.setTransform(sharp, 0, 0, sharp, 0, 0);
    pen.clearRect(0, 0, box.width, box.height);
    const { first, times, rows } = this.#visible();
    let max = this.what.top?.(this.past) ?? 0;
    for (const row of rows) for (const value of row) if (value > max) max = value;
    const { top, ticks } = ticks_to(max, box.height > 130 ? 4 : 3);
    const area = { left: LEFT, right: box.width - RIGHT, top: TOP, bottom: box.height - BOTTOM };
    const x = (time) => area.left + ((time + 0.5 - this.end + this.over) / this.over) * (area.right - area.left);
    const y = (value) => area.bottom - (value / top) * (area.bottom - area.top);
    this.#grid(pen, area, ticks, y, x);
    pen.save();
    pen.beginPath();
    pen.rect(area.left, 0, area.right - area.left, box.height);
    pen.clip();
    if (this.what.stacked) this.#areas(pen, times, rows, x, y);
    else this.#lines(pen, times, rows, x, y);
    const index = this.cursor.time === null ? -1 : times.indexOf(this.cursor.time);
    if (index >= 0) this.#pointer(pen, area, x(times[index]), rows.map((row) => row[index]), y);
    pen.restore();
    this.#tell(first, index);
  }

  #grid(pen, area, ticks, y, x) {
    const style = getComputedStyle(this.canvas);
    pen.font = `11px ${style.fontFamily}`;
    pen.fillStyle = style.color;
    pen.strokeStyle = style.borderTopColor;
    pen.lineWidth = 1;
    pen.textBaseline = 'middle';
    pen.textAlign = 'right';
    for (const tick of ticks) {
      const at = Math.round(y(tick)) + 0.5;
      pen.beginPath();
      pen.moveTo(area.left, at);
      pen.lineTo(area.right, at);
      pen.stroke();
      pen.fillText(UNITS[this.what.unit].tick(tick), area.left - 6, at);
    }
    pen.textBaseline = 'alphabetic';
    pen.textAlign = 'center';
    const step = time_step(this.over);
    for (let time = Math.ceil((this.end - this.over) / step) * step; time <= this.end; time += step) {
      const at = x(time - 0.5);
      const label = clock(time, step < 60);
      const half = pen.measureText(label).width / 2;
      if (at - half >= area.left - 8 && at + half <= area.right + RIGHT) pen.fillText(label, at, area.bottom + 14);
    }
  }

  // The stretches of a row between gaps, as lists of indices.
  static stretches(times, row) {
    const out = [];
    let current = null;
    for (let i = 0; i < times.length; ++i) {
      if (row[i] === null || row[i] === undefined) {
        current = null;
        continue;
      }
      if (!current || times[i] - times[current.at(-1)] > GAP_SECONDS) out.push((current = []));
      current.push(i);
    }
    return out;
  }

  #lines(pen, times, rows, x, y) {
    rows.forEach((row, k) => {
      pen.strokeStyle = pen.fillStyle = this.#colour(k);
      pen.lineWidth = this.what.series[k].dash ? 1.4 : 1.9;
      pen.lineJoin = 'round';
      pen.setLineDash(DASHES[this.what.series[k].dash ?? 'solid']);
      for (const stretch of Plot.stretches(times, row)) {
        pen.beginPath();
        for (const i of stretch) pen.lineTo(x(times[i]), y(row[i]));
        pen.stroke();
        if (stretch.length === 1) pen.fillRect(x(times[stretch[0]]) - 1, y(row[stretch[0]]) - 1, 2, 2);
      }
    });
    pen.setLineDash([]);
  }

  #areas(pen, times, rows, x, y) {
    for (let k = rows.length - 1; k >= 0; --k) {
      const below = (i) => (k > 0 ? (rows[k - 1][i] ?? 0) : 0);
      for (const stretch of Plot.stretches(times, rows[k])) {
        pen.fillStyle = pen.strokeStyle = this.#colour(k);
        pen.beginPath();
        for (const i of stretch) pen.lineTo(x(times[i]), y(rows[k][i]));
        for (const i of [...stretch].reverse()) pen.lineTo(x(times[i]), y(below(i)));
        pen.closePath();
        pen.globalAlpha = this.what.series.length === 1 ? 0.18 : 0.42;
        pen.fill();
        pen.globalAlpha = 1;
        pen.beginPath();
        for (const i of stretch) pen.lineTo(x(times[i]), y(rows[k][i]));
        pen.lineWidth = 1.6;
        pen.lineJoin = 'round';
        pen.stroke();
      }
    }
  }

  #pointer(pen, area, at, values, y) {
    pen.strokeStyle = getComputedStyle(this.canvas).color;
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(Math.round(at) + 0.5, area.top);
    pen.lineTo(Math.round(at) + 0.5, area.bottom);
    pen.stroke();
    values.forEach((value, k) => {
      if (value === null) return;
      pen.fillStyle = this.#colour(k);
      pen.beginPath();
      pen.arc(at, y(value), 3, 0, 7);
      pen.fill();
    });
  }

  // As the style sheet says for the mark of the series, light or dark.
  #colour(k) {
    return getComputedStyle(this.marks[k]).color;
  }

  #tell(first, index) {
    const at = index >= 0 ? first + index : this.past.length - 1;
    const texts = this.what.series.map((series) => UNITS[this.what.unit].text(at < 0 ? null : series.values(this.past, at)));
    texts.forEach((text, k) => {
      if (this.values[k].textContent !== text) this.values[k].textContent = text;
    });
    this.time_text.textContent = index >= 0 ? clock(this.cursor.time) : '';
    this.canvas.setAttribute('aria-label', `${this.what.title}: ${this.what.series.map((series, k) => `${series.name} ${texts[k]}`).join(', ')}`);
  }
}
