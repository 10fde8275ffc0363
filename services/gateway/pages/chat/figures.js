// Which figures stand below an answer? While it is written: tokens a second, the time to the first one, tokens so far, and for how long
// nothing came if that is long. Afterwards what the server counted, and the cost where there is a price.
import { count, duration, rate } from '../shared/numbers.js';
import { speed } from './asking.js';
import { written } from './cost.js';

const SILENCE_MS = 5000;

// run: what asking.js knows of the answer being written, or null.
export function figures_of(node, run) {
  return (run ? live(run, performance.now()) : final(node)).filter(Boolean).join(' · ');
}

function live(run, now) {
  if (run.first_at === null) return [now - run.started > 1000 ? `waiting ${duration(now - run.started)}` : ''];
  const per_second = speed(run.tokens, run.first_at, run.last_at);
  const silent = now - run.last_at;
  return [Number.isFinite(per_second) ? `${rate(per_second)} tokens/s` : '', `first token ${duration(run.first_at - run.started)}`, `${count(run.tokens)} tokens`,
    silent > SILENCE_MS ? `nothing for ${duration(silent)}` : ''];
}

function final(node) {
  const { usage } = node;
  const per_second = node.first_ms === undefined ? NaN : speed(node.tokens, node.first_ms, node.total_ms);
  return [Number.isFinite(per_second) ? `${rate(per_second)} tokens/s` : '', node.first_ms === undefined ? '' : `first token ${duration(node.first_ms)}`,
    usage ? `${count(usage.prompt)} in${usage.cached ? ` (${count(usage.cached)} cached)` : ''}` : '', usage ? `${count(usage.completion)} out` : '', node.cost ? written(node.cost) : ''];
}

// Of a whole conversation, or '' while there is nothing to tell.
export function figures_of_all({ prompt, cached, completion, costs }) {
  if (!prompt) return '';
  return [`${count(prompt)} in${cached ? ` (${count(cached)} cached)` : ''}`, `${count(completion)} out`, ...costs.map(written)].join(' · ');
}
