// Which events are in a stream of bytes that comes in arbitrary pieces? The event-stream format, data fields only: lines end with CRLF,
// LF or CR, lines that begin with a colon are comments, several data lines of one event are joined. EventReader keeps what is not
// complete yet; an event over the limit is an error, since nothing of ours is that long.
const EVENT_MAX = 16 * 1024 * 1024; // characters

export class EventReader {
  #rest = '';
  #data = [];
  #size = 0;

  // The data of every event that is complete with this piece of text.
  push(text) {
    const out = [];
    const all = this.#rest + text;
    let from = 0;
    for (;;) {
      const end = line_end(all, from);
      if (end === null) break;
      this.#line(all.slice(from, end.at), out);
      from = end.next;
    }
    this.#rest = all.slice(from);
    if (this.#rest.length + this.#size > EVENT_MAX) throw new Error('an event of the stream has no end');
    return out;
  }

  #line(line, out) {
    if (line === '') {
      if (this.#data.length) out.push(this.#data.join('\n'));
      this.#data = [];
      this.#size = 0;
    } else if (line.startsWith('data:')) {
      this.#data.push(line.slice(line[5] === ' ' ? 6 : 5));
      this.#size += line.length;
    }
  }
}

function line_end(text, from) {
  const feed = text.indexOf('\n', from);
  const carriage = text.indexOf('\r', from);
  if (carriage >= 0 && (feed < 0 || carriage < feed)) {
    if (carriage + 1 === text.length) return null; // its LF may come with the next piece
    return { at: carriage, next: carriage + (text[carriage + 1] === '\n' ? 2 : 1) };
  }
  return feed < 0 ? null : { at: feed, next: feed + 1 };
}

// The data of each event of a response body, decoded as UTF-8, until it ends. Throws what reading throws.
export async function* read_events(body) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  const events = new EventReader();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      yield* events.push(decoder.decode(value, { stream: true }));
    }
  } finally {
    reader.cancel().catch(() => {}); // a stop in mid-answer; the connection is given up
  }
}
