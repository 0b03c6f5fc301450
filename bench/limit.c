/*
 * What the system calls of the engine "linux" allow: moves the same super-frames between a TAP and a UDP socket with
 * the same calls in the same order, and does nothing to them. There is one peer, no FDB, no learning and no policy.
 *
 *     limit [-s] [-b MICROSECONDS] [-n NETNS] TAP LOCAL REMOTE VNI
 *
 * It creates TAP, in the namespace NETNS (a path) if given, and prints "ready". On SIGUSR1 and at the end it prints its
 * counters to standard error, as one line of JSON with the engine's names. It ends on SIGTERM, on SIGINT, and with its
 * parent.
 *
 * -b: busy-polls for so long, as the engine does with --busy-poll.
 * -s: computes and verifies the TCP and UDP checksums of inner frames. Every peer except limit itself requires this.
 *     By default, inner frames keep the partial checksums of the kernel (CHECKSUM_PARTIAL), so no byte of data is read.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <time.h>
#include "limit-frames.h"
#include "limit-open.h"

/* The engine's numbers: src/host/linux/loop.ts, path.ts, receiver.ts, sender.ts; 8 source ports by default. */
enum {
  TICK = 1000,
  MANY = 8,
  TAP_TURN = 128,
  TAP_BYTES = 1 << 19,
  UDP_TURN = 8,
  TURN_OUTPUT = 1024,
  FRAMES = 1 << 18,
  ALIGN = 64,
  HEADROOM = 16,
  LARGE = 16384,
  MAX_FRAME = 65535 + ETHERNET + 8,
  MESSAGES = 64,
  PIECES = 1024,
  MAX_BYTES = 65535 - 40 - 8,
  ROOM = 65536,
  STAGGER = 192,
  CONTROL = 96,
  BUDGET = 1 << 17,
  FLOWS = 16,
  PATIENCE = 100,
  SOURCE_PORTS = 8,
};

/* The messages queued for one socket. */
struct queue {
  int fd;
  unsigned count, used, first, size, total, segments[MESSAGES];
  bool open;
  struct mmsghdr messages[MESSAGES];
  struct iovec pieces[PIECES];
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(2)];
  } controls[MESSAGES];
};

/* The counters, which have the engine's names. */
#define EACH_COUNTER(X)                                                                                             \
  X(framesRead) X(framesWritten) X(datagramsReceived) X(datagramsSent) X(superFramesRead) X(superFramesWritten)     \
  X(sendCalls) X(receiveCalls) X(readCalls) X(writeCalls) X(pollCalls) X(writeErrors) X(sendErrors) X(receiveErrors)
#define NUMBER(name) name,
#define NAME(name) #name,
enum { EACH_COUNTER(NUMBER) COUNTERS };
static const char *const NAMES[] = {EACH_COUNTER(NAME)};
static unsigned long counts[COUNTERS];

static int tap, receiver, epoll;
static bool sums, udp_runs, joins = true;
static uint32_t vni;
static struct sockaddr_in local, remote;
static struct queue queues[SOURCE_PORTS];
static uint8_t *frames, *place, *buffers, *heads;
static struct mmsghdr messages[MESSAGES];
static struct iovec rooms[MESSAGES];
static uint64_t controls[MESSAGES][CONTROL / 8];
static struct sockaddr_in names[MESSAGES];
static struct run runs[FLOWS];
static unsigned opened, ask = 4, output;
static volatile sig_atomic_t ending, reporting;

static void on_signal(int signal) {
  if (signal == SIGUSR1) reporting = 1;
  else ending = 1;
}

static void report(void) {
  fprintf(stderr, "{");
  for (unsigned i = 0; i < COUNTERS; i++) fprintf(stderr, "%s\"%s\":%lu", i == 0 ? "" : ",", NAMES[i], counts[i]);
  fprintf(stderr, "}\n");
}

/* ---- Sending ---- */

