// What is the reader doing right now? Holds the conversation that is open and carries out what a reader can do in it: send, ask again, edit,
// go on, answer a tool, stop. Each step first changes the tree and stores it, then asks. It draws nothing: `on` hears of changes.
import { new_id, new_record, title_of } from './conversation.js';
import { settle } from './asking.js';

export class Session {
  // with: { store, asking, now(), tab, defaults(), model(), on: { opened(), changed(), listed(), restored(text), refused(refusal, again) } }
  constructor(given) {
    Object.assign(this, given);
    this.open_new();
  }

  get id() {
    return this.conversation.id;
  }

  get running() {
    return this.asking.run_of(this.id);
  }

  open_new() {
    this.#leave();
    this.conversation = this.store.begin(new_record(this.now(), this.defaults(), null));
    this.on.opened();
  }

  // False when there is no such conversation.
  async open(id) {
    const found = await this.store.load(id);
    if (!found) return false;
    if (found !== this.conversation) this.#leave();
    this.conversation = found;
    for (const node of found.nodes.values()) if (this.running?.node !== node) settle(node, this.tab, this.now());
    this.on.opened();
    return true;
  }

  // One that nothing was ever written into is not kept.
  #leave() {
    const left = this.conversation;
    if (left && this.store.record(left.id) && !left.nodes.size && !left.record.named && !this.store.draft(left.id)) this.store.bin(left.id, 1).then(() => this.store.empty_bin(1));
  }

  model_of(conversation = this.conversation) {
    return conversation.record.model ?? this.model();
  }

  set_draft(text) {
    if (text && !this.store.record(this.id)) this.store.save(this.conversation.record);
    this.store.set_draft(this.id, text);
    this.on.listed();
  }

  async change_record(fields) {
    Object.assign(this.conversation.record, fields);
    await this.store.save(this.conversation.record);
    this.on.listed();
  }

  // --- what can be done

  async send(text, parent = this.conversation.path().at(-1)?.id ?? '') {
    if (!text.trim() || this.running) return;
    const conversation = this.conversation;
    const { record } = conversation;
    if (!record.title) record.title = title_of(text);
    this.store.set_draft(conversation.id, '');
    const question = this.#add(conversation, { parent, role: 'user', content: text });
    const answer = this.#add_answer(conversation, question.id);
    this.#save(conversation, [question]);
    const refusal = await this.asking.run(conversation, answer);
    if (refusal && answer.state === 'failed') this.#give_back(conversation, question, answer, refusal);
  }

  // Nothing came: the message goes back to where it was typed, unless something else is typed there by now.
  #give_back(conversation, question, answer, refusal) {
    if (this.store.draft(conversation.id)) {
      this.on.changed();
      if (refusal.kind === 'key') this.on.refused(refusal, conversation);
      return;
    }
    for (const node of [answer, question]) {
      conversation.remove(node);
      this.store.remove_node(node);
    }
    if (!conversation.nodes.size && !conversation.record.named) conversation.record.title = '';
    this.store.set_draft(conversation.id, question.content);
    this.store.save(conversation.record);
    this.on.listed();
    if (conversation === this.conversation) this.on.restored(question.content);
    this.on.refused(refusal, conversation);
  }

  // Another version of this answer.
  async again(node) {
    if (this.running) return;
    const conversation = this.conversation;
    const answer = this.#add_answer(conversation, node.parent);
    this.#save(conversation, []);
    if (node.state === 'failed') {
      conversation.remove(node); // there was nothing in it
      this.store.remove_node(node);
    }
    const refusal = await this.asking.run(conversation, answer);
    if (refusal?.kind === 'key') this.on.refused(refusal, conversation);
  }

  // More of an answer that was stopped, cut off or reached its limit.
  async go_on(node) {
    if (this.running) return;
    const refusal = await this.asking.run(this.conversation, node, { prefix: true });
    if (refusal?.kind === 'key') this.on.refused(refusal, this.conversation);
  }

  // A sent message in other words: a version beside it, with an answer of its own.
  async edit(node, text) {
    this.store.set_draft(`edit:${node.id}`, '');
    await this.send_beside(node, text);
  }

  async send_beside(node, text) {
    if (!text.trim() || this.running) return;
    const conversation = this.conversation;
    const question = this.#add(conversation, { parent: node.parent, role: 'user', content: text });
    const answer = this.#add_answer(conversation, question.id);
    this.#save(conversation, [question]);
    const refusal = await this.asking.run(conversation, answer);
    if (refusal?.kind === 'key') this.on.refused(refusal, conversation);
  }

  // results: texts, one for each tool call of the answer.
  async give_results(node, results) {
    if (this.running) return;
    const conversation = this.conversation;
    let parent = node.id;
    const added = [];
    for (const [i, call] of node.tool_calls.entries()) {
      const result = this.#add(conversation, { parent, role: 'tool', tool_call_id: call.id, content: results[i] });
      added.push(result);
      parent = result.id;
      this.store.set_draft(`tool:${node.id}:${i}`, '');
    }
    const answer = this.#add_answer(conversation, parent);
    this.#save(conversation, added);
    const refusal = await this.asking.run(conversation, answer);
    if (refusal?.kind === 'key') this.on.refused(refusal, conversation);
  }

  async choose(node) {
    this.conversation.choose(node);
    this.on.changed();
    await this.store.save(this.conversation.record);
  }

  stop() {
    this.asking.stop(this.id);
  }

  // --- the tree

  #add(conversation, fields) {
    const newest = Math.max(0, ...[...conversation.nodes.values()].map((node) => node.created));
    const node = { id: new_id(), conversation: conversation.id, created: Math.max(this.now(), newest + 1), ...fields };
    conversation.add(node);
    conversation.choose(node);
    return node;
  }

  #add_answer(conversation, parent) {
    return this.#add(conversation, { parent, role: 'assistant', content: '', reasoning: '', model: this.model_of(conversation), state: 'writing' });
  }

  // Not waited for: the store keeps the order, and an answer must not wait for a disk.
  #save(conversation, nodes) {
    conversation.record.updated = this.now();
    delete conversation.record.deleted; // by another tab, while this one went on
    this.store.save(conversation.record);
    for (const node of nodes) this.store.save_node(node);
    this.on.changed();
    this.on.listed();
  }
}
