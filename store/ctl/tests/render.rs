//! How answers look in each format. The expected texts are those that etcdctl 3.7 printed for the same answers.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use quorate_api::etcdserverpb::{
    AlarmMember, AlarmResponse, AlarmType, DeleteRangeResponse, DowngradeInfo, HashKvResponse, LeaseGrantResponse,
    LeaseKeepAliveResponse, LeaseLeasesResponse, LeaseRevokeResponse, LeaseStatus, LeaseTimeToLiveResponse, Member,
    MemberAddResponse, MemberListResponse, MemberRemoveResponse, PutResponse, RangeResponse, ResponseHeader,
    ResponseOp, StatusResponse, TxnResponse, WatchResponse, response_op::Response,
};
use quorate_api::mvccpb::{Event, KeyValue, event::EventType};
use quoratectl::render::endpoint::{Hash, Hashes, Health, Healths, Statuses};
use quoratectl::render::lease::{KeptAlive, Revoked};
use quoratectl::render::member::{Added, Changed};
use quoratectl::render::{Format, Render, Style, render};

const PLAIN: Style = Style { hex: false, values_only: false };
const HEX: Style = Style { hex: true, values_only: false };
/// What `-w json` shows of [`header`].
const HEADER: &str = r#""cluster_id":15875391935852295136,"member_id":7383792418829112008,"revision":14,"raft_term":2"#;
const HEADER_FIELDS: &str =
    "\"ClusterID\" : 15875391935852295136\n\"MemberID\" : 7383792418829112008\n\"Revision\" : 14\n\"RaftTerm\" : 2\n";

fn header() -> Option<ResponseHeader> {
    Some(ResponseHeader {
        cluster_id: 15875391935852295136,
        member_id: 7383792418829112008,
        revision: 14,
        raft_term: 2,
    })
}

fn kv(key: &'static [u8], value: &'static [u8]) -> KeyValue {
    KeyValue {
        key: Bytes::from_static(key),
        value: Bytes::from_static(value),
        create_revision: 2,
        mod_revision: 14,
        version: 10,
        lease: 0,
    }
}

fn check(answer: &impl Render, format: Format, style: Style, expected: &str) {
    let got = String::from_utf8(render(answer, format, style).unwrap()).unwrap();
    assert_eq!(got, expected.replace("HEADER_FIELDS", HEADER_FIELDS).replace("HEADER", HEADER));
}

#[test]
fn get() {
    let answer = RangeResponse { header: header(), kvs: vec![kv(b"a", b"5")], more: false, count: 1 };
    check(&answer, Format::Simple, PLAIN, "a\n5\n");
    check(&answer, Format::Simple, HEX, "\\x61\n\\x35\n");
    check(&answer, Format::Simple, Style { values_only: true, ..PLAIN }, "5\n");
    let json = r#"{"header":{HEADER},"kvs":[{"key":"YQ==","create_revision":2,"mod_revision":14,"version":10,"value":"NQ=="}],"count":1}"#;
    check(&answer, Format::Json, HEX, &format!("{json}\n"));
    let fields = "HEADER_FIELDS\"Key\" : \"a\"\n\"CreateRevision\" : 2\n\"ModRevision\" : 14\n\"Version\" : 10\n\"Value\" : \"5\"\n\"Lease\" : 0\n\"More\" : false\n\"Count\" : 1\n";
    check(&answer, Format::Fields, PLAIN, fields);
    let error = render(&answer, Format::Table, PLAIN).unwrap_err();
    assert_eq!((error.to_string().as_str(), error.exit_code()), ("table not supported as output format", 4));

    let nothing = RangeResponse { header: header(), ..RangeResponse::default() };
    check(&nothing, Format::Simple, PLAIN, "");
    check(&nothing, Format::Json, PLAIN, "{\"header\":{HEADER}}\n");
}

