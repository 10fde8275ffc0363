// What is this page made of, and who tells whom? The parts are made here, once, and handed what they need: the store
// keeps, the session does, asking talks to the server, the views draw. The address' fragment names the open
// conversation, so a reload comes back to it.
import { fill_icons, icon } from '../shared/icons.js';
import { find } from '../shared/dom.js';
import { next_theme, theme } from '../shared/theme.js';
import { Asking } from './asking.js';
import { Composer } from './composer.js';
import { name_of, new_id } from './conversation.js';
import { fill_examples } from './examples.js';
import { figures_of_all } from './figures.js';
import { Key } from './key.js';
import { listen_for_keys } from './keyboard.js';
import { Leftover } from './leftover.js';
import { Models } from './models.js';
import { Notices } from './notices.js';
import { Session } from './session.js';
import { Settings, read_defaults } from './settings.js';
import { Sidebar } from './sidebar.js';
import { Store } from './store.js';
import { Thread } from './thread.js';
import { export_all, import_file } from './files.js';

const UNDO_MS = 60_000;
const now = () => Date.now();
const by_id = (...ids) => Object.fromEntries(ids.map((id) => [id, document.getElementById(id)]));
const page = by_id('title', 'totals', 'trouble', 'theme', 'file');

// A name for this tab that a reload keeps.
function tab_name() {
  try {
    sessionStorage.setItem('fathom.tab', sessionStorage.getItem('fathom.tab') ?? new_id());
    return sessionStorage.getItem('fathom.tab');
  } catch {
    return new_id();
  }
}

fill_icons(document);
const tab = tab_name();
const notices = new Notices(find('#toast'), find('#said'));
const channel = 'BroadcastChannel' in window ? new BroadcastChannel('fathom.chat') : null;
const key = new Key(find('#key'), { changed: () => models.load() });
const models = new Models(find('#model'), {
  key: () => key.value,
  fetch: fetch.bind(window),
  on: {
    loaded: () => {
      if (models_failed) composer.forget();
      models_failed = false;
      show_head();
    },
    failed: (refusal, times) => {
      models_failed = true;
      if (refusal.kind === 'key') key.open(refusal.title);
      if (times === 1 || refusal.kind === 'key') composer.refuse(refusal);
    },
    chosen: (id) => session.change_record({ model: id }),
  },
});
let models_failed = false;

const leftover = new Leftover(() => localStorage);
const store = await Store.open({ trouble: show_trouble, changed: other_tab_changed }, { channel, tab, leftover });
await store.empty_bin(now() - UNDO_MS);
const asking = new Asking({
  store,
  tab,
  fetch: fetch.bind(window),
  now: () => performance.now(),
  key: () => key.value,
  pricing: (model) => models.pricing(model),
  on: {
    started: (conversation) => {
      if (conversation === session.conversation) show();
      sidebar.draw();
    },
    changed: (conversation, node) => conversation === session.conversation && thread.grew(node),
    ended: (conversation, node) => {
      if (conversation === session.conversation) {
        thread.draw_growing.now();
        show();
        notices.say({ done: 'Answer complete.', stopped: 'Stopped.' }[node.state] ?? node.failure?.title ?? '');
      }
      sidebar.draw();
    },
  },
});

const session = new Session({
  store,
  asking,
  now,
  tab,
  defaults: read_defaults,
  model: () => models.first,
  on: {
    opened: () => queueMicrotask(opened),
    changed: () => show(),
    listed: () => sidebar.draw(),
    restored: (text) => {
      composer.set(text);
      show();
    },
    refused: (refusal, conversation) => {
      if (conversation === session.conversation) composer.refuse(refusal);
      if (refusal.kind === 'key') key.open(refusal.title);
      show();
    },
  },
});
const composer = new Composer(by_id('text', 'send', 'stop', 'typed', 'refusal'), {
  send: (text) => send(text),
  stop: () => session.stop(),
  draft: (text) => session.set_draft(text),
  edit_last: () => thread.edit_last(),
  key: () => key.open(),
});
const thread = new Thread(by_id('thread', 'scroll', 'welcome', 'latest'), session, {
  choose: (node) => session.choose(node),
  again: (node) => session.again(node),
  go_on: (node) => session.go_on(node),
  edit: (node, text) => session.edit(node, text),
  results: (node, texts) => session.give_results(node, texts),
  key: () => key.open(),
  draft: (id) => store.draft(id),
  set_draft: (id, text) => store.set_draft(id, text),
});
const sidebar = new Sidebar(by_id('sidebar', 'list', 'search', 'scrim', 'menu'), session, store, {
  open: (id) => open(id),
  deleted: (record) => remove(record),
  renamed: () => show_head(),
  running: (id) => Boolean(asking.run_of(id)),
});
const settings = new Settings(find('#settings'), {
  changed: (changed) => session.change_record({ settings: changed }),
  kept: (done) =>
    notices.show(
      done
        ? 'New conversations begin with these settings.'
        : 'This browser gives no storage: they hold for this conversation only.',
    ),
});

