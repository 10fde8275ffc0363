// How do conversations leave this browser and come back? As one JSON document. What is read back is checked field by field and copied, never
// trusted: only known fields of the right kind come in. A conversation that is here already gets the messages it lacks and is
// otherwise left alone, so reading the same file twice changes nothing.
const FORMAT = 'fathom.chat';
const VERSION = 1;
export const FILE_MAX = 64 * 1024 * 1024; // bytes
const ID = /^[\w-]{1,64}$/;
const ROLES = new Set(['user', 'assistant', 'tool']);
const STATES = new Set(['done', 'stopped', 'cut', 'failed']);

const text = (value, most = Infinity) => (typeof value === 'string' ? value.slice(0, most) : '');
const number = (value, other = 0) => (Number.isFinite(value) && value >= 0 ? value : other);
const object = (value) => (value && typeof value === 'object' && !Array.isArray(value) ? value : {});

// all: [{ record, nodes }]
export function written_document(all, now) {
  const conversations = all.map(({ record, nodes }) => ({ ...record, messages: nodes.map(({ tab, saved, ...kept }) => kept) }));
  return JSON.stringify({ format: FORMAT, version: VERSION, exported: new Date(now).toISOString(), conversations }, null, 1);
}

// [{ record, nodes }], or an Error that says what is wrong with the file.
export function read_document(source, now) {
  let document;
  try {
    document = JSON.parse(source);
  } catch (error) {
    throw new Error(`This file is not JSON: ${error.message}`);
  }
  if (document?.format !== FORMAT || !Array.isArray(document.conversations)) throw new Error('This file was not exported by this page.');
  if (document.version !== VERSION) throw new Error(`This file has version ${document.version}; this page reads ${VERSION}.`);
  return document.conversations.map((entry, i) => {
    if (!ID.test(entry?.id ?? '') || !Array.isArray(entry.messages)) throw new Error(`Conversation ${i + 1} of this file has no id or no messages.`);
    return { record: record_of(entry, now), nodes: entry.messages.map((node) => node_of(node, entry.id)).filter(Boolean) };
  });
}

function record_of(entry, now) {
  const strings = (map) => Object.fromEntries(Object.entries(object(map)).filter(([, value]) => typeof value === 'string'));
  return {
    id: entry.id, title: text(entry.title, 200), named: entry.named === true, created: number(entry.created, now), updated: number(entry.updated, now),
    model: typeof entry.model === 'string' ? entry.model.slice(0, 200) : null, settings: strings(entry.settings), chosen: strings(entry.chosen),
  };
}

function node_of(node, conversation) {
  if (!ID.test(node?.id ?? '') || !ROLES.has(node.role) || !(node.parent === '' || ID.test(node.parent ?? ''))) return null;
  const out = { id: node.id, conversation, parent: node.parent, role: node.role, created: number(node.created), content: text(node.content) };
  if (node.role === 'tool') out.tool_call_id = text(node.tool_call_id, 200);
  if (node.role !== 'assistant') return out;
  Object.assign(out, { reasoning: text(node.reasoning), state: STATES.has(node.state) ? node.state : node.state === 'writing' ? 'cut' : 'done', finish: text(node.finish, 40), model: text(node.model, 200) });
  for (const name of ['thought_ms', 'first_ms', 'total_ms', 'tokens', 'gaps']) if (Number.isFinite(node[name])) out[name] = number(node[name]);
  if (Array.isArray(node.tool_calls))
    out.tool_calls = node.tool_calls.slice(0, 128).map((call) => ({ id: text(call?.id, 200), name: text(call?.name, 200), arguments: text(call?.arguments) }));
  if (node.usage) out.usage = Object.fromEntries(['prompt', 'cached', 'completion', 'reasoning'].map((name) => [name, Math.floor(number(node.usage[name]))]));
  if (/^\d{1,40}$/.test(node.cost?.amount ?? '')) out.cost = { currency: text(node.cost.currency, 10), amount: node.cost.amount };
  if (node.failure) out.failure = { kind: text(node.failure.kind, 20), title: text(node.failure.title, 300), text: text(node.failure.text, 2000) };
  return out;
}
