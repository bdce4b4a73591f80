//! Answers of the Lease service. Their JSON has the header's members beside their own, each answer with names of its own.

use prost::Message;
use quorate_api::etcdserverpb::{
    LeaseGrantResponse, LeaseKeepAliveResponse, LeaseLeasesResponse, LeaseRevokeResponse, LeaseTimeToLiveResponse,
};

use super::{Render, Style, header_fields, header_json, header_members, id};
use crate::go::json::{Object, array, base64, string};
use crate::go::quote::quote;

/// The answer to a revocation, with the lease it was of.
pub struct Revoked {
    pub id: i64,
    pub response: LeaseRevokeResponse,
}

/// One renewal.
pub struct KeptAlive(pub LeaseKeepAliveResponse);

fn lease_id(lease: i64, style: Style) -> String {
    if style.hex { id(lease.cast_unsigned(), style) } else { lease.to_string() }
}

impl Render for LeaseGrantResponse {
    fn simple(&self, _: Style, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("lease {:016x} granted with TTL({}s)\n", self.id, self.ttl).as_bytes());
    }

    fn json(&self, _: Style) -> String {
        header_members(Object::new(), &self.header)
            .always("ID", self.id)
            .always("TTL", self.ttl)
            .always("Error", string(&self.error))
            .finish()
    }

    fn fields(&self, style: Style, out: &mut String) {
        header_fields(&self.header, style, out);
        out.push_str(&format!("\"ID\" : {}\n\"TTL\" : {}\n", lease_id(self.id, style), self.ttl));
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.encode_to_vec())
    }
}

impl Render for Revoked {
    fn simple(&self, _: Style, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("lease {:016x} revoked\n", self.id).as_bytes());
    }

    fn json(&self, _: Style) -> String {
        Object::new().optional("header", header_json(&self.response.header)).finish()
    }

    fn fields(&self, style: Style, out: &mut String) {
        header_fields(&self.response.header, style, out);
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.response.encode_to_vec())
    }
}

impl Render for KeptAlive {
    fn simple(&self, _: Style, out: &mut Vec<u8>) {
        let LeaseKeepAliveResponse { id, ttl, .. } = &self.0;
        out.extend_from_slice(format!("lease {id:016x} keepalived with TTL({ttl})\n").as_bytes());
    }

    fn json(&self, _: Style) -> String {
        header_members(Object::new(), &self.0.header).always("ID", self.0.id).always("TTL", self.0.ttl).finish()
    }

    fn fields(&self, style: Style, out: &mut String) {
        header_fields(&self.0.header, style, out);
        out.push_str(&format!("\"ID\" : {}\n\"TTL\" : {}\n", lease_id(self.0.id, style), self.0.ttl));
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.0.encode_to_vec())
    }
}

impl Render for LeaseTimeToLiveResponse {
    fn simple(&self, _: Style, out: &mut Vec<u8>) {
        let id = self.id;
        let mut text = format!("lease {id:016x} already expired");
        if self.granted_ttl != 0 || self.ttl >= 0 {
            text = format!("lease {id:016x} granted with TTL({}s), remaining({}s)", self.granted_ttl, self.ttl);
            if !self.keys.is_empty() {
                text.push_str(", attached keys([");
                out.extend_from_slice(text.as_bytes());
                out.extend(self.keys.join(&b' '));
                text = "])".to_owned();
            }
        }
        text.push('\n');
        out.extend_from_slice(text.as_bytes());
    }

    fn json(&self, _: Style) -> String {
        let keys =
            if self.keys.is_empty() { "null".to_owned() } else { array(self.keys.iter().map(|key| base64(key))) };
        header_members(Object::new(), &self.header)
            .always("id", self.id)
            .always("ttl", self.ttl)
            .always("granted-ttl", self.granted_ttl)
            .always("keys", keys)
            .finish()
    }

    fn fields(&self, style: Style, out: &mut String) {
        header_fields(&self.header, style, out);
        let id = lease_id(self.id, style);
        out.push_str(&format!("\"ID\" : {id}\n\"TTL\" : {}\n\"GrantedTTL\" : {}\n", self.ttl, self.granted_ttl));
        for key in &self.keys {
            out.push_str(&format!("\"Key\" : {}\n", quote(key)));
        }
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.encode_to_vec())
    }
}

impl Render for LeaseLeasesResponse {
    fn simple(&self, _: Style, out: &mut Vec<u8>) {
        let ids: String = self.leases.iter().map(|lease| format!("{:016x}\n", lease.id)).collect();
        out.extend_from_slice(format!("found {} leases\n{ids}", self.leases.len()).as_bytes());
    }

    fn json(&self, _: Style) -> String {
        let leases = self.leases.iter().map(|lease| Object::new().always("id", lease.id).finish());
        header_members(Object::new(), &self.header).always("leases", array(leases)).finish()
    }

    fn fields(&self, style: Style, out: &mut String) {
        header_fields(&self.header, style, out);
        for lease in &self.leases {
            out.push_str(&format!("\"ID\" : {}\n", lease_id(lease.id, style)));
        }
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.encode_to_vec())
    }
}
