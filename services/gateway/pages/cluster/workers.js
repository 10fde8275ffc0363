// How is every worker? One card each, in columns by role, in the order of their addresses, so that a card stays where it is. A column of
// many workers is a table of one line each; the style sheet does that. Cards are changed in place, never made anew.
import { find, make } from '../shared/dom.js';
import { UNITS, percent, seconds, span } from './scale.js';
import { sparkline } from './spark.js';

export const ROLES = [
  { id: 'prefill', title: 'Prefill', says: 'read prompts' },
  { id: 'decode', title: 'Decode', says: 'write answers' },
  { id: 'both', title: 'Prefill and decode', says: 'do both' },
];
const STATES = {
  up: { mark: '●', text: 'up' },
  draining: { mark: '◐', text: 'draining' },
  connecting: { mark: '○', text: 'connecting' },
  down: { mark: '✕', text: 'down' },
};
const SLOTS = 120;
const MANY = 8; // cards of a column before it becomes a table

export const is_here = (worker) => worker.state === 'up' || worker.state === 'draining';

// Of the kind of step that the worker does most.
export function main_steps(worker) {
  const kinds = Object.entries(worker.steps).filter(([, steps]) => steps.count > 0).sort((a, b) => b[1].count - a[1].count);
  return kinds.length ? { kind: kinds[0][0], ...kinds[0][1] } : null;
}

// The step times of two minutes, which events bring one by one.
export class StepPast {
  #of = new Map();

