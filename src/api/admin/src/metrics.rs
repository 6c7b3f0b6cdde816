//! `/metrics`, for Prometheus.

use crate::{Admin, AdminError};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};
use lamchat_http::{METRICS_CONTENT_TYPE, Request, Response};
use std::sync::Arc;

/// Counters and gauges in OpenMetrics' text form.
pub async fn metrics(admin: Arc<Admin>, _request: Request) -> Result<Response, AdminError> {
    let metrics = admin
        .metrics
        .get()
        .ok_or_else(|| AdminError::not_found("There are no metrics yet"))?;
    let mut response = Response::text(StatusCode::OK, metrics.render().map_err(AdminError::internal)?);
    response
        .headers
        .insert(CONTENT_TYPE, HeaderValue::from_static(METRICS_CONTENT_TYPE));
    Ok(response)
}
