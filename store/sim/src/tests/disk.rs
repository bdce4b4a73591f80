//! Planted bugs of disk, boot and forwarding: each is found within so many seeds, by a checker that names it.

use super::found_within;
use crate::Bug;

/// Signs that a member lost or changed what it had promised to others.
const BROKEN_PROMISE: [&str; 7] = [
    "does not start",
    "applies an entry of term",
    "is lost",
    "both lead term",
    "applies entry",
    "has this member's word",
    "out of range",
];

#[test]
fn trusting_the_page_cache_at_start_is_found() {
    found_within(60, Bug::TrustCache, &BROKEN_PROMISE);
}

#[test]
fn dropping_a_damaged_last_group_that_was_synced_is_found() {
    found_within(40, Bug::DropSynced, &["starts although the last group of its log", "does not start"]);
}

#[test]
fn a_voter_that_comes_back_on_an_empty_disk_is_found() {
    // A leader that lost a grant lets nothing expire.
    let signs = [&BROKEN_PROMISE[..], &["does not let it expire"]].concat();
    found_within(40, Bug::EmptyDisk, &signs);
}

#[test]
fn proposing_a_forwarded_write_again_is_found() {
    found_within(5, Bug::ForwardTwice, &["and again at"]);
}

#[test]
fn sweeping_above_the_watermark_is_found() {
    found_within(10, Bug::SweepAbove, &["bytes in use", "the history says", "HashKV", "watch at member"]);
}

#[test]
fn flushing_the_applied_index_before_its_rows_is_found() {
    found_within(20, Bug::FlushApart, &["families stand at different points"]);
}
