/** Linux constants and structure layouts for 64-bit little-endian machines, the only ones that this engine supports. */

// socket(2)
export const AF_INET = 2;
export const AF_INET6 = 10;
export const SOCK_DGRAM = 2;
export const SOCK_NONBLOCK = 0o4000;
export const SOCK_CLOEXEC = 0o2000000;
export const IPPROTO_UDP = 17;

// setsockopt(2)
export const SOL_IP = 0;
export const SOL_SOCKET = 1;
export const SOL_UDP = 17;
export const SOL_IPV6 = 41;
export const SO_SNDBUF = 7;
export const SO_RCVBUF = 8;
export const SO_REUSEPORT = 15;
/** Send without a UDP checksum. */
export const SO_NO_CHECK = 11;
export const SO_SNDBUFFORCE = 32;
export const SO_RCVBUFFORCE = 33;
export const SO_RXQ_OVFL = 40;
/** Answers with the socket's `sk_meminfo`. */
export const SO_MEMINFO = 55;
export const IP_TOS = 1;
export const IP_MTU_DISCOVER = 10;
export const IP_RECVERR = 11;
export const IP_RECVTOS = 13;
export const IPV6_MTU_DISCOVER = 23;
export const IPV6_RECVERR = 25;
export const IPV6_V6ONLY = 26;
export const IPV6_RECVTCLASS = 66;
export const IPV6_TCLASS = 67;
/** Do not set DF. */
export const PMTUDISC_DONT = 0;
/** The MTU to fragment for, and the smallest that the kernel takes. */
export const IPV6_MTU = 24;
export const IPV6_MIN_MTU = 1280;
/** Set DF and never fragment; the only limit is the MTU of the device, not what ICMP errors say. */
export const PMTUDISC_PROBE = 3;
/** Over IPv6: send without a checksum, and accept datagrams without one. */
export const UDP_NO_CHECK6_TX = 101;
export const UDP_NO_CHECK6_RX = 102;
export const UDP_SEGMENT = 103;
export const UDP_GRO = 104;

// sendmsg(2), recvmsg(2)
export const MSG_DONTWAIT = 0x40;
export const MSG_TRUNC = 0x20;
export const MSG_ERRQUEUE = 0x2000;

// poll(2), and epoll(7) has the same
export const POLLIN = 1;
export const POLLOUT = 4;
export const POLLERR = 8;

// epoll_create1(2), epoll_ctl(2)
export const EPOLL_CLOEXEC = 0o2000000;
export const EPOLL_CTL_ADD = 1;
export const EPOLL_CTL_DEL = 2;
export const EPOLL_CTL_MOD = 3;

// eventfd(2)
export const EFD_NONBLOCK = 0o4000;
export const EFD_CLOEXEC = 0o2000000;

// clock_gettime(2)
export const CLOCK_MONOTONIC = 1;

/** madvise(2). */
export const MADV_HUGEPAGE = 14;

/** ioctl(2): do not block. */
export const FIONBIO = 0x5421;
// ioctl(2) on a TAP
export const TUNSETOFFLOAD = 0x4004_54d0;
export const TUN_F_CSUM = 0x01;
export const TUN_F_TSO4 = 0x02;
export const TUN_F_TSO6 = 0x04;
export const TUN_F_TSO_ECN = 0x08;
export const TUN_F_USO4 = 0x20;
export const TUN_F_USO6 = 0x40;

/** `struct pollfd`. */
export const POLLFD = { fd: 0, events: 4, revents: 6, length: 8 } as const;
/** `struct epoll_event`: packed on x86-64 only. */
export const EPOLL_EVENT =
  process.arch === 'x64'
    ? ({ events: 0, data: 4, length: 12 } as const)
    : ({ events: 0, data: 8, length: 16 } as const);
/** `struct timespec`. */
export const TIMESPEC = { seconds: 0, nanoseconds: 8, length: 16 } as const;
/** `struct iovec`. */
export const IOVEC = { base: 0, size: 8, length: 16 } as const;
/** `struct msghdr`, followed in `struct mmsghdr` by the number of bytes moved. */
export const MSGHDR = {
  name: 0,
  nameLength: 8,
  iov: 16,
  iovCount: 24,
  control: 32,
  controlLength: 40,
  flags: 48,
  length: 56,
  moved: 56,
  mmsgLength: 64,
} as const;
/** `sk_meminfo`: 32-bit numbers, of which the last one counts dropped datagrams. */
export const SK_MEMINFO = { drops: 32, length: 36 } as const;
/** `struct cmsghdr`; the next one begins at a multiple of 8. */
export const CMSG = { size: 0, level: 8, type: 12, data: 16 } as const;
/** `struct sockaddr_in` and `sockaddr_in6`. */
export const SOCKADDR = { family: 0, port: 2, ipv4: 4, ipv6: 8, length4: 16, length6: 28, room: 32 } as const;
/** `struct sock_extended_err`, followed by the address of the host that reported the error. */
export const EXTENDED_ERROR = { errno: 0, origin: 4, type: 5, code: 6, info: 8, data: 12, length: 16 } as const;
/** Origins of errors: this host, ICMP, ICMPv6. */
export const SO_EE_ORIGIN_LOCAL = 1;
export const SO_EE_ORIGIN_ICMP = 2;
export const SO_EE_ORIGIN_ICMP6 = 3;
