// Where is the next message typed? A field that grows with its text, Send or Stop beside it. What is typed is a draft
// of the open conversation from the first letter on. A refusal stands above the field: what happened, what to do, and a
// button that counts down until it makes sense.
import { make } from '../shared/dom.js';
import { icon } from '../shared/icons.js';
import { count } from '../shared/numbers.js';
import { count_down } from './countdown.js';

const TELL_LENGTH = 2000; // characters from which on the length is shown
const MEASURED_MAX = 20_000; // a longer text fills the field anyway, and to measure it at each key would be slow
const GROWS_TO = 0.4; // of the window's height

export class Composer {
  // elements: { text, send, stop, typed, refusal }; on: { send(text), stop(), draft(text), edit_last(), key() }
  constructor(elements, on) {
    Object.assign(this, { ...elements, on });
    this.text.addEventListener('input', () => {
      this.on.draft(this.text.value);
      this.#fit();
    });
    this.text.addEventListener('keydown', (event) => this.#key(event));
    this.send.addEventListener('click', () => this.#send());
    this.stop.addEventListener('click', () => this.on.stop());
  }

  set(text) {
    this.text.value = text;
    this.#fit();
  }

  // Whether an answer is being written here.
  busy(running) {
    this.running = running;
    const focused = document.activeElement === this.stop || document.activeElement === this.send;
    this.stop.hidden = !running;
    this.send.hidden = running;
    this.#fit();
    if (focused) this.text.focus(); // the button under the focus went away
  }

  #fit() {
    const { value } = this.text;
    this.send.disabled = this.running || !value.trim();
    this.typed.hidden = value.length < TELL_LENGTH;
    this.typed.textContent = `${count(value.length)} characters`;
    const most = innerHeight * GROWS_TO;
    if (value.length > MEASURED_MAX) {
      this.text.style.height = `${most}px`;
      return;
    }
    this.text.style.height = 'auto';
    this.text.style.height = `${Math.min(this.text.scrollHeight, most)}px`;
  }

  #key(event) {
    if (event.isComposing) return;
    if (event.key === 'Enter' && !event.shiftKey) {
      event.preventDefault();
      this.#send();
    } else if (event.key === 'ArrowUp' && !this.text.value && !event.shiftKey && !event.altKey) {
      if (this.on.edit_last()) event.preventDefault();
    }
  }

  #send() {
    const text = this.text.value;
    if (!text.trim() || this.running) return;
    this.forget();
    this.set('');
    this.on.send(text);
  }

  // Shows why the last message was not answered.
  refuse(refusal) {
    this.forget();
    const again = make('button', { class: 'button', type: 'button', onclick: () => this.#send() }, 'Try again');
    const ends = make('div', { class: 'ends' });
    if (refusal.kind === 'key')
      ends.append(make('button', { class: 'button', type: 'button', onclick: () => this.on.key() }, 'Enter key'));
    if (refusal.kind !== 'long' && refusal.kind !== 'large') ends.append(again);
    const close = make(
      'button',
      {
        class: 'quiet',
        type: 'button',
        'aria-label': 'Close this note',
        onclick: () => {
          this.forget();
          this.text.focus();
        },
      },
      icon('close'),
    );
    this.refusal.replaceChildren(
      icon('alert'),
      make('div', {}, make('strong', {}, refusal.title), ` ${refusal.text}`),
      close,
      ends,
    );
    this.refusal.hidden = false;
    if (refusal.retry_after) count_down(again, refusal.retry_after);
    this.text.focus();
  }

  forget() {
    this.refusal.hidden = true;
    this.refusal.replaceChildren();
  }
}
