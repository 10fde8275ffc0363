// How do blocks of Markdown become elements? Only with createElement and text nodes; no string is ever read as HTML. An Answer keeps
// what it drew and draws again only blocks whose source changed; inside the last list, table or open code block only what was added.
import { make } from '../shared/dom.js';
import { copy_button } from './clipboard.js';
import { colour } from './colour.js';
import { GrowingText } from './growing.js';
import { parse_inline } from './inline.js';

export class MarkdownView {
  #text = new GrowingText();
  #drawn = [];

  constructor(element) {
    this.element = element;
  }

  update(text) {
    this.#drawn = reconcile(this.element, this.#drawn, this.#text.update(text));
  }
}

// drawn: [{ block, node, inner }] of last time. Returns the same for `blocks`.
function reconcile(parent, drawn, blocks) {
  const out = blocks.map((block, i) => {
    const old = drawn[i];
    if (old && old.block === block) return old;
    if (old && old.block.type === block.type && old.block.source === block.source && old.block.closed === block.closed) return { ...old, block };
    const grown = old && grow(old, block);
    if (grown) return grown;
    const fresh = draw(block);
    if (old) old.node.replaceWith(fresh.node);
    else parent.append(fresh.node);
    return fresh;
  });
  for (const old of drawn.slice(blocks.length)) old.node.remove();
  return out;
}

// Changes what is drawn in place, where that is less work than drawing anew; null where it is not.
function grow(old, block) {
  if (old.block.type !== block.type) return null;
  if (block.type === 'list' && old.block.ordered === block.ordered && old.block.first === block.first && old.block.loose === block.loose)
    return { block, node: old.node, inner: reconcile(old.node, old.inner, block.items) };
  if (block.type === 'item' && old.block.checked === block.checked) return { block, node: old.node, inner: reconcile(old.node, old.inner, block.blocks) };
  if (block.type === 'quote') return { block, node: old.node, inner: reconcile(old.node, old.inner, block.blocks) };
  if (block.type === 'table' && same(old.block.head, block.head) && same(old.block.sides, block.sides)) {
    const rows = block.rows.map((row) => ({ ...row, sides: block.sides }));
    return { block, node: old.node, inner: reconcile(old.node.querySelector('tbody'), old.inner, rows) };
  }
  if (block.type === 'code' && !block.closed && old.block.language === block.language && block.text.startsWith(old.block.text)) {
    old.node.querySelector('code').lastChild.appendData(block.text.slice(old.block.text.length));
    return { block, node: old.node };
  }
  return null;
}

const same = (a, b) => a.length === b.length && a.every((value, i) => value === b[i]);

function draw(block) {
  switch (block.type) {
    case 'heading':
      // The page has its own h1 and h2; an answer's headings stand below them.
      return { block, node: make(`h${Math.min(6, block.level + 2)}`, { class: `head-${block.level}` }, ...spans(block.text)) };
    case 'rule':
      return { block, node: make('hr') };
    case 'code':
      return { block, node: code_block(block) };
    case 'quote':
      return nest(block, make('blockquote'), block.blocks);
    case 'list':
      return nest(block, make(block.ordered ? 'ol' : 'ul', { class: block.loose ? 'loose' : null, start: block.ordered && block.first !== 1 ? block.first : null }), block.items);
    case 'item':
      return item(block);
    case 'table':
      return table(block);
    case 'row':
      return { block, node: make('tr', {}, ...block.cells.map((cell, i) => make('td', { class: block.sides[i] }, ...spans(cell)))) };
    default:
      return { block, node: make('p', {}, ...spans(block.text)) };
  }
}

function nest(block, node, blocks) {
  return { block, node, inner: reconcile(node, [], blocks) };
}

function item(block) {
  const node = make('li', { class: block.checked === null ? null : block.checked ? 'task done' : 'task' });
  if (block.checked !== null) node.append(make('span', { class: 'unseen' }, block.checked ? 'done: ' : 'to do: '));
  return nest(block, node, block.blocks);
}

function table(block) {
  const body = make('tbody');
  const head = make('tr', {}, ...block.head.map((cell, i) => make('th', { scope: 'col', class: block.sides[i] }, ...spans(cell))));
  const node = make('div', { class: 'table', tabindex: '0', role: 'region', 'aria-label': 'Table' }, make('table', {}, make('thead', {}, head), body));
  return { block, node, inner: reconcile(body, [], block.rows.map((row) => ({ ...row, sides: block.sides }))) };
}

function code_block(block) {
  const code = make('code');
  // While it is still being written it is one text that grows; colours come when it is whole.
  if (block.closed) code.append(...colour(block.text, block.language).map(([kind, text]) => (kind ? make('span', { class: `code-${kind}` }, text) : text)));
  else code.append(document.createTextNode(block.text));
  return make('figure', { class: 'code' },
    make('figcaption', {}, make('span', {}, block.language || 'text'), copy_button('Copy code', () => code.textContent)),
    make('pre', { tabindex: '0', role: 'region', 'aria-label': `Code${block.language ? ` in ${block.language}` : ''}` }, code));
}

const spans = (text) => parse_inline(text).map(span);

function span(part) {
  switch (part.type) {
    case 'text':
      return document.createTextNode(part.text);
    case 'break':
      return make('br');
    case 'code':
      return make('code', {}, part.text);
    case 'formula':
      return make('span', { class: 'formula' }, part.text);
    case 'link':
      return make('a', { href: part.address, rel: 'noopener noreferrer', target: '_blank' }, ...part.children.map(span));
    case 'strong':
      return make('strong', {}, ...part.children.map(span));
    case 'emphasis':
      return make('em', {}, ...part.children.map(span));
    case 'deleted':
      return make('del', {}, ...part.children.map(span));
    default:
      return make('span', {}, ...part.children.map(span));
  }
}
