// How does the page stay in touch with the cluster? It reads /cluster/state, then /cluster/events from there on, and begins again with
// longer and longer pauses when the gateway goes away. It says what it hears and in which of these conditions it is: 'connecting',
// 'live', 'router' (the gateway is there, its router is not), 'gateway' (nobody answers), 'key' (a key is asked for). What it is made of
// (fetch, timers, the key) is handed in, so that tests run it without a browser.
import { read_events } from './stream.js';

const PAUSES_MS = [250, 500, 1000, 2000, 4000];
// A gateway sends something at least every 10 seconds (keep_alive_seconds); after more than two such times it is gone without a word.
const SILENCE_MS = 25_000;

class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export class Feed {
  #parts;
  #abort = null;
  #running = false;
  #life = 0; // counts starts: a loop that was stopped never goes on in the next one
  #afresh = false;
  #failures = 0;
  #wake = null;

  // parts: { fetch, set_timer(f, ms), clear_timer(t), key() -> text or '', on_state(state), on_view({view, history}), on_event(event),
  //          on_condition({ name, why, since }) }; since: unix seconds, of 'router' alone.
  constructor(parts) {
    this.#parts = parts;
  }

  start() {
    if (this.#running) return;
    this.#running = true;
    this.#failures = 0;
    this.#life += 1;
    this.#run(this.#life);
  }

  stop() {
    this.#running = false;
    this.#abort?.abort();
    this.#wake?.();
  }

  // At once, not after the pause: the reader asked for it, or gave a key.
  again() {
    if (!this.#running) return this.start();
    this.#failures = 0;
    this.#wake?.();
  }

  async #run(life) {
    const alive = () => this.#running && life === this.#life;
    while (alive()) {
      const abort = (this.#abort = new AbortController());
      try {
        await this.#once();
        if (!alive()) break;
        this.#say('connecting'); // the stream ended in order: a gateway that drains; another may be behind the same address
      } catch (error) {
        if (!alive()) break;
        if (this.#afresh) {
          this.#afresh = false;
          continue;
        }
        const asks = error.status === 401 || error.status === 403;
        this.#say(asks ? 'key' : 'gateway', error.message);
        if (asks) this.#failures = Infinity;
      }
      abort.abort();
      if (alive()) await this.#pause();
    }
  }

  async #once() {
    const state = await this.#state();
    if (state) {
      this.#parts.on_state(state);
      this.#failures = 0;
      if (state.lost) this.#say('router', state.lost.why, state.lost.since);
      else this.#say('live');
    }
    const headers = state ? { 'last-event-id': state.id } : {};
    const abort = this.#abort;
    const response = await this.#get('/cluster/events', headers);
    let timer = 0;
    const alive = () => {
      this.#parts.clear_timer(timer);
      timer = this.#parts.set_timer(() => abort.abort(), SILENCE_MS);
    };
    alive();
    try {
      await read_events(response.body, (event) => {
        alive();
        if (event.data === null) return;
        this.#failures = 0;
        this.#take(event, state !== null);
      });
    } finally {
      this.#parts.clear_timer(timer);
    }
  }

  #take(event, has_past) {
    const data = JSON.parse(event.data);
    if (event.name === 'view') {
      // Without a state there was no router; now that there is one, it has a past to be read.
      if (!has_past) {
        this.#afresh = true;
        this.#abort.abort();
        return;
      }
      this.#parts.on_view(data);
      this.#say('live');
    } else if (event.name === 'happened') {
      this.#parts.on_event(data);
    } else if (event.name === 'lost') {
      this.#say('router', data.why, data.since);
    }
  }

  // Null when the gateway has never heard its router.
  async #state() {
    try {
      return await (await this.#get('/cluster/state')).json();
    } catch (error) {
      if (error.status !== 503) throw error;
      return null;
    }
  }

  async #get(path, headers = {}) {
    const key = this.#parts.key();
    if (key) headers.authorization = `Bearer ${key}`;
    const response = await this.#parts.fetch(path, { headers, cache: 'no-store', signal: this.#abort.signal });
    if (response.ok) return response;
    const body = await response.json().catch(() => null);
    throw new Refused(response.status, body?.error?.message ?? `the gateway answered ${response.status}`);
  }

  #say(name, why = '', since = null) {
    this.#parts.on_condition({ name, why, since });
  }

  // With a key missing, until again().
  #pause() {
    const ms = PAUSES_MS[Math.min(this.#failures, PAUSES_MS.length - 1)];
    const forever = this.#failures === Infinity;
    this.#failures += 1;
    return new Promise((resolve) => {
      const timer = forever ? 0 : this.#parts.set_timer(resolve, ms);
      this.#wake = () => {
        this.#parts.clear_timer(timer);
        resolve();
      };
    });
  }
}
