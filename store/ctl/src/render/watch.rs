//! What a watch receives. Its JSON has Go's field names, all of them, whatever their value.

use prost::Message;
use quorate_api::etcdserverpb::WatchResponse;
use quorate_api::mvccpb::Event;

use super::kv::{kv_fields, kv_json, pair};
use super::{Render, Style, header_fields, header_json};
use crate::go::json::{Object, array, string};

/// Whether the response only tells how far the watch is.
pub fn is_progress(response: &WatchResponse) -> bool {
    response.events.is_empty() && !response.canceled && !response.created && response.compact_revision == 0
}

fn event_json(event: &Event) -> String {
    Object::new()
        .number("type", event.r#type)
        .optional("kv", event.kv.as_ref().map(kv_json))
        .optional("prev_kv", event.prev_kv.as_ref().map(kv_json))
        .finish()
}

impl Render for WatchResponse {
    fn simple(&self, style: Style, out: &mut Vec<u8>) {
        if is_progress(self) {
            let revision = self.header.as_ref().map_or(0, |header| header.revision);
            out.extend_from_slice(format!("progress notify: {revision}\n").as_bytes());
        }
        for event in &self.events {
            out.extend_from_slice(format!("{}\n", event.r#type().as_str_name()).as_bytes());
            for kv in event.prev_kv.iter().chain(&event.kv) {
                pair(kv, style, out);
            }
        }
    }

    fn json(&self, _: Style) -> String {
        let events = if self.events.is_empty() { "null".to_owned() } else { array(self.events.iter().map(event_json)) };
        Object::new()
            .always("Header", header_json(&self.header).unwrap_or("{}".to_owned()))
            .always("Events", events)
            .always("CompactRevision", self.compact_revision)
            .always("Canceled", self.canceled)
            .always("Created", self.created)
            .always("CancelReason", string(&self.cancel_reason))
            .finish()
    }

    fn fields(&self, style: Style, out: &mut String) {
        header_fields(&self.header, style, out);
        for event in &self.events {
            out.push_str(&format!("\"Type\" : {}\n", event.r#type().as_str_name()));
            if let Some(previous) = &event.prev_kv {
                kv_fields("Prev", previous, style, out);
            }
            if let Some(kv) = &event.kv {
                kv_fields("", kv, style, out);
            }
        }
    }

    /// Without the watch's id, which is a matter between client and server.
    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(WatchResponse { watch_id: 0, ..self.clone() }.encode_to_vec())
    }
}
