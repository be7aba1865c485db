//! `wahacast audit`: recounts the ledger from its rows and reports any difference.

use std::process::ExitCode;

use anyhow::Context;
use serde_json::json;
use store::Store;

use crate::cli::AuditArgs;
use crate::up::Settings;

/// Nothing could be said, as opposed to a difference.
const COULD_NOT_LOOK: u8 = 2;

/// Recounts; the exit status is 0 without a difference, 1 with one, 2 when it could not look.
pub(crate) async fn run(args: AuditArgs) -> anyhow::Result<ExitCode> {
    match audit(&args).await {
        Ok(code) => Ok(code),
        Err(error) => {
            eprintln!("wahacast: {error:#}");
            Ok(ExitCode::from(COULD_NOT_LOOK))
        }
    }
}

async fn audit(args: &AuditArgs) -> anyhow::Result<ExitCode> {
    let settings = Settings::load()?;
    let url = settings
        .get("DATABASE_URL")
        .context("DATABASE_URL is not set: it says which ledger to audit")?;
    let store = Store::new(&url, 1)?;
    let audit = store::audit::audit(&mut store.client().await?)
        .await
        .context("the ledger cannot be read")?;
    let differences = audit.differences.iter();
    if args.json {
        let differences: Vec<_> = differences
            .map(|one| {
                json!({"campaign_id": one.campaign, "what": one.what, "says": one.said,
                    "counted": one.counted})
            })
            .collect();
        let report = json!({"campaigns": audit.campaigns, "purged": audit.purged,
            "messages": audit.messages, "differences": differences});
        println!("{report}");
    } else {
        for one in differences {
            let campaign = one.campaign.map_or("-".to_owned(), |id| id.to_string());
            println!(
                "campaign {campaign}: {}: it says {}, its rows say {}",
                one.what, one.said, one.counted
            );
        }
        println!(
            "{} campaigns, {} of them past retention, {} messages, {} differences",
            audit.campaigns,
            audit.purged,
            audit.messages,
            audit.differences.len()
        );
    }
    Ok(if audit.differences.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
