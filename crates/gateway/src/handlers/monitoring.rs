//! How things stand.

use actix_web::HttpRequest;
use actix_web::web::Data;
use models::phone::PhoneNumber;
use store::campaigns::Filter;
use store::sessions::SessionCursor;
use store::{figures as ledger, senders, sessions};

use super::campaigns::views;
use super::sessions::sessions_page;
use crate::auth::Admin;
use crate::extract::Query;
use crate::extract::params::{Page, Whose};
use crate::reply::{self, Answer};
use crate::state::Gateway;
use crate::views::monitoring::{CampaignsOverview, MetricsView, UserView};
use crate::views::schema::PhoneText;
use crate::views::sessions::{NumbersView, SessionView};

/// Campaigns that the overview shows.
const RECENT: i64 = 20;

async fn figures(gateway: &Gateway, sender: Option<&PhoneNumber>) -> Answer {
    let db = gateway.store.client().await?;
    let figures = ledger::figures(&db, sender, gateway.settings.dead_after).await?;
    let uptime = gateway.clock.now() - gateway.started_at;
    Ok(reply::ok(MetricsView::new(&figures, uptime)))
}

/// A sender's own figures
#[utoipa::path(get, path = "/api/metrics", tag = "Messaging", operation_id = "sender_metrics",
    params(("sender_number" = PhoneText, Query, description = "Whose")),
    responses((status = 200, description = "The figures", body = MetricsView)))]
pub async fn own_metrics(whose: Query<Whose>, gateway: Data<Gateway>) -> Answer {
    figures(&gateway, Some(&whose.0.0)).await
}

/// The figures of everybody
#[utoipa::path(get, path = "/api/admin/metrics", tag = "Monitoring", operation_id = "admin_metrics",
    responses((status = 200, description = "The figures", body = MetricsView)),
    security(("admin_key" = [])))]
pub async fn metrics(_: Admin, gateway: Data<Gateway>) -> Answer {
    figures(&gateway, None).await
}

/// All numbers that are known, in the order of their digits
#[utoipa::path(get, path = "/api/admin/users", tag = "Monitoring", operation_id = "admin_users",
    params(
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 1000),
        ("cursor" = Option<String>, Query, description = "From a Link header")),
    responses((status = 200, description = "One page of numbers", body = Vec<UserView>)),
    security(("admin_key" = [])))]
pub async fn users(
    _: Admin,
    req: HttpRequest,
    page: Query<Page<PhoneNumber>>,
    gateway: Data<Gateway>,
) -> Answer {
    let db = gateway.store.client().await?;
    let after = page.0.after.as_ref().map_or("", PhoneNumber::digits);
    let mut rows = senders::totals(&db, after, page.0.limit_and_one()).await?;
    let next = page.0.cut(&mut rows, |row| row.phone.clone());
    let views: Vec<_> = rows.into_iter().map(UserView::from).collect();
    Ok(reply::page(&req, views, next.as_deref()))
}

/// All campaigns at a glance
#[utoipa::path(get, path = "/api/admin/campaigns", tag = "Monitoring",
    operation_id = "admin_campaigns",
    responses(
        (status = 200, description = "Figures and the newest ones", body = CampaignsOverview)),
    security(("admin_key" = [])))]
pub async fn campaigns(_: Admin, gateway: Data<Gateway>) -> Answer {
    let db = gateway.store.client().await?;
    let states = ledger::states(&db).await?;
    let recent = store::campaigns::list(&db, &Filter::default(), RECENT).await?;
    let recent = views(&db, &gateway, recent).await?;
    Ok(reply::ok(CampaignsOverview::new(
        &states,
        recent,
        gateway.clock.now(),
    )))
}

/// All active sessions, newest first: those that have a place and are not stopped
#[utoipa::path(get, path = "/api/admin/sessions", tag = "Monitoring",
    operation_id = "admin_sessions",
    params(
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 1000),
        ("cursor" = Option<String>, Query, description = "From a Link header")),
    responses((status = 200, description = "One page of sessions", body = Vec<SessionView>)),
    security(("admin_key" = [])))]
pub async fn active_sessions(
    _: Admin,
    req: HttpRequest,
    page: Query<Page<SessionCursor>>,
    gateway: Data<Gateway>,
) -> Answer {
    sessions_page(&req, true, page.0, &gateway).await
}

/// All numbers that have a session, in the order of their digits
#[utoipa::path(get, path = "/api/admin/session-numbers", tag = "Monitoring",
    operation_id = "admin_session_numbers",
    params(
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 1000),
        ("cursor" = Option<String>, Query, description = "From a Link header")),
    responses((status = 200, description = "One page of numbers", body = NumbersView)),
    security(("admin_key" = [])))]
pub async fn session_numbers(
    _: Admin,
    req: HttpRequest,
    page: Query<Page<PhoneNumber>>,
    gateway: Data<Gateway>,
) -> Answer {
    let db = gateway.store.client().await?;
    let after = page.0.after.as_ref().map_or("", PhoneNumber::digits);
    let mut rows = sessions::numbers(&db, after, page.0.limit_and_one()).await?;
    let next = page.0.cut(&mut rows, PhoneNumber::clone);
    let view = NumbersView {
        count: sessions::count(&db).await?,
        numbers: rows.iter().map(PhoneNumber::to_string).collect(),
    };
    Ok(reply::page(&req, view, next.as_deref()))
}
