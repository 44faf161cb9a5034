// Tokens per second from work items; an item's tokens are spread evenly over its time.

const BINS = 240;

/** Columns `[middle of the bin in s, tokens per second]` over all items. */
export function throughput(items) {
  const until = items.reduce((latest, item) => Math.max(latest, item.ended_s), -Infinity);
  const from = items.reduce((first, item) => Math.min(first, item.started_s), Infinity);
  const width = (until - from) / BINS || 1;
  const sums = new Array(BINS).fill(0);
  for (const { started_s: start, ended_s: end, tokens } of items) {
    if (!tokens) continue;
    const first = Math.floor((start - from) / width);
    const last = Math.min(BINS - 1, Math.floor((end - from) / width));
    for (let bin = first; bin <= last; bin += 1) {
      const overlap = Math.min(end, from + (bin + 1) * width) - Math.max(start, from + bin * width);
      const share = end > start ? Math.max(0, overlap) / (end - start) : 1;
      sums[bin] += (tokens * share) / width;
    }
  }
  return [sums.map((_, bin) => from + (bin + 0.5) * width), sums];
}
