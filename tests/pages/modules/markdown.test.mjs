// Does the text of a model become the right blocks and spans, whatever it is, and without ever taking long?
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse_blocks } from '../../../services/gateway/pages/chat/blocks.js';
import { colour } from '../../../services/gateway/pages/chat/colour.js';
import { GrowingText } from '../../../services/gateway/pages/chat/growing.js';
import { parse_inline, safe_address } from '../../../services/gateway/pages/chat/inline.js';

const shape = (part) => (part.children ? { [part.type]: part.children.map(shape) } : part.type === 'text' ? part.text : { [part.type]: part.text ?? '' });
const spans = (text) => parse_inline(text).map(shape);
const types = (text) => parse_blocks(text).map((block) => block.type);

test('each kind of block is read', () => {
  const text = '# Title\n\nA line\nand more.\n\n- one\n- two\n\n1. first\n2. second\n\n> quoted\n\n```js\nlet a;\n```\n\n| a | b |\n|---|--:|\n| 1 | 2 |\n\n***\n\nUnder\n===\n';
  assert.deepEqual(types(text), ['heading', 'paragraph', 'list', 'list', 'quote', 'code', 'table', 'rule', 'heading']);
});

test('code is taken as it is, with its language, and open until its fence comes', () => {
  const [block] = parse_blocks('```python title\n# no heading\n\n  x = "<b>"\n```');
  assert.deepEqual([block.language, block.text, block.closed], ['python', '# no heading\n\n  x = "<b>"', true]);
  assert.equal(parse_blocks('~~~\n```\n')[0].closed, false);
  assert.deepEqual(parse_blocks('````\n```\n````')[0].text, '```');
});

test('lists nest, keep their numbers, and hold code', () => {
  const [list] = parse_blocks('3. three\n   - a\n     - b\n   - c\n4. four\n\n   ```\n   code\n   ```\n5. five');
  assert.deepEqual([list.ordered, list.first, list.items.length], [true, 3, 3]);
  assert.deepEqual(list.items[0].blocks.map((block) => block.type), ['paragraph', 'list']);
  assert.equal(list.items[0].blocks[1].items[0].blocks[1].type, 'list');
  assert.deepEqual(list.items[1].blocks.map((block) => block.type), ['paragraph', 'code']);
  assert.equal(list.items[1].blocks[1].text, 'code');
  assert.deepEqual(parse_blocks('- [x] done\n- [ ] open').at(0).items.map((item) => item.checked), [true, false]);
});

test('a table has a row for each line and a cell for each column', () => {
  const [table] = parse_blocks('| a | b |\n|:-:|--:|\n| `x|y` | 2 |\n| 3 |\n| 4 | 5 | 6 |\n');
  assert.deepEqual(table.head, ['a', 'b']);
  assert.deepEqual(table.sides, ['center', 'right']);
  assert.deepEqual(table.rows.map((row) => row.cells), [['`x|y`', '2'], ['3', ''], ['4', '5']]);
});

test('spans are paired as people mean them', () => {
  assert.deepEqual(spans('a **b** *c* ~~d~~ `e*`'), ['a ', { strong: ['b'] }, ' ', { emphasis: ['c'] }, ' ', { deleted: ['d'] }, ' ', { code: 'e*' }]);
  assert.deepEqual(spans('***both***'), [{ emphasis: [{ strong: ['both'] }] }]);
  assert.deepEqual(spans('17 * 23 * 2 = 782'), ['17 ', '*', ' 23 ', '*', ' 2 = 782']);
  assert.deepEqual(spans('snake_case_name and __init__'), ['snake', '_', 'case', '_', 'name and ', { strong: ['init'] }]);
  assert.deepEqual(spans('2 \\* 3\nnext'), ['2 * 3', { break: '' }, 'next']);
  assert.deepEqual(spans('\\(a_1 + b_2\\)'), [{ formula: '\\(a_1 + b_2\\)' }]);
});

test('HTML is text', () => {
  assert.deepEqual(types('<script>alert(1)</script>\n<img src=x onerror=alert(1)>'), ['paragraph']);
  assert.deepEqual(spans('<b onclick="x">'), ['<b onclick="x">']);
});

