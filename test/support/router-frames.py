"""Frames for test/router.test.ts, written by scapy 2.5:

    /usr/bin/python3 test/support/router-frames.py > test/support/router-frames.json

For each name: the frame that a station sends to its gateway, and then the frames that must come back or go on. For `ask`
and `ask6`: the router's question, the answer, and the question whether the neighbor is still there.
"""
import json

from scapy.all import (
    ARP,
    ICMP,
    IP,
    TCP,
    UDP,
    Ether,
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPOption_RR,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrHopByHop,
    Raw,
    raw,
)

GATEWAY, C1, C2 = "02:42:0a:00:00:01", "02:42:0a:00:00:03", "02:42:0a:00:01:04"
BROADCAST = "ff:ff:ff:ff:ff:ff"
HERE = {"src": "10.0.0.3", "dst": "10.0.1.4"}
HERE6 = {"src": "fd00::3", "dst": "fd00:1::4"}
NEAR, FAR = "10.0.0.1", "10.0.1.1"
NEAR6, FAR6 = "fd00::1", "fd00:1::1"
NODE6 = "ff02::1:ff00:1"
# Made from the MAC address: RFC 4291, appendix A.
LOCAL6 = "fe80::42:aff:fe00:1"

frames = {}


def add(name, *packets):
    frames[name] = [raw(packet).hex() for packet in packets]


def sent(packet, to=GATEWAY):
    return Ether(src=C1, dst=to) / packet


def routed(packet):
    return Ether(src=GATEWAY, dst=C2) / packet


def answer(packet):
    return Ether(src=GATEWAY, dst=C1) / packet


def error(quoted, **fields):
    """An ICMP error of at most 576 octets; its precedence is internetwork control: RFC 1812, section 4.3.2."""
    header = IP(src=NEAR, dst=HERE["src"], ttl=64, tos=0xC0 | quoted.tos & 0x1C, id=0)
    return answer(header / ICMP(**fields) / Raw(raw(quoted)[: 576 - 28]))


def error6(quoted, message):
    """An ICMPv6 error of at most 1280 octets: RFC 4443, section 2.4 (c)."""
    header = IPv6(src=NEAR6, dst=HERE6["src"], hlim=64)
    return answer(header / message / Raw(raw(quoted)[: 1280 - 48]))


def datagram(size=20):
    return UDP(sport=5000, dport=5001) / Raw(b"w" * size)


def four(ttl=64, **fields):
    return IP(**{**HERE, "id": 7, "ttl": ttl, **fields})


def six(hop_limit=64, **fields):
    return IPv6(**{**HERE6, "hlim": hop_limit, **fields})


# Routed.
add("routed", sent(four() / datagram()), routed(four(63) / datagram()))
before, after = (
    four(ttl, options=[IPOption_RR(length=11, pointer=pointer, routers=[first, "0.0.0.0"])]) / datagram()
    for ttl, pointer, first in ((2, 4, "0.0.0.0"), (1, 8, FAR))
)
add("recorded", sent(before), routed(after))
add("routed6", sent(six(fl=0x12345) / datagram()), routed(six(63, fl=0x12345) / datagram()))
before, after = (six(hops) / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / datagram() for hops in (2, 1))
add("extensions6", sent(before), routed(after))

# Errors.
packet = four(1, tos=0xB9) / datagram()
add("expired", sent(packet), error(packet, type=11, code=0))
packet = six(1) / datagram()
add("expired6", sent(packet), error6(packet, ICMPv6TimeExceeded(code=0)))
packet = four(dst="10.9.0.1") / datagram()
add("no route", sent(packet), error(packet, type=3, code=0))
packet = six(dst="fd09::1") / datagram()
add("no route6", sent(packet), error6(packet, ICMPv6DestUnreach(code=0)))
packet = four(flags="DF") / datagram(1393)
add("too big", sent(packet), error(packet, type=3, code=4, nexthopmtu=1400))
packet = six() / datagram(1353)
add("too big6", sent(packet), error6(packet, ICMPv6PacketTooBig(mtu=1400)))
packet = IPv6(src="fe80::3", dst=HERE6["dst"]) / datagram()
message = IPv6(src=LOCAL6, dst="fe80::3") / ICMPv6DestUnreach(code=2) / Raw(raw(packet))
add("scope6", sent(packet), answer(message))
add("unanswered", error(four(63) / datagram(), type=3, code=1))
add("unanswered6", error6(six(63, fl=0x12345) / datagram(), ICMPv6DestUnreach(code=3)))

