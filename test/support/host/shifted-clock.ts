/**
 * Preloaded (`--import`) into a process whose host's clock is wrong: `CLOCK_SHIFT_MS` is added to the time of day.
 *
 * Its monotonic clock and timers are as they are, as on a host that was set wrong and then ran on.
 */
const shiftMs = Number(process.env.CLOCK_SHIFT_MS ?? '0');
const now = Date.now;
Date.now = () => now() + shiftMs;
