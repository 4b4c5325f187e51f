/* What load.c is told by its arguments, and the head of the request that follows from it. */
#include <unistd.h>

enum mode { CLOSED, RATE, SSE, ONCE, HOLD, HOLD_SSE };
static const char *const MODE_NAMES[] = {"closed", "rate", "sse", "once", "hold", "holdsse"};

static enum mode mode;
static int port, connection_count = 1;
static const char *path = "/";
static double seconds = 1, warm_up_seconds = 0, rate = 1000;
static long long request_body_bytes = 0, expected_bytes = -1;

/* Of the request, the same for all. */
static char head[MAX_HEAD];
static long long head_bytes;

static bool streams_events(void) { return mode == SSE || mode == HOLD_SSE; }

static void write_head(void) {
  /* About what an app sends to a model: some 350 bytes. */
  head_bytes = snprintf(head, sizeof head,
                        "%s %s HTTP/1.1\r\nHost: models.example\r\nUser-Agent: bench/1.0 (x86_64; linux)\r\n"
                        "Accept: application/json, text/event-stream\r\nAccept-Encoding: gzip, br\r\n"
                        "Authorization: Bearer c2Vjb25kLWJlc3QtdG9rZW4tb2YtdGhlLWJlbmNo\r\n"
                        "X-Request-Id: 5b0f6c34-2c4f-4a8e-8f57-0b5e3f1c9d20\r\n"
                        "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n",
                        request_body_bytes > 0 ? "POST" : "GET", path);
  if (request_body_bytes > 0) {
    head_bytes += snprintf(head + head_bytes, sizeof head - (size_t)head_bytes,
                           "Content-Type: application/json\r\nContent-Length: %lld\r\n", request_body_bytes);
  }
  head_bytes += snprintf(head + head_bytes, sizeof head - (size_t)head_bytes, "\r\n");
}

static enum mode mode_named(const char *name) {
  for (int i = 0; i < (int)(sizeof MODE_NAMES / sizeof *MODE_NAMES); i++) {
    if (strcmp(name, MODE_NAMES[i]) == 0) return (enum mode)i;
  }
  fprintf(stderr, "load: there is no mode %s\n", name);
  exit(64);
}

static void read_options(int count, char **arguments) {
  for (int option; (option = getopt(count, arguments, "m:p:u:c:s:w:r:b:n:")) != -1;) {
    switch (option) {
      case 'm': mode = mode_named(optarg); break;
      case 'p': port = atoi(optarg); break;
      case 'u': path = optarg; break;
      case 'c': connection_count = atoi(optarg); break;
      case 's': seconds = atof(optarg); break;
      case 'w': warm_up_seconds = atof(optarg); break;
      case 'r': rate = atof(optarg); break;
      case 'b': request_body_bytes = atoll(optarg); break;
      case 'n': expected_bytes = atoll(optarg); break;
      default: exit(64);
    }
  }
}
