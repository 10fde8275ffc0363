// Which API key is sent? The one the reader entered: kept for this tab (sessionStorage), or in this browser until removed (localStorage), as
// chosen. Where storage is denied it lasts as long as the page. It is sent to this server only and never shown again, exported or logged.
const PLACE = 'fathom.key';

const places = () => {
  try {
    return [sessionStorage, localStorage];
  } catch {
    return [];
  }
};

function read() {
  for (const place of places()) {
    const key = place.getItem(PLACE);
    if (key) return { key, kept: place !== places()[0] };
  }
  return { key: '', kept: false };
}

export class Key {
  #now = read();

  // dialog: the element; on: { changed() }
  constructor(dialog, on) {
    Object.assign(this, { dialog, on });
    this.text = dialog.querySelector('#key-text');
    this.keep = dialog.querySelector('#key-keep');
    this.why = dialog.querySelector('#key-why');
    this.remove = dialog.querySelector('#key-remove');
    dialog.querySelector('#key-save').addEventListener('click', () => this.#save());
    this.remove.addEventListener('click', () => this.#set('', false));
    this.text.addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && !event.isComposing) this.#save();
    });
  }

  get value() {
    return this.#now.key;
  }

  open(why = '') {
    this.text.value = '';
    this.text.placeholder = this.#now.key ? 'A key is set; type to replace it' : '';
    this.keep.checked = this.#now.kept;
    this.why.textContent = why;
    this.why.hidden = !why;
    this.remove.hidden = !this.#now.key;
    if (!this.dialog.open) this.dialog.showModal();
    this.text.focus();
  }

  #save() {
    const key = this.text.value.trim() || this.#now.key;
    // A header can carry nothing else.
    if (/[^\x21-\x7e]/.test(key)) {
      this.why.textContent = 'A key has no spaces and no letters beyond ASCII. Was something else pasted?';
      this.why.hidden = false;
      return;
    }
    this.#set(key, this.keep.checked);
  }

  #set(key, kept) {
    this.#now = { key, kept };
    const [tab, browser] = places();
    tab?.removeItem(PLACE);
    browser?.removeItem(PLACE);
    try {
      if (key) (kept ? browser : tab)?.setItem(PLACE, key);
    } catch {
      // no room: it lasts as long as the page
    }
    this.dialog.close();
    this.on.changed();
  }
}
