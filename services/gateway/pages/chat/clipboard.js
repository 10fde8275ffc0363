// How does a text get onto the clipboard? By the browser's own interface where it is offered (HTTPS and this machine), else, on plain HTTP
// from elsewhere, by selecting a hidden field and copying that. The button says for a moment that it worked, or that it did not.
import { make } from '../shared/dom.js';
import { icon } from '../shared/icons.js';

async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = make('textarea', { class: 'unseen', 'aria-hidden': 'true' });
  field.value = text;
  document.body.append(field);
  field.select();
  const done = document.execCommand('copy');
  field.remove();
  if (!done) throw new Error('the browser does not copy');
}

// `text` is a function: what there is to copy at the moment of the click.
export function copy_button(name, text) {
  const button = make('button', { class: 'quiet', type: 'button', 'aria-label': name, title: name }, icon('copy'));
  button.addEventListener('click', async () => {
    let done = true;
    await copy(text()).catch(() => {
      done = false;
    });
    button.replaceChildren(icon(done ? 'check' : 'alert'));
    button.setAttribute('aria-label', done ? 'Copied' : 'Could not copy');
    setTimeout(() => {
      button.replaceChildren(icon('copy'));
      button.setAttribute('aria-label', name);
    }, 1600);
  });
  return button;
}