# Fragments of 1376 octets and the rest: the largest multiple of eight within 1400 - 20.
body = raw(four() / datagram(1393))[20:]
first = four(63, flags="MF", proto=17) / Raw(body[:1376])
second = four(63, frag=1376 // 8, proto=17) / Raw(body[1376:])
add("fragments", sent(four() / datagram(1393)), routed(first), routed(second))

# The gateway's own addresses.
for name, gateway in (("echo", NEAR), ("echo far", FAR)):
    request = IP(src=HERE["src"], dst=gateway, id=9, flags="DF", ttl=9) / ICMP(type=8, id=0x77, seq=3) / b"hello"
    reply = IP(src=gateway, dst=HERE["src"], id=9, flags="DF", ttl=64) / ICMP(type=0, id=0x77, seq=3) / b"hello"
    add(name, sent(request), answer(reply))
for name, gateway in (("echo6", NEAR6), ("echo far6", FAR6)):
    request = IPv6(src=HERE6["src"], dst=gateway, hlim=9) / ICMPv6EchoRequest(id=0x77, seq=3, data=b"hello")
    reply = IPv6(src=gateway, dst=HERE6["src"], hlim=64) / ICMPv6EchoReply(id=0x77, seq=3, data=b"hello")
    add(name, sent(request), answer(reply))
request = IPv6(src="fe80::3", dst=LOCAL6) / ICMPv6EchoRequest(id=0x77, seq=3, data=b"hello")
reply = IPv6(src=LOCAL6, dst="fe80::3") / ICMPv6EchoReply(id=0x77, seq=3, data=b"hello")
add("echo local6", sent(request), answer(reply))
packet = four(dst=NEAR) / datagram()
add("port", sent(packet), error(packet, type=3, code=3))
packet = six(dst=NEAR6) / datagram()
add("port6", sent(packet), error6(packet, ICMPv6DestUnreach(code=4)))
packet = four(dst=NEAR, proto=47) / Raw(b"x" * 8)
add("protocol", sent(packet), error(packet, type=3, code=2))
packet = six(dst=NEAR6, nh=47) / Raw(b"x" * 8)
add("protocol6", sent(packet), error6(packet, ICMPv6ParamProblem(code=1, ptr=6)))
back = IP(src=NEAR, dst=HERE["src"], id=0, flags="DF")
packet = four(dst=NEAR) / TCP(sport=1000, dport=80, seq=5, flags="S")
add("syn", sent(packet), answer(back / TCP(sport=80, dport=1000, seq=0, ack=6, flags="RA", window=0)))
packet = four(dst=NEAR) / TCP(sport=1000, dport=80, seq=5, ack=77, flags="A") / b"abc"
add("ack", sent(packet), answer(back / TCP(sport=80, dport=1000, seq=77, ack=0, flags="R", window=0)))
back = IPv6(src=NEAR6, dst=HERE6["src"])
packet = six(dst=NEAR6) / TCP(sport=1000, dport=80, seq=0xFFFFFFFF, flags="FPU") / b"abc"
add("fin6", sent(packet), answer(back / TCP(sport=80, dport=1000, seq=0, ack=3, flags="RA", window=0)))

# A service at a gateway: a request, and the answer to it.
for name, gateway in (("service", NEAR), ("service far", FAR)):
    request = IP(src=HERE["src"], dst=gateway, id=9, ttl=9) / UDP(sport=40000, dport=53) / b"question"
    reply = IP(src=gateway, dst=HERE["src"], id=0, flags="DF", ttl=64) / UDP(sport=53, dport=40000) / b"an answer"
    add(name, sent(request), answer(reply))
for name, host, gateway in (
    ("service6", HERE6["src"], NEAR6),
    ("service far6", HERE6["src"], FAR6),
    ("service local6", "fe80::3", LOCAL6),
):
    request = IPv6(src=host, dst=gateway, hlim=9) / UDP(sport=40000, dport=53) / b"question"
    reply = IPv6(src=gateway, dst=host, hlim=64) / UDP(sport=53, dport=40000) / b"an answer"
    add(name, sent(request), answer(reply))

# ARP and neighbor discovery.
request = ARP(op=1, hwsrc=C1, psrc=HERE["src"], pdst=NEAR)
reply = ARP(op=2, hwsrc=GATEWAY, psrc=NEAR, hwdst=C1, pdst=HERE["src"])
add("arp", sent(request, BROADCAST), answer(reply))
add("arp unicast", sent(request), answer(reply))
request, reply = (packet.copy() for packet in (request, reply))
request.psrc = reply.pdst = "0.0.0.0"
add("arp probe", sent(request, BROADCAST), answer(reply))
source = ICMPv6NDOptSrcLLAddr(lladdr=C1)
target = ICMPv6NDOptDstLLAddr(lladdr=GATEWAY)
request = IPv6(src=HERE6["src"], dst=NODE6, hlim=255) / ICMPv6ND_NS(tgt=NEAR6) / source
reply = IPv6(src=NEAR6, dst=HERE6["src"], hlim=255) / ICMPv6ND_NA(R=1, S=1, O=1, tgt=NEAR6) / target
add("solicitation", sent(request, "33:33:ff:00:00:01"), answer(reply))
request = IPv6(src="fe80::3", dst=NODE6, hlim=255) / ICMPv6ND_NS(tgt=LOCAL6) / source
local = IPv6(src=LOCAL6, dst="fe80::3", hlim=255) / ICMPv6ND_NA(R=1, S=1, O=1, tgt=LOCAL6) / target
add("solicitation local", sent(request, "33:33:ff:00:00:01"), answer(local))
request = IPv6(src=HERE6["src"], dst=NEAR6, hlim=255) / ICMPv6ND_NS(tgt=NEAR6)
add("solicitation unicast", sent(request), answer(reply))
request = IPv6(src="::", dst=NODE6, hlim=255) / ICMPv6ND_NS(tgt=NEAR6)
reply = IPv6(src=NEAR6, dst="ff02::1", hlim=255) / ICMPv6ND_NA(R=1, S=0, O=1, tgt=NEAR6) / target
add("dad", sent(request, "33:33:ff:00:00:01"), Ether(src=GATEWAY, dst="33:33:00:00:00:01") / reply)

# The router's own questions.
request = ARP(op=1, hwsrc=GATEWAY, psrc=FAR, hwdst="00:00:00:00:00:00", pdst=HERE["dst"])
reply = ARP(op=2, hwsrc=C2, psrc=HERE["dst"], hwdst=GATEWAY, pdst=FAR)
add(
    "ask",
    Ether(src=GATEWAY, dst=BROADCAST) / request,
    Ether(src=C2, dst=GATEWAY) / reply,
    Ether(src=GATEWAY, dst=C2) / request,
)
source = ICMPv6NDOptSrcLLAddr(lladdr=GATEWAY)
target = ICMPv6NDOptDstLLAddr(lladdr=C2)
reply = IPv6(src=HERE6["dst"], dst=FAR6, hlim=255) / ICMPv6ND_NA(R=0, S=1, O=1, tgt=HERE6["dst"]) / target
solicit = ICMPv6ND_NS(tgt=HERE6["dst"]) / source
add(
    "ask6",
    Ether(src=GATEWAY, dst="33:33:ff:00:00:04") / IPv6(src=FAR6, dst="ff02::1:ff00:4", hlim=255) / solicit,
    Ether(src=C2, dst=GATEWAY) / reply,
    Ether(src=GATEWAY, dst=C2) / IPv6(src=FAR6, dst=HERE6["dst"], hlim=255) / solicit,
)

print(json.dumps(frames, indent=2))
