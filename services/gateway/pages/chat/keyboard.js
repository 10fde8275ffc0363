// Which keys work everywhere on the page? Esc closes or stops, Ctrl or Cmd with K searches, Ctrl or Cmd with Shift and O begins anew, ? helps.
// Keys of a field or a view (Enter, arrows) are its own.
const typing = (node) => node instanceof HTMLElement && (node.isContentEditable || ['INPUT', 'TEXTAREA', 'SELECT'].includes(node.tagName));

// act: { stop() and drawer(): true if there was something to end; find(), open_new(), help() }
export function listen_for_keys(act) {
  document.addEventListener('keydown', (event) => {
    if (event.defaultPrevented || event.isComposing) return;
    const command = (event.ctrlKey || event.metaKey) && !event.altKey;
    const dialog = document.querySelector('dialog[open]');
    if (event.key === 'Escape') {
      if (dialog || !(act.drawer() || act.stop())) return; // a dialog closes by itself
    } else if (command && !event.shiftKey && event.key.toLowerCase() === 'k') {
      dialog?.close();
      act.find();
    } else if (command && event.shiftKey && event.key.toLowerCase() === 'o') {
      dialog?.close();
      act.open_new();
    } else if (event.key === '?' && !command && !dialog && !typing(event.target)) {
      act.help();
    } else {
      return;
    }
    event.preventDefault();
  });
}
