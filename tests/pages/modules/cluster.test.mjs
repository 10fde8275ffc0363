// Does the cluster page read, keep and write what it is told, exactly? The stream in any pieces, the past without gaps or repeats, axes,
// units, thin lines, and the feed through every way a gateway can fail, with time that moves only when the test says so.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Feed } from '../../../services/gateway/pages/cluster/feed.js';
import { EventList, Past, SECONDS_KEPT, shown } from '../../../services/gateway/pages/cluster/past.js';
import { moving } from '../../../services/gateway/pages/cluster/plots.js';
import { percent, seconds, span, ticks_to, UNITS } from '../../../services/gateway/pages/cluster/scale.js';
import { spark_path } from '../../../services/gateway/pages/cluster/spark.js';
import { EventReader } from '../../../services/gateway/pages/cluster/stream.js';

const STREAM = ': connected\n\nevent: view\nid: 5-7\ndata: {"a":1}\n\nevent: happened\r\nid: 6-8\r\ndata: one\r\ndata: two\r\n\r\n: keep-alive\n\n';

test('a stream means the same in any pieces', () => {
  const whole = new EventReader().push(STREAM);
  assert.deepEqual(whole.map(({ name }) => name), ['comment', 'view', 'happened', 'comment']);
  assert.deepEqual(whole[1], { name: 'view', id: '5-7', data: '{"a":1}' });
  assert.equal(whole[2].data, 'one\ntwo');
  for (let cut = 1; cut < STREAM.length; ++cut)
    for (const other of [cut, Math.min(STREAM.length, cut + 3)]) {
      const reader = new EventReader();
      const pieces = [STREAM.slice(0, cut), STREAM.slice(cut, other), STREAM.slice(other)];
      assert.deepEqual(pieces.flatMap((piece) => reader.push(piece)), whole);
    }
});

test('an event without an end is given up', () => {
  const reader = new EventReader();
  assert.throws(() => {
    for (let i = 0; i < 40; ++i) reader.push(`data: ${'x'.repeat(1024 * 1024)}\n`);
  });
});

const history = (first, count, value = (at) => at) => {
  const time = Array.from({ length: count }, (_, i) => first + i);
  return { time, waiting: time.map(value) };
};

test('the past takes each second once, in order, and forgets the oldest', () => {
  const past = new Past();
  past.take(history(100, 50));
  past.take(history(140, 20)); // ten of them are known
  assert.deepEqual(past.columns.time, history(100, 60).time);
  assert.equal(past.end, 160);
  past.take(history(160, SECONDS_KEPT));
  assert.equal(past.length, SECONDS_KEPT);
  assert.equal(past.columns.time[0], 160);
  assert.equal(past.columns.waiting.length, SECONDS_KEPT);
  past.take({ time: [], waiting: [] });
  assert.equal(past.length, SECONDS_KEPT);
  assert.equal(past.index_from(0), 0);
  assert.equal(past.index_from(170), 10);
  assert.equal(past.index_from(1e9), SECONDS_KEPT);
});

test('a gap stays a gap, a new quantity begins with nothing, and a clock set back begins anew', () => {
  const past = new Past();
  past.take({ time: [10, 11], waiting: [1, 2] });
  past.take({ time: [30], waiting: [3], fresh: [9] });
  assert.deepEqual(past.columns, { time: [10, 11, 30], waiting: [1, 2, 3], fresh: [null, null, 9] });
  past.take({ time: [2_000_000], waiting: [4], fresh: [1] });
  past.take({ time: [500], waiting: [5], fresh: [1] });
  assert.deepEqual(past.columns.time, [500]);
});

test('events are kept once, newest first, and filtered', () => {
  const list = new EventList();
  const event = (number, kind, worker = '', peer = '') => ({ number, kind, worker, peer });
  assert.equal(list.take_all([event(1, 'worker_up', 'a'), event(2, 'moved', 'a', 'b'), event(2, 'moved'), event(5, 'worker_down', 'b')]).length, 3);
  assert.deepEqual(list.list.map(({ number }) => number), [5, 2, 1]);
  assert.deepEqual(shown(list.list, 'failures').map(({ number }) => number), [5]);
  assert.deepEqual(shown(list.list, 'all', 'b').map(({ number }) => number), [5, 2]);
  for (let number = 6; number < 2000; ++number) list.take(event(number, 'moved'));
  assert.equal(list.list.length, 500);
});

