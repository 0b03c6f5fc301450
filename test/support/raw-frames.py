"""Frames of network devices as lines of text, `DEVICE HEX`: those received on standard output, those to send on input.

raw-frames.py DEVICE...

Prints `ready` once it listens. Frames that this host sends itself are not printed.
"""
import select
import socket
import sys

ETH_P_ALL = 3
devices = {}
for name in sys.argv[1:]:
    device = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    device.bind((name, ETH_P_ALL))
    device.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    devices[name] = device
names = {device: name for name, device in devices.items()}
print("ready", flush=True)
pending = b""
while True:
    readable, _, _ = select.select([sys.stdin.buffer.raw, *names], [], [])
    for source in readable:
        if source in names:
            frame, address = source.recvfrom(65536)
            if address[2] != socket.PACKET_OUTGOING:
                print(names[source], frame.hex(), flush=True)
            continue
        chunk = source.read(65536)
        if not chunk:
            sys.exit(0)
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            name, frame = line.decode().split(" ")
            devices[name].send(bytes.fromhex(frame))