static void drain_errors(int fd) {
  char data[96], control[256];
  struct iovec piece = {data, sizeof data};
  for (int i = 0; i < 64; i++) {
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    message.msg_control = control, message.msg_controllen = sizeof control;
    if (recvmsg(fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) return;
    counts[receiveErrors]++;
  }
}

static void finish_message(struct queue *queue) {
  unsigned last = queue->count - 1;
  struct msghdr *message = &queue->messages[last].msg_hdr;
  *message = (struct msghdr){.msg_name = &remote, .msg_namelen = sizeof remote};
  message->msg_iov = queue->pieces + queue->first;
  message->msg_iovlen = queue->used - queue->first;
  queue->open = false;
  if (queue->segments[last] < 2) return;
  struct cmsghdr *control = &queue->controls[last].header;
  *control = (struct cmsghdr){.cmsg_len = CMSG_LEN(2), .cmsg_level = SOL_UDP, .cmsg_type = UDP_SEGMENT};
  uint16_t size = (uint16_t)queue->size;
  memcpy(CMSG_DATA(control), &size, 2);
  message->msg_control = control;
  message->msg_controllen = sizeof queue->controls[last];
}

/* Sends the messages of a queue. While the socket is full, it waits; then it drops. */
static void send_queue(struct queue *queue) {
  unsigned next = 0, tries = 0;
  if (queue->count > 0) finish_message(queue);
  while (next < queue->count) {
    counts[sendCalls]++;
    int sent = sendmmsg(queue->fd, queue->messages + next, queue->count - next, MSG_DONTWAIT);
    if (sent > 0) {
      for (; sent > 0; sent--) counts[datagramsSent] += queue->segments[next++];
      tries = 0;
      continue;
    }
    struct pollfd full = {queue->fd, POLLOUT, 0};
    if (errno == EINTR || (errno == EAGAIN && poll(&full, 1, PATIENCE) > 0)) continue;
    if (errno == EIO && queue->segments[next] > 1) joins = false; /* the kernel does not segment here */
    else if (errno != EAGAIN && errno != ENOBUFS && errno != ENOMEM && tries++ == 0) {
      drain_errors(queue->fd); /* the error may be that of an earlier datagram */
      continue;
    }
    counts[sendErrors] += queue->segments[next++];
    tries = 0;
  }
  queue->count = queue->used = 0;
  queue->open = false;
}

static void flush(void) {
  for (unsigned i = 0; i < SOURCE_PORTS; i++)
    if (queues[i].count > 0) send_queue(queues + i);
  place = frames;
}

static bool pending(void) {
  for (unsigned i = 0; i < SOURCE_PORTS; i++)
    if (queues[i].count > 0) return true;
  return false;
}

static void begin_message(struct queue *queue, unsigned size, unsigned pieces) {
  if (queue->count > 0) finish_message(queue);
  if (queue->count == MESSAGES || queue->used + pieces > PIECES) send_queue(queue);
  queue->first = queue->used;
  queue->size = size;
  queue->total = queue->segments[queue->count++] = 0;
}

static void add_piece(struct queue *queue, const uint8_t *at, unsigned length) {
  queue->pieces[queue->used++] = (struct iovec){(void *)(uintptr_t)at, length};
  queue->total += length;
}

/* Queues one datagram; datagrams of one length become one message. */
static void send_datagram(struct queue *queue, const uint8_t *at, unsigned length) {
  if (!(queue->open && length <= queue->size && queue->total + length <= MAX_BYTES &&
        queue->segments[queue->count - 1] < MESSAGES && queue->used < PIECES)) {
    begin_message(queue, length, 1);
    queue->open = joins;
  }
  add_piece(queue, at, length);
  queue->segments[queue->count - 1]++;
  if (length < queue->size) queue->open = false;
}

static void send_super_frame(struct queue *queue, const uint8_t *frame, unsigned length,
                             const struct virtio_net_hdr *virtio) {
  struct cut cut;
  unsigned type = virtio->gso_type & 0x7f; /* without the bit for CWR */
  unsigned total = cut_open(&cut, frame, length, type, virtio->gso_size, sums);
  unsigned size = VXLAN + cut.layout.data + cut.size, fit = total == 0 ? 0 : MAX_BYTES / size;
  if (fit == 0) {
    counts[receiveErrors]++;
    return;
  }
  output += total;
  if (fit > MESSAGES) fit = MESSAGES;
  while (cut.done < total) {
    unsigned count = total - cut.done < fit ? total - cut.done : fit, bytes;
    for (unsigned i = 0; i < count; i++) {
      uint8_t *head = heads + i * (MAX_HEAD + 2);
      const uint8_t *data = cut_next(&cut, head, &bytes);
      if (i == 0 || !joins) begin_message(queue, size, joins ? 2 * count : 2);
      add_piece(queue, head, VXLAN + cut.layout.data);
      add_piece(queue, data, bytes);
      queue->segments[queue->count - 1]++;
    }
    flush();
  }
}

static void from_tap(void) {
  unsigned bytes = 0;
  output = 0;
  for (unsigned i = 0; i < TAP_TURN && bytes < TAP_BYTES && output < TURN_OUTPUT; i++) {
    struct virtio_net_hdr virtio;
    uint8_t *frame = place + HEADROOM;
    struct iovec piece = {frame - sizeof virtio, sizeof virtio + MAX_FRAME};
    counts[readCalls]++;
    ssize_t got = readv(tap, &piece, 1);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) break;
    must("read from the TAP", got < (ssize_t)sizeof virtio ? -1 : 0);
    unsigned length = (unsigned)(got - (ssize_t)sizeof virtio);
    bytes += length;
    counts[framesRead]++;
    memcpy(&virtio, frame - sizeof virtio, sizeof virtio);
    struct layout layout;
    uint64_t key = read_layout(frame, length, &layout) ? flow_key(frame, &layout) * 0x9e3779b97f4a7c15u >> 32 : 0;
    struct queue *queue = queues + key % SOURCE_PORTS;
    put32(frame - VXLAN, 0x08000000);
    put32(frame - VXLAN + 4, vni << 8);
    if (virtio.gso_type != VIRTIO_NET_HDR_GSO_NONE) {
      counts[superFramesRead]++;
      send_super_frame(queue, frame, length, &virtio);
    } else {
      if (sums && (virtio.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) != 0)
        finish_checksum(frame, length, virtio.csum_start, virtio.csum_offset);
      output++;
      send_datagram(queue, frame - VXLAN, VXLAN + length);
    }
    if (length >= LARGE || frame + length >= frames + FRAMES) flush();
    else if (pending()) place = frames + ((frame + length - frames + ALIGN - 1) & -ALIGN);
  }
  flush();
}

