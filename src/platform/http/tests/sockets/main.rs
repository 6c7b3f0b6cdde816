//! Listeners, limits and TLS, tried with real sockets on 127.0.0.1.

mod bounds;
mod support;
mod tls;
