//! Alarms. The simple format is etcd's own text form of the message, which has two spaces.

use prost::Message;
use quorate_api::etcdserverpb::AlarmResponse;

use super::{Render, Style, header_fields, header_json, id};
use crate::go::json::Object;

impl Render for AlarmResponse {
    fn simple(&self, _: Style, out: &mut Vec<u8>) {
        for alarm in &self.alarms {
            let line = format!("memberID:{}  alarm:{}\n", alarm.member_id, alarm.alarm().as_str_name());
            out.extend_from_slice(line.as_bytes());
        }
    }

    fn json(&self, _: Style) -> String {
        let alarm = |alarm: &quorate_api::etcdserverpb::AlarmMember| {
            Object::new().number("memberID", alarm.member_id).number("alarm", alarm.alarm).finish()
        };
        Object::new()
            .optional("header", header_json(&self.header))
            .list("alarms", self.alarms.iter().map(alarm))
            .finish()
    }

    fn fields(&self, style: Style, out: &mut String) {
        header_fields(&self.header, style, out);
        for alarm in &self.alarms {
            let name = alarm.alarm().as_str_name();
            out.push_str(&format!("\"MemberID\" : {}\n\"AlarmType\" : {name}\n\n", id(alarm.member_id, style)));
        }
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.encode_to_vec())
    }
}
