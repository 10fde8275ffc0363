// What is a conversation? A tree of messages of which one path is shown. Asking again, or sending an edited message, adds a sibling beside
// the older version; nothing that was written is overwritten. Messages are records of their own, so two tabs that write at the same
// time add to the tree and never destroy each other's part. Pure data; store.js keeps it.
import { add_costs } from './cost.js';

const TITLE_MAX = 60;

export function new_id() {
  const bytes = crypto.getRandomValues(new Uint8Array(12)); // randomUUID() is missing on plain HTTP
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

// record: { id, title, named, created, updated, model, settings, chosen: { parent: child } }.
export const new_record = (now, settings, model = null) => ({ id: new_id(), title: '', named: false, created: now, updated: now, model, settings: { ...settings }, chosen: {} });

// A title out of the first message: its first line, cut at a word.
export function title_of(text) {
  const line = text.trim().split('\n', 1)[0].replace(/\s+/g, ' ');
  if (line.length <= TITLE_MAX) return line;
  const cut = line.slice(0, TITLE_MAX);
  return `${cut.slice(0, Math.max(cut.lastIndexOf(' '), TITLE_MAX / 2)).trimEnd()}…`;
}

export class Conversation {
  #children = new Map();

  // nodes: [{ id, conversation, parent, role, created, ... }]; the parent of a first message is ''.
  constructor(record, nodes) {
    this.record = record;
    this.nodes = new Map();
    for (const node of nodes) this.add(node);
  }

  get id() {
    return this.record.id;
  }

  // Adds a node, or takes over what changed in one that is there (another tab wrote it).
  add(node) {
    const known = this.nodes.get(node.id);
    if (known) return Object.assign(known, node);
    this.nodes.set(node.id, node);
    const siblings = this.#children.get(node.parent) ?? [];
    siblings.push(node);
    siblings.sort((a, b) => a.created - b.created || (a.id < b.id ? -1 : 1));
    this.#children.set(node.parent, siblings);
    return node;
  }

  remove(node) {
    this.nodes.delete(node.id);
    const siblings = (this.#children.get(node.parent) ?? []).filter((other) => other !== node);
    this.#children.set(node.parent, siblings);
    if (this.record.chosen[node.parent] === node.id) delete this.record.chosen[node.parent];
  }

  // All versions of this message, the oldest first.
  versions(node) {
    return this.#children.get(node.parent) ?? [];
  }

  // The child that is shown: the chosen one, or else the newest.
  shown_child(parent) {
    const children = this.#children.get(parent) ?? [];
    return children.find((child) => child.id === this.record.chosen[parent]) ?? children.at(-1) ?? null;
  }

  choose(node) {
    this.record.chosen[node.parent] = node.id;
  }

  // The shown messages, in order.
  path() {
    const path = [];
    const seen = new Set(); // an imported file may have a ring
    for (let node = this.shown_child(''); node && !seen.has(node.id); node = this.shown_child(node.id)) {
      seen.add(node.id);
      path.push(node);
    }
    return path;
  }

  // The messages that lead to this one, without it.
  before(node) {
    const path = [];
    for (let at = this.nodes.get(node.parent); at && !path.includes(at); at = this.nodes.get(at.parent)) path.unshift(at);
    return path;
  }

  // What everything in here used and cost, versions that are not shown included: they were paid for too.
  totals() {
    const nodes = [...this.nodes.values()].filter((node) => node.usage);
    const sum = (field) => nodes.reduce((total, node) => total + (node.usage[field] ?? 0), 0);
    return { prompt: sum('prompt'), cached: sum('cached'), completion: sum('completion'), costs: add_costs(nodes.map((node) => node.cost)) };
  }
}
