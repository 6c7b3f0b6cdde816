//! Every endpoint with the authentication that it needs.

use crate::App;
use crate::route::Routes;
use http::Method;
use lamchat_http::{Auth, Route};
use std::borrow::Cow;
use std::sync::Arc;

/// Collects the endpoints of all files. Each owner adds one line.
fn collect() -> Routes {
    let mut r = Routes::default();
    crate::discovery::routes(&mut r);
    crate::register::routes(&mut r);
    crate::login::routes(&mut r);
    crate::session::routes(&mut r);
    crate::uia_page::routes(&mut r);
    crate::account::routes(&mut r);
    crate::device::routes(&mut r);
    crate::profile::routes(&mut r);
    crate::account_data::routes(&mut r);
    crate::filter::routes(&mut r);
    crate::capabilities::routes(&mut r);
    crate::media::routes(&mut r);
    crate::presence::routes(&mut r);
    crate::user_directory::routes(&mut r);
    crate::room::routes(&mut r);
    crate::membership::routes(&mut r);
    crate::knock::routes(&mut r);
    crate::send::routes(&mut r);
    crate::state::routes(&mut r);
    crate::redact::routes(&mut r);
    crate::delayed::routes(&mut r);
    crate::alias::routes(&mut r);
    crate::directory::routes(&mut r);
    crate::hierarchy::routes(&mut r);
    crate::summary::routes(&mut r);
    crate::message::routes(&mut r);
    crate::context::routes(&mut r);
    crate::at_time::routes(&mut r);
    crate::members::routes(&mut r);
    crate::relations::routes(&mut r);
    crate::receipt::routes(&mut r);
    crate::typing::routes(&mut r);
    crate::threads::routes(&mut r);
    crate::sync::routes(&mut r);
    crate::sliding::routes(&mut r);
    crate::read_marker::routes(&mut r);
    crate::event::routes(&mut r);
    crate::keys::routes(&mut r);
    crate::cross_signing::routes(&mut r);
    crate::backup::routes(&mut r);
    crate::to_device::routes(&mut r);
    crate::push::routes(&mut r);
    crate::admin::routes(&mut r);
    crate::mutual_rooms::routes(&mut r);
    crate::notifications::routes(&mut r);
    crate::openid::routes(&mut r);
    crate::server_keys::routes(&mut r);
    crate::peeking::routes(&mut r);
    crate::initial_sync::routes(&mut r);
    crate::search::routes(&mut r);
    crate::reporting::routes(&mut r);
    r
}

/// The routes of the client API, bound to the exchange.
pub fn routes(app: Arc<App>) -> Vec<Route> {
    collect().bind(&app)
}

/// Every method and path with whom it answers; for tests that prove something about all of them.
pub fn table() -> Vec<(Method, Cow<'static, str>, Auth)> {
    collect().table()
}

#[cfg(test)]
mod tests;
