// What does the page remember? The seconds of the last ten minutes, a list for each quantity as /cluster/state has them, and the latest
// events. Both are fed in order, keep what is new and drop what is too old; over a restart of the router they go on.
export const SECONDS_KEPT = 600;
const EVENTS_KEPT = 500;

export class Past {
  columns = { time: [] };

  get length() {
    return this.columns.time.length;
  }

  get end() {
    return this.length ? this.columns.time[this.length - 1] + 1 : 0; // the last second is over then
  }

  // `history` as the endpoint has it. Seconds that are known already are not taken twice.
  take(history) {
    const times = history.time;
    if (!times.length) return;
    // A clock that was set back by more than we remember: what we have is not the past of this.
    if (times[times.length - 1] + SECONDS_KEPT < this.end) this.columns = { time: [] };
    const first = times.findIndex((time) => time >= this.end);
    if (first < 0) return;
    const before = this.length;
    for (const [name, values] of Object.entries(history)) {
      const column = (this.columns[name] ??= new Array(before).fill(null));
      column.push(...values.slice(first));
    }
    const too_many = this.length - SECONDS_KEPT;
    if (too_many > 0) for (const column of Object.values(this.columns)) column.splice(0, too_many);
  }

  // The index of the first second that began at `time` or later.
  index_from(time) {
    const times = this.columns.time;
    let low = 0;
    let high = times.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (times[middle] < time) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  value(name, index) {
    return this.columns[name]?.[index] ?? null;
  }
}

export class EventList {
  list = []; // newest first

  // True when it is new.
  take(event) {
    if (this.list.length && event.number <= this.list[0].number) return false;
    this.list.unshift(event);
    if (this.list.length > EVENTS_KEPT) this.list.pop();
    return true;
  }

  take_all(events) {
    return events.filter((event) => this.take(event));
  }
}

// What the filter of the list tells apart.
export const GROUPS = {
  failures: ['worker_down', 'worker_refused', 'transfer_failed', 'recovered', 'preempted', 'refused'],
  members: ['worker_up', 'worker_down', 'worker_draining', 'worker_refused', 'gateway_up', 'gateway_down', 'router_started', 'router_draining'],
  moves: ['moved', 'transfer_failed'],
};

export const shown = (events, group, worker = '') =>
  events.filter((event) => (group === 'all' || GROUPS[group].includes(event.kind)) && (!worker || event.worker === worker || event.peer === worker));
