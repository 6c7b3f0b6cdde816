//! Rooms: making, joining, leaving, messages and files.

use crate::{Session, text, until};
use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use matrix_sdk::attachment::AttachmentConfig;
use matrix_sdk::media::{MediaFormat, MediaRequestParameters};
use matrix_sdk::ruma::api::client::room::create_room::v3::{Request, RoomPreset};
use matrix_sdk::ruma::events::InitialStateEvent;
use matrix_sdk::ruma::events::room::encryption::RoomEncryptionEventContent;
use matrix_sdk::ruma::events::room::message::{MessageType, RoomMessageEventContent};
use matrix_sdk::ruma::{OwnedUserId, RoomId};
use matrix_sdk::{Room, RoomState};
use matrix_sdk_ui::timeline::{EventTimelineItem, RoomExt, Timeline};
use serde_json::{Value, json};
use std::sync::Arc;

pub async fn create(session: &mut Session, line: &Value) -> Result<Value> {
    let mut request = Request::new();
    request.preset = Some(RoomPreset::PrivateChat);
    request.invite = serde_json::from_value::<Vec<OwnedUserId>>(line["invite"].clone())?;
    let encryption = RoomEncryptionEventContent::with_recommended_defaults();
    request.initial_state = vec![InitialStateEvent::with_empty_state_key(encryption).to_raw_any()];
    let room = session.client.create_room(request).await?;
    until("the room", async || {
        room.latest_encryption_state()
            .await
            .is_ok_and(|state| state.is_encrypted())
            .then_some(())
    })
    .await?;
    Ok(json!({"room_id": room.room_id()}))
}

pub async fn join(session: &mut Session, line: &Value) -> Result<Value> {
    let id = RoomId::parse(text(line, "room_id")?)?;
    let client = session.client.clone();
    let room = until("the invite", async || {
        client.get_room(&id).filter(|room| room.state() == RoomState::Invited)
    })
    .await?;
    room.join().await?;
    until("the join", async || (room.state() == RoomState::Joined).then_some(())).await?;
    Ok(json!({}))
}

pub async fn members(session: &mut Session, line: &Value) -> Result<Value> {
    let (room, joined) = (room(session, line)?, line["joined"].as_u64());
    until("the members", async || {
        (Some(room.joined_members_count()) == joined).then_some(())
    })
    .await?;
    Ok(json!({}))
}

pub async fn send(session: &mut Session, line: &Value) -> Result<Value> {
    let content = RoomMessageEventContent::text_plain(text(line, "body")?);
    let sent = room(session, line)?.send(content).await?;
    Ok(json!({"event_id": sent.response.event_id}))
}

pub async fn receive(session: &mut Session, line: &Value) -> Result<Value> {
    let timeline = timeline(session, line).await?;
    let body = text(line, "body")?;
    let item = found(&timeline, body).await?;
    Ok(json!({"event_id": item.event_id(), "encrypted": item.encryption_info().is_some(), "sender": item.sender()}))
}

pub async fn send_file(session: &mut Session, line: &Value) -> Result<Value> {
    let data = STANDARD.decode(text(line, "data")?)?;
    let kind = mime::APPLICATION_OCTET_STREAM;
    let room = room(session, line)?;
    let sent = room
        .send_attachment(text(line, "name")?, &kind, data, AttachmentConfig::new())
        .await?;
    Ok(json!({"event_id": sent.event_id}))
}

pub async fn receive_file(session: &mut Session, line: &Value) -> Result<Value> {
    let timeline = timeline(session, line).await?;
    let item = found(&timeline, text(line, "name")?).await?;
    let message = item.content().as_message().context("the event is no message")?;
    let MessageType::File(file) = message.msgtype() else {
        anyhow::bail!("the message is no file")
    };
    let request = MediaRequestParameters {
        source: file.source.clone(),
        format: MediaFormat::File,
    };
    let data = session.client.media().get_media_content(&request, false).await?;
    Ok(json!({"data": STANDARD.encode(data)}))
}

pub async fn leave(session: &mut Session, line: &Value) -> Result<Value> {
    let room = room(session, line)?;
    session.timelines.remove(room.room_id().as_str());
    room.leave().await?;
    room.forget().await?;
    Ok(json!({}))
}

pub async fn joined(session: &mut Session) -> Result<Value> {
    let request = matrix_sdk::ruma::api::client::membership::joined_rooms::v3::Request::new();
    Ok(json!({"joined": session.client.send(request).await?.joined_rooms}))
}

fn room(session: &Session, line: &Value) -> Result<Room> {
    let id = RoomId::parse(text(line, "room_id")?)?;
    session.client.get_room(&id).context("the room is unknown")
}

/// The room's timeline, which the server is asked to send in full from now on.
async fn timeline(session: &mut Session, line: &Value) -> Result<Arc<Timeline>> {
    let room = room(session, line)?;
    if let Some(open) = session.timelines.get(room.room_id().as_str()) {
        return Ok(Arc::clone(open));
    }
    session
        .sync
        .room_list_service()
        .subscribe_to_rooms(&[room.room_id()])
        .await;
    let opened = Arc::new(room.timeline().await?);
    session
        .timelines
        .insert(room.room_id().to_string(), Arc::clone(&opened));
    Ok(opened)
}

/// The decrypted message with this body, new or old.
async fn found(timeline: &Timeline, body: &str) -> Result<EventTimelineItem> {
    until(&format!("the message {body}"), async || {
        let items = timeline.items().await;
        let events = items.iter().filter_map(|item| item.as_event());
        let mut wanted = events.filter(|event| {
            event
                .content()
                .as_message()
                .is_some_and(|message| message.body() == body)
        });
        let found = wanted.find(|event| event.event_id().is_some()).cloned();
        if found.is_none() {
            // A message from before the timeline was opened lies further back.
            timeline.paginate_backwards(50).await.ok()?;
        }
        found
    })
    .await
}
