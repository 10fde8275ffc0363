// How is IndexedDB asked? As promises. One database of three tables: conversations, their messages (nodes, indexed by conversation) and what
// is being typed (drafts). A transaction is one call here: it is done when its promise is.
const NAME = 'fathom.chat';
const VERSION = 1;

const done = (request) => new Promise((resolve, reject) => {
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

export class Database {
  // Throws when the browser has no storage for this page (denied, or a private window of some browsers).
  static async open(factory = globalThis.indexedDB) {
    if (!factory) throw new Error('this browser offers no storage');
    const request = factory.open(NAME, VERSION);
    request.onupgradeneeded = () => {
      const database = request.result;
      database.createObjectStore('conversations', { keyPath: 'id' });
      database.createObjectStore('nodes', { keyPath: 'id' }).createIndex('conversation', 'conversation');
      database.createObjectStore('drafts', { keyPath: 'id' });
    };
    const database = await done(request);
    database.onversionchange = () => database.close(); // a newer page, in another tab, needs it
    return new Database(database);
  }

  constructor(database) {
    this.database = database;
  }

  // Runs work(tables) in one transaction over these tables; resolves when it is on its way to the disk, rejects when any of it failed.
  async #run(names, mode, work) {
    const transaction = this.database.transaction(names, mode);
    const finished = new Promise((resolve, reject) => {
      transaction.oncomplete = resolve;
      transaction.onabort = () => reject(transaction.error ?? new Error('the storage gave up'));
    });
    let result;
    try {
      result = work(...names.map((name) => transaction.objectStore(name)), transaction);
    } catch (error) {
      finished.catch(() => {});
      throw error;
    }
    const [value] = await Promise.all([result, finished]);
    return value;
  }

  all(table) {
    return this.#run([table], 'readonly', (store) => done(store.getAll()));
  }

  get(table, id) {
    return this.#run([table], 'readonly', (store) => done(store.get(id)));
  }

  nodes_of(conversation) {
    return this.#run(['nodes'], 'readonly', (store) => done(store.index('conversation').getAll(conversation)));
  }

  put(table, values) {
    return this.#run([table], 'readwrite', (store, transaction) => {
      for (const value of values) store.put(value);
      transaction.commit?.(); // at once: the page may be going away
    });
  }

  // Reads, changes and writes one value with no other tab in between. change(old or undefined) returns the new one, or undefined to leave it.
  update(table, id, change) {
    return this.#run([table], 'readwrite', async (store) => {
      const value = change(await done(store.get(id)));
      if (value !== undefined) store.put(value);
      return value;
    });
  }

  remove(table, ids) {
    return this.#run([table], 'readwrite', (store) => {
      for (const id of ids) store.delete(id);
    });
  }

  // A conversation with all its messages and drafts.
  remove_conversation(id) {
    return this.#run(['conversations', 'nodes', 'drafts'], 'readwrite', async (conversations, nodes, drafts) => {
      conversations.delete(id);
      drafts.delete(id);
      for (const node of await done(nodes.index('conversation').getAllKeys(id))) nodes.delete(node);
    });
  }

  // Ids of the conversations in which a message has this text, compared without case.
  async search(text) {
    const found = new Set();
    await this.#run(['nodes'], 'readonly', (store) => new Promise((resolve, reject) => {
      const request = store.openCursor();
      request.onerror = () => reject(request.error);
      request.onsuccess = () => {
        const cursor = request.result;
        if (!cursor) return resolve();
        const { conversation, content } = cursor.value;
        if (!found.has(conversation) && String(content).toLowerCase().includes(text)) found.add(conversation);
        return cursor.continue();
      };
    }));
    return found;
  }
}
