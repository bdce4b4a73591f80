//! Answers of the Cluster service.

use prost::Message;
use quorate_api::admin::RebuildResponse;
use quorate_api::etcdserverpb::{
    Member, MemberAddResponse, MemberListResponse, MemberPromoteResponse, MemberRemoveResponse, MemberUpdateResponse,
    ResponseHeader,
};

use super::table::Table;
use super::{Render, Style, header_fields, header_members, id};
use crate::go::json::{Object, string};
use crate::go::quote::quote;

/// The answer to an addition, with what was asked for.
pub struct Added {
    pub name: String,
    /// As given, with commas.
    pub peer_urls: String,
    pub response: MemberAddResponse,
}

/// The answer to another change of one member.
pub struct Changed<R> {
    pub id: u64,
    /// "removed from", "updated in" or "promoted in".
    pub what: &'static str,
    pub response: R,
}

/// The answer to a rebuild.
pub struct Rebuilt {
    pub response: RebuildResponse,
}

/// What the answers of removal, update and promotion have in common.
pub trait Change: Message {
    fn header(&self) -> &Option<ResponseHeader>;
    fn members(&self) -> &[Member];
}

macro_rules! changes {
    ($($response:ty),*) => {
        $(impl Change for $response {
            fn header(&self) -> &Option<ResponseHeader> {
                &self.header
            }

            fn members(&self) -> &[Member] {
                &self.members
            }
        })*
    };
}

changes!(MemberRemoveResponse, MemberUpdateResponse, MemberPromoteResponse);

fn cluster_id(header: &Option<ResponseHeader>) -> u64 {
    header.as_ref().map_or(0, |header| header.cluster_id)
}

/// Only in answers about members does `--hex` reach JSON.
fn hex_header(header: &Option<ResponseHeader>, style: Style) -> Option<String> {
    let header = header.as_ref()?;
    if !style.hex {
        return Some(header_members(Object::new(), &Some(*header)).finish());
    }
    let ResponseHeader { cluster_id, member_id, revision, raft_term } = header;
    let object = Object::new().always("cluster_id", hex(*cluster_id)).always("member_id", hex(*member_id));
    Some(object.number("revision", *revision).number("raft_term", *raft_term).finish())
}

fn hex(id: u64) -> String {
    format!("\"{id:x}\"")
}

fn member_json(member: &Member, style: Style) -> String {
    let Member { id, name, peer_ur_ls, client_ur_ls, is_learner } = member;
    let object = if style.hex { Object::new().always("ID", hex(*id)) } else { Object::new().number("ID", *id) };
    object
        .text("name", name)
        .list("peerURLs", peer_ur_ls.iter().map(|url| string(url)))
        .list("clientURLs", client_ur_ls.iter().map(|url| string(url)))
        .boolean("isLearner", *is_learner)
        .finish()
}

fn members_json(header: &Option<ResponseHeader>, added: Option<&Member>, members: &[Member], style: Style) -> String {
    Object::new()
        .optional("header", hex_header(header, style))
        .optional("member", added.map(|member| member_json(member, style)))
        .list("members", members.iter().map(|member| member_json(member, style)))
        .finish()
}

fn member_fields(member: &Member, style: Style, out: &mut String) {
    let Member { id: member_id, name, peer_ur_ls, client_ur_ls, is_learner } = member;
    out.push_str(&format!("\"ID\" : {}\n\"Name\" : {}\n", id(*member_id, style), quote(name.as_bytes())));
    for url in peer_ur_ls {
        out.push_str(&format!("\"PeerURL\" : {}\n", quote(url.as_bytes())));
    }
    for url in client_ur_ls {
        out.push_str(&format!("\"ClientURL\" : {}\n", quote(url.as_bytes())));
    }
    out.push_str(&format!("\"IsLearner\" : {is_learner}\n\n"));
}