#[test]
fn put_and_del_show_what_was_there_before() {
    let put = PutResponse { header: header(), prev_kv: Some(kv(b"a", b"\x01\xff")) };
    assert_eq!(render(&put, Format::Simple, PLAIN).unwrap(), b"OK\na\n\x01\xff\n");
    check(&PutResponse { header: header(), prev_kv: None }, Format::Simple, PLAIN, "OK\n");
    check(
        &put,
        Format::Fields,
        HEX,
        "\"ClusterID\" : dc50b8daae93b3e0\n\"MemberID\" : 667880157b8812c8\n\"Revision\" : 14\n\"RaftTerm\" : 2\n\"PrevKey\" : \"a\"\n\"PrevCreateRevision\" : 2\n\"PrevModRevision\" : 14\n\"PrevVersion\" : 10\n\"PrevValue\" : \"\\x01\\xff\"\n\"PrevLease\" : 0000000000000000\n",
    );
    let del = DeleteRangeResponse { header: header(), deleted: 1, prev_kvs: vec![kv(b"a", b"4")] };
    check(&del, Format::Simple, PLAIN, "1\na\n4\n");
    let json = r#"{"header":{HEADER},"deleted":1,"prev_kvs":[{"key":"YQ==","create_revision":2,"mod_revision":14,"version":10,"value":"NA=="}]}"#;
    check(&del, Format::Json, PLAIN, &format!("{json}\n"));
}

#[test]
fn txn_shows_each_operation() {
    let bare = || Some(ResponseHeader { revision: 14, ..ResponseHeader::default() });
    let range = RangeResponse { header: bare(), kvs: vec![kv(b"a", b"7")], more: false, count: 1 };
    let del = DeleteRangeResponse { header: bare(), ..DeleteRangeResponse::default() };
    let responses = [
        Response::ResponsePut(PutResponse { header: bare(), prev_kv: None }),
        Response::ResponseRange(range),
        Response::ResponseDeleteRange(del),
    ];
    let answer = TxnResponse {
        header: header(),
        succeeded: true,
        responses: responses.into_iter().map(|response| ResponseOp { response: Some(response) }).collect(),
    };
    check(&answer, Format::Simple, PLAIN, "SUCCESS\n\nOK\n\na\n7\n\n0\n");
    let json = r#"{"header":{HEADER},"succeeded":true,"responses":[{"Response":{"response_put":{"header":{"revision":14}}}},{"Response":{"response_range":{"header":{"revision":14},"kvs":[{"key":"YQ==","create_revision":2,"mod_revision":14,"version":10,"value":"Nw=="}],"count":1}}},{"Response":{"response_delete_range":{"header":{"revision":14}}}}]}"#;
    check(&answer, Format::Json, PLAIN, &format!("{json}\n"));
    let failed = TxnResponse { header: header(), ..TxnResponse::default() };
    check(&failed, Format::Simple, PLAIN, "FAILURE\n");
    check(&failed, Format::Fields, PLAIN, "HEADER_FIELDS\"Succeeded\" : false\n");
}