  take(worker, whole) {
    const known = whole ? [] : (this.#of.get(worker.address) ?? []);
    const all = known.concat(worker.step_mean_seconds).slice(-SLOTS);
    this.#of.set(worker.address, all);
    return all;
  }

  keep_only(addresses) {
    for (const address of this.#of.keys()) if (!addresses.has(address)) this.#of.delete(address);
  }
}

const fact = (name, title, hint) => make('div', { class: `fact ${name}`, title: hint }, make('dt', {}, title, make('span', { class: 'kind' })), make('dd', {}, make('span', { class: 'big' }, '–'), ' ', make('span', { class: 'small' })));

function make_card(worker, choose) {
  return make('li', { class: 'worker' },
    make('header', {},
      make('span', { class: 'state' }, make('span', { class: 'dot', 'aria-hidden': 'true' }), make('span', { class: 'state-text' })),
      make('button', { class: 'address', type: 'button', title: 'Show the events of this worker', onclick: () => choose(worker.address) }, worker.address),
      make('span', { class: 'group' })),
    make('p', { class: 'why' }),
    make('dl', {},
      fact('step', 'Step', 'Duration of a step: median and 99 % of the last ten seconds, of the kind it does most'),
      make('div', { class: 'fact line', title: 'Mean step of each of the last 120 seconds' }, make('dt', { class: 'unseen' }, 'Step times of two minutes'), make('dd', {}, sparkline().node)),
      fact('batch', 'Batch', 'Sequences of a step, mean, and how many it may hold'),
      fact('queue', 'Queue', 'Prompt tokens it was told to compute and has not'),
      fact('tokens', 'Tokens', 'Tokens drawn, and prompt positions computed'),
      fact('cache', 'Cache', 'Prompt positions taken from its prefix cache; and guessed tokens that were right'),
      make('div', { class: 'fact kv', title: 'KV blocks: dark is in use, light is promised to sequences' }, make('dt', {}, 'KV'),
        make('dd', {}, make('span', { class: 'bar', 'aria-hidden': 'true' }, make('span', { class: 'reserved' }), make('span', { class: 'held' })), make('span', {}, make('span', { class: 'big' }, '–'), ' ', make('span', { class: 'small' }))))));
}

const write = (node, text) => {
  if (node.textContent !== text) node.textContent = text;
};

function put(card, name, big, small = '') {
  const node = find(`.${name}`, card);
  write(find('.big', node), big);
  write(find('.small', node), small);
}

function tokens_of(worker) {
  const generated = UNITS.rate.text(worker.generated_tokens_per_second);
  const prompt = UNITS.rate.text(worker.prompt_tokens_per_second);
  if (worker.role === 'prefill') return [prompt, 'prompt'];
  if (worker.role === 'decode') return [generated, 'generated'];
  return [generated, `+ ${prompt} prompt`];
}

function show_card(card, worker, steps) {
  const state = STATES[worker.state];
  const here = is_here(worker);
  card.dataset.state = worker.state;
  write(find('.dot', card), state.mark);
  write(find('.state-text', card), `${state.text} ${span(worker.state_seconds)}`);
  write(find('.group', card), worker.tensor_parallel > 1 ? `TP ${worker.tensor_parallel}` : '');
  write(find('.why', card), here ? '' : worker.why);
  const main = main_steps(worker);
  put(card, 'step', main ? seconds(main.p50_seconds) : '–', main ? `99 % ${seconds(main.p99_seconds)}` : here ? 'idle' : '');
  write(find('.step .kind', card), main ? `, ${main.kind}` : '');
  sparkline(find('.line svg', card)).show(steps, SLOTS);
  put(card, 'batch', here ? UNITS.count.tick(worker.rows) : '–', here ? `of ${UNITS.count.text(worker.rows_max)}` : '');
  put(card, 'queue', here ? UNITS.count.text(worker.uncomputed_tokens) : '–', here ? 'tokens' : '');
  put(card, 'tokens', ...(here ? tokens_of(worker) : ['–']));
  const reads = worker.prompt_tokens_per_second + worker.cached_tokens_per_second > 0;
  const drafts = worker.draft_acceptance === null ? '' : `guesses ${percent(worker.draft_acceptance)} right`;
  put(card, 'cache', reads && here ? percent(worker.cached_share) : '–', reads && here ? `hit${drafts && ', '}${drafts}` : drafts);
  show_kv(find('.kv', card), worker, here);
}

function show_kv(node, worker, here) {
  const share = (blocks) => (worker.blocks > 0 && here ? blocks / worker.blocks : 0);
  find('.reserved', node).style.width = `${100 * Math.min(1, share(worker.blocks_reserved))}%`;
  find('.held', node).style.width = `${100 * Math.min(1, share(worker.blocks_held))}%`;
  write(find('.big', node), here && worker.blocks ? percent(share(worker.blocks_reserved)) : '–');
  write(find('.small', node), here && worker.blocks ? `of ${UNITS.count.text(worker.blocks)} blocks` : '');
}

function make_column(role) {
  return make('section', { class: 'column', id: `workers-${role.id}`, 'aria-labelledby': `workers-${role.id}-title`, hidden: true },
    make('h3', { id: `workers-${role.id}-title` }, role.title, ' ', make('span', { class: 'how-many' })),
    make('ul', { class: 'workers' }));
}

export class Workers {
  #cards = new Map(); // by address: { card, role }
  #steps = new StepPast();
  #choose;

  // choose(address): the reader wants to see the events of one.
  constructor(choose) {
    this.#choose = choose;
    this.empty = make('p', { class: 'empty', hidden: true }, 'The router has not heard of any worker yet.');
    this.node = make('div', { class: 'columns' }, ...ROLES.map(make_column), this.empty);
  }

  // `whole`: the view comes with the past of each worker.
  show(view, whole) {
    for (const worker of view.workers) this.#one(worker, this.#steps.take(worker, whole));
    const here = new Set(view.workers.map((worker) => worker.address));
    for (const [address, { card }] of this.#cards)
      if (!here.has(address)) {
        card.remove();
        this.#cards.delete(address);
      }
    this.#steps.keep_only(here);
    for (const role of ROLES) this.#count(role, view.workers.filter((worker) => worker.role === role.id));
    this.empty.hidden = view.workers.length > 0;
  }

  #one(worker, steps) {
    let known = this.#cards.get(worker.address);
    if (!known) {
      known = { card: make_card(worker, this.#choose), role: null };
      this.#cards.set(worker.address, known);
    }
    if (known.role !== worker.role) {
      known.role = worker.role;
      this.#place(worker, known.card);
    }
    show_card(known.card, worker, steps);
  }

  #place(worker, card) {
    const list = find(`#workers-${worker.role} .workers`, this.node);
    card.dataset.address = worker.address;
    const after = [...list.children].find((other) => other.dataset.address.localeCompare(worker.address, 'en', { numeric: true }) > 0);
    list.insertBefore(card, after ?? null);
  }

  #count(role, workers) {
    const column = find(`#workers-${role.id}`, this.node);
    const up = workers.filter(is_here).length;
    column.hidden = workers.length === 0;
    column.classList.toggle('many', workers.length > MANY);
    column.style.flexGrow = Math.min(4, workers.length); // a role of many gets more of the width
    find('.how-many', column).textContent = up === workers.length ? `${up} up` : `${up} of ${workers.length} up`;
    find('.how-many', column).classList.toggle('bad', up < workers.length);
  }
}