fn row(member: &Member) -> Vec<String> {
    let status = if member.name.is_empty() { "unstarted" } else { "started" };
    vec![
        format!("{:x}", member.id),
        status.to_owned(),
        member.name.clone(),
        member.peer_ur_ls.join(","),
        member.client_ur_ls.join(","),
        member.is_learner.to_string(),
    ]
}

impl Render for MemberListResponse {
    fn simple(&self, _: Style, out: &mut Vec<u8>) {
        for member in &self.members {
            out.extend_from_slice(format!("{}\n", row(member).join(", ")).as_bytes());
        }
    }

    fn json(&self, style: Style) -> String {
        members_json(&self.header, None, &self.members, style)
    }

    fn fields(&self, style: Style, out: &mut String) {
        header_fields(&self.header, style, out);
        for member in &self.members {
            member_fields(member, style, out);
        }
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.encode_to_vec())
    }

    fn table(&self) -> Option<Table> {
        let headings = ["ID", "Status", "Name", "Peer Addrs", "Client Addrs", "Is Learner"];
        Some(Table::new(&headings, self.members.iter().map(row).collect()))
    }
}

impl Render for Added {
    fn simple(&self, _: Style, out: &mut Vec<u8>) {
        let Added { name, peer_urls, response } = self;
        let added = response.member.clone().unwrap_or_default();
        let cluster = cluster_id(&response.header);
        let role = if added.is_learner { "added as learner to" } else { "added to" };
        let initial: Vec<String> = response
            .members
            .iter()
            .flat_map(|member| {
                let name = if member.id == added.id { name } else { &member.name };
                member.peer_ur_ls.iter().map(move |url| format!("{name}={url}"))
            })
            .collect();
        let text = format!(
            "Member {:16x} {role} cluster {cluster:16x}\n\n\
             ETCD_NAME={}\nETCD_INITIAL_CLUSTER={}\nETCD_INITIAL_ADVERTISE_PEER_URLS={}\n\
             ETCD_INITIAL_CLUSTER_STATE=\"existing\"\n",
            added.id,
            quote(name.as_bytes()),
            quote(initial.join(",").as_bytes()),
            quote(peer_urls.as_bytes()),
        );
        out.extend_from_slice(text.as_bytes());
    }

    fn json(&self, style: Style) -> String {
        members_json(&self.response.header, self.response.member.as_ref(), &self.response.members, style)
    }

    fn fields(&self, style: Style, out: &mut String) {
        header_fields(&self.response.header, style, out);
        if let Some(member) = &self.response.member {
            member_fields(member, style, out);
        }
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.response.encode_to_vec())
    }
}

impl Render for Rebuilt {
    fn simple(&self, _: Style, out: &mut Vec<u8>) {
        let RebuildResponse { member_id, index, revision } = self.response;
        let text = format!("Member {member_id:16x} rebuilt at revision {revision} (log index {index})\n");
        out.extend_from_slice(text.as_bytes());
    }

    fn json(&self, _: Style) -> String {
        let RebuildResponse { member_id, index, revision } = self.response;
        let object = Object::new().number("member_id", member_id).number("index", index);
        object.number("revision", revision).finish()
    }

    fn fields(&self, style: Style, out: &mut String) {
        let RebuildResponse { member_id, index, revision } = self.response;
        let member = id(member_id, style);
        out.push_str(&format!("\"MemberID\" : {member}\n\"Index\" : {index}\n\"Revision\" : {revision}\n"));
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.response.encode_to_vec())
    }
}

impl<R: Change> Render for Changed<R> {
    fn simple(&self, _: Style, out: &mut Vec<u8>) {
        let cluster = cluster_id(self.response.header());
        out.extend_from_slice(format!("Member {:16x} {} cluster {cluster:16x}\n", self.id, self.what).as_bytes());
    }

    fn json(&self, style: Style) -> String {
        members_json(self.response.header(), None, self.response.members(), style)
    }

    fn fields(&self, style: Style, out: &mut String) {
        header_fields(self.response.header(), style, out);
        for member in self.response.members() {
            member_fields(member, style, out);
        }
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.response.encode_to_vec())
    }
}
