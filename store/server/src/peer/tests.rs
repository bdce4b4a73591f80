//! What crosses between two members: when one of them leaves the configuration, and when one does not take it.

use std::net::TcpListener as StdListener;

use bytes::Bytes;
use quorate_core::membership::{Change, Member};
use quorate_core::node::Payload;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::inbox::Bounds;

/// More than the transport writes at once.
const FRAMES: usize = 40;
const FRAME_BYTES: usize = 100_000;

fn membership(urls: &[String]) -> Membership {
    let member = |(id, url): (u64, &String)| Member { id, peer_urls: vec![url.clone()], ..Default::default() };
    Membership::seeded((1..).zip(urls).map(member))
}

fn peers(member_id: MemberId, membership: &Membership, inbox: Inbox) -> Peers {
    let local = Local {
        cluster_id: 7,
        member_id,
        boot: 1,
        disk_id: String::new(),
        tls: None,
        inbox: Arc::new(inbox),
        metrics: Arc::new(Metrics::new(false)),
        budget: Budget::new(1 << 30),
        membership: ArcSwap::from_pointee(membership.clone()),
        feature_level: AtomicU64::new(1),
        removed: watch::Sender::new(false),
    };
    Peers::new(Arc::new(local), Handle::current())
}

/// A place where peers will be accepted, and its URL.
fn listen() -> (TcpListener, String) {
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (TcpListener::from_std(listener).unwrap(), url)
}

/// Accepts peers there; nobody takes calls or snapshots.
fn accept(listener: TcpListener, peers: Peers) {
    let (calls, _) = mpsc::channel(1);
    let (snapshots, _) = mpsc::channel(1);
    tokio::spawn(serve(listener, false, peers, calls, snapshots));
}

fn frame() -> Frame {
    let payload = Payload::Command(Bytes::from(vec![1; FRAME_BYTES]));
    Frame::Refused { proposals: vec![Proposal { id: Default::default(), payload }] }
}

/// How many frames came until `count` have, or for ten seconds.
fn arrived(inbox: &Inbox, count: usize) -> usize {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut seen = 0;
    while seen < count && Instant::now() < deadline {
        let items = inbox.drain(deadline, 0).items;
        seen += items.iter().filter(|item| matches!(item, Input::Event(Event::Refused { .. }))).count();
    }
    seen
}

/// A leader that is removed waits for those that stay to say that they know: what they said before they applied it must arrive.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_member_that_leaves_the_configuration_still_reaches_it() {
    let (listener, url) = listen();
    let before = membership(&["http://127.0.0.1:1".to_owned(), url]);
    let (here, there) = (peers(1, &before, Inbox::default()), peers(2, &before, Inbox::default()));
    let inbox = there.local().inbox.clone();
    accept(listener, there);
    here.update(&before);
    for _ in 0..FRAMES {
        assert!(here.queue(2, frame()));
    }
    let mut after = before;
    after.apply(3, Change::Remove(2));
    here.update(&after);
    assert!(!here.queue(2, frame()), "nothing more is said to it");
    let seen = tokio::task::spawn_blocking(move || arrived(&inbox, FRAMES)).await.unwrap();
    assert_eq!(seen, FRAMES, "frames that were queued before it left");
    assert!(here.all_links().is_empty(), "{:?}", here.all_links());
}

/// A driver that is long in one turn: what its peers send waits in a bounded inbox, then in the connection and with the sender, and
/// all of it comes when the driver takes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_does_not_take_its_frames_holds_a_bounded_part_of_them() {
    const HELD: usize = 5;
    let (listener, url) = listen();
    let membership = membership(&["http://127.0.0.1:1".to_owned(), url]);
    let few = Bounds { items: 1_000, bytes: HELD * (FRAME_BYTES + 1_000) };
    let (here, there) = (peers(1, &membership, Inbox::default()), peers(2, &membership, Inbox::bounded(few, few)));
    let (inbox, links) = (there.local().inbox.clone(), there.clone());
    accept(listener, there);
    here.update(&membership);
    for _ in 0..FRAMES {
        assert!(here.queue(2, frame()));
    }
    // The frame after those that fit was read, too, and waits in the connection.
    let received = || links.all_links().get(&1).map_or(0, |link| link.received_bytes);
    while received() < ((HELD + 1) * FRAME_BYTES) as u64 {
        tokio::task::yield_now().await;
    }
    let first = inbox.drain(Instant::now(), 0).items.len();
    assert_eq!(first, HELD);
    let rest = tokio::task::spawn_blocking(move || arrived(&inbox, FRAMES - first)).await.unwrap();
    assert_eq!(first + rest, FRAMES, "nothing is lost");
}

/// A member that joins replays configurations that know nothing of the leader that sends them.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_from_a_newer_configuration_is_answered_while_it_is_connected() {
    let ((joiner_listener, joiner_url), (leader_listener, leader_url)) = (listen(), listen());
    let (old, none) = (membership(std::slice::from_ref(&joiner_url)), Membership::default());
    let (joiner, leader) = (peers(1, &none, Inbox::default()), peers(2, &none, Inbox::default()));
    accept(joiner_listener, joiner.clone());
    accept(leader_listener, leader.clone());
    joiner.update(&old);
    // As a joiner itself it connects before it is a member, and says where it is reached when it is.
    leader.update(&old);
    while joiner.all_links().get(&2).is_none_or(|link| link.received_bytes == 0) {
        tokio::task::yield_now().await;
    }
    assert!(!joiner.queue(2, frame()), "nothing is known of it");
    leader.update(&membership(&[joiner_url, leader_url]));
    let inbox = leader.local().inbox.clone();
    while !joiner.queue(2, frame()) {
        tokio::task::yield_now().await;
    }
    assert_eq!(tokio::task::spawn_blocking(move || arrived(&inbox, 1)).await.unwrap(), 1);
    joiner.update(&old);
    assert!(joiner.queue(2, frame()), "an old configuration that is applied meanwhile changes nothing");
    leader.update(&none);
    while joiner.queue(2, frame()) {
        tokio::task::yield_now().await;
    }
}
