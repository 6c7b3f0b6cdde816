"""One matrix-nio client with end-to-end encryption, driven by JSON lines on standard input.

Each line {"id", "do", ...arguments} is answered by {"id", "ok"} or {"id", "error"}.
"""

import asyncio
import base64
import io
import json
import os
import ssl
import sys
import tempfile
import traceback

import nio
from nio.crypto import decrypt_attachment


class Actor:
    def __init__(self):
        self.client = None
        self.messages = []
        self.sas_transaction = None
        self.syncing = None

    async def until(self, what, condition, seconds=60):
        end = asyncio.get_running_loop().time() + seconds
        while True:
            value = condition()
            if value:
                return value
            if asyncio.get_running_loop().time() > end:
                raise RuntimeError(f"waited {seconds} s for {what}")
            if self.syncing and self.syncing.done():
                self.syncing.result()
            await asyncio.sleep(0.05)

    def make(self, base, user):
        trust = ssl.create_default_context(cafile=os.environ["LAMCHAT_TEST_CA"]) if base.startswith("https") else None
        store = tempfile.mkdtemp(prefix="nio-")
        config = nio.AsyncClientConfig(store_sync_tokens=True, encryption_enabled=True)
        self.client = nio.AsyncClient(base, user, store_path=store, config=config, ssl=trust)
        self.client.add_event_callback(lambda room, event: self.messages.append((room.room_id, event)), nio.Event)
        self.client.add_to_device_callback(self.to_device, nio.events.to_device.ToDeviceEvent)

    async def to_device(self, event):
        if isinstance(event, nio.KeyVerificationStart):
            self.sas_transaction = event.transaction_id

    async def run(self):
        await self.sync_once()
        self.syncing = asyncio.create_task(self.client.sync_forever(timeout=10000, loop_sleep_time=10))

    async def sync_once(self):
        """The first sync, with the keys uploaded before it, so that others can encrypt to this device."""
        if self.client.should_upload_keys:
            checked(await self.client.keys_upload())
        checked(await self.client.sync(timeout=0, full_state=True))

    def sas(self):
        return self.client.key_verifications.get(self.sas_transaction)


def checked(answer):
    if isinstance(answer, nio.ErrorResponse):
        raise RuntimeError(str(answer))
    return answer


