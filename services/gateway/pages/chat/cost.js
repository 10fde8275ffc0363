// What did an answer cost? Prices are decimal strings for a million tokens, from /v1/models; sums are exact integers of a
// 10^-18 of the currency, never floats. Without a price there is no cost: null, and nothing is shown.
const DIGITS = 18;
const DECIMAL = /^(\d{1,12})(?:\.(\d{1,12}))?$/;
const SIGNS = { USD: '$', EUR: '€', GBP: '£', JPY: '¥', CNY: '¥' };

// "0.28" -> 280000000000000000n; null for anything that is not a plain decimal.
export function scaled(text) {
  const parts = DECIMAL.exec(typeof text === 'string' ? text : '');
  return parts ? BigInt(parts[1] + (parts[2] ?? '').padEnd(DIGITS, '0')) : null;
}

// usage: { prompt, cached, completion } in tokens. Returns { currency, amount } with the amount as a decimal integer of 10^-18, or null.
export function cost_of(usage, pricing) {
  if (!usage || !pricing || typeof pricing.currency !== 'string') return null;
  const input = scaled(pricing.input_per_million);
  const output = scaled(pricing.output_per_million);
  if (input === null || output === null) return null;
  const cached_input = scaled(pricing.cached_input_per_million) ?? input;
  const cached = BigInt(Math.min(usage.cached, usage.prompt));
  const sum = (BigInt(usage.prompt) - cached) * input + cached * cached_input + BigInt(usage.completion) * output;
  return { currency: pricing.currency, amount: (sum / 1_000_000n).toString() };
}

// Sums by currency, in the order of their first appearance.
export function add_costs(costs) {
  const sums = new Map();
  for (const each of costs)
    if (each && /^\d+$/.test(each.amount)) sums.set(each.currency, (sums.get(each.currency) ?? 0n) + BigInt(each.amount));
  return [...sums].map(([currency, amount]) => ({ currency, amount: amount.toString() }));
}

// "$0.0123", "€1.50", "CHF 0.000045": two digits behind the point, or as many as the first two that are not zero.
export function written({ currency, amount }) {
  const digits = amount.padStart(DIGITS + 1, '0');
  const whole = digits.slice(0, -DIGITS);
  const part = digits.slice(-DIGITS);
  const first = part.search(/[1-9]/);
  const places = whole !== '0' || first < 0 ? 2 : Math.min(DIGITS, Math.max(2, first + 2));
  const unit = 10n ** BigInt(DIGITS - places);
  const rounded = (BigInt(amount) + unit / 2n) / unit;
  const text = rounded.toString().padStart(places + 1, '0');
  return `${SIGNS[currency] ?? `${currency} `}${text.slice(0, -places)}.${text.slice(-places)}`;
}