// --- drawing

function show() {
  thread.show();
  composer.busy(Boolean(session.running));
  show_head();
}

function show_head() {
  const name = name_of(session.conversation.record);
  page.title.textContent = name;
  document.title = session.conversation.record.title ? `${name} – Fathom` : 'Fathom';
  models.show(session.model_of());
  page.totals.textContent = figures_of_all(session.conversation.totals());
  find('#open-settings').setAttribute(
    'aria-pressed',
    String(Object.keys(session.conversation.record.settings).length > 0),
  );
}

// What was typed before this script could listen belongs to the first conversation that opens.
let listened = false;

function keep_early() {
  const early = listened ? '' : find('#text').value;
  listened = true;
  const draft = store.draft(session.id);
  if (early.trim() && early !== draft) session.set_draft(draft ? `${draft}\n${early}` : early);
}

function opened() {
  history.replaceState(null, '', `#${session.id}`);
  keep_early();
  composer.forget();
  composer.set(store.draft(session.id));
  thread.show(true);
  composer.busy(Boolean(session.running));
  show_head();
  sidebar.draw();
}

function show_trouble(text) {
  page.trouble.hidden = !text;
  page.trouble.replaceChildren(icon('alert'), text ?? '');
}

function other_tab_changed(id) {
  if (id === session.id) {
    if (store.record(id) || !session.conversation.nodes.size) show();
    else open_new();
  }
  sidebar.draw();
}

// --- doing

function send(text) {
  session.send(text);
  thread.to_end();
  if (!matchMedia('(pointer: coarse)').matches) find('#text').focus(); // on a phone that would open its keyboard
}

function open_new() {
  sidebar.close_drawer();
  session.open_new();
  find('#text').focus();
}

async function open(id) {
  sidebar.close_drawer();
  if (!(await session.open(id))) open_new();
}

async function remove(record) {
  asking.stop(record.id);
  await store.bin(record.id, now());
  if (record.id === session.id) open_new();
  sidebar.draw();
  notices.show(
    `Deleted: ${name_of(record, store.draft(record.id))}`,
    {
      name: 'Undo',
      run: async () => {
        await store.restore(record.id);
        await open(record.id);
      },
    },
    () => store.empty_bin(now()),
  );
}

function show_theme() {
  const button = page.theme;
  const name = { system: 'Colours: as the system', light: 'Colours: light', dark: 'Colours: dark' }[theme()];
  button.replaceChildren(icon({ system: 'screen', light: 'sun', dark: 'moon' }[theme()]));
  button.setAttribute('aria-label', name);
  button.title = name;
}

page.theme.addEventListener('click', () => {
  next_theme();
  show_theme();
});
show_theme();
find('#new').addEventListener('click', open_new);
find('#open-settings').addEventListener('click', () => settings.open(session.conversation.record.settings));
find('#open-key').addEventListener('click', () => key.open());
find('#open-help').addEventListener('click', () => find('#help').showModal());
find('#export').addEventListener('click', () => export_all(store, now()));
find('#import').addEventListener('click', () => page.file.click());
page.file.addEventListener('change', async () => {
  notices.show(await import_file(store, page.file.files[0], now()));
  page.file.value = '';
  sidebar.draw();
  show();
});
for (const button of document.querySelectorAll('[data-close]'))
  button.addEventListener('click', () => button.closest('dialog').close());
for (const dialog of document.querySelectorAll('dialog'))
  dialog.addEventListener('click', (event) => event.target === dialog && dialog.close());
fill_examples(find('#examples'), send);
listen_for_keys({
  stop: () => session.running && (session.stop(), true),
  drawer: () => sidebar.drawer_open && (sidebar.toggle(false), true),
  find: () => sidebar.find(),
  open_new,
  help: () => find('#help').showModal(),
});

addEventListener('pagehide', () => {
  asking.leave();
  store.leave();
});
addEventListener('pageshow', (event) => event.persisted && store.stay());
addEventListener('hashchange', () => location.hash.slice(1) !== session.id && open(location.hash.slice(1)));
// The clocks of a running answer go on while nothing comes.
setInterval(() => session.running && thread.grew(session.running.node), 500);

const wanted = location.hash.slice(1);
if (!(wanted && (await session.open(wanted)))) opened();
models.load();
document.documentElement.dataset.ready = '';
