// Which events are in a stream of bytes that comes in arbitrary pieces? The event-stream format with event, id and data fields. Lines end
// with LF, as ours do, or CRLF. A comment is an event without data: it is a sign of life. What is not complete yet is kept.
const EVENT_MAX = 32 * 1024 * 1024; // characters; a view of thousands of workers is far below

export class EventReader {
  #rest = '';
  #event = fresh();
  #size = 0;

  // { name, id, data } of each event that is complete with this piece of text; data is null for a comment.
  push(text) {
    const out = [];
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop();
    for (const line of lines) this.#line(line.endsWith('\r') ? line.slice(0, -1) : line, out);
    if (this.#rest.length + this.#size > EVENT_MAX) throw new Error('an event of the stream has no end');
    return out;
  }

  #line(line, out) {
    if (line === '') {
      if (this.#event.data !== null) out.push(this.#event);
      this.#event = fresh();
      this.#size = 0;
      return;
    }
    const colon = line.indexOf(':');
    if (colon === 0) {
      out.push({ name: 'comment', id: null, data: null });
      return;
    }
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(line[colon + 1] === ' ' ? colon + 2 : colon + 1);
    if (field === 'event') this.#event.name = value;
    else if (field === 'id') this.#event.id = value;
    else if (field === 'data') {
      this.#event.data = this.#event.data === null ? value : `${this.#event.data}\n${value}`;
      this.#size += value.length;
    }
  }
}

const fresh = () => ({ name: 'message', id: null, data: null });

// Calls `take(event)` for each event of a response body until it ends. Throws what reading throws.
export async function read_events(body, take) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  const events = new EventReader();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      for (const event of events.push(decoder.decode(value, { stream: true }))) take(event);
    }
  } finally {
    reader.cancel().catch(() => {}); // it is over either way
  }
}
