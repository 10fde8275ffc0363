// How does the cluster page come together? The feed brings what is and what happens; this file keeps it, draws it at most once a frame and
// not while the page is hidden, and says how fresh it is.
import { each_frame, find, make } from '../shared/dom.js';
import { fill_icons, icon } from '../shared/icons.js';
import { next_theme, theme } from '../shared/theme.js';
import { Feed } from './feed.js';
import { make_flow, show_flow } from './flow.js';
import { HappeningList } from './happenings.js';
import { keep_key, read_key, wrong_key } from './operator_key.js';
import { EventList, Past } from './past.js';
import { Cursor, Plot } from './plot.js';
import { PLOTS } from './plots.js';
import { clock, span } from './scale.js';
import { make_tiles, show_tiles } from './tiles.js';
import { Workers } from './workers.js';

const STALE_SECONDS = 4; // a view comes each second
const HIDDEN_MS = 30_000; // a page nobody sees lets go of the stream after so long
const RANGES = { 60: '1 min', 300: '5 min', 600: '10 min' };

const past = new Past();
const events = new EventList();
const cursor = new Cursor();
const happenings = new HappeningList(events);
const workers = new Workers((address) => {
  happenings.choose(address);
  find('#events').scrollIntoView({ block: 'nearest' });
});
const flow = make_flow();
const tiles = make_tiles();
const plots = PLOTS.map((what) => new Plot(what, cursor));

let view = null;
let heard = 0; // performance.now() of the last view
let condition = { name: 'connecting', why: '', since: null };
let condition_at = Date.now() / 1000;
let over = 300;
let key = read_key();

// --- what is heard

const feed = new Feed({
  fetch: (path, options) => fetch(path, options),
  set_timer: (call, ms) => setTimeout(call, ms),
  clear_timer: (timer) => clearTimeout(timer),
  key: () => key,
  on_state(state) {
    past.take(state.history);
    events.take_all(state.events);
    take_view(state.view, true);
  },
  on_view(news) {
    past.take(news.history);
    take_view(news.view, false);
  },
  on_event(event) {
    if (events.take(event)) happenings.say(event);
    draw();
  },
  on_condition(next) {
    if (next.name !== condition.name) condition_at = next.since ?? Date.now() / 1000;
    condition = next;
    show_condition();
  },
});

function take_view(next, whole) {
  view = next;
  heard = performance.now();
  workers.show(view, whole);
  draw();
}

const age = () => (view ? (performance.now() - heard) / 1000 : Infinity);

// --- what is shown

const draw = each_frame(() => {
  if (document.hidden || !view) return;
  find('#content').hidden = false;
  find('#model').textContent = view.model || 'no model yet';
  find('#gateways').textContent = `${view.gateways} ${view.gateways === 1 ? 'gateway' : 'gateways'}`;
  find('#started').textContent = `router up ${span(view.time - view.router_started)}`;
  find('#notice').textContent = notice();
  find('#notice').hidden = !find('#notice').textContent;
  show_tiles(tiles, view, past);
  show_flow(flow, view);
  happenings.show();
  draw_plots();
});

function draw_plots() {
  if (document.hidden || !view) return;
  // The right end is the present: while nothing comes, the lines move away from it.
  const end = past.end + Math.max(0, Math.floor(age()) - 1);
  for (const plot of plots) plot.show(past, end, over);
}

// What stands in the way of serving, if the router is heard.
function notice() {
  if (view.draining) return 'The router is draining: it finishes what runs and takes nothing new.';
  if (view.ready) return '';
  const able = (role) => view.workers.some((worker) => worker.state === 'up' && (worker.role === role || worker.role === 'both'));
  const missing = ['prefill', 'decode'].filter((role) => !able(role));
  return missing.length ? `Nothing can be served: no worker that can ${missing.join(' or ')} is up. Requests wait.` : 'Nothing can be served yet.';
}

const CONDITIONS = {
  connecting: () => 'connecting',
  live: () => 'live',
  router: () => `router away since ${clock(condition_at)} (${span(Date.now() / 1000 - condition_at)})`,
  gateway: () => `gateway away since ${clock(condition_at)}, trying again`,
  key: () => 'a key is needed',
};

function show_condition() {
  const silent = condition.name === 'live' && age() > STALE_SECONDS;
  const name = silent ? 'silent' : condition.name;
  const text = silent ? `nothing heard for ${span(age())}` : CONDITIONS[condition.name]();
  const node = find('#condition');
  if (node.dataset.condition !== name) {
    node.dataset.condition = name;
    find('#condition-said').textContent = text; // once, not each second
  }
  if (find('.text', node).textContent !== text) find('.text', node).textContent = text;
  node.title = condition.why;
  document.body.dataset.stale = String(view !== null && name !== 'live');
  find('#away').hidden = view !== null || name === 'key' || name === 'live';
  find('#away-why').textContent = away_text();
  find('#ask-key').hidden = name !== 'key';
  find('#key-why').textContent = key_text();
}

function away_text() {
  if (condition.name === 'router') return `The gateway does not reach its router: ${condition.why}. It keeps trying.`;
  if (condition.name === 'gateway') return 'The gateway does not answer. This page keeps trying.';
  return 'Connecting…';
}

// What to do, and what the gateway said.
function key_text() {
  if (!key) return 'What concerns all clients is shown to operators.';
  return `The key that was sent is not enough: ${condition.why}`;
}

// --- what can be pressed

function range_button(seconds, title) {
  return make('button', { type: 'button', 'data-over': seconds, 'aria-pressed': String(seconds === over), onclick: () => choose_range(seconds) }, title);
}

function choose_range(seconds) {
  over = seconds;
  for (const button of find('#ranges').children) button.setAttribute('aria-pressed', String(Number(button.dataset.over) === over));
  draw_plots();
}

function show_theme() {
  const button = find('#theme');
  const chosen = theme();
  button.replaceChildren(icon({ system: 'screen', light: 'sun', dark: 'moon' }[chosen]));
  button.setAttribute('aria-label', `Colours: ${chosen}`);
  button.title = `Colours: ${chosen}`;
  draw_plots();
}

find('#theme').addEventListener('click', () => {
  next_theme();
  show_theme();
});
find('#ask-key').addEventListener('submit', (event) => {
  event.preventDefault();
  const given = find('#key').value.trim();
  find('#key-wrong').textContent = wrong_key(given);
  if (wrong_key(given)) return;
  key = given;
  keep_key(key, find('#key-keep').checked);
  find('#key').value = '';
  feed.again();
});
document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest('input, textarea')) return;
  const seconds = { 1: 60, 5: 300, 0: 600 }[event.key];
  if (seconds) choose_range(seconds);
});

let let_go = 0;
document.addEventListener('visibilitychange', () => {
  clearTimeout(let_go);
  if (document.hidden) {
    let_go = setTimeout(() => feed.stop(), HIDDEN_MS);
  } else {
    feed.start();
    draw();
  }
});

fill_icons(document);
find('#tiles').append(tiles);
find('#flow').append(flow);
find('#plots').append(...plots.map((plot) => plot.node));
find('#workers').append(workers.node);
find('#events').append(happenings.node);
find('#ranges').append(...Object.entries(RANGES).map(([seconds, title]) => range_button(Number(seconds), title)));
cursor.listen(each_frame(draw_plots));
new ResizeObserver(each_frame(draw_plots)).observe(find('#plots'));
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw_plots);
setInterval(() => {
  show_condition();
  if (condition.name !== 'live' || age() > STALE_SECONDS) draw_plots();
}, 1000);
show_theme();
show_condition();
feed.start();
