// One matrix-js-sdk client with its Rust crypto, driven by JSON lines on standard input.
// Each line {"id", "do", ...arguments} is answered by {"id", "ok"} or {"id", "error"}.
import { createInterface } from "node:readline";
import * as sdk from "matrix-js-sdk";
import { logger } from "matrix-js-sdk/lib/logger.js";
import { Attachment, EncryptedAttachment } from "@matrix-org/matrix-sdk-crypto-wasm";
import { VerificationPhase, VerifierEvent, VerificationRequestEvent } from "matrix-js-sdk/lib/crypto-api/index.js";
import { decodeRecoveryKey } from "matrix-js-sdk/lib/crypto-api/recovery-key.js";

// Standard output carries answers alone: the SDK's own talk goes to standard error.
for (const level of ["log", "info", "debug", "warn", "trace"]) console[level] = (...words) => console.error(...words);
logger.setLevel("warn");

const state = { client: null, verification: null, sas: null, sasDone: null, recoveryKey: null, base: "", password: "" };

async function until(what, condition, seconds = 60) {
    const end = Date.now() + seconds * 1000;
    for (;;) {
        const value = await condition();
        if (value) return value;
        if (Date.now() > end) throw new Error(`waited ${seconds} s for ${what}`);
        await new Promise((wake) => setTimeout(wake, 50));
    }
}

function make(session) {
    let secretKey = null;
    const client = sdk.createClient({
        baseUrl: state.base,
        accessToken: session.access_token,
        userId: session.user_id,
        deviceId: session.device_id,
        cryptoCallbacks: {
            getSecretStorageKey: async ({ keys }) => {
                const keyId = Object.keys(keys)[0];
                if (secretKey) return [keyId, secretKey];
                if (state.recoveryKey) return [keyId, decodeRecoveryKey(state.recoveryKey)];
                return null;
            },
            cacheSecretStorageKey: (keyId, info, key) => { secretKey = key; },
        },
    });
    client.on("crypto.verificationRequestReceived", (request) => { state.verification = request; });
    return client;
}

async function start(session) {
    state.client = make(session);
    await state.client.initRustCrypto({ useIndexedDB: false });
    await state.client.startClient({ initialSyncLimit: 30 });
    await until("the first sync", () => state.client.isInitialSyncComplete());
    // Whoever writes before the server has this device's keys cannot write to it.
    await until("the device's keys", async () => {
        const { device_keys } = await state.client.downloadKeysForUsers([session.user_id]);
        return device_keys[session.user_id]?.[session.device_id];
    });
    return { user_id: session.user_id, device_id: session.device_id };
}

/** Follows one SAS verification: agrees to whatever both sides see, and records the emoji. */
function follow(verifier) {
    state.sas = null;
    state.sasDone = null;
    verifier.on(VerifierEvent.ShowSas, (sas) => { state.sas = sas; });
    verifier.verify().then(() => { state.sasDone = "done"; }, (error) => { state.sasDone = String(error); });
}

const events = (roomId) => state.client.getRoom(roomId)?.getLiveTimeline().getEvents() ?? [];

async function found(roomId, what, test, seconds) {
    return until(what, async () => {
        for (const event of events(roomId)) {
            await state.client.decryptEventIfNeeded(event);
            if (!event.isDecryptionFailure() && test(event.getContent(), event)) return event;
        }
        return null;
    }, seconds);
}