/* ---- Receiving ---- */

static void write_tap(const struct iovec *pieces, int count) {
  counts[writeCalls]++;
  output++;
  while (writev(tap, pieces, count) < 0)
    if (errno != EINTR) {
      counts[writeErrors]++;
      return;
    }
  counts[framesWritten]++;
}

/* Writes a frame alone. Without -s, its checksum is partial: the kernel takes it as one of its own. */
static void write_frame(const uint8_t *frame, unsigned length, const struct layout *layout) {
  struct virtio_net_hdr virtio = {0};
  if (!sums && layout != NULL) {
    virtio.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
    virtio.csum_start = (uint16_t)layout->upper;
    virtio.csum_offset = (uint16_t)layout->field;
  }
  struct iovec pieces[2] = {{&virtio, sizeof virtio}, {(void *)(uintptr_t)frame, length}};
  write_tap(pieces, 2);
}

/* Writes an open run and removes it from the list. */
static void close_run(unsigned index) {
  struct run *run = runs + index;
  if (run->count == 1) write_frame(run->first, run->length, &run->layout);
  else {
    static struct iovec pieces[2 + RUN_FRAMES];
    struct virtio_net_hdr virtio;
    uint8_t head[MAX_HEAD];
    run_complete(run, head, &virtio);
    pieces[0] = (struct iovec){&virtio, sizeof virtio};
    pieces[1] = (struct iovec){head, run->layout.data};
    for (unsigned i = 0; i < run->count; i++)
      pieces[2 + i] = (struct iovec){(void *)(uintptr_t)run->data[i], run->lengths[i]};
    counts[superFramesWritten]++;
    write_tap(pieces, (int)(2 + run->count));
  }
  opened--;
  memmove(runs + index, runs + index + 1, (opened - index) * sizeof *runs);
}

static void close_runs(void) {
  while (opened > 0) close_run(0);
}

