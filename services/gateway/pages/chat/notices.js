// How does the page say something in passing? A line at the bottom for some seconds, with one thing to do about it (Undo), and a line that only
// screen readers hear. A new note takes the place of the old one, whose time is then over.
import { make } from '../shared/dom.js';

const SHOWN_MS = 8000;

export class Notices {
  #timer = null;
  #over = null;

  constructor(toast, said) {
    Object.assign(this, { toast, said });
  }

  // action: { name, run } or null; over() is called once, when the action can no longer be taken.
  show(text, action = null, over = null) {
    this.#end();
    this.#over = over;
    this.toast.replaceChildren(make('span', {}, text));
    if (action)
      this.toast.append(make('button', { class: 'button', type: 'button', onclick: () => {
        this.#over = null;
        this.#end();
        action.run();
      } }, action.name));
    this.toast.hidden = false;
    this.#timer = setTimeout(() => this.#end(), SHOWN_MS);
  }

  #end() {
    clearTimeout(this.#timer);
    this.toast.hidden = true;
    const over = this.#over;
    this.#over = null;
    over?.();
  }

  say(text) {
    this.said.textContent = text;
  }
}
