//! The judges: they look at what was heard and at what the ledger says, and know nothing else.

use std::collections::BTreeMap;

use models::message::MessageStatus as S;
use policy::settle::OnUnknown;

use super::world::World;

/// The first promise that a history breaks.
pub(crate) fn judge(world: &World) -> Result<(), String> {
    if let Some(breach) = &world.ledger.breach {
        return Err(format!("conservation: {breach}"));
    }
    recipients(world)?;
    pace(world)?;
    stuck(world)
}

fn recipients(world: &World) -> Result<(), String> {
    let mut times: BTreeMap<_, usize> = BTreeMap::new();
    for heard in &world.heard {
        *times.entry(heard.key).or_default() += 1;
    }
    for (number, campaign) in world.ledger.campaigns.iter().enumerate() {
        for (ordinal, message) in campaign.messages.iter().enumerate() {
            let key = (number, ordinal);
            let heard = times.get(&key).copied().unwrap_or(0);
            let resent = world.on_unknown == OnUnknown::Resend;
            match (message.status, heard) {
                (_, 2..) if !resent => {
                    return Err(format!("doubled: {key:?}, heard {heard} times"));
                }
                (S::Sent | S::Delivered | S::Read, 0) => {
                    return Err(format!("lost: {key:?} is {} and unheard", message.status));
                }
                (S::Failed | S::Pending, 1..) if !resent => {
                    return Err(format!("denied: {key:?} is {} and heard", message.status));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// R1, R2 and R3 from arrival to arrival: an answer comes after its request has arrived.
fn pace(world: &World) -> Result<(), String> {
    let (mut of_sender, mut on_worker) = (BTreeMap::new(), BTreeMap::new());
    let mut begun = std::collections::BTreeSet::new();
    let mut heard = world.heard.clone();
    heard.sort_by_key(|heard| heard.arrived);
    for one in heard {
        let broken = |rule: &str, since: u64, least: u64| {
            let gap = one.arrived - since;
            (gap < least).then(|| format!("{rule}: {:?} after {gap} ms, not {least}", one.key))
        };
        let first = begun.insert(one.key.0);
        let mut faults = Vec::new();
        if let Some(since) = of_sender.insert(one.sender, one.arrived) {
            faults.push(broken("R1", since, world.delays.message));
            faults.push(broken("R3", since, world.delays.campaign).filter(|_| first));
        }
        if let Some((sender, since)) = on_worker.insert(one.worker, (one.sender, one.arrived)) {
            let other = sender != one.sender;
            faults.push(broken("R2", since, world.delays.switch).filter(|_| other));
        }
        if let Some(fault) = faults.into_iter().flatten().next() {
            return Err(fault);
        }
    }
    Ok(())
}

fn stuck(world: &World) -> Result<(), String> {
    let open = world
        .ledger
        .campaigns
        .iter()
        .position(|campaign| !campaign.done);
    match open {
        Some(campaign) => Err(format!("stuck: campaign {campaign} does not end")),
        None => Ok(()),
    }
}
