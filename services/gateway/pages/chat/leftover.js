// What had not reached the disk when a page went away? IndexedDB writes a moment later, and a page that is closed or
// loaded again takes with it what has not been written. localStorage writes at once: a page that goes leaves it there,
// and the next one of this address writes it first.
const PLACE = 'fathom.chat.leftover';

export class Leftover {
  // storage() gives a Storage, and throws where the browser gives none; then nothing is left.
  constructor(storage) {
    this.storage = storage;
  }

  // writes: [table, value] each; several tabs may leave theirs.
  leave(writes) {
    if (!writes.length) return;
    try {
      this.storage().setItem(PLACE, JSON.stringify([...this.#read(), ...writes]));
    } catch {
      // No room or no storage: what the page could do is done.
    }
  }

  // All that was left, once.
  take() {
    try {
      const writes = this.#read();
      this.storage().removeItem(PLACE);
      return writes;
    } catch {
      return [];
    }
  }

  #read() {
    return JSON.parse(this.storage().getItem(PLACE) ?? '[]');
  }
}
