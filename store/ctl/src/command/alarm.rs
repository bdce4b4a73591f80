//! `alarm list|disarm`.

use quorate_api::etcdserverpb::alarm_request::AlarmAction;
use quorate_api::etcdserverpb::{AlarmRequest, AlarmResponse};
use tonic::Status;

use super::Context;
use crate::Error;
use crate::client::Client;

pub async fn list(context: &Context) -> Result<(), Error> {
    if !context.args().is_empty() {
        return Err(Error::Arguments("alarm list command accepts no arguments"));
    }
    context.settings.format.refuse_table()?;
    let response = context.call(async |client| get(&client).await).await?;
    context.print(&response)
}

/// Ends each alarm that there is; prints which.
pub async fn disarm(context: &Context) -> Result<(), Error> {
    if !context.args().is_empty() {
        return Err(Error::Arguments("alarm disarm command accepts no arguments"));
    }
    context.settings.format.refuse_table()?;
    let response = context
        .call(async |client| {
            let active = get(&client).await?;
            // Several answers make this one, so it has no header.
            let mut disarmed = AlarmResponse::default();
            for alarm in active.alarms {
                let action = AlarmAction::Deactivate.into();
                let request = AlarmRequest { action, member_id: alarm.member_id, alarm: alarm.alarm };
                disarmed.alarms.extend(client.maintenance().alarm(request).await?.into_inner().alarms);
            }
            Ok(disarmed)
        })
        .await?;
    context.print(&response)
}

async fn get(client: &Client) -> Result<AlarmResponse, Status> {
    let request = AlarmRequest { action: AlarmAction::Get.into(), ..AlarmRequest::default() };
    Ok(client.maintenance().alarm(request).await?.into_inner())
}
