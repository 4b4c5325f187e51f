/*
 * origin - the HTTP/1.1 worker behind the proxies of `npm run bench:proxy`. One thread, one epoll, loopback only.
 *
 *   origin            listens on a free port and prints it
 *
 *   GET  /bytes/N     N bytes with Content-Length
 *   GET  /sse/RATE    an endless event stream, chunked, RATE events a second; 0: one event, then silence. Each event
 *                     carries the CLOCK_MONOTONIC time of its writing
 *   GET  /gather/N    100 bytes, once N such requests wait: so that N connections are in use at the same time
 *   POST /take/N      reads the body whole, with Content-Length or chunked; then 100 bytes, or 400 if it was not N long
 *
 * It has to cost less than any proxy in front of it: one read and one write a request, no copy of a body, nothing
 * allocated but one record per connection. It trusts what it is sent: it is no server for anything else.
 */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "reader.h"

#define MAX_CONNECTIONS 8192
#define MAX_UNSENT 1024
#define READ_BYTES (256 * 1024)
#define FILLER_BYTES (256 * 1024)
#define EPOLL_BATCH 512
#define BACKLOG 4096
#define REPLY_BYTES 100
/* How often event streams are looked at. An event carries the time of its writing, so this adds nothing to it. */
#define TICK_NS 1000000L
/* Of the kernel's timers: the default of 50 µs would be seen in the figures. */
#define TIMER_SLACK_NS 1000

struct connection {
  int fd;
  struct reader reader;
  char kind; /* the first letter of its path */
  long long number; /* the second part of its path */
  /* Of the response: bytes that the socket did not take, then so much of the filler. */
  char unsent[MAX_UNSENT];
  size_t unsent_from, unsent_to;
  long long filler_left;
  bool waits_for_room;
  /* Of an event stream. */
  uint64_t next_event_ns, event_every_ns;
};

static int epoll_fd;
static char input[READ_BYTES];
static char filler[FILLER_BYTES];
static char date[64];
static struct connection *streams[MAX_CONNECTIONS];
static int stream_count;
static struct connection *gathered[MAX_CONNECTIONS];
static int gathered_count;

static void watch_for_room(struct connection *c, bool is_wanted) {
  if (c->waits_for_room == is_wanted) return;
  c->waits_for_room = is_wanted;
  struct epoll_event event = {.events = EPOLLIN | (is_wanted ? EPOLLOUT : 0), .data.ptr = c};
  epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &event);
}

/* Sends what is owed, as far as the socket takes it. False when the connection is broken. */
static bool send_owed(struct connection *c) {
  while (c->unsent_from < c->unsent_to || c->filler_left > 0) {
    struct iovec parts[2];
    size_t count = 0;
    size_t unsent = c->unsent_to - c->unsent_from;
    if (unsent > 0) parts[count++] = (struct iovec){c->unsent + c->unsent_from, unsent};
    if (c->filler_left > 0) {
      size_t bytes = c->filler_left < FILLER_BYTES ? (size_t)c->filler_left : FILLER_BYTES;
      parts[count++] = (struct iovec){filler, bytes};
    }
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
    ssize_t sent = sendmsg(c->fd, &message, MSG_NOSIGNAL);
    if (sent < 0 && errno == EAGAIN) {
      watch_for_room(c, true);
      return true;
    }
    if (sent < 0) return false;
    size_t of_unsent = (size_t)sent < unsent ? (size_t)sent : unsent;
    c->unsent_from += of_unsent;
    c->filler_left -= (long long)((size_t)sent - of_unsent);
  }
  c->unsent_from = c->unsent_to = 0;
  watch_for_room(c, false);
  return true;
}

static bool reply(struct connection *c, const char *status, const char *type, long long bytes) {
  c->unsent_to = (size_t)snprintf(c->unsent, MAX_UNSENT,
                                  "HTTP/1.1 %s\r\nDate: %s\r\nContent-Type: %s\r\nCache-Control: no-store\r\n"
                                  "X-Request-Id: 0d4f2c5e-3f0b-4f7e-9a51-6f2b8f3f7c11\r\nContent-Length: %lld\r\n\r\n",
                                  status, date, type, bytes);
  c->filler_left = bytes;
  return send_owed(c);
}

static bool send_event(struct connection *c) {
  /* Whoever reads more slowly than this gets fewer events, and the generator says how many are missing. */
  if (c->unsent_to > 0) return true;
  char text[256];
  int bytes = snprintf(text, sizeof text,
                       "data: {\"ns\":%020llu,\"choices\":[{\"index\":0,\"delta\":{\"content\":\" word\"}}]}\n\n",
                       (unsigned long long)now_ns());
  c->unsent_to = (size_t)snprintf(c->unsent, MAX_UNSENT, "%x\r\n%s\r\n", bytes, text);
  return send_owed(c);
}

static bool begin_stream(struct connection *c) {
  c->unsent_to = (size_t)snprintf(c->unsent, MAX_UNSENT,
                                  "HTTP/1.1 200 OK\r\nDate: %s\r\nContent-Type: text/event-stream\r\n"
                                  "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n",
                                  date);
  if (!send_owed(c) || !send_event(c)) return false;
  if (c->number <= 0) return true;
  c->event_every_ns = SECOND_NS / (uint64_t)c->number;
  /* Not all in the same instant: in real life nothing makes streams beat together. */
  c->next_event_ns = now_ns() + (uint64_t)rand() % c->event_every_ns;
  if (stream_count == MAX_CONNECTIONS) return false;
  streams[stream_count++] = c;
  return true;
}

