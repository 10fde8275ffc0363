// Which blocks is a Markdown text made of? Headings, paragraphs, lists, quotes, tables, code and rules as plain objects, each with
// `source`, the very text it was read from, and `start`, where that begins: two blocks of the same source look the same. Line by line,
// without backtracking; nesting is bounded. Spans inside a line are inline.js's business.
const DEPTH_MAX = 8;
const FENCE = /^( {0,3})(`{3,}|~{3,})[ \t]*([^`\n]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$/;
const RULE = /^ {0,3}([-*_])[ \t]*(?:\1[ \t]*){2,}$/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])(?:([ \t]+)(.*)|$)/;
const QUOTE = /^ {0,3}> ?(.*)$/;
const DIVIDER = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;
const blank = (line) => !/\S/.test(line);

// Lines of a text with where each begins.
function lines_of(text) {
  const lines = [];
  for (let at = 0; at < text.length; ) {
    const end = text.indexOf('\n', at);
    lines.push({ text: text.slice(at, end < 0 ? text.length : end).replace(/\r$/, ''), at });
    at = end < 0 ? text.length : end + 1;
  }
  return lines;
}

export function parse_blocks(text, depth = 0) {
  const lines = lines_of(text);
  const blocks = [];
  for (let i = 0; i < lines.length; ) {
    if (blank(lines[i].text)) {
      i += 1;
      continue;
    }
    const { next, ...block } = read_block(lines, i, depth);
    const end = next < lines.length ? lines[next].at : text.length;
    blocks.push({ ...block, start: lines[i].at, source: text.slice(lines[i].at, end).trimEnd() });
    i = next;
  }
  return blocks;
}

function read_block(lines, i, depth) {
  const line = lines[i].text;
  if (FENCE.test(line)) return read_code(lines, i);
  const heading = HEADING.exec(line);
  if (heading) return { type: 'heading', level: heading[1].length, text: heading[2] ?? '', next: i + 1 };
  if (RULE.test(line)) return { type: 'rule', next: i + 1 };
  if (depth < DEPTH_MAX) {
    if (QUOTE.test(line)) return read_quote(lines, i, depth);
    if (ITEM.test(line)) return read_list(lines, i, depth);
  }
  if (is_table(lines, i)) return read_table(lines, i);
  return read_paragraph(lines, i, depth);
}

function read_code(lines, i) {
  const [, indent, fence, label] = FENCE.exec(lines[i].text);
  const closes = new RegExp(`^ {0,3}${fence[0] === '`' ? '`' : '~'}{${fence.length},}[ \\t]*$`);
  const strip = new RegExp(`^ {0,${indent.length}}`);
  const body = [];
  let next = i + 1;
  while (next < lines.length && !closes.test(lines[next].text)) {
    body.push(indent ? lines[next].text.replace(strip, '') : lines[next].text);
    next += 1;
  }
  const closed = next < lines.length;
  return { type: 'code', language: label.trim().split(/\s/)[0], text: body.join('\n'), closed, next: closed ? next + 1 : next };
}

// Does this line end a paragraph although nothing blank stands between?
function interrupts(line, depth) {
  if (FENCE.test(line) || HEADING.test(line) || RULE.test(line)) return true;
  if (depth >= DEPTH_MAX) return false;
  if (QUOTE.test(line)) return true;
  const item = ITEM.exec(line);
  return Boolean(item?.[4]) && (!/\d/.test(item[2]) || /^1[.)]/.test(item[2]));
}

function read_paragraph(lines, i, depth) {
  const body = [lines[i].text];
  let next = i + 1;
  for (; next < lines.length; next += 1) {
    const line = lines[next].text;
    const under = /^ {0,3}(=+|-+)[ \t]*$/.exec(line);
    if (under) return { type: 'heading', level: under[1][0] === '=' ? 1 : 2, text: body.join('\n').trim(), next: next + 1 };
    if (blank(line) || interrupts(line, depth) || is_table(lines, next)) break;
    body.push(line.trimStart());
  }
  return { type: 'paragraph', text: body.join('\n').trim(), next };
}

