// What are the few numbers that say how the cluster is? Token rates, latencies of the last minute, cache hits and memory, each with its
// own last minutes as a thin line.
import { find, make } from '../shared/dom.js';
import { UNITS, percent, seconds } from './scale.js';
import { sparkline } from './spark.js';

const TILES = [
  {
    id: 'generated', title: 'Generated', hint: 'Tokens sent to gateways, mean of ten seconds',
    main: (view) => UNITS.rate.text(view.tokens.generated_per_second), unit: 'tokens',
    also: (view) => `${UNITS.count.text(view.requests.decoding)} decoding`, column: 'generated_tokens',
  },
  {
    id: 'prompt', title: 'Prompt', hint: 'Prompt positions computed, mean of ten seconds',
    main: (view) => UNITS.rate.text(view.tokens.prompt_per_second), unit: 'tokens',
    also: (view) => `${UNITS.rate.text(view.tokens.cached_per_second)} more from cache`, column: 'prompt_tokens',
  },
  {
    id: 'cached', title: 'Prefix cache hits', hint: 'Prompt positions taken from prefix caches, of all that were needed, in ten seconds',
    main: (view) => (view.tokens.prompt_per_second + view.tokens.cached_per_second > 0 ? percent(view.tokens.cached_share) : '–'), unit: '',
    also: () => 'of prompt tokens', column: null,
  },
  {
    id: 'first', title: 'First token', hint: 'From arrival at the router to the first token, last minute',
    main: (view) => latency(view.latency.first_token, 'p50_seconds'), unit: 'median',
    also: (view) => `99 % in ${latency(view.latency.first_token, 'p99_seconds')}`, column: 'first_token_p50_seconds',
  },
  {
    id: 'inter', title: 'Between tokens', hint: 'Between two tokens of a request, last minute',
    main: (view) => latency(view.latency.inter_token, 'p50_seconds'), unit: 'median',
    also: (view) => `99 % in ${latency(view.latency.inter_token, 'p99_seconds')}`, column: 'inter_token_p50_seconds',
  },
  {
    id: 'kv', title: 'KV memory', hint: 'Blocks promised to sequences, of all that the connected workers have',
    main: (view) => (view.kv.blocks ? percent(view.kv.blocks_reserved / view.kv.blocks) : '–'), unit: '',
    also: (view) => `${UNITS.count.text(view.kv.blocks_reserved)} of ${UNITS.count.text(view.kv.blocks)} blocks`, column: 'blocks_reserved',
  },
];
const SPARK_SECONDS = 120;

const latency = (percentiles, name) => (percentiles.count ? seconds(percentiles[name]) : '–');

export function make_tiles() {
  return make('dl', { class: 'tiles' }, ...TILES.map((tile) => make('div', { class: 'tile', id: `tile-${tile.id}`, title: tile.hint },
    make('dt', {}, tile.title),
    make('dd', { class: 'main' }, make('span', { class: 'number' }, '–'), ' ', make('span', { class: 'unit' }, tile.unit)),
    make('dd', { class: 'also' }, '\u00a0'),
    tile.column ? make('dd', { class: 'spark', 'aria-hidden': 'true' }, sparkline().node) : null)));
}

export function show_tiles(tiles, view, past) {
  for (const tile of TILES) {
    const node = find(`#tile-${tile.id}`, tiles);
    find('.number', node).textContent = tile.main(view);
    find('.also', node).textContent = tile.also(view);
    if (tile.column) sparkline(find('.spark svg', node)).show((past.columns[tile.column] ?? []).slice(-SPARK_SECONDS), SPARK_SECONDS);
  }
}
