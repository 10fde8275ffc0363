// Is what was said and typed kept, exactly once, and can it leave and come back? The tree, the store in memory and with
// a disk that fails, costs, and the file of an export.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Conversation, new_id, new_record, title_of } from '../../../services/gateway/pages/chat/conversation.js';
import { add_costs, cost_of, scaled, written } from '../../../services/gateway/pages/chat/cost.js';
import { settle, speed } from '../../../services/gateway/pages/chat/asking.js';
import { Leftover } from '../../../services/gateway/pages/chat/leftover.js';
import { Store } from '../../../services/gateway/pages/chat/store.js';
import { read_document, written_document } from '../../../services/gateway/pages/chat/transfer.js';
import { count, duration, rate, short_count, size } from '../../../services/gateway/pages/shared/numbers.js';

let clock = 0;
const node = (id, parent, role = 'user', more = {}) => ({
  id,
  parent,
  role,
  created: (clock += 1),
  content: id,
  conversation: 'c',
  ...more,
});
const conversation = (...nodes) => new Conversation({ ...new_record(0, {}), id: 'c' }, nodes);
const ids = (nodes) => nodes.map(({ id }) => id);

// What Store needs of database.js, in memory; `full` makes every write fail as a browser without room does.
class Disk {
  tables = { conversations: new Map(), nodes: new Map(), drafts: new Map() };
  full = false;
  #write(work) {
    if (this.full) throw Object.assign(new Error('no room'), { name: 'QuotaExceededError' });
    work();
  }
  async all(table) {
    return [...this.tables[table].values()].map((value) => structuredClone(value));
  }
  async get(table, id) {
    return structuredClone(this.tables[table].get(id));
  }
  async nodes_of(id) {
    return (await this.all('nodes')).filter((each) => each.conversation === id);
  }
  async put(table, values) {
    this.#write(() => values.forEach((value) => this.tables[table].set(value.id, structuredClone(value))));
  }
  async update(table, id, change) {
    this.#write(() => this.tables[table].set(id, structuredClone(change(this.tables[table].get(id)))));
  }
  async remove(table, gone) {
    this.#write(() => gone.forEach((id) => this.tables[table].delete(id)));
  }
  async remove_conversation(id) {
    this.tables.conversations.delete(id);
    for (const each of await this.nodes_of(id)) this.tables.nodes.delete(each.id);
  }
  async search(text) {
    return new Set(
      (await this.all('nodes')).filter((each) => each.content.includes(text)).map((each) => each.conversation),
    );
  }
}

async function stored(disk, troubles = [], tab = 'one', channel = null) {
  return Store.open(
    { trouble: (text) => troubles.push(text), changed: () => {} },
    { open: async () => disk, tab, channel },
  );
}

test('the newest version is shown, and an older one when it is chosen', () => {
  const tree = conversation(
    node('q', ''),
    node('a1', 'q', 'assistant'),
    node('a2', 'q', 'assistant'),
    node('q2', 'a1'),
  );
  assert.deepEqual(ids(tree.path()), ['q', 'a2']);
  tree.choose(tree.nodes.get('a1'));
  assert.deepEqual(ids(tree.path()), ['q', 'a1', 'q2']);
  assert.deepEqual(ids(tree.versions(tree.nodes.get('a1'))), ['a1', 'a2']);
  assert.deepEqual(ids(tree.before(tree.nodes.get('q2'))), ['q', 'a1']);
});

test('a ring in a file does not hang the page', () => {
  const tree = conversation(node('a', 'b'), node('b', 'a'), node('c', ''), node('c2', 'c'));
  assert.deepEqual(ids(tree.path()), ['c', 'c2']);
  assert.ok(tree.before(tree.nodes.get('a')).length < 3);
});

test('two tabs add to one conversation and lose nothing', async () => {
  const disk = new Disk();
  const record = { ...new_record(0, {}), id: 'c' };
  const one = await stored(disk);
  await one.save(record);
  one.begin(record).add(node('q', ''));
  await one.save_node(node('q', ''));
  const two = await stored(disk, [], 'two');
  const theirs = await two.load('c');
  await two.save_node(theirs.add(node('from two', 'q', 'assistant')));
  await two.save({ ...theirs.record, chosen: { q: 'from two' } });
  await one.save_node(node('from one', 'q', 'assistant'));
  await one.save({ ...record, title: 'renamed' });
  const third = await (await stored(disk)).load('c');
  assert.deepEqual(ids([...third.nodes.values()]).sort(), ['from one', 'from two', 'q']);
  assert.deepEqual([third.record.title, third.record.chosen], ['renamed', { q: 'from two' }]);
});

test('a full disk: everything goes on in memory, it is said, and is written when there is room', async () => {
  const disk = new Disk();
  const troubles = [];
  const store = await stored(disk, troubles);
  disk.full = true;
  const record = { ...new_record(0, {}), id: 'c' };
  await store.save(record);
  await store.save_node(node('q', ''));
  store.set_draft('c', 'typed');
  assert.match(troubles.at(-1), /full/);
  assert.equal(store.list().length, 1);
  assert.equal(store.draft('c'), 'typed');
  disk.full = false;
  await store.write_again();
  assert.deepEqual([disk.tables.conversations.size, disk.tables.nodes.size, troubles.at(-1)], [1, 1, null]);
});