function read_quote(lines, i, depth) {
  const body = [];
  let next = i;
  for (; next < lines.length; next += 1) {
    const quoted = QUOTE.exec(lines[next].text);
    if (quoted) body.push(quoted[1]);
    else if (blank(lines[next].text) || interrupts(lines[next].text, depth) || blank(body.at(-1))) break;
    else body.push(lines[next].text); // a lazy line of the same paragraph
  }
  return { type: 'quote', blocks: parse_blocks(body.join('\n'), depth + 1), next };
}

const kind_of = (mark) => (/\d/.test(mark) ? mark.at(-1) : mark);

function read_list(lines, i, depth) {
  const first = ITEM.exec(lines[i].text);
  const kind = kind_of(first[2]);
  const items = [];
  let next = i;
  let loose = false;
  while (next < lines.length) {
    const head = ITEM.exec(lines[next].text);
    if (!head || kind_of(head[2]) !== kind || RULE.test(lines[next].text)) break;
    const wide = head[1].length + head[2].length + (head[4] && head[3].length <= 4 ? head[3].length : 1);
    const item = read_item(lines, next, head, wide, depth);
    items.push(item.block);
    next = item.next;
    loose ||= item.loose && next < lines.length && ITEM.test(lines[next].text) || item.inner;
  }
  return { type: 'list', ordered: /\d/.test(first[2]), first: Number.parseInt(first[2], 10) || 0, items, loose, next };
}

// One item: its first line and everything indented below it; a blank line ends it unless more is indented or the list goes on.
function read_item(lines, i, head, wide, depth) {
  const body = [head[4] ?? ''];
  const strip = new RegExp(`^ {0,${wide}}`);
  const indented = (line) => line.startsWith(' '.repeat(Math.min(wide, 2))) || line.startsWith('\t');
  let next = i + 1;
  let gap = 0;
  let inner = false;
  for (; next < lines.length; next += 1) {
    const line = lines[next].text.replace(/^\t/, '    ');
    if (blank(line)) {
      gap += 1;
      continue;
    }
    if (!indented(line) && (gap || ITEM.test(line) || interrupts(line, depth))) break;
    for (; gap > 0; gap -= 1) {
      body.push('');
      inner = true;
    }
    body.push(line.replace(strip, ''));
  }
  const task = /^\[([ xX])\][ \t]+/.exec(body[0]);
  if (task) body[0] = body[0].slice(task[0].length);
  const text = body.join('\n');
  const block = { type: 'item', checked: task ? task[1] !== ' ' : null, blocks: parse_blocks(text, depth + 1), source: `${head[2]} ${task?.[0] ?? ''}${text}` };
  return { block, next, loose: gap > 0, inner };
}

// --- tables

function cells_of(line) {
  const cells = [];
  let cell = '';
  let ticks = false;
  const inner = line.trim().replace(/^\|/, '').replace(/(^|[^\\])\|$/, '$1');
  for (let i = 0; i < inner.length; i += 1) {
    if (inner[i] === '\\' && inner[i + 1] === '|') {
      cell += '|';
      i += 1;
    } else if (inner[i] === '|' && !ticks) {
      cells.push(cell.trim());
      cell = '';
    } else {
      if (inner[i] === '`') ticks = !ticks && inner.indexOf('`', i + 1) >= 0;
      cell += inner[i];
    }
  }
  return [...cells, cell.trim()];
}

function is_table(lines, i) {
  const under = lines[i + 1]?.text;
  return Boolean(under) && lines[i].text.includes('|') && under.includes('-') && DIVIDER.test(under) &&
    cells_of(lines[i].text).length === cells_of(under).length;
}

function read_table(lines, i) {
  const head = cells_of(lines[i].text);
  const sides = cells_of(lines[i + 1].text).map((cell) => (cell.endsWith(':') ? (cell.startsWith(':') ? 'center' : 'right') : 'left'));
  const rows = [];
  let next = i + 2;
  for (; next < lines.length && !blank(lines[next].text) && lines[next].text.includes('|'); next += 1) {
    const cells = cells_of(lines[next].text);
    rows.push({ type: 'row', cells: head.map((_, column) => cells[column] ?? ''), source: lines[next].text });
  }
  return { type: 'table', head, sides, rows, next };
}
