// What runs while an answer is written? One run a conversation: the request, the clock, and the message that grows.
// Pieces go into the message at once and onto the disk about once a second, so that a reload or a crash loses little. A
// run always ends in one of four states: done, stopped (by the reader), cut (lost in the middle), failed (nothing
// came). The conversation may meanwhile be out of sight.
import { add_tool_pieces, ask } from './answer.js';
import { cost_of } from './cost.js';
import { body_of } from './request.js';
import { Refusal } from './refusal.js';

const SAVE_MS = 1000;

export class Asking {
  #runs = new Map();

  // with: { store, fetch, now, key(), pricing(model), tab, on: { started, changed, ended: (conversation, node) } }
  constructor(given) {
    Object.assign(this, given);
  }

  // { node, started, first_at, last_at, tokens } of what is being written in this conversation, or null.
  run_of(conversation_id) {
    return this.#runs.get(conversation_id) ?? null;
  }

  stop(conversation_id) {
    this.#runs.get(conversation_id)?.controller.abort();
  }

  // Asks for `node`, an assistant message that is in the tree, or with `prefix` for more of it. Returns the Refusal
  // that ended it, or null.
  async run(conversation, node, { prefix = false } = {}) {
    const run = {
      node,
      controller: new AbortController(),
      started: this.now(),
      first_at: null,
      last_at: null,
      thought_at: null,
      tokens: 0,
      saved: 0,
      kept: prefix ? node.content.length : 0,
    };
    this.#runs.set(conversation.id, run);
    Object.assign(node, { state: 'writing', tab: this.tab, saved: Date.now(), failure: undefined, finish: '' });
    this.store.save_node(node);
    this.on.started(conversation, node);
    let refusal = null;
    try {
      const path = prefix ? [...conversation.before(node), node] : conversation.before(node);
      const body = body_of(path, conversation.record.settings, node.model, { prefix });
      const typed = path.at(-1)?.role === 'user' ? path.at(-1).content.length : 0;
      await ask(
        body,
        { key: this.key(), signal: run.controller.signal, fetch: this.fetch, typed },
        this.#pieces(conversation, run),
      );
      node.state = 'done';
    } catch (error) {
      refusal = this.#ended_by(error, run);
    }
    this.#close(conversation, run);
    return refusal;
  }

  #pieces(conversation, run) {
    const { node } = run;
    const came = () => {
      run.last_at = this.now();
      run.first_at ??= run.last_at;
      this.#keep(run);
      this.on.changed(conversation, node);
    };
    const thought_over = () => {
      if (run.thought_at !== null && !node.thought_ms) node.thought_ms = this.now() - run.thought_at;
    };
    return {
      opened: () => {
        run.opened = true;
      },
      reasoning: (text) => {
        run.thought_at ??= this.now();
        node.reasoning += text;
        came();
      },
      content: (text) => {
        thought_over();
        // The answer of a model that thinks begins with the line breaks behind its thought.
        node.content += node.content ? text : text.trimStart();
        came();
      },
      tool_calls: (pieces) => {
        thought_over();
        node.tool_calls ??= [];
        add_tool_pieces(node.tool_calls, pieces);
        came();
      },
      tokens: (count) => {
        run.tokens += count;
      },
      usage: (usage) => {
        const old = run.kept ? node.usage : null; // going on with an answer is a second request, paid for as well
        node.usage = old
          ? Object.fromEntries(Object.entries(usage).map(([name, value]) => [name, value + (old[name] ?? 0)]))
          : usage;
        run.usage = usage;
      },
      finish: (reason) => {
        thought_over();
        node.finish = reason;
      },
      gap: () => {
        node.gaps = (node.gaps ?? 0) + 1;
      },
    };
  }

  #ended_by(error, run) {
    const { node } = run;
    const any = node.content.length > run.kept || node.reasoning || node.tool_calls?.length;
    if (error.name === 'AbortError') {
      node.state = 'stopped';
      return null;
    }
    const refusal =
      error instanceof Refusal
        ? error
        : new Refusal(
            'refused',
            'Something went wrong in this page.',
            `${error.message}. What came is kept. Try again.`,
          );
    node.state = any ? 'cut' : 'failed';
    node.failure = run.left ? interrupted() : refusal.record(Date.now());
    return refusal;
  }

  #keep(run) {
    if (run.last_at - run.saved < SAVE_MS) return;
    run.saved = run.last_at;
    run.node.saved = Date.now();
    this.store.save_node(run.node);
  }

  #close(conversation, run) {
    const { node } = run;
    if (run.thought_at !== null && !node.thought_ms) node.thought_ms = this.now() - run.thought_at;
    if (run.first_at !== null) {
      node.first_ms = run.first_at - run.started;
      node.total_ms = run.last_at - run.started;
      node.tokens = run.usage?.completion ?? run.tokens;
    }
    const cost = cost_of(node.usage, this.pricing(node.model));
    if (cost) node.cost = cost;
    this.#runs.delete(conversation.id);
    this.store.save_node(node);
    this.on.ended(conversation, node);
  }

  // The page is going away: what came is written down as cut off.
  leave() {
    for (const run of this.#runs.values()) {
      run.left = true;
      this.store.save_node({ ...run.node, state: 'cut', failure: interrupted() });
    }
  }
}

const interrupted = () => ({
  kind: 'lost',
  title: 'The page was closed in mid-answer.',
  text: 'What came is kept. Try again for a whole answer.',
});
const SILENT_MS = 10_000; // a tab that writes says so about once a second

// A message that was being written when it was stored: is somebody still at it? Marks it as cut off if not.
export function settle(node, tab, wall) {
  if (node.state !== 'writing' || (node.tab !== tab && wall - (node.saved ?? 0) < SILENT_MS)) return node;
  return Object.assign(node, {
    state: node.content || node.reasoning || node.tool_calls?.length ? 'cut' : 'failed',
    failure: interrupted(),
  });
}

// Tokens a second while writing: from the first token on, so a wait in the queue does not count.
export function speed(tokens, first_ms, total_ms) {
  const ms = total_ms - first_ms;
  return tokens > 1 && ms > 0 ? ((tokens - 1) * 1000) / ms : NaN;
}
