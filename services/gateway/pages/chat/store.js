// Where do conversations stay? In this browser: in IndexedDB, and in memory as far as this tab has touched them, which
// is what the page works on. When the browser has no room or gives no storage, everything goes on in memory, `trouble`
// says why, and what could not be written is tried again later. Other tabs hear of each change over a BroadcastChannel.
// Nothing is ever sent to the server but questions.
import { Conversation } from './conversation.js';
import { Database } from './database.js';

// More conversations than this are not kept: the list stays quick, and the browser's quota is for all pages of this
// address.
export const CONVERSATIONS_MAX = 1000;

export class Store {
  #database = null;
  #records = new Map();
  #opened = new Map(); // conversations with their messages
  #drafts = new Map();
  #writing = new Map(); // drafts on their way: id -> written again when that is done?
  #under_way = new Map(); // 'table/id' -> [table, value] of records and messages on their way
  #troubled = false;
  #unwritten = new Map(); // 'table/id' -> [table, value]

  // on: { trouble(reason or null), changed(conversation id) from another tab }
  constructor(database, leftover, channel, on, tab, max = CONVERSATIONS_MAX) {
    Object.assign(this, { leftover, channel, on, tab, max });
    this.#database = database;
    channel?.addEventListener('message', ({ data }) => this.#heard(data));
  }

  static async open(on, { channel, tab, leftover, open = () => Database.open(), max } = {}) {
    let database = null;
    let reason = null;
    try {
      database = await open();
    } catch (error) {
      reason = error;
    }
    const store = new Store(database, leftover, channel, on, tab, max);
    if (database) {
      for (const [table, value] of leftover?.take() ?? []) await store.#put(table, value);
      for (const record of await database.all('conversations')) store.#records.set(record.id, record);
      for (const draft of await database.all('drafts')) store.#drafts.set(draft.id, draft.text);
    } else {
      on.trouble(
        `This browser gives this page no storage (${reason.message}). Conversations last until the tab is closed: export what you want to keep.`,
      );
    }
    return store;
  }

  // The newest first, those in the bin left out.
  list() {
    return [...this.#records.values()].filter((record) => !record.deleted).sort((a, b) => b.updated - a.updated);
  }

  record(id) {
    return this.#records.get(id) ?? null;
  }

  async load(id) {
    if (this.#opened.has(id)) return this.#opened.get(id);
    const record = this.#records.get(id);
    if (!record || record.deleted) return null;
    const nodes = this.#database ? await this.#database.nodes_of(id).catch(() => []) : [];
    if (!this.#opened.has(id)) this.#opened.set(id, new Conversation(record, nodes));
    return this.#opened.get(id);
  }

  // A conversation that so far exists in this tab only; its first save makes it one of the list.
  begin(record) {
    const conversation = new Conversation(record, []);
    this.#opened.set(record.id, conversation);
    return conversation;
  }

  async save(record) {
    if (!this.#records.has(record.id) && this.#records.size >= this.max) {
      this.on.trouble(
        `There are ${this.max} conversations in this browser, which is as many as are kept. This one lasts until the tab is closed; delete some, and send again.`,
      );
      return;
    }
    this.#records.set(record.id, record);
    await this.#put('conversations', record);
    this.#tell(record.id);
  }

  async save_node(node) {
    if (!this.#records.has(node.conversation)) return;
    await this.#put('nodes', node);
    this.#tell(node.conversation);
  }

  async remove_node(node) {
    this.#unwritten.delete(`nodes/${node.id}`);
    await this.#database?.remove('nodes', [node.id]).catch(() => {});
    this.#tell(node.conversation);
  }

  // --- deleting: first into the bin, for as long as it can be undone, then for good

  async bin(id, now) {
    const record = this.#records.get(id);
    if (record) await this.save(Object.assign(record, { deleted: now }));
  }

  async restore(id) {
    const record = this.#records.get(id);
    if (!record) return;
    delete record.deleted;
    await this.save(record);
  }

  async empty_bin(until) {
    for (const record of [...this.#records.values()].filter(({ deleted }) => deleted && deleted <= until)) {
      this.#records.delete(record.id);
      this.#opened.delete(record.id);
      this.#drafts.delete(record.id);
      await this.#database?.remove_conversation(record.id).catch(() => {});
      this.#tell(record.id);
    }
    await this.write_again();
  }

  // --- what is being typed, by conversation or by the field it is typed into

  draft(id) {
    return this.#drafts.get(id) ?? '';
  }

  // Written at once; while that runs only the newest text waits.
  set_draft(id, text) {
    if (text) this.#drafts.set(id, text);
    else this.#drafts.delete(id);
    if (!this.#database) return;
    if (this.#writing.has(id)) this.#writing.set(id, true);
    else this.#write_draft(id);
  }

  async #write_draft(id) {
    this.#writing.set(id, false);
    try {
      await write(this.#database, 'drafts', { id, text: this.draft(id) });
    } catch (error) {
      this.#failed(error);
    }
    const again = this.#writing.get(id);
    this.#writing.delete(id);
    if (again) this.#write_draft(id);
  }

  // --- search

  // Ids of conversations whose title or messages have the text.
  async search(text) {
    const wanted = text.toLowerCase();
    const found = new Set();
    for (const [id, record] of this.#records) if (record.title.toLowerCase().includes(wanted)) found.add(id);
    for (const [id, { nodes }] of this.#opened)
      for (const node of nodes.values()) if (String(node.content).toLowerCase().includes(wanted)) found.add(id);
    if (this.#database) for (const id of await this.#database.search(wanted).catch(() => [])) found.add(id);
    return found;
  }

  // --- writing

  async #put(table, value) {
    if (!this.#database) return;
    const key = `${table}/${value.id}`;
    const written = [table, value];
    this.#under_way.set(key, written);
    try {
      await write(this.#database, table, value);
      this.#unwritten.delete(key);
      if (this.#troubled) await this.write_again(); // there is room again
    } catch (error) {
      this.#unwritten.set(key, written);
      this.#failed(error);
    }
    if (this.#under_way.get(key) === written) this.#under_way.delete(key);
  }

  // The page is going away: what has not reached the disk is left for the next one.
  leave() {
    const drafts = [...this.#writing.keys()].map((id) => ['drafts', { id, text: this.draft(id) }]);
    this.leftover?.leave([...this.#under_way.values(), ...drafts]);
  }

  // It came back instead, as it was, and writes on by itself.
  stay() {
    this.leftover?.take();
  }

  #failed(error) {
    this.#troubled = true;
    const full = error?.name === 'QuotaExceededError';
    this.on.trouble(
      `${full ? 'The storage of this browser is full' : `This browser could not store this (${error?.message ?? error})`}: what is new is only in this tab. Delete conversations or export them before you close it.`,
    );
  }

  async write_again() {
    for (const [key, [table, value]] of [...this.#unwritten]) {
      if (!this.#database) return;
      try {
        await write(this.#database, table, value);
        this.#unwritten.delete(key);
      } catch {
        return;
      }
    }
    if (!this.#database) return;
    this.#troubled = false;
    this.on.trouble(null);
  }

  // --- several tabs

  #tell(id) {
    this.channel?.postMessage({ conversation: id });
  }

  async #heard({ conversation: id }) {
    if (!this.#database) return;
    const record = await this.#database.get('conversations', id).catch(() => undefined);
    if (!record) {
      this.#records.delete(id);
    } else {
      const mine = this.#records.get(id);
      const chosen = { ...record.chosen, ...mine?.chosen }; // what this tab shows stays
      if (mine && !record.deleted) delete mine.deleted;
      this.#records.set(id, Object.assign(mine ?? {}, record, { chosen }));
      const opened = this.#opened.get(id);
      if (opened) {
        opened.record = this.#records.get(id);
        for (const node of await this.#database.nodes_of(id).catch(() => [])) {
          const known = opened.nodes.get(node.id);
          // What this tab is writing is newer here than on the disk.
          if (!(known?.state === 'writing' && known.tab === this.tab)) opened.add(node);
        }
      }
    }
    this.on.changed(id);
  }

  // Everything there is, for an export.
  async everything() {
    const out = [];
    for (const record of this.list()) out.push({ record, nodes: [...(await this.load(record.id)).nodes.values()] });
    return out;
  }
}

function write(database, table, value) {
  if (table === 'drafts' && !value.text) return database.remove('drafts', [value.id]);
  if (table !== 'conversations') return database.put(table, [value]);
  // Another tab may have chosen versions elsewhere in the tree.
  return database.update(table, value.id, (old) => ({ ...value, chosen: { ...old?.chosen, ...value.chosen } }));
}
