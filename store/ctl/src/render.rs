//! How answers look. An answer implements [`Render`]; what a format cannot show is refused with etcdctl's text.

pub mod alarm;
pub mod endpoint;
pub mod kv;
pub mod lease;
pub mod member;
pub mod table;
pub mod watch;

use quorate_api::etcdserverpb::ResponseHeader;

use crate::Error;
use crate::go::json::Object;
use table::Table;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Simple,
    Json,
    Fields,
    Protobuf,
    Table,
}

impl Format {
    pub fn parse(text: &str) -> Result<Format, Error> {
        match text {
            "simple" => Ok(Format::Simple),
            "json" => Ok(Format::Json),
            "fields" => Ok(Format::Fields),
            "protobuf" => Ok(Format::Protobuf),
            "table" => Ok(Format::Table),
            _ => Err(Error::FormatUnknown),
        }
    }

    /// For commands that have no table: says so before anything is sent.
    pub fn refuse_table(self) -> Result<(), Error> {
        if self == Format::Table { Err(Error::FormatUnsupported("table")) } else { Ok(()) }
    }

    /// For commands whose answer is not one message.
    pub fn refuse_protobuf(self) -> Result<(), Error> {
        if self == Format::Protobuf { Err(Error::FormatUnsupported("protobuf")) } else { Ok(()) }
    }
}

/// Variations of a format.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Style {
    /// Bytes and ids in hexadecimal, where etcdctl's `--hex` has an effect.
    pub hex: bool,
    /// Simple format: leave keys out.
    pub values_only: bool,
}

/// An answer in every format.
pub trait Render {
    fn simple(&self, style: Style, out: &mut Vec<u8>);
    fn json(&self, style: Style) -> String;
    fn fields(&self, style: Style, out: &mut String);
    /// The message as it came; `None` if the answer is not one message.
    fn protobuf(&self) -> Option<Vec<u8>> {
        None
    }
    fn table(&self) -> Option<Table> {
        None
    }
}

/// The bytes to print.
pub fn render(answer: &impl Render, format: Format, style: Style) -> Result<Vec<u8>, Error> {
    match format {
        Format::Simple => {
            let mut out = Vec::new();
            answer.simple(style, &mut out);
            Ok(out)
        }
        Format::Json => Ok(format!("{}\n", answer.json(style)).into_bytes()),
        Format::Fields => {
            let mut out = String::new();
            answer.fields(style, &mut out);
            Ok(out.into_bytes())
        }
        Format::Protobuf => answer.protobuf().ok_or(Error::FormatUnsupported("protobuf")),
        Format::Table => {
            answer.table().map(|table| table.to_string().into_bytes()).ok_or(Error::FormatUnsupported("table"))
        }
    }
}

/// The header's members, in an object of their own or beside others (as lease answers have them).
fn header_members(object: Object, header: &Option<ResponseHeader>) -> Object {
    let ResponseHeader { cluster_id, member_id, revision, raft_term } = header.unwrap_or_default();
    object
        .number("cluster_id", cluster_id)
        .number("member_id", member_id)
        .number("revision", revision)
        .number("raft_term", raft_term)
}

fn header_json(header: &Option<ResponseHeader>) -> Option<String> {
    header.is_some().then(|| header_members(Object::new(), header).finish())
}

fn header_fields(header: &Option<ResponseHeader>, style: Style, out: &mut String) {
    let ResponseHeader { cluster_id, member_id, revision, raft_term } = header.unwrap_or_default();
    out.push_str(&format!("\"ClusterID\" : {}\n\"MemberID\" : {}\n", id(cluster_id, style), id(member_id, style)));
    if revision > 0 {
        out.push_str(&format!("\"Revision\" : {revision}\n"));
    }
    out.push_str(&format!("\"RaftTerm\" : {raft_term}\n"));
}

fn id(id: u64, style: Style) -> String {
    if style.hex { format!("{id:x}") } else { id.to_string() }
}
