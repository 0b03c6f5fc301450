"""Frames for test/vtep-discovery.test.ts, written by scapy 2.5:

    /usr/bin/python3 test/support/discovery-frames.py > test/support/discovery-frames.json

C1, 02:42:0a:00:00:03 with fd00::3, is a local station; C2, 02:42:0a:00:00:04 with fd00::4, is a remote endpoint. For
`answered`: what C1 sends, and the answer with the MAC address of C2. For `invalid`: solicitations for C2 that hosts discard.
"""
import json

from scapy.all import (
    UDP,
    Ether,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    Raw,
    raw,
)

C1, C2, VTEP, OTHER = "02:42:0a:00:00:03", "02:42:0a:00:00:04", "02:76:00:00:10:01", "02:42:0a:00:00:09"
IP1, IP2 = "fd00::3", "fd00::4"
GROUP2, NODE2 = "33:33:ff:00:00:04", "ff02::1:ff00:4"
ALL, ALL_MAC = "ff02::1", "33:33:00:00:00:01"


def to_hex(packet):
    return raw(packet).hex()


def ask(mac=C1, to=GROUP2, src=IP1, dst=NODE2, target=IP2, hop=255, option=True, **fields):
    packet = Ether(src=mac, dst=to) / IPv6(src=src, dst=dst, hlim=hop) / ICMPv6ND_NS(tgt=target, **fields)
    return packet / ICMPv6NDOptSrcLLAddr(lladdr=mac) if option else packet


def tell(mac=C2, to=C1, dst=IP1, target=IP2, solicited=1, override=1, option=None):
    message = ICMPv6ND_NA(tgt=target, R=0, S=solicited, O=override) / ICMPv6NDOptDstLLAddr(lladdr=option or mac)
    return Ether(src=mac, dst=to) / IPv6(src=target, dst=dst, hlim=255) / message




broken = bytearray(raw(ask()))
broken[56] ^= 1
no_length = bytearray(raw(ask(option=False) / Raw(b"\x01\x00\x02\x42\x0a\x00\x00\x03")))
frames = {
    "answered": {
        "solicitation": [to_hex(ask()), to_hex(tell())],
        "unicast solicitation": [to_hex(ask(to=C2, dst=IP2)), to_hex(tell())],
        "solicitation without option": [to_hex(ask(to=C2, dst=IP2, option=False)), to_hex(tell())],
        "probe": [
            to_hex(ask(src="::", option=False)),
            to_hex(tell(to=ALL_MAC, dst=ALL, solicited=0)),
        ],
    },
    "vtep": {
        "solicitation": [to_hex(ask()), to_hex(tell(mac=VTEP))],
        "probe": [to_hex(ask(src="::", option=False)), to_hex(tell(mac=VTEP, to=ALL_MAC, dst=ALL, solicited=0))],
    },
    # What the VTEP answers for an endpoint that was remote, and is on this host now.
    "moved": [to_hex(ask(to=VTEP, dst=IP2)), to_hex(tell())],
    "invalid": {
        "hop limit 254": to_hex(ask(hop=254)),
        "wrong checksum": bytes(broken).hex(),
        "code 1": to_hex(ask(code=1)),
        "multicast target": to_hex(ask(target="ff02::1:ff00:4")),
        "option of length 0": bytes(no_length).hex(),
        "option beyond the end": to_hex(ask(option=False) / Raw(b"\x01\x02\x02\x42\x0a\x00\x00\x03")),
        "probe with option": to_hex(ask(src="::")),
        "probe to one address": to_hex(ask(src="::", dst=IP2, to=C2, option=False)),
        "fragment": to_hex(
            Ether(src=C1, dst=GROUP2)
            / IPv6(src=IP1, dst=NODE2, hlim=255)
            / IPv6ExtHdrFragment(nh=58, m=1)
            / ICMPv6ND_NS(tgt=IP2)
            / ICMPv6NDOptSrcLLAddr(lladdr=C1)
        ),
    },
    # Solicitations that are not for a remote endpoint.
    "unknown": to_hex(ask(target="fd00::99", dst="ff02::1:ff00:99", to="33:33:ff:00:00:99")),
    "own probe": to_hex(ask(target=IP1, src="::", dst="ff02::1:ff00:3", to="33:33:ff:00:00:03", option=False)),
    "local": to_hex(ask(target="fd00::9", dst="ff02::1:ff00:9", to="33:33:ff:00:00:09")),
    "announcement": to_hex(tell(mac=C1, to=ALL_MAC, dst=ALL, target=IP1, solicited=0)),
    # Another station, OTHER, claims the address of C2, by each message that hosts believe.
    "claims": {
        "solicitation": to_hex(ask(mac=OTHER, src=IP2, target=IP1, dst="ff02::1:ff00:3", to="33:33:ff:00:00:03")),
        "advertisement": to_hex(tell(mac=OTHER)),
        "unsolicited advertisement": to_hex(tell(mac=OTHER, to=ALL_MAC, dst=ALL, solicited=0)),
        "advertisement of another's MAC address": to_hex(tell(mac=OTHER, option=C1)),
        "advertisement behind an extension header": to_hex(
            Ether(src=OTHER, dst=ALL_MAC)
            / IPv6(src=IP2, dst=ALL, hlim=255)
            / IPv6ExtHdrDestOpt()
            / ICMPv6ND_NA(tgt=IP2, R=0, S=0, O=1)
            / ICMPv6NDOptDstLLAddr(lladdr=OTHER)
        ),
    },
    "no address": to_hex(tell(mac=OTHER, target="fd00::9", option="00:00:00:00:00:00")),
    # An advertisement that a virtual router sends from the MAC address of its device.
    "virtual": to_hex(tell(mac=OTHER, option=C2)),
    "packet": to_hex(Ether(src=C1, dst=VTEP) / IPv6(src=IP1, dst=IP2) / UDP(sport=5000, dport=5001) / Raw(b"weft")),
    "packet to nobody": to_hex(Ether(src=C1, dst=VTEP) / IPv6(src=IP1, dst="fd00::99") / UDP() / Raw(b"weft")),
    "announced": {
        "C2": to_hex(tell(to=ALL_MAC, dst=ALL, solicited=0)),
        "OTHER": to_hex(tell(mac=OTHER, to=ALL_MAC, dst=ALL, solicited=0)),
        "VTEP": to_hex(tell(mac=VTEP, to=ALL_MAC, dst=ALL, solicited=0)),
    },
}
print(json.dumps(frames, indent=2))