static void send_due_events(void) {
  uint64_t now = now_ns();
  for (int i = 0; i < stream_count; i++) {
    struct connection *c = streams[i];
    if (c->next_event_ns > now) continue;
    /* A broken one is closed when epoll tells of it. */
    (void)send_event(c);
    c->next_event_ns += c->event_every_ns;
    /* After a stall the stream goes on at its pace, without a burst. */
    if (c->next_event_ns < now) c->next_event_ns = now + c->event_every_ns;
  }
}

static bool gather(struct connection *c) {
  if (gathered_count == MAX_CONNECTIONS) return false;
  gathered[gathered_count++] = c;
  if (gathered_count < c->number) return true;
  int count = gathered_count;
  gathered_count = 0;
  for (int i = 0; i < count; i++) (void)reply(gathered[i], "200 OK", "text/plain", REPLY_BYTES);
  return true;
}

/* The request is here, body and all. */
static bool answer(struct connection *c) {
  long long body_bytes = c->reader.body_bytes;
  begin_reading(&c->reader);
  switch (c->kind) {
    case 'b':
      return reply(c, "200 OK", "application/json", c->number);
    case 's':
      return begin_stream(c);
    case 'g':
      return gather(c);
    case 't':
      return reply(c, body_bytes == c->number ? "200 OK" : "400 Bad Request", "application/json", REPLY_BYTES);
    default:
      return reply(c, "404 Not Found", "text/plain", 0);
  }
}

/* A head is here: what is asked for, and whether there is a body to read first. */
static enum progress read_request(struct connection *c) {
  const char *path = strchr(c->reader.head, ' ');
  if (path == NULL || path[1] != '/') return BROKEN;
  c->kind = path[2];
  const char *number = strchr(path + 2, '/');
  c->number = number == NULL ? 0 : atoll(number + 1);
  return c->reader.part == SIZED_BODY && c->reader.left_bytes == 0 ? WHOLE : MORE;
}

/* Takes what was read. False when the connection is to be closed. */
static bool take(struct connection *c, const char *data, size_t bytes) {
  while (bytes > 0) {
    size_t taken, of_body;
    enum progress progress = read_on(&c->reader, data, bytes, &taken, &of_body);
    if (progress == HEAD_READ) progress = read_request(c);
    if (progress == BROKEN || (progress == WHOLE && !answer(c))) return false;
    data += taken;
    bytes -= taken;
  }
  return true;
}

static void leave_list(struct connection **list, int *count, const struct connection *c) {
  for (int i = 0; i < *count; i++) {
    if (list[i] == c) list[i--] = list[--*count];
  }
}

static void close_connection(struct connection *c) {
  leave_list(streams, &stream_count, c);
  leave_list(gathered, &gathered_count, c);
  close(c->fd);
  free(c);
}

static void accept_all(int listener) {
  for (;;) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct connection *c = calloc(1, sizeof *c);
    if (c == NULL) fail("calloc");
    c->fd = fd;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
  }
}

static void serve(struct connection *c, uint32_t events) {
  bool is_whole = (events & (EPOLLHUP | EPOLLERR)) == 0;
  if (is_whole && (events & EPOLLOUT)) is_whole = send_owed(c);
  if (is_whole && (events & EPOLLIN)) {
    ssize_t bytes = recv(c->fd, input, READ_BYTES, 0);
    if (bytes > 0) is_whole = take(c, input, (size_t)bytes);
    else is_whole = bytes < 0 && errno == EAGAIN;
  }
  if (!is_whole) close_connection(c);
}

static int listen_on_loopback(void) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  if (bind(fd, (struct sockaddr *)&address, length) != 0 || listen(fd, BACKLOG) != 0) fail("listen");
  getsockname(fd, (struct sockaddr *)&address, &length);
  printf("%d\n", ntohs(address.sin_port));
  fflush(stdout);
  return fd;
}

int main(void) {
  prctl(PR_SET_TIMERSLACK, TIMER_SLACK_NS);
  memset(filler, 'x', sizeof filler);
  time_t now = time(NULL);
  strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime(&now));

  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  int listener = listen_on_loopback();
  int ticker = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  /* These two are told from connections by the address of their own variable. */
  struct epoll_event on_listener = {.events = EPOLLIN, .data.ptr = &listener};
  struct epoll_event on_tick = {.events = EPOLLIN, .data.ptr = &ticker};
  epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &on_listener);
  epoll_ctl(epoll_fd, EPOLL_CTL_ADD, ticker, &on_tick);

  bool is_ticking = false;
  struct epoll_event events[EPOLL_BATCH];
  for (;;) {
    int count = epoll_wait(epoll_fd, events, EPOLL_BATCH, -1);
    for (int i = 0; i < count; i++) {
      void *what = events[i].data.ptr;
      if (what == &listener) {
        accept_all(listener);
      } else if (what == &ticker) {
        uint64_t expirations;
        if (read(ticker, &expirations, sizeof expirations) > 0) send_due_events();
      } else {
        serve(what, events[i].events);
      }
    }
    /* No ticks while nobody streams: they would cost the other cases. */
    if (is_ticking != (stream_count > 0)) {
      is_ticking = stream_count > 0;
      long every_ns = is_ticking ? TICK_NS : 0;
      struct itimerspec timer = {.it_interval.tv_nsec = every_ns, .it_value.tv_nsec = every_ns};
      timerfd_settime(ticker, 0, &timer, NULL);
    }
  }
}
