// How is the shown path of a conversation drawn? One view a message, kept by its id: what did not change is not touched, and while an answer
// is written only its own view is updated, once a frame. The page follows the end of the answer as long as the reader does.
import { each_frame, make } from '../shared/dom.js';
import { AnswerView } from './answer_view.js';
import { QuestionView, ResultView } from './question_view.js';

const NEAR = 48; // px from the end that still count as being there

export class Thread {
  #views = new Map();
  #growing = new Set();
  #following = true;

  // elements: { thread, scroll, welcome, latest }; session: see session.js; act: what the buttons of a message do.
  constructor(elements, session, act) {
    Object.assign(this, { ...elements, session, act });
    this.draw_growing = each_frame(() => {
      for (const node of this.#growing) this.#views.get(node.id)?.update(node, this.session.running);
      this.#growing.clear();
      this.follow();
    });
    this.scroll.addEventListener('scroll', () => {
      this.#following = this.#at_end();
      this.latest.hidden = this.#following;
    }, { passive: true });
    this.latest.addEventListener('click', () => this.to_end());
    new ResizeObserver(() => this.follow()).observe(this.scroll);
  }

  #at_end() {
    return this.scroll.scrollHeight - this.scroll.scrollTop - this.scroll.clientHeight < NEAR;
  }

  follow() {
    if (this.#following) this.scroll.scrollTop = this.scroll.scrollHeight;
    this.latest.hidden = this.#following || this.#at_end();
  }

  to_end() {
    this.#following = true;
    this.follow();
  }

  // Draws the path of the open conversation; `anew` when it is another conversation than before.
  show(anew = false) {
    const { conversation } = this.session;
    const path = conversation.path();
    if (anew) {
      this.thread.replaceChildren();
      this.#views.clear();
    }
    const shown = new Set(path.map((node) => node.id));
    for (const [id, view] of this.#views)
      if (!shown.has(id)) {
        view.element.remove();
        this.#views.delete(id);
      }
    let before = null;
    for (const [i, node] of path.entries()) {
      const view = this.#view_of(node);
      const wanted = before ? before.nextSibling : this.thread.firstChild;
      if (wanted !== view.element) this.thread.insertBefore(view.element, wanted);
      before = view.element;
      view.context = { versions: conversation.versions(node), last: i === path.length - 1, path };
      view.update(node, this.session.running);
    }
    this.welcome.hidden = path.length > 0;
    this.thread.hidden = path.length === 0;
    this.thread.setAttribute('aria-busy', this.session.running ? 'true' : 'false');
    if (anew) this.to_end();
    else this.follow();
  }

  #view_of(node) {
    let view = this.#views.get(node.id);
    if (!view) {
      const View = node.role === 'assistant' ? AnswerView : node.role === 'tool' ? ResultView : QuestionView;
      view = new View(make('article', { class: node.role, 'data-id': node.id }), this.act);
      this.#views.set(node.id, view);
    }
    return view;
  }

  // A message of the open conversation grew.
  grew(node) {
    this.#growing.add(node);
    this.draw_growing();
  }

  edit_last() {
    const last = this.session.conversation.path().findLast((node) => node.role === 'user');
    if (last) this.#views.get(last.id)?.edit();
    return Boolean(last);
  }
}
