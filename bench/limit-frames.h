/*
 * Super-frames of limit.c: cuts those of a TAP into frames for the wire, and merges frames of the wire into
 * super-frames for a TAP. Only what a kernel requires to accept the result is computed.
 */
#include <arpa/inet.h>
#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Since Linux 6.2. */
#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

enum {
  ETHERNET = 14,
  VXLAN = 8,
  /* Longest headers in front of TCP or UDP data: VXLAN, Ethernet, IPv4 with options, TCP with options. */
  MAX_HEAD = VXLAN + ETHERNET + 60 + 60,
  MAX_PACKET = 65535,
  TCP_FIN = 1,
  TCP_PSH = 8,
  TCP_ACK = 16,
  TCP_ECE = 64,
  TCP_CWR = 128,
  /* Most frames in a super-frame. */
  RUN_FRAMES = 64,
};

static inline uint16_t get16(const uint8_t *at) { return (uint16_t)(at[0] << 8 | at[1]); }
static inline void put16(uint8_t *at, unsigned value) { at[0] = (uint8_t)(value >> 8), at[1] = (uint8_t)value; }
static inline uint32_t get32(const uint8_t *at) { return (uint32_t)get16(at) << 16 | get16(at + 2); }
static inline void put32(uint8_t *at, uint32_t value) { put16(at, value >> 16), put16(at + 2, value & 0xffff); }

/* The ones' complement sum of RFC 1071, in the byte order of this machine: swapped at the end, it is the same. */
static inline uint64_t sum(const uint8_t *at, unsigned length, uint64_t start) {
  uint64_t total = start;
  unsigned i = 0;
  for (; i + 4 <= length; i += 4) {
    uint32_t word;
    memcpy(&word, at + i, 4);
    total += word;
  }
  for (; i < length; i++) total += i % 2 == 0 ? ntohs((uint16_t)(at[i] << 8)) : ntohs(at[i]);
  return total;
}

static inline uint16_t fold(uint64_t total) {
  while (total >> 16 != 0) total = (total & 0xffff) + (total >> 16);
  return (uint16_t)total;
}

static inline void put_sum(uint8_t *at, uint16_t value) { memcpy(at, &value, 2); }

/* Offsets in a frame of TCP or UDP. */
struct layout {
  unsigned ip, upper, data, field;
  bool v4, tcp;
};

/* Whether a frame is TCP or UDP over IPv4 or IPv6, without VLAN tags, fragments, extension headers and padding. */
static bool read_layout(const uint8_t *frame, unsigned length, struct layout *layout) {
  if (length < ETHERNET + 20 + 8) return false;
  const uint8_t *ip = frame + ETHERNET;
  unsigned total, protocol;
  layout->ip = ETHERNET;
  if (get16(frame + 12) == 0x0800) {
    unsigned header = (ip[0] & 15u) * 4;
    if (ip[0] >> 4 != 4 || header < 20 || (get16(ip + 6) & 0x3fff) != 0) return false;
    layout->v4 = true;
    layout->upper = ETHERNET + header;
    total = get16(ip + 2);
    protocol = ip[9];
  } else if (get16(frame + 12) == 0x86dd) {
    layout->v4 = false;
    layout->upper = ETHERNET + 40;
    total = 40u + get16(ip + 4);
    protocol = ip[6];
  } else return false;
  if (ETHERNET + total != length) return false;
  const uint8_t *upper = frame + layout->upper;
  if (protocol == 6) {
    if (layout->upper + 20 > length) return false;
    layout->tcp = true;
    layout->field = 16;
    layout->data = layout->upper + (upper[12] >> 4) * 4u;
    return layout->data >= layout->upper + 20 && layout->data <= length;
  }
  if (protocol != 17 || layout->upper + 8 > length) return false;
  layout->tcp = false;
  layout->field = 6;
  layout->data = layout->upper + 8;
  return get16(upper + 4) == length - layout->upper;
}

/* The sum of a pseudo-header for `length` bytes of TCP or UDP. */
static inline uint64_t pseudo_sum(const uint8_t *frame, const struct layout *layout, unsigned length) {
  uint64_t start = (uint64_t)htons(layout->tcp ? 6 : 17) + htonl(length);
  return layout->v4 ? sum(frame + layout->ip + 12, 8, start) : sum(frame + layout->ip + 8, 32, start);
}

