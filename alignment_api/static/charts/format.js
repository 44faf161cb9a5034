// Numbers formatted for people.

const MISSING = "–";

/** Format with four significant digits, no trailing zeros; a dash for a missing number. */
export function number(value) {
  if (!isNumber(value)) return MISSING;
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2);
  const digits = size >= 1000 ? 0 : size >= 100 ? 1 : size >= 10 ? 2 : size >= 1 ? 3 : 4;
  return String(Number(value.toFixed(digits)));
}

/** Format a fraction as a percentage. */
export function percent(share) {
  return isNumber(share) ? `${Number((100 * share).toFixed(Math.abs(share) < 0.1 ? 1 : 0))} %` : MISSING;
}

/** Format a change, given as a fraction, as a percentage with its sign. */
export function change(share) {
  return isNumber(share) && share > 0 ? `+${percent(share)}` : percent(share);
}

/** Format 1234567 as 1.23M. */
export function compact(value) {
  if (!isNumber(value)) return MISSING;
  for (const [unit, size] of [["G", 1e9], ["M", 1e6], ["k", 1e3]]) {
    if (Math.abs(value) >= size) return `${Number((value / size).toPrecision(3))}${unit}`;
  }
  return number(value);
}

/** Format seconds as 12.3 s, 4 m 05 s or 3 h 07 m. */
export function duration(seconds) {
  if (!isNumber(seconds)) return MISSING;
  if (seconds < 60) return `${Number(seconds.toFixed(seconds < 10 ? 2 : 1))} s`;
  const whole = Math.round(seconds);
  const padded = (n) => String(n).padStart(2, "0");
  if (whole < 3600) return `${Math.floor(whole / 60)} m ${padded(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${padded(Math.floor((whole % 3600) / 60))} m`;
}

/** Format a score with its 95 % interval. */
export function interval(value, ci95) {
  if (!ci95) return number(value);
  return `${number(value)} [${number(ci95[0])}, ${number(ci95[1])}]`;
}

/** Whether the value can be drawn. */
export function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}
