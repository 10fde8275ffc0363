// Which API key is sent? One that was given here, or else the one the chat page has: it may be an operator's too. What is given here is kept
// for this tab, or in this browser where the reader says so; without storage it lasts as long as the page. It goes to this server alone.
const OURS = 'fathom.operator_key';
const CHATS = 'fathom.key';

const places = () => {
  try {
    return [globalThis.sessionStorage, globalThis.localStorage].filter(Boolean);
  } catch {
    return [];
  }
};

export function read_key() {
  for (const name of [OURS, CHATS])
    for (const place of places()) {
      const key = place.getItem(name);
      if (key) return key;
    }
  return '';
}

// What is wrong with it, or ''. A header can carry nothing else.
export const wrong_key = (key) => (/[^\x21-\x7e]/.test(key) ? 'A key has no spaces and no letters beyond ASCII. Was something else pasted?' : '');

export function keep_key(key, in_browser) {
  const [tab, browser] = places();
  try {
    tab?.removeItem(OURS);
    browser?.removeItem(OURS);
    (in_browser ? browser : tab)?.setItem(OURS, key);
  } catch {
    // no room: it lasts as long as the page
  }
}
