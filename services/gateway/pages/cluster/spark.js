// How is a small line without axes drawn? As one path of an SVG, newest value at the right end; where there is no value the line breaks.
import { drawing } from '../shared/dom.js';

const WIDTH = 120;
const HEIGHT = 28;

// The d of a path: `values` may be null, `slots` is how many fill the width.
export function spark_path(values, slots, width = WIDTH, height = HEIGHT) {
  const max = values.reduce((most, value) => Math.max(most, value ?? 0), 0) || 1;
  let path = '';
  let pen_down = false;
  values.forEach((value, i) => {
    if (value === null || value === undefined) {
      pen_down = false;
      return;
    }
    const x = ((slots - values.length + i + 0.5) / slots) * width;
    const y = height - 1.5 - (value / max) * (height - 3);
    path += `${pen_down ? 'L' : 'M'}${x.toFixed(1)} ${y.toFixed(1)}`;
    if (!pen_down && (values[i + 1] ?? null) === null) path += 'h.8'; // a lone value is still seen
    pen_down = true;
  });
  return path;
}

export function sparkline(existing = null) {
  const node = existing ?? drawing('svg', { class: 'sparkline', viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', 'aria-hidden': 'true' }, drawing('path', { d: '' }));
  return {
    node,
    show(values, slots) {
      node.firstElementChild.setAttribute('d', spark_path(values, slots));
    },
  };
}
