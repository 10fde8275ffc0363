// Which words of a piece of code stand out? Comments, texts, numbers and keywords, by rules that hold for most languages well
// enough: this is colour for reading, not a parser. colour(code, language) gives [kind, text] pairs that joined are the code.
const WORDS = new Set(`abstract and any as assert async auto await base bool boolean break byte case catch chan char class const constexpr continue
def default defer del delete do double elif else end enum except explicit export extends extern false final finally float fn for from func
function global go goto if impl implements import in inline int interface is lambda let local long loop match mod module move mut namespace new
nil None nonlocal not null nullptr of operator or override package pass private protected pub public raise range ref return self short signed
sizeof static str string struct super switch template then this throw throws trait true True False try type typedef typename uint union unsafe
unsigned use using val var virtual void volatile when where while with yield select insert update create table drop join on group by order
having limit values into set echo fi done esac`.split(/\s+/));
const HASH = new Set(['python', 'py', 'sh', 'bash', 'shell', 'zsh', 'console', 'yaml', 'yml', 'toml', 'ruby', 'rb', 'perl', 'r', 'make', 'makefile', 'dockerfile', 'ini', 'conf', 'cmake', 'julia', 'elixir']);
const PLAIN = new Set(['', 'text', 'txt', 'plain', 'plaintext', 'output', 'log', 'diff', 'markdown', 'md']);
const MARKUP = new Set(['html', 'xml', 'svg', 'vue']);
const QUOTED = String.raw`"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'`;
const NUMBER = String.raw`\b(?:0[xX][\da-fA-F_]+|\d[\d_]*(?:\.\d+)?(?:[eE][+-]?\d+)?)\w*`;
const LENGTH_MAX = 100_000; // a longer text is shown in one colour

function pattern(language) {
  if (MARKUP.has(language)) return String.raw`(?<note><!--[\s\S]*?-->)|(?<text>${QUOTED})|(?<word><\/?[\w:-]+|\/?>)`;
  const note = HASH.has(language) ? String.raw`#[^\n]*` : ['sql', 'lua', 'haskell', 'ada'].includes(language) ? String.raw`--[^\n]*` : String.raw`\/\/[^\n]*|\/\*[\s\S]*?\*\/`;
  const long = language.startsWith('py') ? String.raw`"""[\s\S]*?"""|'''[\s\S]*?'''|` : '';
  return String.raw`(?<text>${long}${QUOTED}|${'`'}(?:[^${'`'}\\]|\\.)*${'`'})|(?<note>${note})|(?<number>${NUMBER})|(?<word>[A-Za-z_]\w*)`;
}

export function colour(code, language) {
  const name = language.toLowerCase();
  if (PLAIN.has(name) || code.length > LENGTH_MAX) return [['', code]];
  const out = [];
  const find = new RegExp(pattern(name), 'g');
  let at = 0;
  for (let found = find.exec(code); found; found = find.exec(code)) {
    const kind = Object.keys(found.groups).find((group) => found.groups[group] !== undefined);
    if (kind === 'word' && !MARKUP.has(name) && !WORDS.has(found[0]) && !(name === 'sql' && WORDS.has(found[0].toLowerCase()))) continue;
    if (found.index > at) out.push(['', code.slice(at, found.index)]);
    out.push([kind, found[0]]);
    at = found.index + found[0].length;
  }
  if (at < code.length) out.push(['', code.slice(at)]);
  return out;
}
