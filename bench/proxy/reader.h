/*
 * What load.c and origin.c share: the clock, and a reader of HTTP/1.1 messages that come in pieces.
 *
 * It copies heads alone, and finds where a body ends without looking at more than the frame of its chunks. It trusts
 * what it reads as far as a bench can: both ends are known, and what is between them is under test.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/types.h>
#include <time.h>

#define MAX_HEAD 8192
#define SECOND_NS 1000000000ULL

/* What the next byte belongs to. */
enum part { HEAD, SIZED_BODY, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILER };

enum progress { MORE, HEAD_READ, WHOLE, BROKEN };

struct reader {
  enum part part;
  char head[MAX_HEAD]; /* ends with a zero once it is read */
  size_t head_bytes;
  long long length; /* after the head: Content-Length, or -1 */
  long long left_bytes; /* of the body, or of its chunk */
  long long body_bytes; /* so far */
  bool is_line_empty;
};

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

static void fail(const char *what) {
  perror(what);
  exit(1);
}

/* For the next message. */
static void begin_reading(struct reader *r) {
  r->part = HEAD;
  r->head_bytes = 0;
  r->body_bytes = 0;
}

static void read_fields(struct reader *r) {
  static const char LENGTH[] = "content-length:", CODING[] = "transfer-encoding:";
  r->length = -1;
  r->part = SIZED_BODY;
  for (const char *line = strchr(r->head, '\n'); line != NULL; line = strchr(line, '\n')) {
    line++;
    if (strncasecmp(line, LENGTH, sizeof LENGTH - 1) == 0) r->length = atoll(line + sizeof LENGTH - 1);
    if (strncasecmp(line, CODING, sizeof CODING - 1) == 0) r->part = CHUNK_SIZE;
  }
  r->left_bytes = r->part == SIZED_BODY && r->length > 0 ? r->length : 0;
}

static enum progress read_head(struct reader *r, const char *data, size_t bytes, size_t *taken) {
  size_t before = r->head_bytes, room = MAX_HEAD - 1 - before;
  size_t copied = bytes < room ? bytes : room;
  memcpy(r->head + before, data, copied);
  r->head[before + copied] = 0;
  *taken = copied;
  /* Its end may lie across two pieces. */
  size_t from = before < 3 ? 0 : before - 3;
  char *end = memmem(r->head + from, before + copied - from, "\r\n\r\n", 4);
  if (end == NULL) {
    r->head_bytes = before + copied;
    return copied == bytes ? MORE : BROKEN;
  }
  *taken = (size_t)(end + 4 - r->head) - before;
  end[2] = 0;
  read_fields(r);
  return HEAD_READ;
}

static int hex_digit(char digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  digit |= 0x20;
  return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* One byte of a chunk's size, end or trailer. */
static enum progress read_frame_byte(struct reader *r, char byte) {
  if (r->part == CHUNK_SIZE) {
    if (byte == '\n') {
      r->part = r->left_bytes > 0 ? CHUNK_DATA : TRAILER;
      r->is_line_empty = true;
    } else if (hex_digit(byte) >= 0) {
      r->left_bytes = r->left_bytes * 16 + hex_digit(byte);
    }
  } else if (r->part == CHUNK_END) {
    if (byte == '\n') r->part = CHUNK_SIZE;
  } else {
    if (byte == '\n' && r->is_line_empty) return WHOLE;
    r->is_line_empty = byte == '\n' || (byte == '\r' && r->is_line_empty);
  }
  return MORE;
}

/*
 * Reads on: `taken` is how much of `data` it took, `of_body` how much of that belongs to the body. After HEAD_READ the
 * caller looks at the head, and knows whether a message without a length has a body.
 */
static enum progress read_on(struct reader *r, const char *data, size_t bytes, size_t *taken, size_t *of_body) {
  *of_body = 0;
  if (r->part == HEAD) return read_head(r, data, bytes, taken);
  if (r->part != SIZED_BODY && r->part != CHUNK_DATA) {
    *taken = 1;
    return read_frame_byte(r, *data);
  }
  *taken = *of_body = (long long)bytes < r->left_bytes ? bytes : (size_t)r->left_bytes;
  r->left_bytes -= (long long)*taken;
  r->body_bytes += (long long)*taken;
  if (r->left_bytes > 0) return MORE;
  if (r->part == SIZED_BODY) return WHOLE;
  r->part = CHUNK_END;
  return MORE;
}
