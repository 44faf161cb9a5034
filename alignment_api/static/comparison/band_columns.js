// Curves of several arms on one x axis. A curve holds its value until its next point.

/**
 * `bands`: `[{x, mean, low, high}]`. Returns `{xs, bands: [{mean, low, high}]}`: columns over the
 * union of all x, with nulls before an arm begins and after it ends.
 */
export function bandColumns(bands) {
  const xs = [...new Set(bands.flatMap(({ x }) => x))].sort((a, b) => a - b);
  return { xs, bands: bands.map((band) => columnsOf(band, xs)) };
}

function columnsOf({ x, mean, low, high }, xs) {
  const places = xs.map((at) => placeOf(x, at));
  const read = (values) => places.map((place) => (place === null ? null : values[place]));
  return { mean: read(mean), low: read(low), high: read(high) };
}

function placeOf(x, at) {
  if (!x.length || at < x[0] || at > x.at(-1)) return null;
  return x.findLastIndex((value) => value <= at);
}
