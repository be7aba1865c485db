//! Every route on one page.

use actix_web::web::{ServiceConfig, delete, get, patch, post, resource, route};
use utoipa::OpenApi;
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::handlers::{
    campaigns, delays, messages, monitoring, sessions, to_docs, unknown, webhook, workers,
};
use crate::openapi::ApiDoc;

/// Mounts the API.
#[rustfmt::skip]
pub fn configure(app: &mut ServiceConfig) {
    app.service(resource("/api/send").route(post().to(campaigns::send)))
        .service(resource("/api/status/{campaign_id}").route(get().to(campaigns::status)))
        .service(resource("/api/campaigns").route(get().to(campaigns::list)))
        .service(resource("/api/campaigns/{campaign_id}/failed").route(get().to(campaigns::failed)))
        .service(resource("/api/campaigns/{campaign_id}/messages/{recipient}")
            .route(get().to(messages::story)))
        .service(resource("/api/campaigns/{campaign_id}/unknown")
            .route(post().to(messages::settle_unknown)))
        .service(resource("/api/cancel/{campaign_id}").route(post().to(campaigns::cancel)))
        .service(resource("/api/metrics").route(get().to(monitoring::own_metrics)))

        .service(resource("/api/sessions")
            .route(post().to(sessions::create))
            .route(get().to(sessions::list)))
        .service(resource("/api/sessions/{phone_number}")
            .route(get().to(sessions::get))
            .route(delete().to(sessions::delete)))
        .service(resource("/api/sessions/{phone_number}/qr").route(get().to(sessions::qr)))
        .service(resource("/api/sessions/{phone_number}/pairing-code")
            .route(post().to(sessions::pairing_code)))
        .service(resource("/api/sessions/{phone_number}/start").route(post().to(sessions::start)))
        .service(resource("/api/sessions/{phone_number}/stop").route(post().to(sessions::stop)))
        .service(resource("/api/sessions/{phone_number}/logout").route(post().to(sessions::logout)))
        .service(resource("/api/sessions/{phone_number}/me").route(get().to(sessions::me)))

        .service(resource("/api/admin/delays")
            .route(get().to(delays::get_global))
            .route(post().to(delays::set_global)))
        .service(resource("/api/admin/user-delays")
            .route(get().to(delays::get_own))
            .route(post().to(delays::set_own))
            .route(delete().to(delays::clear_own)))

        .service(resource("/api/admin/workers")
            .route(get().to(workers::list))
            .route(post().to(workers::register)))
        // Before the next: it would take "cleanup" for an id.
        .service(resource("/api/admin/workers/cleanup").route(delete().to(workers::clean_up)))
        .service(resource("/api/admin/workers/{worker_id}")
            .route(get().to(workers::get))
            .route(patch().to(workers::update))
            .route(delete().to(workers::delete)))

        .service(resource("/api/admin/metrics").route(get().to(monitoring::metrics)))
        .service(resource("/api/admin/users").route(get().to(monitoring::users)))
        .service(resource("/api/admin/campaigns").route(get().to(monitoring::campaigns)))
        .service(resource("/api/admin/sessions").route(get().to(monitoring::active_sessions)))
        .service(resource("/api/admin/session-numbers")
            .route(get().to(monitoring::session_numbers)))

        .service(resource("/api/webhook/waha/{phone_number}/{generation}")
            .route(post().to(webhook::report)))

        .service(resource("/docs").route(get().to(to_docs)))
        .service(SwaggerUi::new("/docs/{_:.*}")
            .url("/openapi.json", ApiDoc::openapi()).config(docs()))
        .default_service(route().to(unknown));
}

/// Offline, with the key kept over reloads.
fn docs() -> Config<'static> {
    Config::default()
        .persist_authorization(true)
        .try_it_out_enabled(true)
        .display_request_duration(true)
}
