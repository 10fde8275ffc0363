// Which conversations are there, and how is one found, renamed or deleted? A list by day, filtered by the search field
// (titles at once, the text of messages a moment later). On a narrow window it is a drawer. Deleting can be undone for
// some seconds.
import { make } from '../shared/dom.js';
import { icon } from '../shared/icons.js';
import { name_of } from './conversation.js';

const DAY_MS = 86_400_000;
const NARROW = matchMedia('(max-width: 820px)');

export class Sidebar {
  #found = null; // ids that match the search, or null
  #asked = 0;
  #searched = null; // the newest search: done when its result is drawn
  #renaming = null;
  #pressed = false; // an entry is, so the list stays as it is: a click is lost with what it began on
  #late = false; // something is to be drawn after that

  // elements: { sidebar, list, search, scrim, menu }; session; store; on: { open(id), deleted(record), running(id) }
  constructor(elements, session, store, on) {
    Object.assign(this, { ...elements, session, store, on });
    this.search.addEventListener('input', () => (this.#searched = this.#search()));
    this.search.addEventListener('keydown', (event) => this.#search_key(event));
    this.list.addEventListener('keydown', (event) => this.#list_key(event));
    this.list.addEventListener('pointerdown', (event) => (this.#pressed = event.button === 0));
    // The click comes right behind the release.
    for (const end of ['pointerup', 'pointercancel']) addEventListener(end, () => setTimeout(() => this.#release()));
    this.menu.addEventListener('click', () => this.toggle());
    this.scrim.addEventListener('click', () => this.toggle(false));
    NARROW.addEventListener('change', () => this.toggle(!NARROW.matches));
    this.toggle(!NARROW.matches);
  }

  get drawer_open() {
    return NARROW.matches && document.body.dataset.sidebar === 'open';
  }

  toggle(open = document.body.dataset.sidebar !== 'open') {
    document.body.dataset.sidebar = open ? 'open' : 'closed';
    this.menu.setAttribute('aria-expanded', String(open));
    this.sidebar.inert = !open;
    // Behind an open drawer nothing can be reached.
    document.querySelector('main').inert = open && NARROW.matches;
    if (!open && NARROW.matches && this.sidebar.contains(document.activeElement)) this.menu.focus();
  }

  close_drawer() {
    if (NARROW.matches) this.toggle(false);
  }

  find() {
    this.toggle(true);
    this.search.focus();
    this.search.select();
  }

  #release() {
    this.#pressed = false;
    if (this.#late) this.draw();
  }

  draw() {
    this.#late = this.#pressed;
    if (this.#renaming || this.#pressed) return;
    const records = this.store.list().filter(({ id }) => !this.#found || this.#found.has(id));
    const focused = this.list.contains(document.activeElement)
      ? document.activeElement.closest('[data-id]')?.dataset.id
      : null;
    this.list.replaceChildren();
    let day = null;
    let group = null;
    for (const record of records) {
      const name = day_of(record.updated, Date.now());
      if (name !== day) {
        day = name;
        group = make('ul');
        this.list.append(make('h2', {}, name), group);
      }
      group.append(this.#entry(record));
    }
    if (!records.length)
      this.list.append(
        make(
          'p',
          { class: 'none' },
          this.#found ? 'Nothing found.' : 'Your conversations will be listed here. They stay in this browser.',
        ),
      );
    if (focused) this.list.querySelector(`[data-id="${focused}"] .open`)?.focus();
  }

  #entry(record) {
    const name = name_of(record, this.store.draft(record.id));
    const current = record.id === this.session.id;
    return make(
      'li',
      { 'data-id': record.id, class: current ? 'current' : null },
      make(
        'button',
        {
          class: 'open',
          type: 'button',
          'aria-current': current ? 'true' : null,
          title: name,
          onclick: () => this.on.open(record.id),
        },
        this.on.running(record.id) && make('span', { class: 'pulse', role: 'img', 'aria-label': 'being answered' }),
        make('span', {}, name),
      ),
      make(
        'button',
        {
          class: 'quiet',
          type: 'button',
          'aria-label': `Rename ${name}`,
          title: 'Rename',
          onclick: (event) => this.#rename(event.currentTarget.closest('li'), record, name),
        },
        icon('pen'),
      ),
      make(
        'button',
        {
          class: 'quiet',
          type: 'button',
          'aria-label': `Delete ${name}`,
          title: 'Delete',
          onclick: () => this.on.deleted(record),
        },
        icon('trash'),
      ),
    );
  }

  #rename(entry, record, name) {
    const field = make('input', { class: 'input', 'aria-label': 'Title', maxlength: '200', autocomplete: 'off' });
    field.value = record.title || name;
    this.#renaming = record.id;
    const close = (save) => {
      if (this.#renaming !== record.id) return;
      this.#renaming = null;
      const title = field.value.trim();
      if (save && title && title !== record.title) {
        Object.assign(record, { title, named: true });
        this.store.save(record);
      }
      this.draw();
      this.on.renamed();
      this.list.querySelector(`[data-id="${record.id}"] .open`)?.focus();
    };
    field.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' && event.key !== 'Escape') return;
      event.stopPropagation();
      close(event.key === 'Enter');
    });
    field.addEventListener('blur', () => close(true));
    entry.replaceChildren(field);
    field.focus();
    field.select();
  }

  async #search() {
    const text = this.search.value.trim();
    const asked = (this.#asked += 1);
    if (!text) this.#found = null;
    else {
      const found = await this.store.search(text);
      if (asked !== this.#asked) return; // more was typed meanwhile
      this.#found = found;
    }
    this.draw();
  }

  #search_key(event) {
    const first = this.list.querySelector('.open');
    if (event.key === 'Escape' && this.search.value) {
      this.search.value = '';
      this.#searched = this.#search();
      event.stopPropagation();
    } else if (event.key === 'ArrowDown' && first) first.focus();
    else if (event.key === 'Enter') this.#open_first();
    else return;
    event.preventDefault();
  }

  // Of what is found for all that was typed, however fast.
  async #open_first() {
    await this.#searched;
    this.list.querySelector('.open')?.click();
  }

  #list_key(event) {
    if (event.key !== 'ArrowDown' && event.key !== 'ArrowUp') return;
    const all = [...this.list.querySelectorAll('.open')];
    const at = all.indexOf(document.activeElement);
    if (at < 0) return;
    const next = all[at + (event.key === 'ArrowDown' ? 1 : -1)];
    (next ?? (event.key === 'ArrowUp' ? this.search : all[at])).focus();
    event.preventDefault();
  }
}

function day_of(time, now) {
  const midnight = new Date(now).setHours(0, 0, 0, 0);
  if (time >= midnight) return 'Today';
  if (time >= midnight - DAY_MS) return 'Yesterday';
  if (time >= midnight - 7 * DAY_MS) return 'Previous 7 days';
  const date = new Date(time);
  return new Date(now).getFullYear() === date.getFullYear()
    ? date.toLocaleString('en', { month: 'long' })
    : String(date.getFullYear());
}
