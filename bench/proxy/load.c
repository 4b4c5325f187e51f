/*
 * load - the load generator of `npm run bench:proxy`. HTTP/1.1, one thread, one epoll, loopback only.
 *
 *   load -m MODE -p PORT -u PATH [-c connections] [-s seconds] [-w warm-up seconds] [-r requests per second]
 *        [-b bytes of the request body] [-n bytes that the response body must have]
 *
 *   closed   each connection sends its next request when it has the response to the last: saturation
 *   rate     request i is due at i / rate, whatever the others do, and its time runs from when it was due. So a server
 *            that stands still is charged for every request that it kept from being sent (no coordinated omission)
 *   sse      one event stream per connection; the time of an event runs from the stamp that the origin wrote into it
 *   once     one request on one connection, and the time until its response is whole
 *   hold     one request on each connection, which then stays open and idle until standard input ends
 *   holdsse  likewise with an event stream: until the first event of each
 *
 * Prints "begin" and "end" around what is measured, so that whoever started it can read the servers' CPU time there;
 * then one line of JSON. Each response is checked: its status, and the length of its body.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "reader.h"
#include "times.h"
#include "options.h"

#define MAX_LINE 4096
#define READ_BYTES (256 * 1024)
#define FILLER_BYTES (256 * 1024)
#define EPOLL_BATCH 512
#define TIMER_SLACK_NS 1
/* Requests that are still out at the end get so long: cut off, they would burden the next measurement. */
#define GRACE_NS (2 * SECOND_NS)
/* Connections that are to be held, streams that are to begin, and single transfers get so long. */
#define PATIENCE_NS (60 * SECOND_NS)
/* A server that only fails is not worth more. */
#define MAX_ERRORS 1000
#define NEVER UINT64_MAX

struct connection {
  int fd;
  bool is_busy;
  bool waits_for_room;
  bool is_ready; /* of a stream: its first event is here */
  uint64_t started_ns; /* when the request on it was sent, or was due */
  long long sent_bytes;
  struct reader reader;
  char line[MAX_LINE]; /* of an event stream: a line that has come in part */
  size_t line_bytes;
};

static int epoll_fd, timer_fd;
static char filler[FILLER_BYTES], input[READ_BYTES];
static struct connection *connections;

/* What is measured lies between begin and end; whatever is missing at the deadline is given up. */
static uint64_t start_ns, begin_ns = NEVER, end_ns = NEVER, deadline_ns = NEVER;
static bool has_begun, has_ended, is_hopeless;
static int ready_count;
static long long in_flight;

/* Of a fixed rate: the connections that are free, a ring; how many requests were sent, and how many there are to be. */
static struct connection **free_ring;
static int free_from, free_count;
static long long sent_count, due_count;

static long errors, bad_status, bad_length;
static long long received_bytes;

/* ---- times ---- */

/* Requests of a fixed rate count by when they were due: a late one is late, and not left out. */
static void note_time(uint64_t from_ns, uint64_t to_ns) {
  uint64_t at_ns = mode == RATE ? from_ns : to_ns;
  if (at_ns < begin_ns || at_ns >= end_ns) return;
  add_time(to_ns > from_ns ? to_ns - from_ns : 0);
}

/* Measure from then on, for as long as was asked. */
static void measure_from(uint64_t from_ns) {
  begin_ns = from_ns;
  end_ns = from_ns + (uint64_t)(seconds * (double)SECOND_NS);
  deadline_ns = end_ns + GRACE_NS;
}

/* ---- sending ---- */

static void watch_for_room(struct connection *c, bool is_wanted) {
  if (c->waits_for_room == is_wanted) return;
  c->waits_for_room = is_wanted;
  struct epoll_event event = {.events = EPOLLIN | (is_wanted ? EPOLLOUT : 0), .data.ptr = c};
  epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &event);
}

