// Which plots are on the page? Each names its quantities as docs/cluster.md does; a tone is a colour of the style sheet, a dash tells lines
// of one tone apart without colour.
const column = (name) => (past, i) => past.value(name, i);
const sum = (...names) => (past, i) => names.reduce((all, name) => all + (past.value(name, i) ?? 0), 0);

const percentiles = (name) => [
  { name: '50 %', tone: 'tone-1', values: column(`${name}_p50_seconds`) },
  { name: '90 %', tone: 'tone-2', dash: 'dashed', values: column(`${name}_p90_seconds`) },
  { name: '99 %', tone: 'tone-3', dash: 'dotted', values: column(`${name}_p99_seconds`) },
];

export const PLOTS = [
  {
    id: 'plot-generated', title: 'Generated tokens', unit: 'rate', stacked: true, hint: 'Tokens sent to gateways in each second',
    series: [{ name: 'generated', tone: 'tone-1', values: column('generated_tokens') }],
  },
  {
    id: 'plot-prompt', title: 'Prompt tokens', unit: 'rate', stacked: true, hint: 'Prompt positions in each second: computed by workers, or taken from their prefix caches',
    series: [
      { name: 'computed', tone: 'tone-2', values: column('prompt_tokens') },
      { name: 'from cache', tone: 'tone-4', values: column('cached_tokens') },
    ],
  },
  {
    id: 'plot-requests', title: 'Requests', unit: 'count', stacked: true, hint: 'Where the requests are at the end of each second',
    series: [
      { name: 'decode', tone: 'tone-1', values: column('decoding') },
      { name: 'moving', tone: 'tone-3', values: (past, i) => moving(past.value('running', i), past.value('prefilling', i), past.value('decoding', i)) },
      { name: 'prefill', tone: 'tone-2', values: column('prefilling') },
      { name: 'waiting', tone: 'tone-5', values: column('waiting') },
    ],
  },
  { id: 'plot-first', title: 'Time to first token', unit: 'seconds', hint: 'From arrival at the router; percentiles of the last ten seconds', series: percentiles('first_token') },
  { id: 'plot-inter', title: 'Time between tokens', unit: 'seconds', hint: 'Of each request, per token; percentiles of the last ten seconds', series: percentiles('inter_token') },
  { id: 'plot-queue', title: 'Time in the queue', unit: 'seconds', hint: 'From arrival to admission; percentiles of the last ten seconds', series: percentiles('queue') },
  {
    id: 'plot-kv', title: 'KV blocks', unit: 'count', stacked: true, hint: 'Blocks promised to sequences, of all that the connected workers have', top: (past) => past.value('blocks', past.length - 1) ?? 0,
    series: [{ name: 'reserved', tone: 'tone-4', values: column('blocks_reserved') }],
  },
  {
    id: 'plot-ended', title: 'Requests ended', unit: 'rate', stacked: true, hint: 'By how they ended, in each second',
    series: [
      { name: 'complete', tone: 'tone-1', values: sum('ended_stop', 'ended_length') },
      { name: 'cancelled', tone: 'tone-5', values: column('ended_cancelled') },
      { name: 'refused or failed', tone: 'tone-bad', values: sum('ended_refused', 'ended_timeout', 'ended_failed') },
    ],
  },
];

// Requests that have a token and only wait for their KV at the decode home.
export const moving = (running, prefilling, decoding) => Math.max(0, (running ?? 0) - (prefilling ?? 0) - (decoding ?? 0));