class Actions(Actor):
    async def register(self, base, user, password, token):
        self.make(base, user)
        answer = await self.client.register_with_token(user, password, token, "nio")
        if isinstance(answer, nio.ErrorResponse):
            # A server that asks for the token alone has made the account by now; nio expects one more stage.
            checked(await self.client.login(password, device_name="nio"))
        await self.run()
        return {"user_id": self.client.user_id, "device_id": self.client.device_id}

    async def login(self, base, user, password):
        self.make(base, user)
        checked(await self.client.login(password, device_name="nio"))
        await self.run()
        return {"user_id": self.client.user_id, "device_id": self.client.device_id}

    async def create_room(self, invite):
        answer = checked(
            await self.client.room_create(
                preset=nio.RoomPreset.private_chat,
                invite=invite,
                initial_state=[nio.EnableEncryptionBuilder().as_dict()],
            )
        )
        room_id = answer.room_id
        await self.until("the room", lambda: room_id in self.client.rooms and self.client.rooms[room_id].encrypted)
        return {"room_id": room_id}

    async def join(self, room_id):
        await self.until("the invite", lambda: room_id in self.client.invited_rooms)
        checked(await self.client.join(room_id))
        await self.until("the join", lambda: room_id in self.client.rooms)
        return {}

    async def members(self, room_id, joined):
        room = self.client.rooms[room_id]
        await self.until(f"{joined} members", lambda: len(room.users) - len(room.invited_users) == joined)
        return {}

    async def send(self, room_id, body):
        content = {"msgtype": "m.text", "body": body}
        answer = checked(await self.client.room_send(room_id, "m.room.message", content, ignore_unverified_devices=True))
        return {"event_id": answer.event_id}

    def find(self, room_id, test):
        for room, event in self.messages:
            if room == room_id and test(event):
                return event
        return None

    async def receive(self, room_id, body, seconds=60):
        event = await self.until(
            f"the message {body}",
            lambda: self.find(room_id, lambda e: isinstance(e, nio.RoomMessageText) and e.body == body),
            seconds,
        )
        return {"event_id": event.event_id, "encrypted": event.decrypted, "sender": event.sender}

    async def send_file(self, room_id, name, data):
        plain = base64.b64decode(data)
        answer, info = await self.client.upload(
            lambda *_: io.BytesIO(plain), content_type="application/octet-stream", filename=name, encrypt=True, filesize=len(plain)
        )
        checked(answer)
        content = {"msgtype": "m.file", "body": name, "filename": name, "file": {**info, "url": answer.content_uri}}
        sent = checked(await self.client.room_send(room_id, "m.room.message", content, ignore_unverified_devices=True))
        return {"event_id": sent.event_id, "url": answer.content_uri}

    async def receive_file(self, room_id, name):
        event = await self.until(
            f"the file {name}",
            lambda: self.find(room_id, lambda e: isinstance(e, nio.RoomEncryptedFile) and e.body == name),
        )
        answer = checked(await self.client.download(event.url))
        plain = decrypt_attachment(answer.body, event.key["k"], event.hashes["sha256"], event.iv)
        return {"data": base64.b64encode(plain).decode()}

    def device(self, user_id, device_id):
        return self.client.device_store[user_id].get(device_id) if user_id in self.client.device_store.users else None

    async def known(self, user_id, device_id):
        async def ask():
            self.client.olm.users_for_key_query.add(user_id)
            checked(await self.client.keys_query())

        if not self.device(user_id, device_id):
            await ask()
        return await self.until("the device", lambda: self.device(user_id, device_id))

    async def sas_start(self, user_id, device_id):
        device = await self.known(user_id, device_id)
        checked(await self.client.start_key_verification(device))
        self.sas_transaction = self.client.get_active_sas(user_id, device_id).transaction_id
        return {}

    async def sas_accept(self):
        await self.until("the start", lambda: self.sas_transaction and self.sas())
        return {}

    async def sas_follow(self):
        await self.until("the start", lambda: self.sas_transaction and self.sas())
        if not self.sas().we_started_it:
            checked(await self.client.accept_key_verification(self.sas_transaction))
        return {}

    async def sas_show(self):
        await self.until("the other side's key", lambda: self.sas() and self.sas().established_sas)
        return {"emoji": [word for _, word in self.sas().get_emoji()]}

    async def sas_confirm(self):
        checked(await self.client.confirm_short_auth_string(self.sas_transaction))
        sas = self.sas()
        await self.until("the end of the verification", lambda: sas.verified)
        self.sas_transaction = None
        return {}

    async def is_verified(self, user_id, device_id):
        return {"verified": self.device(user_id, device_id).verified}

    async def leave(self, room_id):
        checked(await self.client.room_leave(room_id))
        checked(await self.client.room_forget(room_id))
        return {}

    async def rooms(self):
        return {"joined": checked(await self.client.joined_rooms()).rooms}

    async def logout(self):
        if self.syncing:
            self.syncing.cancel()
        checked(await self.client.logout())
        return {}


async def main():
    actor = Actions()
    reader = asyncio.StreamReader(limit=1 << 26)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)

    async def carry_out(request):
        number, name = request.pop("id"), request.pop("do")
        try:
            answer = {"id": number, "ok": await getattr(actor, name)(**request)}
        except Exception:
            answer = {"id": number, "error": traceback.format_exc()}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()

    running = set()
    while line := await reader.readline():
        task = asyncio.create_task(carry_out(json.loads(line)))
        running.add(task)
        task.add_done_callback(running.discard)
    if actor.client:
        await actor.client.close()


asyncio.run(main())
