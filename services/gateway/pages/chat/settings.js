// How is a conversation set up? A dialog of its system prompt, sampling and tools. A field that is empty leaves the choice to the server. What is
// valid holds at once; what is not is named below its field and not used. The same settings can be made those of new conversations.
import { make } from '../shared/dom.js';
import { check } from './request.js';

const PLACE = 'fathom.chat.defaults';
const TOOL_EXAMPLE = `[{"type": "function", "function": {
  "name": "get_current_weather",
  "description": "Get the current weather in a city",
  "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]`;

// name: [label, hint]; in pairs where the window is wide enough.
const FIELDS = {
  temperature: ['Temperature', '0 to 2; 0 always takes the likeliest word'],
  top_p: ['Top p', 'above 0, to 1'],
  top_k: ['Top k', '0 is off'],
  max_tokens: ['Max tokens', 'of thought and answer'],
  seed: ['Seed', 'the same seed gives the same answer'],
  frequency_penalty: ['Frequency penalty', '-2 to 2'],
  presence_penalty: ['Presence penalty', '-2 to 2'],
  repetition_penalty: ['Repetition penalty', '0.01 to 10; 1 is off'],
};

export function read_defaults() {
  try {
    const kept = JSON.parse(localStorage.getItem(PLACE) ?? '{}');
    return Object.fromEntries(Object.entries(kept).filter(([, value]) => typeof value === 'string'));
  } catch {
    return {}; // no storage, or not ours
  }
}

export class Settings {
  // on: { changed(settings), kept(done) }: kept as the settings of new conversations, or could not be.
  constructor(dialog, on) {
    Object.assign(this, { dialog, on });
    this.inside = dialog.querySelector('.inside');
  }

  open(settings) {
    this.settings = { ...settings };
    this.inside.replaceChildren(
      this.#area('system', 'System prompt', 'What the model should know or follow in the whole conversation.', { rows: '3' }),
      this.#thinking(),
      make('div', { class: 'pairs' }, ...Object.entries(FIELDS).map(([name, [label, hint]]) => this.#number(name, label, hint))),
      this.#area('stop', 'Stop texts', 'One a line; the answer ends in front of the first one that appears. \\n is a line break.', { rows: '2', class: 'input code' }),
      this.#area('tools', 'Tools', 'A JSON list in the form of the API. When the model calls one, you type its result.', { rows: '4', class: 'input code', spellcheck: 'false', placeholder: TOOL_EXAMPLE }),
      make('div', { class: 'ends' }, make('button', { class: 'button', type: 'button', onclick: () => this.#clear() }, 'Clear all'),
        make('button', { class: 'button', type: 'button', onclick: () => this.#keep() }, 'Use for new conversations')));
    this.dialog.showModal();
  }

  #set(name, value) {
    if (value.trim()) this.settings[name] = value;
    else delete this.settings[name];
    this.on.changed({ ...this.settings });
  }

  #field(name, label, hint, input) {
    const wrong = make('span', { class: 'wrong', id: `${name}-wrong`, role: 'alert' });
    input.id = `set-${name}`;
    input.setAttribute('aria-describedby', `${name}-hint ${name}-wrong`);
    input.value = this.settings[name] ?? '';
    const look = () => {
      const problem = check(name, input.value);
      wrong.textContent = problem;
      input.setAttribute('aria-invalid', problem ? 'true' : 'false');
    };
    input.addEventListener('input', () => {
      look();
      this.#set(name, input.value);
    });
    look();
    return make('div', { class: 'field' }, make('label', { for: input.id }, label), input, make('span', { class: 'hint', id: `${name}-hint` }, hint), wrong);
  }

  #area(name, label, hint, fields) {
    return this.#field(name, label, hint, make('textarea', { class: 'input', ...fields }));
  }

  #number(name, label, hint) {
    return this.#field(name, label, hint, make('input', { class: 'input', inputmode: 'decimal', autocomplete: 'off', placeholder: 'default' }));
  }

  #thinking() {
    const choices = [['', 'As the model does'], ['on', 'Think first'], ['off', 'Answer at once']];
    const group = make('div', { class: 'choices', role: 'radiogroup', 'aria-label': 'Thinking' });
    for (const [value, label] of choices) {
      const input = make('input', { type: 'radio', name: 'thinking', value, checked: (this.settings.thinking ?? '') === value, onchange: () => this.#set('thinking', value) });
      group.append(make('label', {}, input, make('span', {}, label)));
    }
    return make('div', { class: 'field' }, make('span', {}, 'Thinking'), group, make('span', { class: 'hint' }, 'A model that can do only one of them refuses the other.'));
  }

  #clear() {
    this.dialog.close();
    this.on.changed({});
    this.open({});
  }

  #keep() {
    try {
      localStorage.setItem(PLACE, JSON.stringify(this.settings));
      this.on.kept(true);
    } catch {
      this.on.kept(false);
    }
  }
}