test('axes have round steps and room for every value', () => {
  assert.deepEqual(ticks_to(0), { top: 1, ticks: [0, 1] });
  assert.deepEqual(ticks_to(NaN), { top: 1, ticks: [0, 1] });
  for (let max = 1e-6; max < 1e9; max *= 1.37) {
    const { top, ticks } = ticks_to(max);
    assert.ok(top >= max * 0.998 && top <= max * 2.6, `${max}: ${top}`);
    assert.ok(ticks.length >= 2 && ticks.length <= 6, `${max}: ${ticks}`);
    const step = (ticks[1] - ticks[0]) / 10 ** Math.floor(Math.log10(ticks[1] - ticks[0]) + 1e-9);
    assert.ok([1, 2, 5].some((round) => Math.abs(step - round) < 1e-6), `${max}: ${step}`);
  }
});

test('values are written short, with their unit', () => {
  assert.deepEqual([0, 0.0000421, 0.0123, 0.25, 1, 12.34, 90, 600].map(seconds), ['0 ms', '42.1 µs', '12.3 ms', '250 ms', '1 s', '12.3 s', '90 s', '10 min']);
  assert.equal(seconds(null), '–');
  assert.deepEqual([0, 0.004, 0.5, 1].map(percent), ['0 %', '0.4 %', '50 %', '100 %']);
  assert.deepEqual([3, 61, 3700, 90_000, NaN].map(span), ['3 s', '1 min', '1 h 1 min', '1 d 1 h', '–']);
  assert.deepEqual([0, 2.5, 1234, 12_345].map(UNITS.rate.text), ['0/s', '2.5/s', '1,234/s', '12.3k/s']);
  assert.equal(UNITS.rate.tick(40_000), '40k');
  assert.equal(moving(10, 3, 5), 2);
  assert.equal(moving(3, 3, 5), 0);
});

test('a thin line breaks where nothing is known and ends at the right', () => {
  assert.equal(spark_path([], 4), '');
  const path = spark_path([1, null, 2, 4], 4, 40, 20);
  assert.equal(path, 'M5.0 14.3h.8M25.0 10.0L35.0 1.5');
  assert.match(spark_path([1], 4, 40, 20), /^M35\.0 1\.5/); // the newest is at the right end
});

// --- the feed, against a gateway of the test's making

class Gateway {
  said = [];
  timers = [];
  calls = [];
  state = { id: '5-7', lost: null, view: {}, history: {}, events: [] };
  answers = {}; // path: () -> Response or a rejection

  constructor() {
    this.feed = new Feed({
      fetch: (path, options) => {
        this.calls.push({ path, headers: options.headers });
        return this.#answer(path, options);
      },
      set_timer: (call, ms) => this.timers.push({ call, ms }),
      clear_timer: (number) => number && (this.timers[number - 1] = null),
      key: () => this.key ?? '',
      on_state: () => this.said.push('state'),
      on_view: () => this.said.push('view'),
      on_event: (event) => this.said.push(`event ${event.number}`),
      on_condition: ({ name }) => this.said.at(-1) !== name && this.said.push(name),
    });
  }

  async #answer(path, { signal }) {
    if (this.answers[path]) return this.answers[path]();
    if (path === '/cluster/state') return Response.json(this.state);
    const body = new ReadableStream({
      start: (controller) => {
        this.stream = controller;
        signal.addEventListener('abort', () => controller.error(new Error('aborted')));
      },
    });
    return new Response(body);
  }

  send(name, data) {
    this.stream.enqueue(new TextEncoder().encode(`event: ${name}\nid: 6-8\ndata: ${JSON.stringify(data)}\n\n`));
  }

  // Until everything that can happen has.
  async settle() {
    for (let i = 0; i < 20; ++i) await new Promise((resolve) => setImmediate(resolve));
  }

  async pass(ms) {
    const due = this.timers.findLast((timer) => timer && timer.ms === ms);
    assert.ok(due, `no timer of ${ms} ms`);
    this.timers[this.timers.indexOf(due)] = null;
    due.call();
    await this.settle();
  }

  take() {
    return this.said.splice(0);
  }
}