test('what was on its way to the disk when the page went is there in the next one, once', async () => {
  const kept = new Map();
  const storage = {
    getItem: (key) => kept.get(key) ?? null,
    setItem: (key, text) => kept.set(key, text),
    removeItem: (key) => kept.delete(key),
  };
  const leftover = new Leftover(() => storage);
  const disk = new Disk();
  await disk.put('drafts', [{ id: 'sent', text: 'was sent' }]);
  const stuck = Object.assign(Object.create(disk), {
    put: () => new Promise(() => {}),
    update: () => new Promise(() => {}),
    remove: () => new Promise(() => {}),
  });
  const on = { trouble: assert.fail, changed() {} };
  const gone = await Store.open(on, { open: async () => stuck, leftover });
  gone.save({ ...new_record(0, {}), id: 'c', chosen: { q: 'a' } });
  gone.save_node(node('q', ''));
  gone.set_draft('c', 'a');
  gone.set_draft('c', 'another');
  gone.set_draft('sent', '');
  gone.leave();
  const next = await Store.open(on, { open: async () => disk, leftover });
  assert.deepEqual(ids([...(await next.load('c')).nodes.values()]), ['q']);
  assert.deepEqual(next.record('c').chosen, { q: 'a' });
  assert.deepEqual([next.draft('c'), next.draft('sent')], ['another', '']);
  assert.deepEqual(leftover.take(), []);
  next.leave(); // all of it is on the disk
  assert.deepEqual(leftover.take(), []);
});

test('where nothing can be left, a page still goes and comes', async () => {
  const denied = new Leftover(() => {
    throw new DOMException('denied', 'SecurityError');
  });
  denied.leave([['drafts', { id: 'c', text: 'typed' }]]);
  assert.deepEqual(denied.take(), []);
});

test('no storage at all: it works and says so', async () => {
  const troubles = [];
  const store = await Store.open(
    { trouble: (text) => troubles.push(text), changed() {} },
    {
      open: async () => {
        throw new Error('denied');
      },
    },
  );
  assert.match(troubles[0], /no storage \(denied\).*export/);
  const record = new_record(0, {});
  await store.save(record);
  store.set_draft(record.id, 'typed');
  assert.equal((await store.load(record.id)).record, record);
  assert.equal(store.draft(record.id), 'typed');
});

test('deleting can be undone until the bin is emptied', async () => {
  const disk = new Disk();
  const store = await stored(disk);
  await store.save({ ...new_record(0, {}), id: 'c' });
  await store.save_node(node('q', ''));
  await store.bin('c', 100);
  assert.deepEqual(store.list(), []);
  await store.restore('c');
  assert.equal((await store.load('c')).nodes.size, 1);
  await store.bin('c', 200);
  await store.empty_bin(199);
  assert.equal(disk.tables.nodes.size, 1);
  await store.empty_bin(200);
  assert.deepEqual([disk.tables.conversations.size, disk.tables.nodes.size], [0, 0]);
});

test('the number of conversations is bounded, and nothing is thrown away for it', async () => {
  const troubles = [];
  const store = await Store.open(
    { trouble: (text) => troubles.push(text), changed() {} },
    { open: async () => new Disk(), max: 2 },
  );
  for (let i = 0; i < 3; i += 1) await store.save(new_record(i, {}));
  assert.equal(store.list().length, 2);
  assert.match(troubles[0], /2 conversations/);
});

test('a draft is what was typed last', async () => {
  const disk = new Disk();
  const store = await stored(disk);
  for (const text of ['a', 'ab', 'abc']) store.set_draft('c', text);
  for (let i = 0; i < 5; i += 1) await null;
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(disk.tables.drafts.get('c').text, 'abc');
  assert.equal((await stored(disk)).draft('c'), 'abc');
});

test('search finds titles and messages', async () => {
  const store = await stored(new Disk());
  await store.save({ ...new_record(0, {}), id: 'c', title: 'About Whales' });
  await store.save({ ...new_record(0, {}), id: 'd', title: 'Other' });
  await store.save_node({ ...node('x', ''), conversation: 'd', content: 'a blue whale' });
  assert.deepEqual([...(await store.search('whale'))].sort(), ['c', 'd']);
});

test('an answer that was being written when the page went is marked, unless another tab still writes it', () => {
  const writing = (more) => ({ state: 'writing', content: 'half', tab: 'one', saved: 1000, ...more });
  assert.equal(settle(writing(), 'one', 1500).state, 'cut');
  assert.equal(settle(writing({ content: '' }), 'one', 1500).state, 'failed');
  assert.equal(settle(writing(), 'two', 1500).state, 'writing');
  assert.equal(settle(writing(), 'two', 100_000).state, 'cut');
});

