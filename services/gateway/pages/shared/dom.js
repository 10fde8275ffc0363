// How is a piece of a page built? make('button', { class: 'quiet', onclick: f }, 'text', child) returns the element. Text is only ever
// set as text, so nothing that came from a model or a file can become markup. Attributes that are false or null are left out.
const SVG = 'http://www.w3.org/2000/svg';

export function make(tag, fields = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(fields)) set(node, name, value);
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export function drawing(tag, fields = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(fields)) set(node, name, value);
  node.append(...children);
  return node;
}

export function set(node, name, value) {
  if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
  else if (value === true) node.setAttribute(name, '');
  else if (value === false || value === null || value === undefined) node.removeAttribute(name);
  else node.setAttribute(name, value);
}

export const find = (selector, root = document) => root.querySelector(selector);

// Calls back at most once a frame, however often it is asked; `now` draws at once what is waiting.
export function each_frame(draw) {
  let waiting = 0;
  const run = () => {
    waiting = 0;
    draw();
  };
  const ask = () => {
    waiting ||= requestAnimationFrame(run);
  };
  ask.now = () => {
    if (waiting) cancelAnimationFrame(waiting);
    run();
  };
  ask.stop = () => {
    if (waiting) cancelAnimationFrame(waiting);
    waiting = 0;
  };
  return ask;
}
