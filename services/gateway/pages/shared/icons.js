// Which marks do the pages use? Each is a few strokes in a square of 24, drawn for this project. icon('copy') returns the element, hidden
// from screen readers: the button around it has the name. fill_icons() puts them into HTML that says data-icon="copy".
import { drawing } from './dom.js';

const STROKES = {
  menu: ['M4 7h16', 'M4 12h16', 'M4 17h10'],
  plus: ['M12 5v14', 'M5 12h14'],
  compose: ['M20 12.5V18a2 2 0 0 1-2 2H6a2 2 0 0 1-2-2V6a2 2 0 0 1 2-2h5.5', 'M10 14l.6-3.2L18.5 3l2.5 2.5-7.8 7.9z'],
  pen: ['M4 20h4L19 9a2.8 2.8 0 0 0-4-4L4 16z', 'M13.5 6.5l4 4'],
  search: ['M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14z', 'M16 16l4.5 4.5'],
  send: ['M12 19V5', 'M6 11l6-6 6 6'],
  stop: ['M8 8h8v8H8z'],
  copy: ['M9 9h10v11H9z', 'M15 9V4H5v11h4'],
  check: ['M5 12.5l4.5 4.5L19 7.5'],
  again: ['M20 12a8 8 0 1 1-2.5-5.8', 'M20 4v4.5h-4.5'],
  trash: ['M5 7h14', 'M10 7V4.5h4V7', 'M7 7l1 13h8l1-13'],
  left: ['M14 6l-6 6 6 6'],
  right: ['M10 6l6 6-6 6'],
  down: ['M6 10l6 6 6-6'],
  close: ['M6 6l12 12', 'M18 6L6 18'],
  sliders: ['M4 8h8', 'M18 8h2', 'M15 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6z', 'M4 16h2', 'M12 16h8', 'M9 13a3 3 0 1 0 0 6 3 3 0 0 0 0-6z'],
  sun: ['M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8z', 'M12 3v1.5', 'M12 19.5V21', 'M3 12h1.5', 'M19.5 12H21', 'M5.6 5.6l1.1 1.1', 'M17.3 17.3l1.1 1.1', 'M5.6 18.4l1.1-1.1', 'M17.3 6.7l1.1-1.1'],
  moon: ['M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5z'],
  screen: ['M4 5h16v11H4z', 'M9 20h6', 'M12 16v4'],
  more: ['M6 12h.01', 'M12 12h.01', 'M18 12h.01'],
  key: ['M8 11a4 4 0 1 0 0 8 4 4 0 0 0 0-8z', 'M11 12l9-9', 'M16.5 6.5l2.5 2.5'],
  help: ['M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17z', 'M9.7 9.6a2.4 2.4 0 1 1 3.4 2.6c-.8.4-1.1.9-1.1 1.8', 'M12 16.8h.01'],
  alert: ['M12 4L2.8 20h18.4z', 'M12 10v4.5', 'M12 17.3h.01'],
  info: ['M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17z', 'M12 11v5.5', 'M12 7.7h.01'],
  tool: ['M14.5 6.5a4 4 0 0 1 5-1.2l-2.6 2.6 1.4 1.4 2.4-2.5a4 4 0 0 1-5.4 4.8L8 19a2 2 0 0 1-3-3l7.3-7.3a4 4 0 0 1 2.2-2.2z'],
  thought: ['M9 18h6', 'M10 21h4', 'M12 3a6.5 6.5 0 0 0-3.8 11.8c.5.4.8.9.8 1.5h6c0-.6.3-1.1.8-1.5A6.5 6.5 0 0 0 12 3z'],
  nodes: ['M12 4a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5z', 'M5.5 15a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5z', 'M18.5 15a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5z', 'M10.7 8.7l-4 6.5', 'M13.3 8.7l4 6.5'],
  out: ['M12 4v11', 'M7.5 8.5L12 4l4.5 4.5', 'M5 15v5h14v-5'],
  in: ['M12 4v11', 'M7.5 10.5L12 15l4.5-4.5', 'M5 15v5h14v-5'],
};

export function icon(name) {
  const strokes = STROKES[name];
  if (!strokes) throw new Error(`there is no icon ${name}`);
  return drawing('svg', { class: 'icon', viewBox: '0 0 24 24', 'aria-hidden': 'true' }, ...strokes.map((d) => drawing('path', { d })));
}

export function fill_icons(root) {
  for (const node of root.querySelectorAll('[data-icon]')) {
    node.prepend(icon(node.dataset.icon));
    node.removeAttribute('data-icon');
  }
}
