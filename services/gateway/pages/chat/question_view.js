// How does a message of the reader look, and how is it edited? The text as it was typed, never as Markdown; long ones are folded. Editing
// opens a field in its place, whose text survives a reload; sending it makes a new version. A tool's result is shown in the same way.
import { make } from '../shared/dom.js';
import { icon } from '../shared/icons.js';
import { count } from '../shared/numbers.js';
import { copy_button } from './clipboard.js';
import { versions_bar } from './versions.js';

const FOLD_CHARACTERS = 4000;

export class QuestionView {
  #text = null;
  #whole = false;
  #was = null; // what the buttons were drawn for

  // act: { choose(node), edit(node, text), draft(id), set_draft(id, text) }
  constructor(element, act) {
    Object.assign(this, { element, act });
    this.bubble = make('div', { class: 'bubble' });
    this.tools = make('div', { class: 'tools' });
    element.append(make('h2', { class: 'unseen' }, 'You'), this.bubble, this.tools);
  }

  update(node, running) {
    this.node = node;
    if (this.field) return;
    if (this.#text !== node.content) {
      this.#text = node.content;
      this.#draw();
    }
    const state = [Boolean(running), this.context.versions.length, this.context.versions.indexOf(node)].join();
    if (state === this.#was) return;
    this.#was = state;
    const edit = make('button', { class: 'quiet', type: 'button', 'aria-label': 'Edit and send again', title: 'Edit and send again', disabled: Boolean(running), onclick: () => this.edit() }, icon('pen'));
    this.tools.replaceChildren(...versions_bar(node, this.context.versions, this.act.choose), copy_button('Copy message', () => node.content), edit);
    if (this.act.draft(`edit:${node.id}`)) this.edit(false);
  }

  #draw() {
    const long = this.#text.length > FOLD_CHARACTERS && !this.#whole;
    this.bubble.replaceChildren(make('div', { class: 'typed' }, long ? `${this.#text.slice(0, FOLD_CHARACTERS)}…` : this.#text));
    if (long)
      this.bubble.append(make('button', { class: 'button', type: 'button', onclick: () => {
        this.#whole = true;
        this.#draw();
      } }, `Show all ${count(this.#text.length)} characters`));
  }

  edit(focus = true) {
    if (this.field) return this.field.focus();
    const { node } = this;
    const place = `edit:${node.id}`;
    this.field = make('textarea', { class: 'input', 'aria-label': 'Edit message', rows: '3', oninput: () => this.act.set_draft(place, this.field.value === node.content ? '' : this.field.value) });
    this.field.value = this.act.draft(place) || node.content;
    const send = () => {
      if (!this.field.value.trim()) return;
      const text = this.field.value;
      this.#close();
      this.act.edit(node, text);
    };
    const cancel = () => {
      this.act.set_draft(place, '');
      this.#close();
    };
    this.field.addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) send();
      else if (event.key === 'Escape') cancel();
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    this.bubble.replaceChildren(this.field, make('div', { class: 'ends' }, make('button', { class: 'button', type: 'button', onclick: cancel }, 'Cancel'),
      make('button', { class: 'button main', type: 'button', onclick: send }, 'Send')));
    this.element.classList.add('editing');
    this.tools.hidden = true;
    if (focus) {
      this.field.focus();
      this.field.setSelectionRange(this.field.value.length, this.field.value.length);
    }
  }

  #close() {
    this.field = null;
    this.element.classList.remove('editing');
    this.tools.hidden = false;
    this.#draw();
    this.update(this.node, null);
  }
}

export class ResultView {
  constructor(element) {
    this.element = element;
    this.text = make('pre', { tabindex: '0', role: 'region', 'aria-label': 'Result of the tool' });
    element.append(make('h2', { class: 'unseen' }, 'Result of a tool'), make('details', { class: 'card tool', open: true }, make('summary', {}, icon('tool'), make('span', {}, 'Result')), this.text));
  }

  update(node) {
    if (this.text.textContent !== node.content) this.text.textContent = node.content;
  }
}