/* Sends what is left of the request, as far as the socket takes it. */
static bool send_rest(struct connection *c) {
  while (c->sent_bytes < head_bytes + request_body_bytes) {
    struct iovec parts[2];
    size_t count = 0;
    long long of_head = head_bytes - c->sent_bytes;
    if (of_head > 0) parts[count++] = (struct iovec){head + c->sent_bytes, (size_t)of_head};
    long long of_body = request_body_bytes - (of_head > 0 ? 0 : -of_head);
    if (of_body > 0) parts[count++] = (struct iovec){filler, of_body < FILLER_BYTES ? (size_t)of_body : FILLER_BYTES};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
    ssize_t sent = sendmsg(c->fd, &message, MSG_NOSIGNAL);
    if (sent < 0 && errno == EAGAIN) {
      watch_for_room(c, true);
      return true;
    }
    if (sent < 0) return false;
    c->sent_bytes += sent;
  }
  watch_for_room(c, false);
  return true;
}

static void open_connection(struct connection *c) {
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (c->fd < 0) fail("socket");
  struct sockaddr_in address = {
      .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (connect(c->fd, (struct sockaddr *)&address, sizeof address) != 0) fail("connect");
  int one = 1;
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  fcntl(c->fd, F_SETFL, O_NONBLOCK);
  c->is_busy = c->waits_for_room = false;
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
  epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event);
}

static void send_request(struct connection *c, uint64_t from_ns);

static void free_connection(struct connection *c) {
  free_ring[(free_from + free_count++) % connection_count] = c;
}

/* It broke: the load goes on with another in its place, where that makes sense. */
static void replace(struct connection *c) {
  errors++;
  if (c->is_busy) in_flight--;
  close(c->fd);
  if (errors >= MAX_ERRORS || (mode != CLOSED && mode != RATE)) {
    is_hopeless = true;
    return;
  }
  bool was_free = !c->is_busy;
  open_connection(c);
  if (mode == CLOSED && !has_ended) send_request(c, now_ns());
  if (mode == RATE && !was_free) free_connection(c);
}

static void send_request(struct connection *c, uint64_t from_ns) {
  c->is_busy = true;
  in_flight++;
  c->started_ns = from_ns;
  c->sent_bytes = 0;
  c->line_bytes = 0;
  begin_reading(&c->reader);
  if (!send_rest(c)) replace(c);
}

/* ---- receiving ---- */

static void take_event(struct connection *c, const char *line, size_t bytes) {
  static const char BEGIN[] = "data: {\"ns\":";
  if (bytes <= sizeof BEGIN || memcmp(line, BEGIN, sizeof BEGIN - 1) != 0) return;
  if (!c->is_ready) {
    c->is_ready = true;
    ready_count++;
  }
  note_time(strtoull(line + sizeof BEGIN - 1, NULL, 10), now_ns());
}

/* Body bytes of an event stream: whole lines as they lie, a line in two parts by way of the connection. */
static bool take_lines(struct connection *c, const char *data, size_t bytes) {
  while (bytes > 0) {
    const char *line_end = memchr(data, '\n', bytes);
    size_t length = line_end == NULL ? bytes : (size_t)(line_end - data);
    if (line_end == NULL || c->line_bytes > 0) {
      if (c->line_bytes + length >= MAX_LINE) return false;
      memcpy(c->line + c->line_bytes, data, length);
      c->line_bytes += length;
    }
    if (line_end == NULL) return true;
    if (c->line_bytes > 0) take_event(c, c->line, c->line_bytes);
    else take_event(c, data, length);
    c->line_bytes = 0;
    data += length + 1;
    bytes -= length + 1;
  }
  return true;
}

