//! From the configuration to the settings of each part.

use lamchat_api_client::limit::RateSettings;
use lamchat_api_client::{RegistrationMode, Settings, Support};
use lamchat_config::{Config, PasswordCost, Rate, Resource};
use std::path::PathBuf;

/// What the client API may change at a reload.
pub fn client(config: &Config) -> Settings {
    Settings {
        registration_mode: match config.registration.mode {
            lamchat_config::RegistrationMode::Closed => RegistrationMode::Closed,
            lamchat_config::RegistrationMode::Token => RegistrationMode::Token,
            lamchat_config::RegistrationMode::Open => RegistrationMode::Open,
        },
        guests: config.registration.guests,
        guest_days: config.registration.guest_days,
        rates: rates(&config.limits),
        upload_bytes_max: config.limits.upload_bytes_max,
        public_baseurl: config.public_baseurl.as_ref().map(|url| url.as_str().to_owned()),
        default_room_version: config.rooms.default_version.clone(),
        public_list_without_auth: config.rooms.public_list_without_auth,
        presence: config.presence.enabled,
        federation: config.federation.enabled,
        admins_room: config.notices.admins_room,
        support: Support {
            matrix_id: config.support.matrix_id.clone(),
            email_address: config
                .support
                .email_address
                .as_ref()
                .map(|email| email.as_str().to_owned()),
            page: config.support.page.as_ref().map(|page| page.as_str().to_owned()),
        },
    }
}

fn rates(limits: &lamchat_config::Limits) -> RateSettings {
    let rate = |rate: Rate| lamchat_http::Rate {
        per_second: rate.per_second(),
        burst: rate.burst,
    };
    RateSettings {
        enabled: limits.enabled,
        login_by_address: rate(limits.login_by_address),
        login_by_account: rate(limits.login_by_account),
        registration: rate(limits.registration),
        message: rate(limits.message),
        join: rate(limits.join),
        invite: rate(limits.invite),
        upload: rate(limits.upload),
        other: rate(limits.other),
    }
}

/// Bounds of connections.
pub fn http(config: &lamchat_config::Http) -> lamchat_http::Limits {
    let size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    lamchat_http::Limits {
        connections: size(config.connections_max),
        connections_per_peer: size(config.connections_per_address_max),
        header_bytes: size(config.header_bytes_max),
        header_read_time: config.header_timeout,
        idle_time: config.idle_timeout,
        handshake_time: config.handshake_timeout,
        body_read_time: config.body_timeout,
        body_pause: config.body_timeout,
        write_stall_time: config.write_timeout,
        ..lamchat_http::Limits::default()
    }
}

/// How media is kept, in its folder.
pub fn media(config: &lamchat_config::Media, folder: PathBuf) -> lamchat_media::Options {
    let quota = config.quota_bytes_per_user;
    lamchat_media::Options {
        quota_bytes_per_user: (quota > 0).then_some(quota),
        thumbnail_source_bytes_max: config.thumbnail_source_bytes_max,
        thumbnail_pixels_max: config.thumbnail_pixels_max,
        thumbnails_concurrent_max: usize::try_from(config.thumbnails_concurrent_max).unwrap_or(1),
        ..lamchat_media::Options::new(folder)
    }
}

/// What a password hash costs.
pub fn password_cost(cost: PasswordCost) -> lamchat_identity::password::Cost {
    match cost {
        PasswordCost::Default => lamchat_identity::password::Cost::Default,
        PasswordCost::Minimum => lamchat_identity::password::Cost::Minimum,
    }
}

/// What a listener offers.
pub fn resource(resource: Resource) -> lamchat_http::Resource {
    match resource {
        Resource::Client => lamchat_http::Resource::Client,
        Resource::Federation => lamchat_http::Resource::Federation,
        Resource::Media => lamchat_http::Resource::Media,
        Resource::Admin => lamchat_http::Resource::Admin,
    }
}

#[cfg(test)]
mod tests {
    use super::{client, http, media};
    use lamchat_config::Config;

    /// The configuration documents defaults; these must be the ones that the parts themselves have.
    #[test]
    fn the_documented_defaults_are_the_real_ones() {
        let config = Config::default();
        assert_eq!(
            format!("{:?}", client(&config)),
            format!("{:?}", lamchat_api_client::Settings::default())
        );
        assert_eq!(
            format!("{:?}", http(&config.http)),
            format!("{:?}", lamchat_http::Limits::default())
        );
        let options = lamchat_media::Options::new("x");
        assert_eq!(
            format!("{:?}", media(&config.media, "x".into())),
            format!("{options:?}")
        );
    }
}
