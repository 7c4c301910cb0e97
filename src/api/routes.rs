//! Every call of the management API, one a line: method, path, query parameters, body, handler.
//!
//! Promise: what is not in this table is not answered; a new call is a line here and its file. Out of scope: how a table is
//! read (`gateway_core::routes`).

use super::{
    Handled, ManagementCall, audit, dead_letters, deliveries, destinations, event_types, explain, health, json_body,
    metrics, probe, readiness, reconcile, replays, retention, subscriptions,
};
use futures_util::future::LocalBoxFuture;
use gateway_core::routes::Route;

/// Answers a call.
pub(super) type Handler = for<'c> fn(&'c ManagementCall<'c>) -> LocalBoxFuture<'c, Handled>;

/// `METHOD "path" ?known&parameters with TypeOfTheBody => module::handler(parameter of the path)`.
macro_rules! routes {
    (@body) => { None };
    (@body $body:ident) => { Some(stringify!($body)) };
    ($(
        $method:ident $pattern:literal $(? $first:ident $(& $other:ident)*)? $(with $body:ident)?
        => $module:ident::$handler:ident $(($($parameter:ident),+))?;
    )+) => {
        &[$(Route {
            method: stringify!($method),
            pattern: $pattern,
            query: &[$(stringify!($first) $(, stringify!($other))*)?],
            body: routes!(@body $($body)?),
            handler: |call| Box::pin(async move {
                $module::$handler(
                    call
                    $($(, call.parameter(stringify!($parameter)))+)?
                    $(, json_body::<$module::$body>(call).await?)?
                ).await
            }),
        }),+]
    };
}

/// What needs the operator's token.
pub(super) const MANAGEMENT: &[Route<Handler>] = routes! {
    GET    "/metrics" ?format => metrics::show;
    GET    "/api/health" => health::show;
    POST   "/api/health" => health::evaluate;
    GET    "/api/event-types" => event_types::list;
    GET    "/api/ip-ranges" => event_types::ip_ranges;
    GET    "/api/subscriptions" ?source => subscriptions::list;
    POST   "/api/subscriptions" with NewSubscription => subscriptions::create;
    GET    "/api/subscriptions/{source}/{id}" => subscriptions::read(source, id);
    PUT    "/api/subscriptions/{source}/{id}" => subscriptions::update(source, id);
    DELETE "/api/subscriptions/{source}/{id}" => subscriptions::delete(source, id);
    POST   "/api/probe" with ProbedAddress => probe::probe;
    GET    "/api/reconcile" => reconcile::last;
    POST   "/api/reconcile" ?dryRun => reconcile::run;
    POST   "/api/retention" => retention::run;
    GET    "/api/deliveries" ?source&status&cursor&limit => deliveries::list;
    GET    "/api/deliveries/{id}" => deliveries::read(id);
    GET    "/api/dead-letters" ?source&reason&status&since&until&cursor&limit => dead_letters::list;
    POST   "/api/dead-letters/replay" with ReplayOrder => replays::many;
    GET    "/api/dead-letters/replays" => replays::list;
    GET    "/api/dead-letters/replays/{id}" => replays::show(id);
    DELETE "/api/dead-letters/replays/{id}" => replays::cancel(id);
    POST   "/api/dead-letters/replays/{id}/resume" => replays::resume(id);
    POST   "/api/dead-letters/{id}/replay" => replays::one(id);
    GET    "/api/dead-letters/{id}" => dead_letters::read(id);
    DELETE "/api/dead-letters/{id}" => dead_letters::delete(id);
    GET    "/api/destinations" => destinations::list;
    POST   "/api/destinations/{source}/close" => destinations::close(source);
    POST   "/api/destinations/{source}/pause" => destinations::pause(source);
    POST   "/api/destinations/{source}/resume" => destinations::resume(source);
    POST   "/api/destinations/{source}/probe" => destinations::probe(source);
    GET    "/api/audit" ?action&source&since&until&cursor&limit => audit::list;
    GET    "/api/audit/verify" ?from&limit&segment => audit::verify;
    GET    "/api/audit/export" ?from&limit => audit::export;
    POST   "/api/explain" with RecordedDelivery => explain::explain;
};

/// What probes ask.
pub(super) const PUBLIC: &[Route<Handler>] = routes! {
    GET    "/healthz" => readiness::alive;
    GET    "/readyz" => readiness::ready;
};