/* Takes one datagram: merges its frame, or writes it. */
static void take(const uint8_t *datagram, unsigned length) {
  counts[datagramsReceived]++;
  if (length < VXLAN + ETHERNET || datagram[0] != 0x08 || get32(datagram + 4) >> 8 != vni) {
    counts[receiveErrors]++;
    return;
  }
  const uint8_t *frame = datagram + VXLAN;
  length -= VXLAN;
  struct layout layout;
  if (!read_layout(frame, length, &layout)) {
    close_runs(); /* it may be a fragment of a flow with an open run */
    return write_frame(frame, length, NULL);
  }
  if (!layout.tcp && !udp_runs) return write_frame(frame, length, &layout);
  uint64_t key = flow_key(frame, &layout);
  unsigned index = 0;
  while (index < opened && runs[index].key != key) index++;
  if (!is_mergeable(frame, length, &layout, sums)) {
    if (index < opened) close_run(index);
    return write_frame(frame, length, &layout);
  }
  unsigned flags = layout.tcp ? frame[layout.upper + 13] & (TCP_PSH | TCP_FIN) : 0;
  if (index < opened) {
    struct run *run = runs + index;
    if (run_fits(run, frame, length, &layout)) {
      run_add(run, frame, length);
      run->flags |= flags;
      if (flags != 0 || length - layout.data < run->size || run->count == RUN_FRAMES) close_run(index);
      return;
    }
    close_run(index);
  }
  if (flags != 0) return write_frame(frame, length, &layout);
  if (opened == FLOWS) close_run(0);
  run_begin(runs + opened++, frame, length, &layout, key);
}

/* The size of the datagrams that the kernel joined in a message. */
static unsigned joined_size(struct msghdr *message, unsigned length) {
  int size = (int)length;
  for (struct cmsghdr *control = CMSG_FIRSTHDR(message); control != NULL; control = CMSG_NXTHDR(message, control))
    if (control->cmsg_level == SOL_UDP && control->cmsg_type == UDP_GRO) memcpy(&size, CMSG_DATA(control), sizeof size);
  return size > 0 ? (unsigned)size : length;
}

/* Receives once; returns whether there may be more. */
static bool receive(void) {
  counts[receiveCalls]++;
  unsigned wanted = ask, bytes = 0;
  int got = recvmmsg(receiver, messages, wanted, MSG_DONTWAIT, NULL);
  if (got < 0) {
    if (errno == EAGAIN) return false;
    if (errno != EINTR) counts[receiveErrors]++;
    return true;
  }
  for (int i = 0; i < got; i++) {
    unsigned length = messages[i].msg_len, size = joined_size(&messages[i].msg_hdr, length);
    const uint8_t *at = rooms[i].iov_base, *end = at + length;
    bytes += length;
    messages[i].msg_hdr.msg_namelen = sizeof names[i];
    messages[i].msg_hdr.msg_controllen = CONTROL;
    do {
      unsigned left = (unsigned)(end - at);
      take(at, left < size ? left : size);
      at += size;
    } while (at < end);
  }
  unsigned fit = (unsigned)(BUDGET / ((double)bytes / got + 1));
  ask = fit < 2 ? 2 : fit > MESSAGES ? MESSAGES : fit;
  return (unsigned)got == wanted;
}

static void from_underlay(void) {
  output = 0;
  for (unsigned i = 0; i < UDP_TURN && output < TURN_OUTPUT; i++) {
    bool more = receive();
    close_runs(); /* the buffers are about to be reused */
    if (!more) break;
  }
}

/* ---- Waiting ---- */

static uint64_t micros(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_nsec / 1000;
}

static int wait_for(struct epoll_event *events, int timeout) {
  int ready = epoll_wait(epoll, events, 3 + SOURCE_PORTS, timeout);
  if (ready < 0 && errno != EINTR) must("epoll_wait", ready);
  return ready < 0 ? 0 : ready;
}

/* Busy-polls after a turn that moved few packets. */
static int look(struct epoll_event *events, unsigned busy, uint64_t due) {
  static unsigned long before;
  unsigned long now = counts[framesRead] + counts[datagramsReceived] + MANY * counts[superFramesRead];
  unsigned long moved = now - before;
  before = now;
  if (moved == 0 || moved >= MANY) return 0;
  uint64_t start = micros();
  uint64_t until = start + busy < due ? start + busy : due;
  do {
    int ready = wait_for(events, 0);
    if (ready > 0) return ready;
    sched_yield();
  } while (micros() < until);
  return 0;
}

