// How does a conversation become a file and a file a conversation? The browser saves and opens; transfer.js decides what is in it.
import { make } from '../shared/dom.js';
import { size } from '../shared/numbers.js';
import { FILE_MAX, read_document, written_document } from './transfer.js';

export async function export_all(store, now) {
  const file = new Blob([written_document(await store.everything(), now)], { type: 'application/json' });
  const address = URL.createObjectURL(file);
  make('a', { href: address, download: `fathom-conversations-${new Date(now).toISOString().slice(0, 10)}.json` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000); // the browser may ask where to first
}

// Returns what to tell the reader.
export async function import_file(store, file, now) {
  if (!file) return 'No file was chosen.';
  if (file.size > FILE_MAX) return `This file has ${size(file.size)}; up to ${size(FILE_MAX)} are read.`;
  let read;
  try {
    read = read_document(await file.text(), now);
  } catch (error) {
    return error.message;
  }
  let messages = 0;
  for (const { record, nodes } of read) {
    if (!store.record(record.id)) await store.save(record);
    else if (store.record(record.id).deleted) await store.restore(record.id);
    const conversation = await store.load(record.id);
    if (!conversation) continue;
    for (const node of nodes)
      if (!conversation.nodes.has(node.id)) {
        conversation.add(node);
        await store.save_node(node);
        messages += 1;
      }
  }
  return `Read ${read.length} ${read.length === 1 ? 'conversation' : 'conversations'}, ${messages} new ${messages === 1 ? 'message' : 'messages'}.`;
}