test('a file brings back what was written into it, and only that', () => {
  const record = { ...new_record(5, { temperature: '0' }), title: 'T', chosen: { '': 'q' } };
  const nodes = [
    node('q', '', 'user', { conversation: record.id }),
    node('a', 'q', 'assistant', {
      conversation: record.id,
      reasoning: 'r',
      state: 'done',
      finish: 'stop',
      model: 'm',
      usage: { prompt: 1, cached: 0, completion: 2, reasoning: 1 },
      cost: { currency: 'USD', amount: '5' },
      tab: 'one',
      saved: 3,
    }),
  ];
  const [back] = read_document(written_document([{ record, nodes }], 0), 0);
  assert.deepEqual(back.record, record);
  assert.deepEqual(back.nodes[1].usage, nodes[1].usage);
  assert.deepEqual([back.nodes[1].tab, back.nodes[1].reasoning, back.nodes[1].cost.amount], [undefined, 'r', '5']);
});

test('a file that is not ours, or is made up, is refused or cut down to what is known', () => {
  for (const bad of [
    '',
    'null',
    '[]',
    '{"format":"fathom.chat"}',
    '{"format":"fathom.chat","version":9,"conversations":[]}',
    '{"format":"fathom.chat","version":1,"conversations":[{"id":"../x","messages":[]}]}',
    '{"format":"fathom.chat","version":1,"conversations":[null]}',
  ])
    assert.throws(() => read_document(bad, 0), Error, bad);
  const made = {
    format: 'fathom.chat',
    version: 1,
    conversations: [
      {
        id: 'c',
        title: 7,
        settings: { temperature: 3, system: 's' },
        chosen: [],
        messages: [
          null,
          5,
          { id: 'x' },
          { id: 'y', role: 'system', parent: '' },
          {
            id: 'z',
            role: 'assistant',
            parent: '',
            content: 9,
            state: 'writing',
            tool_calls: [null],
            cost: { amount: '1e9' },
            usage: { prompt: -1 },
            evil: true,
          },
        ],
      },
    ],
  };
  const [{ record, nodes }] = read_document(JSON.stringify(made), 7);
  assert.deepEqual([record.title, record.settings, record.created], ['', { system: 's' }, 7]);
  assert.equal(nodes.length, 1);
  assert.deepEqual(
    [nodes[0].content, nodes[0].state, nodes[0].cost, nodes[0].usage.prompt, nodes[0].evil],
    ['', 'cut', undefined, 0, undefined],
  );
});

test('costs are exact, and absent without a price', () => {
  const pricing = {
    currency: 'USD',
    input_per_million: '0.28',
    cached_input_per_million: '0.028',
    output_per_million: '0.42',
  };
  assert.equal(written(cost_of({ prompt: 12, cached: 8, completion: 5 }, pricing)), '$0.0000034');
  assert.equal(written(cost_of({ prompt: 1_000_000, cached: 0, completion: 1_000_000 }, pricing)), '$0.70');
  assert.equal(cost_of({ prompt: 1, cached: 0, completion: 1 }, null), null);
  assert.equal(cost_of({ prompt: 1, cached: 0, completion: 1 }, { ...pricing, input_per_million: 'free' }), null);
  assert.equal(
    cost_of({ prompt: 9, cached: 9, completion: 0 }, { ...pricing, cached_input_per_million: null }).amount,
    cost_of({ prompt: 9, cached: 0, completion: 0 }, pricing).amount,
  );
  assert.equal(scaled('-1'), null);
  const third = { currency: 'EUR', amount: '100000000000000000' };
  assert.deepEqual(add_costs([third, null, third, { currency: 'USD', amount: '1' }]).map(written), [
    '€0.20',
    '$0.000000000000000001',
  ]);
  assert.equal(written({ currency: 'CHF', amount: '1500000000000000000' }), 'CHF 1.50');
  assert.equal(written({ currency: 'USD', amount: '0' }), '$0.00');
});

test('titles, identifiers and numbers are short', () => {
  assert.equal(title_of('  What is\tthis?\nmore'), 'What is this?');
  assert.ok(title_of('word '.repeat(50)).length <= 61);
  assert.ok(title_of('x'.repeat(500)).length <= 61);
  assert.notEqual(new_id(), new_id());
  assert.deepEqual(
    [count(1234567), short_count(12_345), short_count(3_400_000), rate(7.25), rate(1234), rate(NaN)],
    ['1,234,567', '12.3k', '3.40M', '7.3', '1,234', '–'],
  );
  assert.deepEqual(
    [duration(250), duration(9400), duration(9960), duration(200_000), duration(3_700_000)],
    ['250 ms', '9.4 s', '10 s', '3 min 20 s', '1 h 1 min'],
  );
  assert.deepEqual([size(12), size(1500), size(33_554_432)], ['12 bytes', '1.5 kB', '33.6 MB']);
  assert.deepEqual([speed(11, 100, 1100), speed(1, 100, 100)], [10, NaN]);
});
