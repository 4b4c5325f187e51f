/* The times that load.c takes: a list that grows, and its quantiles. */
#define FIRST_TIMES (1 << 17)

static uint64_t *times_ns;
static size_t time_count;

static void add_time(uint64_t ns) {
  static size_t room = 0;
  if (time_count == room) {
    room = room == 0 ? FIRST_TIMES : 2 * room;
    times_ns = realloc(times_ns, room * sizeof *times_ns);
    if (times_ns == NULL) fail("realloc");
  }
  times_ns[time_count++] = ns;
}

static int by_size(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

static void sort_times(void) {
  if (time_count > 0) qsort(times_ns, time_count, sizeof *times_ns, by_size);
}

/* Of sorted times; 0 without any. */
static double quantile_us(double share) {
  if (time_count == 0) return 0;
  return (double)times_ns[(size_t)(share * (double)(time_count - 1))] / 1000;
}