test('links lead to the web or to a mail, or are no links', () => {
  assert.deepEqual(spans('[a](https://b.example/c_(d)?e=f "title")'), [{ link: ['a'] }]);
  assert.equal(parse_inline('see https://b.example/c_d, or')[1].address, 'https://b.example/c_d');
  for (const bad of ['javascript:alert(1)', 'JaVa\tScript:alert(1)', ' data:text/html,x', 'vbscript:x', 'file:///etc/passwd', '//evil.example', '/etc', 'blob:x', '\u0001javascript:x'])
    assert.equal(safe_address(bad), null, bad);
  for (const good of ['https://a.example', 'HTTP://a.example', 'mailto:a@b.example']) assert.equal(safe_address(good), good);
  assert.deepEqual(spans('[click](javascript:alert(1))'), [{ group: ['click'] }]);
  assert.deepEqual(spans('![picture](https://a.example/p.png)'), [{ link: ['picture'] }]);
});

test('what is fed piece by piece is what is read at once', () => {
  const text = '# Title\n\nPara with **bold\nand** more.\n\n1. one\n2. two\n   - deep\n\n3. three\n\n> q\n> r\n\n```js\nlet a = `x`;\n\n```\n| a | b |\n|---|---|\n| 1 | 2 |\n\nend';
  const plain = (blocks) => JSON.parse(JSON.stringify(blocks));
  for (const step of [1, 2, 3, 7]) {
    const growing = new GrowingText();
    let blocks = [];
    for (let at = step; ; at += step) {
      blocks = growing.update(text.slice(0, at));
      if (at >= text.length) break;
    }
    assert.deepEqual(plain(blocks), plain(parse_blocks(text)), `in pieces of ${step}`);
  }
});

test('a block that is settled is never read again', () => {
  const growing = new GrowingText();
  let text = '';
  let first = null;
  for (let i = 0; i < 500; i += 1) {
    text += `Paragraph ${i} with some words.\n\n`;
    const blocks = growing.update(text);
    if (i === 1) [first] = blocks; // settled since the second one has a whole line
    if (i > 1) assert.equal(blocks[0], first);
    assert.ok(text.length - growing.settled < 120, 'only the end is read');
  }
});

test('a text that is not a continuation begins anew', () => {
  const growing = new GrowingText();
  growing.update('# One\n\ntwo\n\nthree\n\n');
  assert.deepEqual(growing.update('other').map((block) => block.type), ['paragraph']);
});

// Each of these takes minutes or overflows the stack in a careless reader; here all of them together are quick.
test('no text is too hard', () => {
  const many = 20_000;
  const hard = ['['.repeat(many), '![['.repeat(many), '*a '.repeat(many), '**'.repeat(many), '*a_ '.repeat(many), '`'.repeat(many), '> '.repeat(many), '- '.repeat(many), '  '.repeat(many) + '- a',
    Array.from({ length: 400 }, (_, i) => '`'.repeat(i + 1)).join(' '), '|'.repeat(many) + '\n' + '-|'.repeat(many), '<http://'.repeat(many), 'https://'.repeat(many), '\\('.repeat(many), '$$'.repeat(many), '\n'.repeat(many), '1. '.repeat(many), '(['.repeat(many), '[a]('.repeat(many),
    '~~~\n'.repeat(many), '# '.repeat(many), '- a\n\n'.repeat(2000), '\u0000\uD800 \uFFFF'];
  for (const text of hard) {
    for (const block of parse_blocks(text)) assert.ok(parse_inline(block.text ?? ''));
    assert.ok(parse_inline(text));
  }
});

test('nesting is bounded', () => {
  const depth = (part) => 1 + Math.max(0, ...(part.children ?? part.blocks ?? part.items ?? []).map(depth));
  for (const text of ['> '.repeat(5000) + 'x', '- '.repeat(5000) + 'x', '1. > '.repeat(3000) + 'x']) assert.ok(Math.max(...parse_blocks(text).map(depth)) < 40);
  for (const text of ['*a **b '.repeat(2000) + 'c** d*'.repeat(2000), '[x'.repeat(400) + '](https://a.example)'.repeat(400)]) assert.ok(Math.max(...parse_inline(text).map(depth)) < 40);
});

test('colours never change the code', () => {
  const code = 'def f(x):  # note\n    return "a\\"b" + \'\'\' x \'\'\' + 0x1F + `z`\n/* open';
  for (const language of ['python', 'js', 'c++', 'html', 'sql', 'bash', '', 'unknown'])
    assert.equal(colour(code, language).map(([, text]) => text).join(''), code, language);
  assert.deepEqual(colour('let a = 1; // b', 'js').filter(([kind]) => kind), [['word', 'let'], ['number', '1'], ['note', '// b']]);
});
