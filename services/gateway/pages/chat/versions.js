// Which version of a message is shown, and how is another one reached? "‹ 2 / 3 ›" where there are several, nothing where there is one.
import { make } from '../shared/dom.js';
import { icon } from '../shared/icons.js';

export function versions_bar(node, versions, choose) {
  if (versions.length < 2) return [];
  const at = versions.indexOf(node);
  const arrow = (mark, name, other) => make('button', { class: 'quiet', type: 'button', 'aria-label': name, title: name, disabled: !other, onclick: () => choose(other) }, icon(mark));
  return [arrow('left', 'Older version', versions[at - 1]), make('span', { class: 'count' }, `${at + 1} / ${versions.length}`), arrow('right', 'Newer version', versions[at + 1])];
}