const actions = {
    async register({ base, user, password, token }) {
        Object.assign(state, { base, password });
        const guest = sdk.createClient({ baseUrl: base });
        const request = { username: user, password, initial_device_display_name: "js", inhibit_login: false };
        let answer;
        try {
            answer = await guest.registerRequest(request);
        } catch (error) {
            if (error.httpStatus !== 401) throw error;
            let body = error.data;
            const flow = body.flows[0].stages;
            for (const stage of flow) {
                const auth = { type: stage, session: body.session };
                if (stage === "m.login.registration_token") auth.token = token;
                try {
                    answer = await guest.registerRequest({ ...request, auth });
                } catch (next) {
                    if (next.httpStatus !== 401 || !(next.data.completed ?? []).includes(stage)) throw next;
                    body = next.data;
                }
            }
        }
        return start(answer);
    },
    async login({ base, user, password }) {
        Object.assign(state, { base, password });
        const guest = sdk.createClient({ baseUrl: base });
        return start(await guest.loginRequest({ type: "m.login.password", identifier: { type: "m.id.user", user }, password }));
    },
    async create_room({ invite }) {
        const { room_id } = await state.client.createRoom({
            preset: "private_chat",
            invite,
            initial_state: [{ type: "m.room.encryption", state_key: "", content: { algorithm: "m.megolm.v1.aes-sha2" } }],
        });
        await until("the room", () => state.client.getRoom(room_id)?.hasEncryptionStateEvent());
        return { room_id };
    },
    async join({ room_id }) {
        await until("the invite", () => state.client.getRoom(room_id)?.getMyMembership() === "invite");
        await state.client.joinRoom(room_id);
        await until("the join", () => state.client.getRoom(room_id)?.getMyMembership() === "join");
        return {};
    },
    async members({ room_id, joined }) {
        await until(`${joined} members`, () => state.client.getRoom(room_id)?.getJoinedMemberCount() === joined);
        return {};
    },
    async send({ room_id, body }) {
        const { event_id } = await state.client.sendTextMessage(room_id, body);
        return { event_id };
    },
    async receive({ room_id, body, seconds }) {
        const event = await found(room_id, `the message ${body}`, (content) => content.body === body, seconds);
        return { event_id: event.getId(), encrypted: event.isEncrypted(), sender: event.getSender() };
    },
    async send_file({ room_id, name, data }) {
        const sealed = Attachment.encrypt(Buffer.from(data, "base64"));
        const info = JSON.parse(sealed.mediaEncryptionInfo);
        const upload = await state.client.uploadContent(Buffer.from(sealed.encryptedData), { type: "application/octet-stream", includeFilename: false });
        const { event_id } = await state.client.sendMessage(room_id, {
            msgtype: "m.file", body: name, filename: name, file: { ...info, url: upload.content_uri }, info: { size: data.length },
        });
        return { event_id, url: upload.content_uri };
    },
    async receive_file({ room_id, name }) {
        const event = await found(room_id, `the file ${name}`, (content) => content.msgtype === "m.file" && content.body === name);
        const file = event.getContent().file;
        const url = state.client.mxcUrlToHttp(file.url, undefined, undefined, undefined, false, true, true);
        const answer = await fetch(url, { headers: { Authorization: `Bearer ${state.client.getAccessToken()}` } });
        if (!answer.ok) throw new Error(`download: ${answer.status} ${await answer.text()}`);
        const sealed = new Uint8Array(await answer.arrayBuffer());
        const plain = Attachment.decrypt(new EncryptedAttachment(sealed, JSON.stringify(file)));
        return { data: Buffer.from(plain).toString("base64") };
    },
    async sas_start({ user_id, device_id }) {
        const request = await state.client.getCrypto().requestDeviceVerification(user_id, device_id);
        state.verification = request;
        await until("the other side to be ready", () => request.phase === VerificationPhase.Ready);
        follow(await request.startVerification("m.sas.v1"));
        return {};
    },
    async sas_accept() {
        const request = await until("a verification request", () => state.verification);
        await request.accept();
        return {};
    },
    async sas_follow() {
        const request = state.verification;
        follow(await until("the verifier", () => request.verifier));
        return {};
    },
    async sas_show() {
        const shown = await until("the emoji", () => state.sas ?? (state.sasDone && Promise.reject(new Error(state.sasDone))));
        return { emoji: shown.sas.emoji.map(([, word]) => word) };
    },
    async sas_confirm() {
        await state.sas.confirm();
        await until("the end of the verification", () => state.sasDone);
        if (state.sasDone !== "done") throw new Error(state.sasDone);
        state.verification = null;
        return {};
    },
    async is_verified({ user_id, device_id }) {
        const status = await until("the device", () => state.client.getCrypto().getDeviceVerificationStatus(user_id, device_id));
        return { verified: status.localVerified || status.crossSigningVerified };
    },
    async cross_sign() {
        const crypto = state.client.getCrypto();
        const authUploadDeviceSigningKeys = async (request) => {
            try {
                return await request(null);
            } catch (error) {
                if (error.httpStatus !== 401) throw error;
                return request({
                    type: "m.login.password", session: error.data.session, password: state.password,
                    identifier: { type: "m.id.user", user: state.client.getUserId() },
                });
            }
        };
        await crypto.bootstrapCrossSigning({ authUploadDeviceSigningKeys, setupNewCrossSigning: true });
        const recovery = await crypto.createRecoveryKeyFromPassphrase();
        await crypto.bootstrapSecretStorage({ createSecretStorageKey: async () => recovery, setupNewSecretStorage: true, setupNewKeyBackup: true });
        state.recoveryKey = recovery.encodedPrivateKey;
        await until("cross-signing", () => crypto.isCrossSigningReady());
        return { recovery_key: state.recoveryKey };
    },
    async backed_up({ sessions }) {
        // Asked of the server: the SDK's own answer is from when the backup began.
        const version = () => state.client.http.authedRequest("GET", "/room_keys/version", undefined, undefined, { prefix: "/_matrix/client/v3" });
        const count = async () => (await version()).count;
        await until(`${sessions} backed-up sessions`, async () => (await count()) >= sessions);
        return { count: await count() };
    },
    async restore({ recovery_key }) {
        state.recoveryKey = recovery_key;
        const crypto = state.client.getCrypto();
        // The private keys are taken only once the public ones are known.
        await until("the public cross-signing keys", () => crypto.userHasCrossSigningKeys(state.client.getUserId(), true));
        await crypto.bootstrapCrossSigning({});
        await crypto.loadSessionBackupPrivateKeyFromSecretStorage();
        const { total, imported } = await crypto.restoreKeyBackup();
        await crypto.checkKeyBackupAndEnable();
        const own = await crypto.getDeviceVerificationStatus(state.client.getUserId(), state.client.getDeviceId());
        return { total, imported, cross_signed: own.crossSigningVerified };
    },
    async leave({ room_id }) {
        await state.client.leave(room_id);
        await until("the leave", () => state.client.getRoom(room_id)?.getMyMembership() === "leave");
        await state.client.forget(room_id);
        return {};
    },
    async rooms() {
        return { joined: (await state.client.getJoinedRooms()).joined_rooms };
    },
    async logout() {
        await state.client.logout(true);
        return {};
    },
};

for await (const line of createInterface({ input: process.stdin })) {
    const { id, do: name, ...rest } = JSON.parse(line);
    Promise.resolve()
        .then(() => actions[name](rest))
        .then((ok) => ({ id, ok }), (error) => ({ id, error: `${error?.stack ?? error} ${JSON.stringify(error?.data ?? "")}` }))
        .then((answer) => process.stdout.write(JSON.stringify(answer) + "\n"));
}
state.client?.stopClient();
process.exit(0);