#[test]
fn watch_has_gos_names_in_json() {
    let put = Event { kv: Some(kv(b"k", b"2")), prev_kv: Some(kv(b"k", b"1")), ..Event::default() };
    let gone = KeyValue { key: "k".into(), mod_revision: 15, ..KeyValue::default() };
    let delete = Event { r#type: EventType::Delete.into(), kv: Some(gone), prev_kv: None };
    let answer = WatchResponse { header: header(), watch_id: 1, events: vec![put, delete], ..WatchResponse::default() };
    check(&answer, Format::Simple, PLAIN, "PUT\nk\n1\nk\n2\nDELETE\nk\n\n");
    let json = r#"{"Header":{HEADER},"Events":[{"kv":{"key":"aw==","create_revision":2,"mod_revision":14,"version":10,"value":"Mg=="},"prev_kv":{"key":"aw==","create_revision":2,"mod_revision":14,"version":10,"value":"MQ=="}},{"type":1,"kv":{"key":"aw==","mod_revision":15}}],"CompactRevision":0,"Canceled":false,"Created":false,"CancelReason":""}"#;
    check(&answer, Format::Json, PLAIN, &format!("{json}\n"));

    let progress = WatchResponse { header: header(), ..WatchResponse::default() };
    check(&progress, Format::Simple, PLAIN, "progress notify: 14\n");
    let canceled = WatchResponse { header: header(), canceled: true, compact_revision: 7, ..WatchResponse::default() };
    check(&canceled, Format::Simple, PLAIN, "");
    check(
        &canceled,
        Format::Json,
        PLAIN,
        "{\"Header\":{HEADER},\"Events\":null,\"CompactRevision\":7,\"Canceled\":true,\"Created\":false,\"CancelReason\":\"\"}\n",
    );
}

#[test]
fn leases_have_the_header_beside_their_own_members() {
    let grant = LeaseGrantResponse { header: header(), id: 0x12c8a1fc8a10456a, ttl: 100, error: String::new() };
    check(&grant, Format::Simple, PLAIN, "lease 12c8a1fc8a10456a granted with TTL(100s)\n");
    check(&grant, Format::Json, PLAIN, "{HEADER,\"ID\":1353509794044986730,\"TTL\":100,\"Error\":\"\"}\n");
    check(&grant, Format::Fields, PLAIN, "HEADER_FIELDS\"ID\" : 1353509794044986730\n\"TTL\" : 100\n");

    let revoked = Revoked { id: 18, response: LeaseRevokeResponse { header: header() } };
    check(&revoked, Format::Simple, PLAIN, "lease 0000000000000012 revoked\n");
    check(&revoked, Format::Json, PLAIN, "{\"header\":{HEADER}}\n");

    let kept = KeptAlive(LeaseKeepAliveResponse { header: header(), id: 18, ttl: 3 });
    check(&kept, Format::Simple, PLAIN, "lease 0000000000000012 keepalived with TTL(3)\n");
    check(&kept, Format::Json, PLAIN, "{HEADER,\"ID\":18,\"TTL\":3}\n");

    let leases = vec![LeaseStatus { id: 18 }, LeaseStatus { id: 19 }];
    let list = LeaseLeasesResponse { header: header(), leases };
    check(&list, Format::Simple, PLAIN, "found 2 leases\n0000000000000012\n0000000000000013\n");
    check(&list, Format::Json, PLAIN, "{HEADER,\"leases\":[{\"id\":18},{\"id\":19}]}\n");
    let none = LeaseLeasesResponse { header: header(), leases: vec![] };
    check(&none, Format::Json, PLAIN, "{HEADER,\"leases\":[]}\n");
}

#[test]
fn time_to_live_tells_a_lease_that_is_gone_from_one_that_is_not() {
    let keys = vec![Bytes::from("leased"), Bytes::from("leased2")];
    let live = LeaseTimeToLiveResponse { header: header(), id: 18, ttl: 99, granted_ttl: 100, keys };
    let text = "lease 0000000000000012 granted with TTL(100s), remaining(99s)";
    check(&live, Format::Simple, PLAIN, &format!("{text}, attached keys([leased leased2])\n"));
    check(
        &live,
        Format::Json,
        PLAIN,
        "{HEADER,\"id\":18,\"ttl\":99,\"granted-ttl\":100,\"keys\":[\"bGVhc2Vk\",\"bGVhc2VkMg==\"]}\n",
    );
    check(&LeaseTimeToLiveResponse { keys: vec![], ..live }, Format::Simple, PLAIN, &format!("{text}\n"));
    let gone = LeaseTimeToLiveResponse { header: header(), id: 18, ttl: -1, ..LeaseTimeToLiveResponse::default() };
    check(&gone, Format::Simple, PLAIN, "lease 0000000000000012 already expired\n");
    check(&gone, Format::Json, PLAIN, "{HEADER,\"id\":18,\"ttl\":-1,\"granted-ttl\":0,\"keys\":null}\n");
    check(&gone, Format::Fields, PLAIN, "HEADER_FIELDS\"ID\" : 18\n\"TTL\" : -1\n\"GrantedTTL\" : 0\n");
}

fn members() -> Vec<Member> {
    let peer_ur_ls = vec!["http://127.0.0.1:1".to_owned(), "http://127.0.0.1:2".to_owned()];
    let learner = Member { id: 0x463157ce030a151, peer_ur_ls, is_learner: true, ..Member::default() };
    let member = Member {
        id: 0x667880157b8812c8,
        name: "default".into(),
        peer_ur_ls: vec!["http://127.0.0.1:42380".into()],
        client_ur_ls: vec!["http://127.0.0.1:42379".into()],
        is_learner: false,
    };
    vec![learner, member]
}

#[test]
fn members_list() {
    let answer = MemberListResponse { header: header(), members: members() };
    check(
        &answer,
        Format::Simple,
        PLAIN,
        "463157ce030a151, unstarted, , http://127.0.0.1:1,http://127.0.0.1:2, , true\n\
         667880157b8812c8, started, default, http://127.0.0.1:42380, http://127.0.0.1:42379, false\n",
    );
    let json = r#"{"header":{"cluster_id":"dc50b8daae93b3e0","member_id":"667880157b8812c8","revision":14,"raft_term":2},"members":[{"ID":"463157ce030a151","peerURLs":["http://127.0.0.1:1","http://127.0.0.1:2"],"isLearner":true},{"ID":"667880157b8812c8","name":"default","peerURLs":["http://127.0.0.1:42380"],"clientURLs":["http://127.0.0.1:42379"]}]}"#;
    check(&answer, Format::Json, HEX, &format!("{json}\n"));
    check(
        &answer,
        Format::Table,
        PLAIN,
        "\
┌──────────────────┬───────────┬─────────┬───────────────────────────────────────┬────────────────────────┬────────────┐
│        ID        │  STATUS   │  NAME   │              PEER ADDRS               │      CLIENT ADDRS      │ IS LEARNER │
├──────────────────┼───────────┼─────────┼───────────────────────────────────────┼────────────────────────┼────────────┤
│  463157ce030a151 │ unstarted │         │ http://127.0.0.1:1,http://127.0.0.1:2 │                        │       true │
│ 667880157b8812c8 │   started │ default │                http://127.0.0.1:42380 │ http://127.0.0.1:42379 │      false │
└──────────────────┴───────────┴─────────┴───────────────────────────────────────┴────────────────────────┴────────────┘
",
    );
}

#[test]
fn member_changes_name_member_and_cluster() {
    let members = members();
    let response = MemberAddResponse { header: header(), member: Some(members[0].clone()), members: members.clone() };
    let added = Added { name: "l1".into(), peer_urls: "http://127.0.0.1:1,http://127.0.0.1:2".into(), response };
    check(
        &added,
        Format::Simple,
        PLAIN,
        "Member  463157ce030a151 added as learner to cluster dc50b8daae93b3e0\n\n\
         ETCD_NAME=\"l1\"\n\
         ETCD_INITIAL_CLUSTER=\"l1=http://127.0.0.1:1,l1=http://127.0.0.1:2,default=http://127.0.0.1:42380\"\n\
         ETCD_INITIAL_ADVERTISE_PEER_URLS=\"http://127.0.0.1:1,http://127.0.0.1:2\"\n\
         ETCD_INITIAL_CLUSTER_STATE=\"existing\"\n",
    );
    let response = MemberRemoveResponse { header: header(), members: members[1..].to_vec() };
    let removed = Changed { id: members[0].id, what: "removed from", response };
    check(&removed, Format::Simple, PLAIN, "Member  463157ce030a151 removed from cluster dc50b8daae93b3e0\n");
}

#[test]
fn endpoint_status() {
    let status = StatusResponse {
        header: header(),
        version: "3.7.3".into(),
        db_size: 24576,
        leader: 7383792418829112008,
        raft_index: 63,
        raft_term: 2,
        raft_applied_index: 63,
        errors: vec!["memberID:1  alarm:NOSPACE".into(), "memberID:77  alarm:CORRUPT".into()],
        db_size_in_use: 20480,
        is_learner: false,
        storage_version: "3.7.0".into(),
        db_size_quota: 2147483648,
        downgrade_info: Some(DowngradeInfo::default()),
    };
    let answer = Statuses(vec![("127.0.0.1:42379".into(), status)]);
    check(
        &answer,
        Format::Simple,
        PLAIN,
        "127.0.0.1:42379, 667880157b8812c8, 3.7.3, 3.7.0, 25 kB, 20 kB, 17%, 2.1 GB, true, false, 2, 63, 63, \
         memberID:1  alarm:NOSPACE, memberID:77  alarm:CORRUPT, , false\n",
    );
    let json = r#"[{"Endpoint":"127.0.0.1:42379","Status":{"header":{HEADER},"version":"3.7.3","dbSize":24576,"leader":7383792418829112008,"raftIndex":63,"raftTerm":2,"raftAppliedIndex":63,"errors":["memberID:1  alarm:NOSPACE","memberID:77  alarm:CORRUPT"],"dbSizeInUse":20480,"storageVersion":"3.7.0","dbSizeQuota":2147483648,"downgradeInfo":{}}}]"#;
    check(&answer, Format::Json, PLAIN, &format!("{json}\n"));
    let fields = String::from_utf8(render(&answer, Format::Fields, PLAIN).unwrap()).unwrap();
    assert!(fields.contains("\"Errors\" : [memberID:1  alarm:NOSPACE memberID:77  alarm:CORRUPT]\n"), "{fields}");
    assert_eq!(
        render(&answer, Format::Protobuf, PLAIN).unwrap_err().to_string(),
        "protobuf not supported as output format"
    );
}

#[test]
fn endpoint_health_and_hash() {
    let good = Health { endpoint: "a:1".into(), took: std::time::Duration::from_micros(2105), error: None };
    let bad = Health { endpoint: "b:2".into(), took: std::time::Duration::from_secs(5), error: Some("gone".into()) };
    let healths = Healths(vec![good, bad]);
    check(&healths, Format::Simple, PLAIN, "a:1 is healthy: successfully committed proposal: took = 2.105ms\n");
    assert_eq!(healths.unhealthy_lines(Format::Simple), ["b:2 is unhealthy: failed to commit proposal: gone"]);
    assert_eq!(healths.unhealthy_lines(Format::Json), [""; 0]);
    let json = r#"[{"endpoint":"a:1","health":true,"took":"2.105ms"},{"endpoint":"b:2","health":false,"took":"5s","error":"gone"}]"#;
    check(&healths, Format::Json, PLAIN, &format!("{json}\n"));

    let response = HashKvResponse { header: header(), hash: 1820402389, compact_revision: 7, hash_revision: 33 };
    let hashes = Hashes(vec![Hash { endpoint: "a:1".into(), response }]);
    check(&hashes, Format::Simple, PLAIN, "a:1, 1820402389, 33\n");
    let json = r#"[{"Endpoint":"a:1","HashKV":{"header":{HEADER},"hash":1820402389,"compact_revision":7,"hash_revision":33}}]"#;
    check(&hashes, Format::Json, PLAIN, &format!("{json}\n"));
}

#[test]
fn alarms() {
    let alarms = vec![AlarmMember { member_id: 77, alarm: AlarmType::Nospace.into() }];
    let answer = AlarmResponse { header: header(), alarms };
    check(&answer, Format::Simple, PLAIN, "memberID:77  alarm:NOSPACE\n");
    check(&answer, Format::Json, PLAIN, "{\"header\":{HEADER},\"alarms\":[{\"memberID\":77,\"alarm\":1}]}\n");
    check(&answer, Format::Fields, PLAIN, "HEADER_FIELDS\"MemberID\" : 77\n\"AlarmType\" : NOSPACE\n\n");
}
