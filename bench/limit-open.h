/* Opens what limit.c moves frames between, with the options of the engine: src/host/linux/udp.ts, loop.ts. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#define UDP_GRO 104
#endif
#ifndef SO_MEMINFO
#define SO_MEMINFO 55
#endif

enum {
  FIRST_SOURCE_PORT = 49152,
  SOCKET_BUFFER = 8 << 20,
  SMALL_BUFFER = 4096,
  VXLAN_PORT = 4789,
};

/* Ends the program if a call failed. */
static int must(const char *call, int result) {
  if (result >= 0) return result;
  fprintf(stderr, "limit: %s: %s\n", call, strerror(errno));
  exit(1);
}

static void option(int fd, int level, int name, int value, const char *what) {
  must(what, setsockopt(fd, level, name, &value, sizeof value));
}

/* Opens a socket on the local address as the engine does; -1 if a source port is in use. */
static int open_socket(const struct sockaddr_in *local, int port) {
  int fd = must("socket", socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_UDP));
  struct sockaddr_in address = *local;
  address.sin_port = htons((uint16_t)port);
  int bound = bind(fd, (struct sockaddr *)&address, sizeof address);
  if (bound < 0 && port != VXLAN_PORT && errno == EADDRINUSE) {
    close(fd);
    return -1;
  }
  must("bind", bound);
  option(fd, SOL_SOCKET, SO_SNDBUFFORCE, SOCKET_BUFFER, "SO_SNDBUFFORCE");
  option(fd, SOL_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE, "IP_MTU_DISCOVER");
  option(fd, SOL_IP, IP_RECVERR, 1, "IP_RECVERR");
  return fd;
}

static int open_receiver(const struct sockaddr_in *local) {
  int fd = open_socket(local, VXLAN_PORT);
  option(fd, SOL_SOCKET, SO_RCVBUFFORCE, SOCKET_BUFFER, "SO_RCVBUFFORCE");
  option(fd, SOL_UDP, UDP_GRO, 1, "UDP_GRO");
  option(fd, SOL_SOCKET, SO_RXQ_OVFL, 1, "SO_RXQ_OVFL");
  option(fd, SOL_IP, IP_RECVTOS, 1, "IP_RECVTOS");
  return fd;
}

/* Opens a socket that sends, from the next free port of the source range. */
static int open_sender(const struct sockaddr_in *local) {
  static int port = FIRST_SOURCE_PORT;
  int fd;
  while ((fd = open_socket(local, port++)) < 0) continue;
  option(fd, SOL_SOCKET, SO_RCVBUF, SMALL_BUFFER, "SO_RCVBUF");
  return fd;
}

/* Creates a TAP with super-frames. `*udp`: whether the kernel takes those of UDP too. */
static int open_tap(const char *name, const char *netns, bool *udp) {
  int own = must("open /proc/self/ns/net", open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
  if (netns != NULL) {
    int other = must(netns, open(netns, O_RDONLY | O_CLOEXEC));
    must("setns", setns(other, CLONE_NEWNET));
    close(other);
  }
  int tap = must("open /dev/net/tun", open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
  struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
  strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  must("TUNSETIFF", ioctl(tap, TUNSETIFF, &request));
  must("setns", setns(own, CLONE_NEWNET));
  close(own);
  unsigned long tcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
  *udp = ioctl(tap, TUNSETOFFLOAD, tcp | TUN_F_USO4 | TUN_F_USO6) >= 0;
  if (!*udp) must("TUNSETOFFLOAD", ioctl(tap, TUNSETOFFLOAD, tcp));
  return tap;
}
