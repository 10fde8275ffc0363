// Which part of a text that grows has to be read again? Blocks of Markdown do not change once a later block has begun and has a whole line,
// so only the text from there on is parsed for each piece. A long answer costs its length once, not once a piece.
import { parse_blocks } from './blocks.js';

export class GrowingText {
  #text = '';
  #settled = 0; // characters in front of the part that may still change
  #blocks = []; // settled ones

  get text() {
    return this.#text;
  }

  // How far the text is read for good, for tests of the cost.
  get settled() {
    return this.#settled;
  }

  // Takes the whole text so far, which begins with what was given before; anything else starts anew. Returns all blocks; those that did
  // not change are the very same objects as last time.
  update(text) {
    if (!text.startsWith(this.#text) && !this.#same_head(text)) this.#reset();
    this.#text = text;
    const tail = parse_blocks(text.slice(this.#settled));
    for (const block of tail) block.start += this.#settled;
    const last = tail.at(-1);
    // The last block's kind is certain only when its first line is whole.
    const certain = last && text.indexOf('\n', last.start) >= 0 ? tail.length - 1 : tail.length - 2;
    if (certain <= 0) return [...this.#blocks, ...tail];
    const all = [...this.#blocks, ...tail];
    this.#blocks = [...this.#blocks, ...tail.slice(0, certain)];
    this.#settled = tail[certain].start;
    return all;
  }

  #same_head(text) {
    return text.length >= this.#settled && text.slice(0, this.#settled) === this.#text.slice(0, this.#settled);
  }

  #reset() {
    this.#settled = 0;
    this.#blocks = [];
  }
}