static void loop(unsigned busy) {
  struct epoll_event events[3 + SOURCE_PORTS];
  uint64_t now = micros(), due = now;
  while (!ending) {
    counts[pollCalls]++;
    int ready = busy > 0 ? look(events, busy, due) : 0;
    if (ready == 0) ready = wait_for(events, due > now ? (int)((due - now) / 1000) : 0);
    now = micros();
    if (now + 1000 > due) {
      due = now + TICK * 1000;
      uint32_t memory[9];
      socklen_t length = sizeof memory;
      must("SO_MEMINFO", getsockopt(receiver, SOL_SOCKET, SO_MEMINFO, memory, &length));
    }
    for (int i = 0; i < ready; i++) {
      int fd = events[i].data.fd;
      if ((events[i].events & EPOLLERR) != 0 && fd != tap) drain_errors(fd);
      if (fd == tap) from_tap();
      else if (fd == receiver && (events[i].events & EPOLLIN) != 0) from_underlay();
    }
    if (reporting) reporting = 0, report();
  }
}

/* ---- Starting ---- */

static void allocate(void) {
  const size_t huge = 2 << 20, size = 4 * huge;
  frames = aligned_alloc(huge, size);
  must("aligned_alloc", frames == NULL ? -1 : 0);
  madvise(frames, size, MADV_HUGEPAGE); /* fails where there are none, and only costs speed */
  memset(frames, 0, size);
  place = frames;
  heads = frames + FRAMES + MAX_FRAME + 2 * ALIGN;
  buffers = heads + MESSAGES * (MAX_HEAD + 2);
  buffers += -(uintptr_t)buffers % ALIGN;
  for (unsigned i = 0; i < MESSAGES; i++) {
    rooms[i] = (struct iovec){buffers + i * (ROOM + STAGGER), ROOM};
    messages[i].msg_hdr = (struct msghdr){.msg_name = names + i, .msg_namelen = sizeof names[i], .msg_iov = rooms + i,
                                          .msg_iovlen = 1, .msg_control = controls[i], .msg_controllen = CONTROL};
  }
}

static void watch(int fd, unsigned events) {
  struct epoll_event event = {.events = events, .data.fd = fd};
  must("epoll_ctl", epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
}

int main(int count, char **words) {
  const char *netns = NULL;
  unsigned long busy = 0;
  pid_t parent = getppid();
  must("prctl", prctl(PR_SET_PDEATHSIG, SIGTERM));
  if (getppid() != parent) return 0;
  for (int flag; (flag = getopt(count, words, "sb:n:")) >= 0;) {
    if (flag == 's') sums = true;
    else if (flag == 'b') busy = strtoul(optarg, NULL, 10);
    else if (flag == 'n') netns = optarg;
    else return 2;
  }
  local.sin_family = AF_INET;
  if (count - optind != 4 || inet_pton(AF_INET, words[optind + 1], &local.sin_addr) != 1 ||
      (remote = local, inet_pton(AF_INET, words[optind + 2], &remote.sin_addr)) != 1) {
    fprintf(stderr, "usage: limit [-s] [-b MICROSECONDS] [-n NETNS] TAP LOCAL REMOTE VNI\n");
    return 2;
  }
  remote.sin_port = htons(VXLAN_PORT);
  vni = (uint32_t)strtoul(words[optind + 3], NULL, 10);
  struct sigaction action = {.sa_handler = on_signal};
  const int signals[] = {SIGTERM, SIGINT, SIGUSR1};
  for (unsigned i = 0; i < 3; i++) must("sigaction", sigaction(signals[i], &action, NULL));
  allocate();
  tap = open_tap(words[optind], netns, &udp_runs);
  receiver = open_receiver(&local);
  for (unsigned i = 0; i < SOURCE_PORTS; i++) queues[i].fd = open_sender(&local);
  epoll = must("epoll_create1", epoll_create1(EPOLL_CLOEXEC));
  watch(tap, EPOLLIN);
  watch(receiver, EPOLLIN);
  for (unsigned i = 0; i < SOURCE_PORTS; i++) watch(queues[i].fd, 0);
  puts("ready");
  fflush(stdout);
  loop((unsigned)busy);
  report();
  return 0;
}
