//! Registering, logging in, synchronising, logging out.

use crate::{Session, text, until, verification};
use anyhow::{Result, bail};
use futures_util::{StreamExt, pin_mut};
use matrix_sdk::Client;
use matrix_sdk::ruma::api::client::account::register;
use matrix_sdk::ruma::api::client::keys::get_keys;
use matrix_sdk::ruma::api::client::uiaa::{AuthData, Dummy, RegistrationToken, UiaaInfo};
use matrix_sdk_ui::sync_service::SyncService;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// Registers or logs in, and starts to synchronise.
pub async fn enter(action: &str, line: &Value) -> Result<(Session, Value)> {
    let mut builder = Client::builder().homeserver_url(text(line, "base")?);
    if let Ok(authority) = std::env::var("LAMCHAT_TEST_CA") {
        let trusted = matrix_sdk::reqwest::Certificate::from_pem(&std::fs::read(authority)?)?;
        builder = builder
            .disable_built_in_root_certificates()
            .add_root_certificates(vec![trusted]);
    }
    let client = builder.build().await?;
    let (user, password) = (text(line, "user")?, text(line, "password")?);
    if action == "register" {
        register(&client, user, password, line["token"].as_str()).await?;
    } else {
        client
            .matrix_auth()
            .login_username(user, password)
            .initial_device_display_name("rust")
            .await?;
    }
    client.encryption().wait_for_e2ee_initialization_tasks().await;
    let request = Arc::new(Mutex::new(None));
    verification::listen(&client, &request);
    // In offline mode it comes back by itself after the server was away.
    let sync = SyncService::builder(client.clone()).with_offline_mode().build().await?;
    sync.start().await;
    let rooms = sync.room_list_service().all_rooms().await?;
    tokio::spawn(async move {
        let (entries, filter) = rooms.entries_with_dynamic_adapters(50);
        filter.set_filter(Box::new(|_| true));
        pin_mut!(entries);
        while entries.next().await.is_some() {}
    });
    until("the device's keys", async || own_device_is_known(&client).await).await?;
    let answer = json!({"user_id": client.user_id(), "device_id": client.device_id()});
    let session = Session {
        client,
        sync,
        timelines: HashMap::new(),
        request,
        sas: None,
    };
    Ok((session, answer))
}

/// Whether the server has this device's keys: whoever writes before that cannot write to it.
async fn own_device_is_known(client: &Client) -> Option<()> {
    let (user, device) = (client.user_id()?, client.device_id()?);
    let mut request = get_keys::v3::Request::new();
    request.device_keys.insert(user.to_owned(), Vec::new());
    let answer = client.send(request).await.ok()?;
    answer.device_keys.get(user)?.get(device).map(|_| ())
}

/// Goes through the stages that the server asks for.
async fn register(client: &Client, user: &str, password: &str, token: Option<&str>) -> Result<()> {
    let mut request = register::v3::Request::new();
    request.username = Some(user.to_owned());
    request.password = Some(password.to_owned());
    loop {
        let error = match client.matrix_auth().register(request.clone()).await {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        let Some(info) = error.as_uiaa_response() else {
            return Err(error.into());
        };
        request.auth = Some(next_stage(info, token)?);
    }
}

fn next_stage(info: &UiaaInfo, token: Option<&str>) -> Result<AuthData> {
    let stages = info
        .flows
        .first()
        .map(|flow| flow.stages.as_slice())
        .unwrap_or_default();
    let next = stages.iter().find(|stage| !info.completed.contains(stage));
    match (next.map(|stage| stage.as_str()), token) {
        (Some("m.login.registration_token"), Some(token)) => {
            let mut stage = RegistrationToken::new(token.to_owned());
            stage.session.clone_from(&info.session);
            Ok(AuthData::RegistrationToken(stage))
        }
        (Some("m.login.dummy"), _) => {
            let mut stage = Dummy::new();
            stage.session.clone_from(&info.session);
            Ok(AuthData::Dummy(stage))
        }
        (stage, _) => bail!("the registration stage {stage:?} is unknown here"),
    }
}

/// Stops and logs out.
pub async fn leave(session: &mut Session) -> Result<Value> {
    session.sync.stop().await;
    session.client.logout().await?;
    Ok(json!({}))
}
