//! Answers of the KV service: get, put, del and txn.

use prost::Message;
use quorate_api::etcdserverpb::{
    DeleteRangeResponse, PutResponse, RangeResponse, ResponseOp, TxnResponse, response_op::Response,
};
use quorate_api::mvccpb::KeyValue;

use super::{Render, Style, header_fields, header_json};
use crate::go::json::Object;
use crate::go::quote::quote;

/// A key and its value on a line each, or the value alone.
pub fn pair(kv: &KeyValue, style: Style, out: &mut Vec<u8>) {
    if !style.values_only {
        line(&kv.key, style, out);
    }
    line(&kv.value, style, out);
}

fn line(bytes: &[u8], style: Style, out: &mut Vec<u8>) {
    if style.hex {
        out.extend(bytes.iter().flat_map(|byte| format!("\\x{byte:02x}").into_bytes()));
    } else {
        out.extend_from_slice(bytes);
    }
    out.push(b'\n');
}

pub fn kv_json(kv: &KeyValue) -> String {
    let KeyValue { key, create_revision, mod_revision, version, value, lease } = kv;
    Object::new()
        .bytes("key", key)
        .number("create_revision", *create_revision)
        .number("mod_revision", *mod_revision)
        .number("version", *version)
        .bytes("value", value)
        .number("lease", *lease)
        .finish()
}

pub fn kv_fields(prefix: &str, kv: &KeyValue, style: Style, out: &mut String) {
    let KeyValue { key, create_revision, mod_revision, version, value, lease } = kv;
    let lease = if style.hex { format!("{lease:016x}") } else { lease.to_string() };
    for (name, value) in [
        ("Key", quote(key)),
        ("CreateRevision", create_revision.to_string()),
        ("ModRevision", mod_revision.to_string()),
        ("Version", version.to_string()),
        ("Value", quote(value)),
        ("Lease", lease),
    ] {
        out.push_str(&format!("\"{prefix}{name}\" : {value}\n"));
    }
}

impl Render for RangeResponse {
    fn simple(&self, style: Style, out: &mut Vec<u8>) {
        for kv in &self.kvs {
            pair(kv, style, out);
        }
    }

    fn json(&self, _: Style) -> String {
        Object::new()
            .optional("header", header_json(&self.header))
            .list("kvs", self.kvs.iter().map(kv_json))
            .boolean("more", self.more)
            .number("count", self.count)
            .finish()
    }

    fn fields(&self, style: Style, out: &mut String) {
        header_fields(&self.header, style, out);
        for kv in &self.kvs {
            kv_fields("", kv, style, out);
        }
        out.push_str(&format!("\"More\" : {}\n\"Count\" : {}\n", self.more, self.count));
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.encode_to_vec())
    }
}

impl Render for PutResponse {
    fn simple(&self, style: Style, out: &mut Vec<u8>) {
        out.extend_from_slice(b"OK\n");
        if let Some(previous) = &self.prev_kv {
            pair(previous, style, out);
        }
    }

    fn json(&self, _: Style) -> String {
        Object::new()
            .optional("header", header_json(&self.header))
            .optional("prev_kv", self.prev_kv.as_ref().map(kv_json))
            .finish()
    }

    fn fields(&self, style: Style, out: &mut String) {
        header_fields(&self.header, style, out);
        if let Some(previous) = &self.prev_kv {
            kv_fields("Prev", previous, style, out);
        }
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.encode_to_vec())
    }
}

impl Render for DeleteRangeResponse {
    fn simple(&self, style: Style, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("{}\n", self.deleted).as_bytes());
        for previous in &self.prev_kvs {
            pair(previous, style, out);
        }
    }

    fn json(&self, _: Style) -> String {
        Object::new()
            .optional("header", header_json(&self.header))
            .number("deleted", self.deleted)
            .list("prev_kvs", self.prev_kvs.iter().map(kv_json))
            .finish()
    }

    fn fields(&self, style: Style, out: &mut String) {
        header_fields(&self.header, style, out);
        out.push_str(&format!("\"Deleted\" : {}\n", self.deleted));
        for previous in &self.prev_kvs {
            kv_fields("Prev", previous, style, out);
        }
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.encode_to_vec())
    }
}

impl Render for TxnResponse {
    fn simple(&self, style: Style, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.succeeded { b"SUCCESS\n" } else { b"FAILURE\n" });
        for response in &self.responses {
            out.push(b'\n');
            match &response.response {
                Some(Response::ResponseRange(response)) => response.simple(style, out),
                Some(Response::ResponsePut(response)) => response.simple(style, out),
                Some(Response::ResponseDeleteRange(response)) => response.simple(style, out),
                Some(Response::ResponseTxn(response)) => response.simple(style, out),
                None => {}
            }
        }
    }

    fn json(&self, style: Style) -> String {
        Object::new()
            .optional("header", header_json(&self.header))
            .boolean("succeeded", self.succeeded)
            .list("responses", self.responses.iter().map(|response| op_json(response, style)))
            .finish()
    }

    fn fields(&self, style: Style, out: &mut String) {
        header_fields(&self.header, style, out);
        out.push_str(&format!("\"Succeeded\" : {}\n", self.succeeded));
        for response in &self.responses {
            match &response.response {
                Some(Response::ResponseRange(response)) => response.fields(style, out),
                Some(Response::ResponsePut(response)) => response.fields(style, out),
                Some(Response::ResponseDeleteRange(response)) => response.fields(style, out),
                Some(Response::ResponseTxn(response)) => response.fields(style, out),
                None => {}
            }
        }
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.encode_to_vec())
    }
}

/// Go wraps the one field of a `oneof` in a struct, hence the extra `Response`.
fn op_json(op: &ResponseOp, style: Style) -> String {
    let inner = match &op.response {
        Some(Response::ResponseRange(response)) => Some(("response_range", response.json(style))),
        Some(Response::ResponsePut(response)) => Some(("response_put", response.json(style))),
        Some(Response::ResponseDeleteRange(response)) => Some(("response_delete_range", response.json(style))),
        Some(Response::ResponseTxn(response)) => Some(("response_txn", response.json(style))),
        None => None,
    };
    let inner = inner.map_or("null".to_owned(), |(name, json)| Object::new().always(name, json).finish());
    Object::new().always("Response", inner).finish()
}
