// How does an answer look? Its thought, foldable, open while it is being thought; its text as Markdown; its tool calls;
// what ended it, if that was not its own end, with what can be done; and one quiet line of figures. While it is written
// only what grew is drawn.
import { make } from '../shared/dom.js';
import { icon } from '../shared/icons.js';
import { duration } from '../shared/numbers.js';
import { copy_button } from './clipboard.js';
import { count_down } from './countdown.js';
import { MarkdownView } from './markdown.js';
import { figures_of } from './figures.js';
import { seconds_left } from './refusal.js';
import { ToolCards } from './tool_cards.js';
import { versions_bar } from './versions.js';

export class AnswerView {
  #thought_length = 0;
  #was = null;

  // act: { choose(node), again(node), go_on(node), results(node, texts), key(), draft(id), set_draft(id, text),
  // limits(node) }
  constructor(element, act) {
    Object.assign(this, { element, act });
    this.thought_label = make('span', {}, 'Thinking');
    this.thought_text = make('div', { class: 'thought-text' }, document.createTextNode(''));
    this.thought = make(
      'details',
      { class: 'thought', hidden: true },
      make('summary', {}, icon('thought'), this.thought_label, icon('down')),
      this.thought_text,
    );
    // Once the reader has opened or closed it, it stays so.
    this.thought.firstChild.addEventListener('click', () => {
      this.touched = true;
    });
    this.text = make('div', { class: 'prose' });
    this.markdown = new MarkdownView(this.text);
    this.waiting = make(
      'div',
      { class: 'waiting', hidden: true },
      make('span', { class: 'pulse' }),
      make('span', {}, 'Waiting for the first word'),
    );
    this.calls = new ToolCards(act);
    this.ending = make('div', { class: 'ending', hidden: true });
    this.tools = make('div', { class: 'tools' });
    this.figures = make('span', { class: 'figures' });
    element.append(
      make('h2', { class: 'unseen' }, 'Answer'),
      this.thought,
      this.waiting,
      this.text,
      this.calls.element,
      this.ending,
      make('div', { class: 'foot' }, this.tools, this.figures),
    );
  }

  update(node, running) {
    const writing = running?.node === node;
    this.#update_thought(node, writing ? running : null);
    this.markdown.update(node.content);
    this.text.classList.toggle('writing', writing && Boolean(node.content));
    this.waiting.hidden = !(writing && !node.content && !node.reasoning && !node.tool_calls?.length);
    this.figures.textContent = figures_of(node, writing ? running : null);
    // Buttons are drawn again only when something but the text changed.
    const state = [
      node.state,
      Boolean(running),
      this.context.versions.length,
      this.context.versions.indexOf(node),
      this.context.last,
    ].join();
    this.calls.update(node, { open: this.context.last && !running, writing });
    if (state === this.#was) return;
    this.#was = state;
    this.#draw_tools(node, running, writing);
    this.#draw_ending(node, running, writing);
  }

  #update_thought(node, run) {
    this.thought.hidden = !node.reasoning;
    if (!node.reasoning) return;
    const box = this.thought_text;
    const at_end = run && box.scrollHeight - box.scrollTop - box.clientHeight < 24;
    const text = box.firstChild;
    if (node.reasoning.length < this.#thought_length) text.data = node.reasoning;
    else text.appendData(node.reasoning.slice(this.#thought_length));
    this.#thought_length = node.reasoning.length;
    const thinking = Boolean(run) && !node.content && !node.tool_calls?.length;
    this.thought.classList.toggle('now', thinking);
    this.thought_label.textContent = thinking
      ? thinking_for(run)
      : node.thought_ms
        ? `Thought for ${duration(node.thought_ms)}`
        : 'Thought';
    if (!this.touched && this.thought.open !== thinking) this.thought.open = thinking;
    if (thinking && at_end) box.scrollTop = box.scrollHeight;
  }

  #draw_tools(node, running, writing) {
    this.tools.replaceChildren();
    if (writing) return;
    this.tools.append(...versions_bar(node, this.context.versions, this.act.choose));
    if (node.content) this.tools.append(copy_button('Copy answer', () => node.content));
    this.tools.append(
      make(
        'button',
        {
          class: 'quiet',
          type: 'button',
          'aria-label': 'Ask again',
          title: 'Ask again: another version of this answer',
          disabled: Boolean(running),
          onclick: () => this.act.again(node),
        },
        icon('again'),
      ),
    );
  }

  #draw_ending(node, running, writing) {
    const ending = writing ? null : ending_of(node);
    this.ending.hidden = !ending;
    this.ending.className = `ending ${ending?.bad ? 'card bad' : 'note'}`;
    this.ending.replaceChildren();
    if (!ending) return;
    this.ending.append(
      icon(ending.bad ? 'alert' : 'info'),
      make('div', {}, make('strong', {}, ending.title), ending.text ? ` ${ending.text}` : ''),
    );
    const ends = make('div', { class: 'ends' });
    const offer = (name, action) =>
      ends.appendChild(
        make('button', { class: 'button', type: 'button', disabled: Boolean(running), onclick: action }, name),
      );
    if (node.failure?.kind === 'key') offer('Enter key', () => this.act.key());
    if (ending.again) {
      const again = offer('Try again', () => this.act.again(node));
      const left = running ? 0 : seconds_left(node.failure, Date.now());
      if (left) count_down(again, left);
    }
    // A model that thinks can not take up its answer where it was cut: its thought is not part of what it is shown.
    if (ending.more && node.content && !node.reasoning && this.context.last)
      offer('Continue', () => this.act.go_on(node));
    if (ends.childElementCount) this.ending.append(ends);
  }
}

// Whole seconds, from the first one on.
function thinking_for(run) {
  const seconds = run.thought_at === null ? 0 : Math.floor((performance.now() - run.thought_at) / 1000);
  return seconds ? `Thinking for ${duration(seconds * 1000).replace('.0', '')}` : 'Thinking';
}

// What there is to say about how an answer ended, or null for its own end.
function ending_of(node) {
  if (node.state === 'stopped')
    return {
      title: 'Stopped.',
      text: node.content || node.reasoning ? 'What came is kept.' : '',
      again: true,
      more: true,
    };
  if (node.state === 'cut' || node.state === 'failed')
    return {
      bad: true,
      title: node.failure?.title ?? 'This answer is not whole.',
      text: node.failure?.text ?? '',
      again: true,
      more: node.state === 'cut',
    };
  if (node.state === 'writing') return { title: 'Another tab is writing this answer.', text: '' };
  if (node.finish === 'length')
    return {
      title: 'The answer reached its limit of tokens.',
      text: 'Raise max tokens in the settings for a longer one.',
      again: true,
      more: true,
    };
  if (node.gaps)
    return {
      title:
        node.gaps === 1
          ? 'One piece of this answer could not be read.'
          : `${node.gaps} pieces of this answer could not be read.`,
      text: 'Words may be missing.',
      again: true,
    };
  if (node.state === 'done' && !node.content && !node.tool_calls?.length)
    return { title: 'The answer is empty.', text: '', again: true };
  return null;
}