static enum progress take(struct connection *c, const char *data, size_t bytes) {
  struct reader *r = &c->reader;
  enum progress progress = MORE;
  while (bytes > 0 && progress == MORE) {
    size_t taken, of_body;
    progress = read_on(r, data, bytes, &taken, &of_body);
    /* Each response here has a length or is chunked. */
    if (progress == HEAD_READ) {
      bool has_body = r->part == CHUNK_SIZE || r->length > 0;
      progress = has_body ? MORE : r->length == 0 ? WHOLE : BROKEN;
    }
    received_bytes += (long long)of_body;
    if (of_body > 0 && streams_events() && !take_lines(c, data, of_body)) progress = BROKEN;
    data += taken;
    bytes -= taken;
  }
  /* Bytes that nobody asked for would be taken for the next response. */
  return progress == WHOLE && bytes > 0 ? BROKEN : progress;
}

/* A whole response. */
static void finish(struct connection *c) {
  uint64_t now = now_ns();
  bool is_sent = c->sent_bytes == head_bytes + request_body_bytes;
  bool is_ok = strncmp(c->reader.head, "HTTP/1.1 200 ", 13) == 0;
  bool is_right = is_ok && (expected_bytes < 0 || c->reader.body_bytes == expected_bytes);
  if (!is_ok) bad_status++;
  else if (!is_right) bad_length++;
  if (streams_events() || !is_sent) {
    /* An end of what has none, or an answer to half a request. */
    replace(c);
    return;
  }
  c->is_busy = false;
  in_flight--;
  /* Only what is right counts: a fast error is no fast answer. */
  if (is_right) note_time(c->started_ns, now);
  if (mode == CLOSED && now < end_ns) send_request(c, now);
  if (mode == RATE) free_connection(c);
  if (mode == HOLD) ready_count++;
  if (mode == ONCE) end_ns = now;
}

static void receive(struct connection *c) {
  ssize_t bytes = recv(c->fd, input, READ_BYTES, 0);
  if (bytes < 0 && errno == EAGAIN) return;
  enum progress progress = bytes > 0 && c->is_busy ? take(c, input, (size_t)bytes) : BROKEN;
  if (progress == WHOLE) finish(c);
  if (progress == BROKEN) replace(c);
}

/* ---- when ---- */

static uint64_t due_ns(long long i) { return start_ns + (uint64_t)((double)i / rate * (double)SECOND_NS); }

static void send_due(void) {
  while (free_count > 0 && sent_count < due_count && due_ns(sent_count) <= now_ns()) {
    struct connection *c = free_ring[free_from];
    free_from = (free_from + 1) % connection_count;
    free_count--;
    send_request(c, due_ns(sent_count++));
  }
}

/* What is next by the clock, if anything. */
static uint64_t next_ns(void) {
  uint64_t next = !has_begun ? begin_ns : !has_ended ? end_ns : NEVER;
  if (mode == RATE && free_count > 0 && sent_count < due_count && due_ns(sent_count) < next) next = due_ns(sent_count);
  return deadline_ns < next ? deadline_ns : next;
}

static void arm_timer(void) {
  static uint64_t armed_ns = NEVER;
  uint64_t next = next_ns();
  if (next == armed_ns) return;
  armed_ns = next;
  struct itimerspec timer = {0};
  if (next != NEVER) timer.it_value = (struct timespec){(time_t)(next / SECOND_NS), (long)(next % SECOND_NS)};
  timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &timer, NULL);
}

/* Streams and held connections: measured once all of them are there. */
static void begin_when_ready(uint64_t now) {
  if (begin_ns != NEVER || ready_count < connection_count) return;
  if (mode == SSE) {
    measure_from(now + (uint64_t)(warm_up_seconds * (double)SECOND_NS));
  } else {
    begin_ns = now;
    deadline_ns = NEVER;
  }
}

static void tell_begin_and_end(uint64_t now) {
  if (!has_begun && now >= begin_ns) {
    has_begun = true;
    puts("begin");
  }
  if (has_begun && !has_ended && now >= end_ns) {
    has_ended = true;
    puts("end");
  }
}

static bool is_over(uint64_t now) {
  if (is_hopeless || now >= deadline_ns) return true;
  /* Streams have no end to wait for. */
  return has_ended && (streams_events() || (in_flight == 0 && (mode != RATE || sent_count == due_count)));
}