/* Completes a checksum that the kernel has left to the reader of a TAP: its field has the sum of the pseudo-header. */
static inline void finish_checksum(uint8_t *frame, unsigned length, unsigned start, unsigned field) {
  if (start + field + 2 > length) return;
  uint16_t value = (uint16_t)~fold(sum(frame + start, length - start, 0));
  put_sum(frame + start + field, value == 0 ? 0xffff : value);
}

/* A super-frame to be cut. */
struct cut {
  const uint8_t *frame;
  struct layout layout;
  unsigned length, size, total, done;
  bool sums;
};

/* Returns the number of frames to make of a super-frame; 0 if it is not one. `sums`: whether with checksums. */
static unsigned cut_open(struct cut *cut, const uint8_t *frame, unsigned length, unsigned type, unsigned size,
                         bool sums) {
  cut->frame = frame, cut->length = length, cut->size = size, cut->sums = sums;
  cut->done = cut->total = 0;
  if (size == 0 || !read_layout(frame, length, &cut->layout)) return 0;
  if (cut->layout.tcp == (type == VIRTIO_NET_HDR_GSO_UDP_L4)) return 0;
  unsigned bytes = length - cut->layout.data;
  return cut->total = bytes == 0 ? 1 : (bytes + size - 1) / size;
}

/*
 * Writes the headers of the next frame to `head`, VXLAN's included, and returns where its data begins; `*bytes` is the
 * length of the data.
 */
static const uint8_t *cut_next(struct cut *cut, uint8_t *head, unsigned *bytes) {
  const struct layout *layout = &cut->layout;
  unsigned index = cut->done++, from = layout->data + index * cut->size, left = cut->length - from;
  unsigned length = left < cut->size ? left : cut->size;
  memcpy(head, cut->frame - VXLAN, VXLAN + layout->data);
  uint8_t *ip = head + VXLAN + layout->ip, *upper = head + VXLAN + layout->upper;
  unsigned header = layout->data - layout->upper;
  if (layout->v4) {
    put16(ip + 2, layout->data - layout->ip + length);
    put16(ip + 4, get16(ip + 4) + index);
    put16(ip + 10, 0);
    put_sum(ip + 10, (uint16_t)~fold(sum(ip, layout->upper - layout->ip, 0)));
  } else put16(ip + 4, header + length);
  if (layout->tcp) {
    put32(upper + 4, get32(upper + 4) + index * cut->size);
    if (index > 0) upper[13] &= (uint8_t)~TCP_CWR;
    if (cut->done < cut->total) upper[13] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
  } else put16(upper + 4, header + length);
  if (cut->sums) {
    put16(upper + layout->field, 0);
    uint64_t total = pseudo_sum(head + VXLAN, layout, header + length);
    uint16_t value = (uint16_t)~fold(sum(cut->frame + from, length, sum(upper, header, total)));
    put_sum(upper + layout->field, value == 0 && !layout->tcp ? 0xffff : value);
  }
  *bytes = length;
  return cut->frame + from;
}

/* Frames of one flow that become one super-frame. */
struct run {
  const uint8_t *first;
  struct layout layout;
  uint64_t key;
  unsigned length, size, count, bytes, flags;
  uint32_t sequence;
  bool same_id;
  const uint8_t *data[RUN_FRAMES];
  unsigned lengths[RUN_FRAMES];
};

/* A number that frames of one flow share. */
static inline uint64_t flow_key(const uint8_t *frame, const struct layout *layout) {
  uint64_t key = get32(frame + layout->upper);
  unsigned at = layout->ip + (layout->v4 ? 12 : 8);
  for (; at < layout->ip + (layout->v4 ? 20 : 40); at += 4) key = key * 0x9e3779b97f4a7c15u ^ get32(frame + at);
  return key << 1 | layout->tcp;
}

/* Whether a frame may be merged with others of its flow. `sums`: whether its checksum has to be right. */
static bool is_mergeable(const uint8_t *frame, unsigned length, const struct layout *layout, bool sums) {
  if (layout->data == length) return false;
  const uint8_t *upper = frame + layout->upper;
  if (layout->tcp) {
    const unsigned may = TCP_ACK | TCP_PSH | TCP_FIN | TCP_ECE | TCP_CWR;
    if ((upper[13] & ~may) != 0 || (upper[13] & TCP_ACK) == 0) return false;
  } else if (sums && get16(upper + 6) == 0) return false;
  if (!sums) return true;
  if (layout->v4 && fold(sum(frame + layout->ip, layout->upper - layout->ip, 0)) != 0xffff) return false;
  unsigned bytes = length - layout->upper;
  return fold(sum(upper, bytes, pseudo_sum(frame, layout, bytes))) == 0xffff;
}

