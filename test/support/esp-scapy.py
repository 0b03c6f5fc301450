"""ESP in UDP with AES-GCM by scapy 2.5, a second implementation for test/esp-scapy.test.ts.

Reads a JSON object from standard input and writes one. All octets are hexadecimal digits.

`open`: IPv4 packets, each with its `key`, `salt`, `spi`, `esn` (the high half of the sequence number, or null without
extended sequence numbers) and `packet`. The answer has for each the IPv4 packet inside, in `packet`, its layers, the VNI,
and the ARP target; or `refused`.

`seal`: each with `key`, `salt`, `spi`, `esn`, `sequence` (the low half), `iv`, `vni` and `text`. The answer has the sealed
IPv4 packet, and `payload`: what was sealed, without the trailer.
"""
import json
import sys

from scapy.layers.inet import IP, UDP
from scapy.layers.ipsec import ESP, IPSecIntegrityError, SecurityAssociation
from scapy.layers.l2 import ARP, Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Raw, raw


def association(job, **fields):
    return SecurityAssociation(
        ESP,
        spi=job["spi"],
        crypt_algo="AES-GCM",
        crypt_key=bytes.fromhex(job["key"] + job["salt"]),
        nat_t_header=UDP(sport=4500, dport=4500),
        esn_en=job["esn"] is not None,
        esn=job["esn"] or 0,
        **fields,
    )


def open_packet(job):
    try:
        packet = association(job).decrypt(IP(bytes.fromhex(job["packet"])))
    except IPSecIntegrityError:
        return {"refused": True}
    packet = IP(raw(packet))
    return {
        "packet": raw(packet).hex(),
        "layers": [layer.__name__ for layer in packet.layers()],
        "vni": packet[VXLAN].vni,
        "target": packet[ARP].pdst,
    }


def seal_packet(job):
    inner = Ether(src="02:42:0a:00:00:01", dst="02:42:0a:00:00:02", type=0x88B5) / Raw(bytes.fromhex(job["text"]))
    payload = UDP(sport=50000, dport=4789, chksum=0) / VXLAN(vni=job["vni"], flags="Instance") / inner
    plain = IP(src="172.31.1.2", dst="172.31.1.1") / payload
    sealed = association(job, seq_num=job["sequence"]).encrypt(plain, iv=bytes.fromhex(job["iv"]))
    return {"packet": raw(sealed).hex(), "payload": raw(plain[UDP]).hex()}


jobs = json.load(sys.stdin)
json.dump(
    {"open": [open_packet(job) for job in jobs["open"]], "seal": [seal_packet(job) for job in jobs["seal"]]}, sys.stdout
)
