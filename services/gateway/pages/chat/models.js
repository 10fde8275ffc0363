// Which models can be asked, what fits into them and what do they cost? /v1/models, asked at the start and whenever the last answer failed.
// Until it answers the page is usable: what is typed is kept, and the list is tried again with growing pauses.
import { make } from '../shared/dom.js';
import { refusal_of, lost } from './refusal.js';

const PAUSES_MS = [1000, 2000, 4000, 8000, 15_000];

export class Models {
  #list = [];
  #failures = 0;
  #timer = null;

  // select: the element; key(): the API key; on: { loaded(), failed(refusal), chosen(id) }
  constructor(select, { key, fetch, on }) {
    Object.assign(this, { select, key, fetch, on });
    select.addEventListener('change', () => this.on.chosen(select.value));
  }

  get first() {
    return this.#list[0]?.id ?? '';
  }

  pricing(id) {
    return this.#list.find((model) => model.id === id)?.pricing ?? null;
  }

  async load() {
    clearTimeout(this.#timer);
    try {
      const headers = this.key() ? { authorization: `Bearer ${this.key()}` } : {};
      const response = await this.fetch('/v1/models', { headers, cache: 'no-store' });
      const body = await response.json().catch(() => null);
      if (response.status !== 200) throw refusal_of(response.status, body, response.headers, { has_key: Boolean(this.key()) });
      this.#list = (Array.isArray(body?.data) ? body.data : []).filter((model) => typeof model?.id === 'string' && model.id);
      if (!this.#list.length) throw lost(false);
      this.#failures = 0;
      this.on.loaded();
    } catch (error) {
      const refusal = error.kind ? error : lost(false);
      // A key does not come by itself; everything else may.
      if (refusal.kind !== 'key') this.#timer = setTimeout(() => this.load(), PAUSES_MS[Math.min(this.#failures, PAUSES_MS.length - 1)]);
      this.#failures += 1;
      this.on.failed(refusal, this.#failures);
    }
  }

  // Shows `id` as the chosen one, also when the server no longer has it.
  show(id) {
    const ids = this.#list.map((model) => model.id);
    if (id && !ids.includes(id)) ids.push(id);
    this.select.replaceChildren(...ids.map((each) => make('option', { value: each }, each)));
    if (id) this.select.value = id;
    this.select.hidden = !ids.length;
  }
}
