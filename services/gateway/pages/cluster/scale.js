// Where do the lines of a grid go, and how is a value on an axis written? Steps of 1, 2 or 5 times a power of ten; times in the unit that
// suits the largest.
import { rate, short_count } from '../shared/numbers.js';

// From 0 to at least `max`: { top, ticks }. The top is a tick, so that the plot has a lid.
export function ticks_to(max, wanted = 4) {
  if (!(max > 0)) return { top: 1, ticks: [0, 1] };
  const raw = max / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= raw * 0.999);
  const steps = Math.max(1, Math.ceil((max / step) * 0.999));
  return { top: steps * step, ticks: Array.from({ length: steps + 1 }, (_, i) => i * step) };
}

// 0.0123 s as 12.3 ms, with three digits.
export function seconds(value) {
  if (value === null || !Number.isFinite(value)) return '–';
  if (value === 0) return '0 ms';
  if (value < 0.001) return `${digits(value * 1e6)} µs`;
  if (value < 1) return `${digits(value * 1e3)} ms`;
  if (value < 120) return `${digits(value)} s`;
  return `${digits(value / 60)} min`;
}

function digits(value) {
  if (value >= 100) return String(Math.round(value));
  return value >= 10 ? trim(value.toFixed(1)) : trim(value.toFixed(2));
}

const trim = (text) => (text.includes('.') ? text.replace(/\.?0+$/, '') : text);

export const percent = (share) => (share === null || !Number.isFinite(share) ? '–' : `${(100 * share).toFixed(share > 0 && share < 0.0995 ? 1 : 0)} %`);

// How long ago or for how long, for people.
export function span(value) {
  if (!Number.isFinite(value)) return '–';
  const whole = Math.max(0, Math.round(value));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min`;
  if (whole < 86_400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86_400)} d ${Math.floor((whole % 86_400) / 3600)} h`;
}

const two = (number) => String(number).padStart(2, '0');

// Local time of day of unix seconds.
export function clock(unix, with_seconds = true) {
  const date = new Date(unix * 1000);
  const minutes = `${two(date.getHours())}:${two(date.getMinutes())}`;
  return with_seconds ? `${minutes}:${two(date.getSeconds())}` : minutes;
}

function round(value) {
  return value < 10 ? trim(value.toFixed(1)) : short_count(value).replace('.0k', 'k');
}

// A value for people and a value on an axis, by unit.
export const UNITS = {
  rate: { text: (value) => (value === null ? '–' : `${value === 0 ? '0' : value < 10_000 ? rate(value) : short_count(value)}/s`), tick: round },
  count: { text: (value) => (value === null ? '–' : short_count(value)), tick: round },
  seconds: { text: seconds, tick: seconds },
  share: { text: percent, tick: (value) => `${Math.round(100 * value)} %` },
};

// Seconds between two marks of a time axis that is `over` seconds long.
export const time_step = (over) => (over <= 90 ? 15 : over <= 330 ? 60 : 120);
