"""Floods a TAP from inside its container, with frames and virtio headers of its own (packet(7), PACKET_VNET_HDR).

flood-tap.py DEVICE KIND SECONDS

KIND is `tiny` (super-frames with a segment size of 1), `small` (super-frames with the smallest segments that a kernel
makes), `unknown` (those to an unknown address, which are flooded to all peers) or `broadcast` (single broadcasts).
"""
import socket
import struct
import sys
import time

device, kind, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
SOL_PACKET, PACKET_VNET_HDR = 263, 15
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
raw.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
raw.bind((device, 0))

source = bytes.fromhex("0242ee000001")
target = {"unknown": "0242ee000099", "broadcast": "ffffffffffff"}.get(kind, "02420a000002")
if kind == "broadcast":
    frame = bytes(10) + bytes.fromhex(target) + source + b"\x88\xb5" + bytes(46)
else:
    size = 1 if kind == "tiny" else 48
    data = bytes(60000)
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40 + len(data), 1, 0x4000, 64, 6, 0, b"\x0a\0\0\x09", b"\x0a\0\0\x02")
    tcp = struct.pack("!HHIIBBHHH", 1, 2, 3, 4, 0x50, 0x10, 500, 0, 0)
    header = struct.pack("<BBHHHH", 1, 1, 54, size, 34, 16)
    frame = header + bytes.fromhex(target) + source + b"\x08\0" + ip + tcp + data

end = time.monotonic() + seconds
sent = 0
print("started", flush=True)
while time.monotonic() < end:
    try:
        raw.send(frame)
        sent += 1
    except OSError:
        time.sleep(0.0005)  # the queue of the TAP is full
print(sent, flush=True)
