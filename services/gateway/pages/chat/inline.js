// Which spans are in one line or paragraph of Markdown? Text, code, links, strong, emphasis, deleted, formulas and line breaks, as
// plain objects: { type, text } or { type, children }. Every newline is a break, as people who chat expect. HTML is text like any other. Work is
// linear in the length, up to a fixed look-ahead; nesting is bounded, so no text makes it slow or deep.
const DEPTH_MAX = 12;
const LABEL_MAX = 500; // characters of a link's name, and a quarter of a formula's or an address'
const PUNCTUATION = /[\p{P}\p{S}]/u;
const ESCAPED = /[!-/:-@[-`{-~]/;
const BARE = /^https?:\/\/[^\s<>"'`|]*[^\s<>"'`|.,:;!?)\]}*_~]/i;
const SAFE = /^(https?:\/\/|mailto:)/i;

// The address of a link, or null where it would lead to anything but the web or a mail.
export function safe_address(text) {
  const address = text.trim().replace(/[\u0000-\u0020\u007f]/g, '');
  return SAFE.test(address) ? address : null;
}

export function parse_inline(text, depth = 0) {
  const parts = [];
  const no_code = new Set(); // lengths of back-tick runs that have no partner further on
  let plain = '';
  const flush = () => {
    if (plain) parts.push({ type: 'text', text: plain });
    plain = '';
  };
  const push = (part) => {
    flush();
    parts.push(part);
  };
  for (let at = 0; at < text.length; ) {
    const letter = text[at];
    let found = null;
    if (letter === '\\') found = escape(text, at);
    else if (letter === '`') found = code(text, at, no_code);
    else if (letter === '$' && text[at + 1] === '$') found = formula(text, at, '$$', '$$');
    else if (letter === '[' || (letter === '!' && text[at + 1] === '[')) found = depth < DEPTH_MAX ? link(text, at, depth) : null;
    else if (letter === '<') found = angle(text, at);
    else if (letter === 'h' || letter === 'H') found = bare(text, at);
    else if (letter === '\n') found = { end: at + 1, part: { type: 'break' } };
    else if (letter === '*' || letter === '_' || letter === '~') found = run(text, at);
    if (!found) {
      plain += letter;
      at += 1;
      continue;
    }
    if (found.plain !== undefined) plain += found.plain;
    else push(found.part);
    at = found.end;
  }
  flush();
  return emphasise(parts);
}

function escape(text, at) {
  const next = text[at + 1];
  if (next === '(' || next === '[') {
    const found = formula(text, at, `\\${next}`, next === '(' ? '\\)' : '\\]');
    if (found) return found;
  }
  if (next === '\n') return { end: at + 2, part: { type: 'break' } };
  return next && ESCAPED.test(next) ? { end: at + 2, plain: next } : null;
}

// Formulas are shown as they were written: there is no typesetter here.
function formula(text, at, open, close) {
  const ahead = text.slice(at, at + 4 * LABEL_MAX);
  const end = ahead.indexOf(close, open.length);
  if (end <= open.length) return null;
  return { end: at + end + close.length, part: { type: 'formula', text: ahead.slice(0, end + close.length) } };
}

function code(text, at, no_code) {
  let length = 1;
  while (text[at + length] === '`') length += 1;
  const fence = '`'.repeat(length);
  for (let end = no_code.has(length) ? -1 : text.indexOf(fence, at + length); end >= 0; ) {
    let after = end + length;
    if (text[after] !== '`') {
      const inner = text.slice(at + length, end).replaceAll('\n', ' ');
      const padded = inner.length > 2 && inner[0] === ' ' && inner.at(-1) === ' ' && inner.trim();
      return { end: after, part: { type: 'code', text: padded ? inner.slice(1, -1) : inner } };
    }
    while (text[after] === '`') after += 1;
    end = text.indexOf(fence, after);
  }
  no_code.add(length);
  return { end: at + length, plain: fence };
}

// The index of the bracket that closes the one at `at`, or -1.
function closing(text, at, open, close) {
  let depth = 0;
  for (let i = at; i < text.length && i - at <= LABEL_MAX; i += 1) {
    if (text[i] === '\\') i += 1;
    else if (text[i] === open) depth += 1;
    else if (text[i] === close && (depth -= 1) === 0) return i;
  }
  return -1;
}

// [label](address "title") and ![label](address): a picture is a link to itself, since a page may load nothing from elsewhere.
function link(text, at, depth) {
  const start = text[at] === '!' ? at + 1 : at;
  const end = closing(text, start, '[', ']');
  if (end < 0 || text[end + 1] !== '(') return null;
  const stop = closing(text, end + 1, '(', ')');
  if (stop < 0) return null;
  const target = /^\s*<?([^\s<>]*)>?(?:\s+(?:"[^"]*"|'[^']*'|\([^)]*\)))?\s*$/.exec(text.slice(end + 2, stop));
  if (!target) return null;
  const address = safe_address(target[1]);
  const children = parse_inline(text.slice(start + 1, end), depth + 1);
  if (!address) return { end: stop + 1, part: { type: 'group', children } };
  return { end: stop + 1, part: { type: 'link', address, children: children.length ? children : [{ type: 'text', text: address }] } };
}

function angle(text, at) {
  const found = /^<((?:https?:\/\/|mailto:)[^\s<>]+)>/i.exec(text.slice(at, at + 4 * LABEL_MAX));
  const address = found && safe_address(found[1]);
  return address ? { end: at + found[0].length, part: { type: 'link', address, children: [{ type: 'text', text: found[1] }] } } : null;
}

function bare(text, at) {
  if (at > 0 && /[\p{L}\p{N}]/u.test(text[at - 1])) return null;
  if (!/^https?:/i.test(text.slice(at, at + 6))) return null;
  const found = BARE.exec(text.slice(at, at + 4 * LABEL_MAX));
  return found && found[0].length > 8
    ? { end: at + found[0].length, part: { type: 'link', address: found[0], children: [{ type: 'text', text: found[0] }] } }
    : null;
}

// A run of * _ or ~, and whether it may open or close something (the flanking rules of CommonMark).
function run(text, at) {
  const mark = text[at];
  let end = at + 1;
  while (text[end] === mark) end += 1;
  const length = end - at;
  if (mark === '~' && length !== 2) return { end, plain: text.slice(at, end) };
  const before = at > 0 ? text[at - 1] : ' ';
  const after = text[end] ?? ' ';
  const left = !/\s/.test(after) && (!PUNCTUATION.test(after) || /\s/.test(before) || PUNCTUATION.test(before));
  const right = !/\s/.test(before) && (!PUNCTUATION.test(before) || /\s/.test(after) || PUNCTUATION.test(after));
  const word = mark === '_';
  return { end, part: { type: 'run', mark, length, opens: left && (!word || !right || PUNCTUATION.test(before)),
    closes: right && (!word || !left || PUNCTUATION.test(after)) } };
}

// Pairs the runs, innermost first; what finds no partner is text again.
function emphasise(parts) {
  const out = [];
  const openers = []; // { at: index in out, run }
  for (const part of parts) {
    if (part.type !== 'run') {
      out.push(part);
      continue;
    }
    let left = part.length;
    while (part.closes && left > 0) {
      const index = openers.findLastIndex(({ run: other }) => other.mark === part.mark);
      if (index < 0) break;
      const { at, run: opener } = openers[index];
      const used = Math.min(opener.length, left, 2);
      const children = out.splice(at + 1).map(as_text);
      const depth = 1 + Math.max(0, ...children.map((child) => child.depth ?? 0));
      if (depth > DEPTH_MAX) {
        out.push(...children);
        openers.length = 0; // too deep: the rest stays as it was written
        break;
      }
      openers.length = index;
      opener.length -= used;
      left -= used;
      if (opener.length === 0) out.pop();
      else openers.push({ at, run: opener });
      out.push({ type: part.mark === '~' ? 'deleted' : used === 2 ? 'strong' : 'emphasis', children, depth });
    }
    if (left > 0) {
      out.push({ ...part, length: left });
      if (part.opens && openers.length < 200) openers.push({ at: out.length - 1, run: out.at(-1) });
    }
  }
  return out.map(as_text);
}

const as_text = (part) => (part.type === 'run' ? { type: 'text', text: part.mark.repeat(part.length) } : part);