test('the feed reads the state, then the stream from there on', async () => {
  const gateway = new Gateway();
  gateway.feed.start();
  await gateway.settle();
  assert.deepEqual(gateway.take(), ['state', 'live']);
  assert.equal(gateway.calls[1].headers['last-event-id'], '5-7');
  gateway.send('view', {});
  gateway.send('happened', { number: 9 });
  await gateway.settle();
  assert.deepEqual(gateway.take(), ['view', 'live', 'event 9']);
  gateway.feed.stop();
});

test('a lost router is said, and that it is back', async () => {
  const gateway = new Gateway();
  gateway.feed.start();
  await gateway.settle();
  gateway.send('lost', { since: 5, why: 'gone' });
  await gateway.settle();
  gateway.send('view', {});
  await gateway.settle();
  assert.deepEqual(gateway.take(), ['state', 'live', 'router', 'view', 'live']);
  gateway.feed.stop();
});

test('a gateway that goes away is tried again with longer pauses, and found', async () => {
  const gateway = new Gateway();
  gateway.feed.start();
  await gateway.settle();
  gateway.take();
  gateway.answers['/cluster/state'] = () => Promise.reject(new TypeError('refused'));
  gateway.stream.error(new Error('cut'));
  await gateway.settle();
  for (const ms of [250, 500, 1000, 2000, 4000, 4000]) await gateway.pass(ms);
  assert.deepEqual(gateway.take(), ['gateway']);
  delete gateway.answers['/cluster/state'];
  await gateway.pass(4000);
  assert.deepEqual(gateway.take(), ['state', 'live']);
  gateway.feed.stop();
});

test('a stream that says nothing is given up', async () => {
  const gateway = new Gateway();
  gateway.feed.start();
  await gateway.settle();
  gateway.take();
  await gateway.pass(25_000);
  assert.deepEqual(gateway.take(), ['gateway']);
  await gateway.pass(250);
  assert.deepEqual(gateway.take(), ['state', 'live']);
  gateway.feed.stop();
});

test('without a router so far, the first view brings the whole state', async () => {
  const gateway = new Gateway();
  gateway.answers['/cluster/state'] = () => Promise.resolve(Response.json({ error: { message: 'no router' } }, { status: 503 }));
  gateway.feed.start();
  await gateway.settle();
  gateway.send('lost', { since: 5, why: 'never there' });
  await gateway.settle();
  assert.deepEqual(gateway.take(), ['router']);
  delete gateway.answers['/cluster/state'];
  gateway.send('view', {});
  await gateway.settle();
  assert.deepEqual(gateway.take(), ['state', 'live']);
  gateway.feed.stop();
});

test('a key is asked for once, and sent when given', async () => {
  const gateway = new Gateway();
  const refusal = () => Promise.resolve(Response.json({ error: { message: 'a key is needed' } }, { status: 401 }));
  gateway.answers['/cluster/state'] = refusal;
  gateway.feed.start();
  await gateway.settle();
  assert.deepEqual(gateway.take(), ['key']);
  assert.equal(gateway.calls.length, 1);
  delete gateway.answers['/cluster/state'];
  gateway.key = 'sk-operator';
  gateway.feed.again();
  await gateway.settle();
  assert.deepEqual(gateway.take(), ['state', 'live']);
  assert.equal(gateway.calls.at(-1).headers.authorization, 'Bearer sk-operator');
  gateway.feed.stop();
});

test('a feed that is stopped and started at once runs once', async () => {
  const gateway = new Gateway();
  gateway.feed.start();
  await gateway.settle();
  gateway.feed.stop();
  gateway.feed.start();
  await gateway.settle();
  assert.deepEqual(gateway.take(), ['state', 'live', 'state', 'live']);
  assert.equal(gateway.calls.length, 4);
  gateway.feed.stop();
});

test('a stopped feed asks nothing more', async () => {
  const gateway = new Gateway();
  gateway.feed.start();
  await gateway.settle();
  gateway.feed.stop();
  await gateway.settle();
  const calls = gateway.calls.length;
  for (const timer of gateway.timers) timer?.call();
  await gateway.settle();
  assert.equal(gateway.calls.length, calls);
});
