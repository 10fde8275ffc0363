// Light or dark? The system says, unless the reader chose: then data-theme on the root element does, kept in this browser. This file is
// loaded before the first paint (blocking="render"), so a page never flashes in the wrong colours.
const PLACE = 'fathom.theme';
const NEXT = { system: 'light', light: 'dark', dark: 'system' };

function read() {
  try {
    return NEXT[localStorage.getItem(PLACE)] ? localStorage.getItem(PLACE) : 'system';
  } catch {
    return 'system'; // storage is denied: the choice then lasts as long as the page
  }
}

let chosen = read();

function show() {
  if (chosen === 'system') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = chosen;
}

export const theme = () => chosen;

// system, light, dark, and round again; returns the new one.
export function next_theme() {
  chosen = NEXT[chosen];
  try {
    localStorage.setItem(PLACE, chosen);
  } catch {
    // as above
  }
  show();
  return chosen;
}

addEventListener('storage', (event) => {
  if (event.key === PLACE) {
    chosen = read();
    show();
  }
});
show();
