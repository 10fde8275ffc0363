// Where are the requests on their way? A strip of five places (waiting, prefill, moving, decode, ended) with how many are in each and how
// many pass from one to the next in a second.
import { find, make } from '../shared/dom.js';
import { moving } from './plots.js';
import { UNITS } from './scale.js';

const PLACES = [
  { id: 'waiting', title: 'Waiting', says: 'in the queue' },
  { id: 'prefill', title: 'Prefill', says: 'reading the prompt' },
  { id: 'moving', title: 'Moving', says: 'KV on its way' },
  { id: 'decode', title: 'Decode', says: 'writing the answer' },
  { id: 'ended', title: 'Ended', says: 'a second' },
];

export function make_flow() {
  const items = [];
  PLACES.forEach((place, i) => {
    if (i > 0) items.push(make('li', { class: 'passes', id: `passes-${place.id}`, 'aria-hidden': 'true' }, make('span', { class: 'rate' }), make('span', { class: 'arrow' })));
    items.push(make('li', { class: 'place', id: `place-${place.id}` },
      make('span', { class: 'name' }, place.title), make('span', { class: 'amount' }, '–'), make('span', { class: 'says' }, place.says)));
  });
  return make('ol', { class: 'flow', 'aria-label': 'Requests by stage' }, ...items);
}

function put(flow, id, amount, says) {
  const place = find(`#place-${id}`, flow);
  find('.amount', place).textContent = amount;
  if (says !== undefined) find('.says', place).textContent = says;
}

function pass(flow, id, per_second) {
  const passes = find(`#passes-${id}`, flow);
  find('.rate', passes).textContent = UNITS.rate.text(per_second);
  passes.classList.toggle('busy', per_second > 0);
}

export function show_flow(flow, view) {
  const { requests } = view;
  const ended = Object.entries(requests.ended_per_second);
  const all = ended.reduce((sum, [, rate]) => sum + rate, 0);
  const bad = ['refused', 'timeout', 'failed'].reduce((sum, name) => sum + requests.ended_per_second[name], 0);
  const count = UNITS.count.text;
  put(flow, 'waiting', count(requests.waiting), `of ${count(requests.waiting_max)} at most`);
  put(flow, 'prefill', count(requests.prefilling));
  put(flow, 'moving', count(moving(requests.running, requests.prefilling, requests.decoding)));
  put(flow, 'decode', count(requests.decoding));
  put(flow, 'ended', UNITS.rate.text(all), bad > 0 ? `${UNITS.rate.text(bad)} refused or failed` : 'none refused or failed');
  find('#place-ended', flow).classList.toggle('bad', bad > 0);
  find('#place-waiting', flow).classList.toggle('full', requests.waiting >= 0.9 * requests.waiting_max);
  pass(flow, 'prefill', requests.admitted_per_second);
  pass(flow, 'moving', requests.moved_per_second);
  pass(flow, 'decode', requests.moved_per_second);
  pass(flow, 'ended', all - requests.ended_per_second.refused);
}