/* ---- the run ---- */

static void report(void) {
  /* What is still out counts as lost; so does a measurement that never began or never ended. */
  if (!streams_events()) errors += in_flight + (due_count - sent_count);
  if (!has_ended && errors == 0) errors = 1;
  sort_times();
  double measured_s = has_ended ? (double)(end_ns - begin_ns) / (double)SECOND_NS : 0;
  printf("{\"mode\":\"%s\",\"seconds\":%.6f,\"count\":%zu,\"bytes\":%lld,\"errors\":%ld,\"badStatus\":%ld,"
         "\"badLength\":%ld,\"p50Us\":%.1f,\"p90Us\":%.1f,\"p99Us\":%.1f,\"p999Us\":%.1f,\"maxUs\":%.1f}\n",
         MODE_NAMES[mode], measured_s, time_count, received_bytes, errors, bad_status, bad_length, quantile_us(0.5),
         quantile_us(0.9), quantile_us(0.99), quantile_us(0.999), quantile_us(1));
}

static void open_all(void) {
  connections = calloc((size_t)connection_count, sizeof *connections);
  free_ring = calloc((size_t)connection_count, sizeof(struct connection *));
  if (connections == NULL || free_ring == NULL) fail("calloc");
  for (int i = 0; i < connection_count; i++) open_connection(&connections[i]);
}

static void start(void) {
  start_ns = now_ns();
  uint64_t warm_up_ns = (uint64_t)(warm_up_seconds * (double)SECOND_NS);
  if (mode == CLOSED || mode == RATE) measure_from(start_ns + warm_up_ns);
  else deadline_ns = start_ns + PATIENCE_NS;
  if (mode == ONCE) begin_ns = start_ns;
  if (mode == RATE) due_count = (long long)(rate * (warm_up_seconds + seconds));
  tell_begin_and_end(start_ns);
  for (int i = 0; i < connection_count; i++) {
    if (mode == RATE) free_connection(&connections[i]);
    else send_request(&connections[i], now_ns());
  }
}

int main(int count, char **arguments) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  prctl(PR_SET_TIMERSLACK, TIMER_SLACK_NS);
  memset(filler, 'y', sizeof filler);
  read_options(count, arguments);
  write_head();

  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  int input_fd = STDIN_FILENO;
  /* These two are told from connections by the address of their own variable. */
  struct epoll_event on_timer = {.events = EPOLLIN, .data.ptr = &timer_fd};
  struct epoll_event on_input = {.events = EPOLLIN, .data.ptr = &input_fd};
  epoll_ctl(epoll_fd, EPOLL_CTL_ADD, timer_fd, &on_timer);
  if (mode == HOLD || mode == HOLD_SSE) epoll_ctl(epoll_fd, EPOLL_CTL_ADD, input_fd, &on_input);

  open_all();
  start();
  struct epoll_event events[EPOLL_BATCH];
  for (;;) {
    uint64_t now = now_ns();
    if (streams_events() || mode == HOLD) begin_when_ready(now);
    tell_begin_and_end(now);
    if (is_over(now)) break;
    if (mode == RATE) send_due();
    arm_timer();
    int ready = epoll_wait(epoll_fd, events, EPOLL_BATCH, -1);
    for (int i = 0; i < ready; i++) {
      void *what = events[i].data.ptr;
      char byte[8];
      if (what == &timer_fd) {
        if (read(timer_fd, byte, sizeof byte) < 0 && errno != EAGAIN) fail("timer");
      } else if (what == &input_fd) {
        if (read(input_fd, byte, sizeof byte) <= 0) end_ns = now_ns();
      } else {
        struct connection *c = what;
        if ((events[i].events & EPOLLOUT) && !send_rest(c)) replace(c);
        else if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) receive(c);
      }
    }
  }
  report();
  return 0;
}
