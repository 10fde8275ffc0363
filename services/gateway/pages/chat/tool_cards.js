// How does a call of a tool look, and how does the conversation go on? A card with the tool's name and its arguments, and, below the newest
// answer, a field for what the tool says. This page runs no tools: the reader types or pastes the result. It survives a reload.
import { make } from '../shared/dom.js';
import { icon } from '../shared/icons.js';

export class ToolCards {
  #fields = [];
  #drawn = [];

  // act: { results(node, texts), draft(id), set_draft(id, text) }
  constructor(act) {
    this.act = act;
    this.element = make('div', { class: 'calls', hidden: true });
    this.cards = make('div');
    this.answer = make('div', { class: 'results' });
    this.element.append(this.cards, this.answer);
  }

  // open: results can be given now.
  update(node, { open, writing }) {
    const calls = node.tool_calls ?? [];
    this.element.hidden = !calls.length;
    calls.forEach((call, i) => this.#card(call, i, writing));
    const asks = Boolean(calls.length && open && node.state !== 'writing');
    if (asks === Boolean(this.#fields.length)) return;
    this.answer.replaceChildren();
    this.#fields = [];
    if (asks) this.#ask(node, calls);
  }

  #card(call, i, writing) {
    if (!this.#drawn[i]) {
      const name = make('code');
      const text = make('pre', { tabindex: '0', role: 'region', 'aria-label': 'Arguments' });
      this.cards.append(make('details', { class: 'card tool', open: true }, make('summary', {}, icon('tool'), make('span', {}, 'Call of ', name)), text));
      this.#drawn[i] = { name, text };
    }
    const { name, text } = this.#drawn[i];
    const shown = writing ? call.arguments : pretty(call.arguments);
    if (name.textContent !== call.name) name.textContent = call.name;
    if (text.textContent !== shown) text.textContent = shown;
  }

  #ask(node, calls) {
    const go = make('button', { class: 'button main', type: 'button', disabled: true, onclick: () => this.act.results(node, this.#fields.map((field) => field.value)) }, 'Continue');
    const check = () => {
      go.disabled = !this.#fields.every((field) => field.value.trim());
    };
    calls.forEach((call, i) => {
      const place = `tool:${node.id}:${i}`;
      const field = make('textarea', { class: 'input code', rows: '2', placeholder: 'Type or paste the result', oninput: () => {
        this.act.set_draft(place, field.value);
        check();
      } });
      field.value = this.act.draft(place);
      this.#fields.push(field);
      this.answer.append(make('label', { class: 'field' }, make('span', {}, `What ${call.name || 'the tool'} says`), field));
    });
    this.answer.append(make('div', { class: 'ends' }, go));
    check();
  }
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text; // cut off, or not JSON: as it came
  }
}
