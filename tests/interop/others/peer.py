"""The same as peer.mjs with aiortc.

python peer.py BROKER ID offer REMOTE COUNT AT_ONCE
python peer.py BROKER ID answer
"""

import asyncio
import json
import os
import sys
import time

import aiohttp
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.sdp import candidate_from_sdp

BROKER, ID, ROLE, *ASKED = sys.argv[1:]
# A connection that has not echoed by then has failed.
PATIENCE = 30
HEARTBEAT = 5


def tell(**event):
    print(json.dumps(event), flush=True)


class Connection:
    """A connection of PeerJS: candidates of the remote wait until its description is there."""

    def __init__(self, peer, to, connection_id):
        self.peer, self.to, self.id, self.early = peer, to, connection_id, []
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        peer.connections[connection_id] = self

    async def describe(self, kind, **more):
        made = await (self.pc.createOffer() if kind == "OFFER" else self.pc.createAnswer())
        # It gathers all candidates here, and has them in the description.
        await self.pc.setLocalDescription(made)
        local = self.pc.localDescription
        sdp = {"type": local.type, "sdp": local.sdp}
        await self.peer.say(kind, self.to, {"sdp": sdp, "type": "data", "connectionId": self.id, **more})

    async def describe_remote(self, sdp):
        await self.pc.setRemoteDescription(RTCSessionDescription(**sdp))
        early, self.early = self.early, None
        for candidate in early:
            await self.candidate(candidate)

    async def candidate(self, told):
        if self.early is not None:
            self.early.append(told)
            return
        if self.pc.connectionState in ("closed", "failed"):
            return  # With success, or with what `offer` is told.
        line = told["candidate"]
        candidate = candidate_from_sdp(line.removeprefix("candidate:"))
        candidate.sdpMid, candidate.sdpMLineIndex = told.get("sdpMid"), told.get("sdpMLineIndex")
        await self.pc.addIceCandidate(candidate)

    def state(self):
        return f"ice {self.pc.iceConnectionState}, connection {self.pc.connectionState}"

    async def close(self):
        self.peer.connections.pop(self.id, None)
        await self.pc.close()


class Peer:
    def __init__(self, socket):
        self.socket, self.connections, self.tasks = socket, {}, set()

    async def say(self, kind, dst, payload):
        await self.socket.send_json({"type": kind, "dst": dst, "payload": payload})

    def spawn(self, work):
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def run(self):
        self.spawn(self.heartbeat())
        async for message in self.socket:
            await self.hear(json.loads(message.data))

    async def heartbeat(self):
        while True:
            await asyncio.sleep(HEARTBEAT)
            await self.socket.send_json({"type": "HEARTBEAT"})

    async def hear(self, told):
        kind, payload = told["type"], told.get("payload") or {}
        connection = self.connections.get(payload.get("connectionId"))
        if kind == "OPEN":
            tell(event="open")
            if ROLE == "offer":
                self.spawn(self.offer_all(ASKED[0], int(ASKED[1]), int(ASKED[2])))
        elif kind == "OFFER" and ROLE == "answer":
            await self.answer(told["src"], payload)
        elif kind == "ANSWER" and connection:
            await connection.describe_remote(payload["sdp"])
        elif kind == "CANDIDATE" and connection:
            await connection.candidate(payload["candidate"])

    async def offer_all(self, remote, count, at_once):
        numbers = iter(range(1, count + 1))

        async def work():
            for number in numbers:
                await self.offer(remote, number)

        await asyncio.gather(*(work() for _ in range(at_once)))
        tell(event="done")

    async def offer(self, remote, number):
        started, wanted = time.monotonic(), f"message {number}"
        connection = Connection(self, remote, f"dc_{os.getpid()}_{number}")
        channel = connection.pc.createDataChannel("others", ordered=True)
        echoed = asyncio.get_running_loop().create_future()
        channel.on("open", lambda: channel.send(wanted))
        channel.on("message", lambda data: echoed.done() or echoed.set_result(data))

        def changed():
            if connection.pc.connectionState in ("closed", "failed") and not echoed.done():
                echoed.set_exception(ValueError("it failed"))

        connection.pc.on("connectionstatechange", changed)
        try:
            await connection.describe("OFFER", label="others", serialization="raw", reliable=True)
            came = await asyncio.wait_for(echoed, PATIENCE)
            if came != wanted:
                raise ValueError(f"{came} came")
            tell(event="connected", number=number, ms=round(1000 * (time.monotonic() - started)))
        except (TimeoutError, ValueError) as error:
            tell(event="failed", number=number, why=f"{error or 'nothing came within 30 s'}: {connection.state()}")
        finally:
            await connection.close()

    async def answer(self, src, payload):
        connection = Connection(self, src, payload["connectionId"])

        def adopt(channel):
            channel.on("message", channel.send)
            channel.on("close", lambda: self.spawn(connection.close()))

        connection.pc.on("datachannel", adopt)
        await connection.describe_remote(payload["sdp"])
        await connection.describe("ANSWER")


async def main():
    url = f"{BROKER}/peerjs?key=peerjs&id={ID}&token={os.getpid()}&version=1.5.5"
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        await Peer(socket).run()


asyncio.run(main())