static void run_add(struct run *run, const uint8_t *frame, unsigned length) {
  unsigned bytes = length - run->layout.data;
  run->data[run->count] = frame + run->layout.data;
  run->lengths[run->count++] = bytes;
  run->bytes += bytes;
  run->sequence += bytes;
}

static void run_begin(struct run *run, const uint8_t *frame, unsigned length, const struct layout *layout,
                      uint64_t key) {
  run->first = frame, run->length = length, run->layout = *layout, run->key = key;
  run->size = length - layout->data;
  run->count = run->bytes = 0;
  run->same_id = false;
  run->flags = layout->tcp ? frame[layout->upper + 13] : 0;
  run->sequence = layout->tcp ? get32(frame + layout->upper + 4) : 0;
  run_add(run, frame, length);
}

/* Whether a frame of the same flow continues a run, so that the super-frame would be cut into the same frames. */
static bool run_fits(struct run *run, const uint8_t *frame, unsigned length, const struct layout *layout) {
  const uint8_t *first = run->first;
  unsigned bytes = length - layout->data;
  if (layout->data != run->layout.data || layout->upper != run->layout.upper || layout->tcp != run->layout.tcp ||
      bytes > run->size || layout->data - layout->ip + run->bytes + bytes > MAX_PACKET)
    return false;
  const uint8_t *ip = frame + layout->ip, *other = first + layout->ip;
  if (memcmp(frame, first, ETHERNET) != 0) return false;
  if (layout->v4) {
    if (ip[1] != other[1] || memcmp(ip + 6, other + 6, 4) != 0) return false;
    if (memcmp(ip + 12, other + 12, layout->upper - layout->ip - 12) != 0) return false;
    uint16_t id = get16(ip + 4), start = get16(other + 4);
    if (run->count == 1) run->same_id = id == start && (ip[6] & 0x40) != 0;
    if (id != (run->same_id ? start : (uint16_t)(start + run->count))) return false;
  } else if (memcmp(ip, other, 4) != 0 || memcmp(ip + 6, other + 6, 34) != 0) return false;
  const uint8_t *upper = frame + layout->upper;
  other = first + layout->upper;
  if (memcmp(upper, other, 4) != 0) return false;
  if (!layout->tcp) return true;
  return get32(upper + 4) == run->sequence && memcmp(upper + 8, other + 8, 5) == 0 &&
         ((upper[13] ^ other[13]) & ~(TCP_FIN | TCP_PSH | TCP_CWR)) == 0 && (upper[13] & TCP_CWR) == 0 &&
         memcmp(upper + 14, other + 14, 2) == 0 &&
         memcmp(upper + 18, other + 18, layout->data - layout->upper - 18) == 0;
}

/* Writes the headers of a super-frame to `head`, and what the kernel has to know about it to `virtio`. */
static void run_complete(const struct run *run, uint8_t *head, struct virtio_net_hdr *virtio) {
  const struct layout *layout = &run->layout;
  memcpy(head, run->first, layout->data);
  uint8_t *ip = head + layout->ip, *upper = head + layout->upper;
  unsigned length = layout->data - layout->upper + run->bytes;
  if (layout->v4) {
    put16(ip + 2, layout->upper - layout->ip + length);
    put16(ip + 10, 0);
    put_sum(ip + 10, (uint16_t)~fold(sum(ip, layout->upper - layout->ip, 0)));
  } else put16(ip + 4, length);
  if (layout->tcp) upper[13] = (uint8_t)run->flags;
  else put16(upper + 4, length);
  put_sum(upper + layout->field, fold(pseudo_sum(head, layout, length)));
  unsigned type = VIRTIO_NET_HDR_GSO_UDP_L4;
  if (layout->tcp) type = layout->v4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6;
  virtio->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
  virtio->gso_type = (uint8_t)(type | ((run->flags & TCP_CWR) != 0 ? VIRTIO_NET_HDR_GSO_ECN : 0));
  virtio->hdr_len = (uint16_t)layout->data;
  virtio->gso_size = (uint16_t)run->size;
  virtio->csum_start = (uint16_t)layout->upper;
  virtio->csum_offset = (uint16_t)layout->field;
}
