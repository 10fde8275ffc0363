"""Can everybody use a page? What a machine can check of it: every control has a name, every text has enough contrast with
what is painted behind it (WCAG 2.2 AA: 4.5, and 3 for large text), identifiers are unique, and there is one main heading.
"""
CHECK = r"""() => {
  const bad = [];
  const where = (node) => `${node.tagName.toLowerCase()}${node.id ? '#' + node.id : ''}.${node.getAttribute('class') ?? ''}`;
  const seen = (node) => node.checkVisibility({ opacityProperty: true, visibilityProperty: true }) && node.getClientRects().length > 0;

  // --- names
  const labelled = (node) => (node.getAttribute('aria-labelledby') ?? '').split(/\s+/).filter(Boolean)
    .map((id) => document.getElementById(id)?.textContent ?? '').join(' ');
  const name = (node) => (labelled(node) || node.getAttribute('aria-label') || [...(node.labels ?? [])].map((l) => l.textContent).join(' ') ||
    node.textContent || node.getAttribute('title') || node.getAttribute('alt') || '').trim();
  for (const node of document.querySelectorAll('button, a[href], input, select, textarea, summary, dialog[open], [role=button], [tabindex="0"], img'))
    if (seen(node) && !node.closest('[aria-hidden=true]') && !name(node) && node.type !== 'hidden') bad.push(`no name: ${where(node)}`);
  for (const node of document.querySelectorAll('svg'))
    if (seen(node) && node.getAttribute('aria-hidden') !== 'true' && node.getAttribute('role') !== 'img') bad.push(`a picture that is neither hidden nor named: ${where(node)} in ${where(node.parentElement)}`);

  // --- contrast
  const paint = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
  const rgba = (colour) => {
    paint.clearRect(0, 0, 1, 1);
    paint.fillStyle = colour;
    paint.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = paint.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => top.slice(0, 3).map((value, i) => value * top[3] + below[i] * (1 - top[3])).concat(1);
  const behind = (node) => {
    const layers = [];
    for (; node; node = node.parentElement) {
      const colour = rgba(getComputedStyle(node).backgroundColor);
      if (colour[3] > 0) layers.push(colour);
      if (colour[3] === 1) break;
    }
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  const light = (colour) => {
    const [r, g, b] = colour.map((value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const done = new Set();
  for (let text = walker.nextNode(); text; text = walker.nextNode()) {
    const node = text.parentElement;
    if (!text.data.trim() || done.has(node) || !seen(node) || ['SCRIPT', 'STYLE', 'OPTION'].includes(node.tagName)) continue;
    done.add(node);
    if (node.closest(':disabled, [aria-disabled=true]')) continue;
    const style = getComputedStyle(node);
    const below = behind(node);
    const inner = node.closest('svg') ? style.fill : style.color;
    const [a, b] = [light(over(rgba(inner), below)), light(below)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5) - 0.01) bad.push(`contrast ${ratio.toFixed(2)}: ${where(node)} "${text.data.trim().slice(0, 30)}"`);
  }

  // --- order
  const ids = [...document.querySelectorAll('[id]')].map((node) => node.id);
  for (const id of new Set(ids)) if (ids.filter((other) => other === id).length > 1) bad.push(`two elements are #${id}`);
  if (document.querySelectorAll('h1').length !== 1) bad.push('there is not one main heading');
  if (!document.documentElement.lang) bad.push('the page has no language');
  if (!document.title) bad.push('the page has no title');
  return bad;
}"""


def assert_accessible(page):
    bad = page.evaluate(CHECK)
    assert not bad, "\n".join(bad)
