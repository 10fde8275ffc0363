// What can be asked first? Questions of kinds that the shipped model was trained on, and that no other model minds.
import { make } from '../shared/dom.js';

const EXAMPLES = [
  ['Multiply', 'What is 17 times 23?'],
  ['Count letters', 'How many times does the letter r occur in strawberry?'],
  ['Remember', 'Remember this: The code of Ida is 6317.'],
  ['Answer in JSON', 'Extract food as JSON: I eat pancake.'],
  ['Reverse a word', 'Reverse lantern.'],
  ['A date', '6 days after March 16 is which date?'],
];

export function fill_examples(place, send) {
  place.replaceChildren(...EXAMPLES.map(([name, text]) => make('button', { class: 'example', type: 'button', onclick: () => send(text) }, make('strong', {}, name), make('span', {}, text))));
}
