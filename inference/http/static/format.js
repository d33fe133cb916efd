"use strict";
// Numbers and times as a reader wants them.

const format = (() => {
  const whole = new Intl.NumberFormat("en");
  const clock = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

  const count = (number) => whole.format(number);

  const plural = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

  /** A probability as a percentage, any other score as it is. */
  const score = (value) => (value >= 0 && value <= 1 ? `${(value * 100).toFixed(1)}%` : value.toPrecision(4));

  const milliseconds = (value) => `${value.toFixed(value === 0 || value >= 100 ? 0 : value >= 1 ? 1 : 2)} ms`;

  function duration(seconds) {
    if (seconds < 90) return `${Math.ceil(seconds)} s`;
    if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
    return `${(seconds / 3600).toFixed(1)} h`;
  }

  function time(text) {
    const parsed = new Date(text);
    return Number.isNaN(parsed.getTime()) ? String(text ?? "") : clock.format(parsed);
  }

  return { count, plural, score, milliseconds, duration, time };
})();
