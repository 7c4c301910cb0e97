//! `POST /api/retention`: what the daily cron does, now.

use super::{Handled, ManagementCall};
use crate::platform::http::json;

/// Removes what is old and answers what was removed.
pub(super) async fn run(call: &ManagementCall<'_>) -> Handled {
    Ok(json(200, &crate::jobs::retention::run(call.env, "admin").await))
}
