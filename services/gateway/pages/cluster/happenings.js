// What happened lately? A list, newest first, that is filtered by what it is about and by worker. Each kind has a mark and a word of its own,
// so that colour is never needed to tell them apart. Failures of workers are also said to screen readers.
import { make } from '../shared/dom.js';
import { shown } from './past.js';
import { clock } from './scale.js';

const KINDS = {
  router_started: { mark: '▲', word: 'router started', tone: 'calm' },
  router_draining: { mark: '▽', word: 'router draining', tone: 'warn' },
  worker_up: { mark: '●', word: 'worker up', tone: 'good' },
  worker_draining: { mark: '◐', word: 'worker draining', tone: 'warn' },
  worker_down: { mark: '✕', word: 'worker down', tone: 'bad' },
  worker_refused: { mark: '⊘', word: 'worker refused', tone: 'bad' },
  gateway_up: { mark: '○', word: 'gateway up', tone: 'calm' },
  gateway_down: { mark: '✕', word: 'gateway left', tone: 'warn' },
  moved: { mark: '→', word: 'moved', tone: 'calm' },
  transfer_failed: { mark: '↯', word: 'transfer failed', tone: 'bad' },
  recovered: { mark: '↻', word: 'recovered', tone: 'warn' },
  preempted: { mark: '⇣', word: 'gave way', tone: 'warn' },
  refused: { mark: '⊘', word: 'queue full', tone: 'bad' },
};
const FILTERS = [['all', 'All'], ['failures', 'Failures'], ['members', 'Coming and going'], ['moves', 'Moves']];
const ROWS_MAX = 200;

const about = (event) => (event.peer ? `${event.peer} → ${event.worker}` : event.worker);

function make_row(event) {
  const kind = KINDS[event.kind] ?? { mark: '·', word: event.kind, tone: 'calm' };
  return make('li', { class: `happening ${kind.tone}`, 'data-number': event.number },
    make('time', { datetime: new Date(event.time * 1000).toISOString(), title: new Date(event.time * 1000).toLocaleString() }, clock(event.time)),
    make('span', { class: 'kind' }, make('span', { class: 'sign', 'aria-hidden': 'true' }, kind.mark), kind.word),
    make('span', { class: 'about' }, about(event)),
    make('span', { class: 'text' }, event.text));
}

export class HappeningList {
  #list;
  #group = 'all';
  #worker = '';

  constructor(list) {
    this.#list = list;
    this.rows = make('ol', { class: 'happenings', tabindex: '0', 'aria-label': 'Events, newest first' });
    this.empty = make('p', { class: 'empty' }, 'Nothing happened.');
    this.chosen = make('button', { class: 'quiet chosen', type: 'button', hidden: true, title: 'Show the events of all workers', onclick: () => this.choose('') });
    this.filters = make('div', { class: 'segments', role: 'group', 'aria-label': 'Which events' }, ...FILTERS.map(([group, title]) =>
      make('button', { type: 'button', 'data-group': group, 'aria-pressed': String(group === 'all'), onclick: () => this.#filter(group) }, title)));
    this.said = make('p', { class: 'unseen', role: 'status' });
    this.node = make('div', {}, make('div', { class: 'filters' }, this.filters, this.chosen), this.rows, this.empty, this.said);
  }

  #filter(group) {
    this.#group = group;
    for (const button of this.filters.children) button.setAttribute('aria-pressed', String(button.dataset.group === group));
    this.show();
  }

  // Only what is about this worker; '': all.
  choose(worker) {
    this.#worker = worker;
    this.chosen.hidden = !worker;
    this.chosen.textContent = worker ? `${worker} ✕` : '';
    this.show();
  }

  say(event) {
    if (event.kind === 'worker_down' || event.kind === 'worker_up') this.said.textContent = `${KINDS[event.kind].word}: ${event.worker}`;
  }

  // Rows that are there already stay; only new ones are made.
  show() {
    const events = shown(this.#list.list, this.#group, this.#worker).slice(0, ROWS_MAX);
    const known = new Map([...this.rows.children].map((row) => [row.dataset.number, row]));
    this.rows.replaceChildren(...events.map((event) => known.get(String(event.number)) ?? make_row(event)));
    this.rows.hidden = events.length === 0;
    this.empty.hidden = events.length > 0;
    this.empty.textContent = this.#group === 'all' && !this.#worker ? 'Nothing happened.' : 'Nothing of this kind happened.';
  }
}
