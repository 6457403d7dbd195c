//! One example of every request between regions or about them, and of every answer.

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use npayload::asp::Matter;
use npayload::protocol::control::{self, ChannelConfig};
use npayload::protocol::logs::*;
use npayload::protocol::region::*;
use npayload::protocol::*;
use npayload::region::copies::{AsideReason, BatchMark, Republished};
use npayload::region::directory::{Scope, Spread};
use npayload::region::interest::Since;
use npayload::types::*;

use super::fixtures::{
    KEY, TIME, channel, info, org, produced_batch, published, stored_batch, whereabouts,
};

const LOG: Incarnation = Incarnation(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);

fn region(name: &str) -> RegionName {
    RegionName::parse(name).unwrap()
}

fn interest() -> InterestRow {
    InterestRow {
        pattern: "ml.>".parse().unwrap(),
        types: Some(types()),
        from: Since::Time(TIME),
        retention_days: Some(30),
        automatic: false,
        declared_at: Some(TIME),
        until: None,
    }
}

fn moved() -> RegionMoved {
    RegionMoved {
        name: channel(),
        incarnation: LOG,
        home: region("eu-west"),
        term: 1,
        start: Offset(43),
        forced: true,
        missing: Some(MissingRange {
            from: Offset(43),
            to: Some(Offset(50)),
        }),
    }
}

fn aside() -> AsideRow {
    AsideRow {
        incarnation: LOG,
        reason: AsideReason::Overtaken,
        from: Offset(2),
        end: Offset(5),
        place: "lost+found/orders-00112233-2.batches".to_owned(),
        at: TIME,
        republished: vec![Republished {
            to: channel(),
            target: LOG,
            begun_at: Offset(40),
            records: 2,
            done: false,
            at: TIME,
        }],
        refused: None,
    }
}

fn types() -> std::collections::BTreeSet<String> {
    ["model.deployed".to_owned()].into()
}

fn log(of: &str) -> LogRow {
    LogRow {
        name: channel().log_of(&region(of)),
        region: region(of),
        incarnation: LOG,
        home: region(of),
        held: true,
        log_start: Offset(3),
        flushed: Offset(43),
        high_watermark: Offset(43),
    }
}

fn config() -> ChannelConfig {
    info().config
}

fn named() -> ChannelNamed {
    ChannelNamed {
        channel: channel(),
        incarnation: LOG,
        residency: Some([region("eu-west"), region("us-east")].into()),
        ack_regions: 1,
    }
}

fn place() -> ChannelPlace {
    ChannelPlace {
        channel: channel(),
        home: region("us-east"),
        incarnation: LOG,
    }
}

fn consents() -> Consents {
    Consents {
        residency: vec![ResidencyRow {
            scope: Scope::Org(OrgName::parse("acme").unwrap()),
            residency: [region("eu-west")].into(),
        }],
        crossings: vec![CrossingRow {
            owner: OrgName::parse("acme").unwrap(),
            guest: OrgName::parse("beta").unwrap(),
            owner_allows: true,
            guest_allows: false,
        }],
    }
}

fn regions() -> Regions {
    Regions {
        region: region("eu-west"),
        peers: vec![PeerRow {
            name: region("us-east"),
            url: "npayload+tls://us-east.example:7400".to_owned(),
            state: LinkState::Open,
        }],
        directory: Some(region("eu-west")),
        joined: vec![region("eu-west"), region("us-east")],
        residency: consents().residency,
    }
}

pub fn requests() -> Vec<Request> {
    let json = [
        RegionRequest::LinkOpen(LinkOpen {
            region: region("eu-west"),
            expect: region("us-east"),
            directory_id: LOG,
            pack: true,
        }),
        RegionRequest::LinkLogs(LinkLogs {
            patterns: vec!["ml.>".parse().unwrap()],
            topics: vec![ChannelName::parse_any("__regions").unwrap()],
            after: Some(41),
            wait_ms: 55_000,
            cursor: Some("ml.models".to_owned()),
        }),
        RegionRequest::LinkFollow(LinkFollow {
            logs: vec![
                FollowLog {
                    handle: 1,
                    name: channel(),
                    incarnation: Some(LOG),
                    from: FollowFrom::Offset(Offset(43)),
                    last: Some(BatchMark {
                        base: Offset(41),
                        end: Offset(43),
                        epoch: LogEpoch(7),
                        append_time: TIME,
                        body_crc: 0x1234_5678,
                    }),
                    last_epoch: None,
                    begins_at: None,
                    types: None,
                    orgs: BTreeSet::new(),
                },
                FollowLog {
                    handle: 3,
                    name: channel(),
                    incarnation: Some(LOG),
                    from: FollowFrom::Offset(Offset(43)),
                    last: None,
                    last_epoch: Some(LogEpoch(7)),
                    begins_at: Some(Offset(40)),
                    types: Some(types()),
                    orgs: [org("acme")].into(),
                },
                FollowLog {
                    handle: 2,
                    name: channel(),
                    incarnation: None,
                    from: FollowFrom::Since(Since::Start),
                    last: None,
                    last_epoch: None,
                    begins_at: None,
                    types: None,
                    orgs: BTreeSet::new(),
                },
            ],
        }),
        RegionRequest::LinkUnfollow(LinkUnfollow { handles: vec![1] }),
        RegionRequest::LinkDigest(LinkDigest {
            name: channel(),
            incarnation: LOG,
            from: Offset(0),
            to: Offset(43),
        }),
        RegionRequest::HomeFence(HomeFence {
            name: channel(),
            incarnation: LOG,
            to: region("eu-west"),
        }),
        RegionRequest::HomeDecline(HomeDecline {
            name: channel(),
            incarnation: LOG,
        }),
        RegionRequest::HomeTake(HomeTake {
            name: channel(),
            force: true,
        }),
        RegionRequest::RegionMove(RegionMove {
            name: channel(),
            to: region("eu-west"),
            force: true,
        }),
        RegionRequest::RegionRetry(RegionRetry { name: channel() }),
        RegionRequest::RegionAside(RegionAside::Published {
            file: "orders-00112233-2.batches".to_owned(),
            to: channel(),
            target: LOG,
            begun_at: Offset(40),
            records: 3,
            done: true,
        }),
        RegionRequest::RegionAcknowledge(RegionAcknowledge { name: channel() }),
        RegionRequest::DirectoryUnname(DirectoryUnname { channel: channel() }),
        RegionRequest::LinkSeen(LinkSeen {
            name: channel(),
            incarnation: LOG,
            home: region("us-east"),
            term: 1,
        }),
        RegionRequest::RegionList(RegionList {}),
        RegionRequest::RegionStatus(RegionStatus {}),
        RegionRequest::RegionVerify(RegionVerify { name: channel() }),
        RegionRequest::RegionPurge(RegionPurge { name: channel() }),
        RegionRequest::RegionLogs(RegionLogs {
            channel: channel(),
            read: true,
            from: Since::End,
            after: Some(41),
            wait_ms: 20_000,
        }),
        RegionRequest::InterestAdd(InterestAdd {
            pattern: "ml.>".parse().unwrap(),
            types: Some(types()),
            from: Since::Time(TIME),
            retention_days: Some(30),
        }),
        RegionRequest::InterestList(InterestList {}),
        RegionRequest::InterestRemove(InterestRemove {
            pattern: "ml.>".parse().unwrap(),
        }),
        RegionRequest::RegionPeer(RegionPeer {
            name: region("us-east"),
            url: Some("npayload+tls://us-east.example:7400".to_owned()),
        }),
        RegionRequest::LinkDirectory(LinkDirectory::Join {
            channels: vec![named()],
            last: true,
        }),
        RegionRequest::LinkCreate(LinkCreate {
            by: region("eu-west"),
            create: control::ChannelCreate {
                name: channel(),
                config: control::ConfigChange::default(),
                if_not_exists: false,
                home: None,
                residency: named().residency,
            },
        }),
        RegionRequest::LinkFind(LinkFind {
            about: Matter::Commitment(CommitmentId(0x0199_8a2b_0c3d_7e4f_8001_0203_0405_0607)),
        }),
        RegionRequest::ConsentSet(ConsentSet::Residency {
            scope: Scope::Channel(channel()),
            residency: named().residency,
        }),
        RegionRequest::ConsentList(ConsentList {}),
        RegionRequest::DirectoryMove(DirectoryMove {
            to: region("eu-west"),
            force: true,
        }),
        RegionRequest::RegionLeave(RegionLeave {
            region: Some(region("eu-west")),
        }),
    ];
    let json = json.map(|request| Request::Region(Box::new(request)));
    let mut all: Vec<Request> = json.into();
    all.push(Request::LinkFetch(LinkFetchRequest {
        max_bytes: 1 << 20,
        max_wait_ms: 55_000,
        held: vec![(1, Offset(43)), (2, Offset(0))],
    }));
    let publish = Request::Publish(PublishRequest {
        target: PublishTarget::any(channel()),
        batch: BytesMut::from(&produced_batch()[..]),
        asks: Some(PublishAsks::default()),
    });
    let (key, org) = (Some(KEY), org("acme"));
    let forward = LinkForwardRequest::new(5, key, org, region("eu-west"), &publish);
    all.push(Request::LinkForward(Box::new(forward)));
    all
}

pub fn responses() -> Vec<Response> {
    let error = WireError::new(
        ErrorCode::Diverged,
        "the batch before 43 is another one here",
    );
    let json = [
        RegionResponse::LinkOpen(LinkOpened {
            region: region("us-east"),
            directory_id: LOG,
            epoch: LogEpoch(7),
            now: TIME,
            max_followed: 100_000,
        }),
        RegionResponse::LinkLogs(LinkLogsPage {
            version: 42,
            logs: vec![LinkLog {
                name: channel(),
                incarnation: LOG,
                home: region("us-east"),
                epoch: LogEpoch(7),
                log_start: Offset(3),
                flushed: Offset(43),
                whole: true,
                config: config(),
            }],
            next: Some("ml.models".to_owned()),
        }),
        RegionResponse::LinkFollow(LinkFollowed {
            logs: vec![
                FollowedLog::Followed {
                    handle: 1,
                    incarnation: LOG,
                    from: Offset(43),
                },
                FollowedLog::Refused {
                    handle: 2,
                    error: error.clone(),
                },
            ],
        }),
        RegionResponse::LinkUnfollow(LinkUnfollowed {}),
        RegionResponse::LinkDigest(RangeDigest {
            from: Offset(0),
            to: Offset(43),
            batches: 3,
            sha256: "ab".repeat(32),
        }),
        RegionResponse::HomeFence(HomeFenced {
            term: 0,
            end: Offset(43),
            next: 1,
        }),
        RegionResponse::HomeDecline(HomeDeclined {}),
        RegionResponse::HomeTake(moved()),
        RegionResponse::RegionMove(moved()),
        RegionResponse::RegionRetry(RegionRetried {
            name: channel(),
            incarnation: LOG,
        }),
        RegionResponse::RegionAside(AsideTold::Look(Box::new(AsideLook {
            aside: aside(),
            channel: Some(channel()),
            bytes: 4096,
            batches: 2,
            records: 3,
            gaps: 1,
            encrypted: true,
            sha256: "00".repeat(32),
        }))),
        RegionResponse::RegionAcknowledge(RegionAcknowledged {
            name: channel(),
            incarnation: LOG,
            acknowledged: vec![AcknowledgedRange {
                by: region("eu-west"),
                term: 1,
                from: Offset(43),
                to: None,
            }],
        }),
        RegionResponse::DirectoryUnname(DirectoryUnnamed {
            channel: channel(),
            incarnation: LOG,
            region: region("us-east"),
        }),
        RegionResponse::LinkSeen(LinkSaw {
            holds: Some(Offset(41)),
            flushed: Some(Offset(43)),
        }),
        RegionResponse::RegionList(regions()),
        RegionResponse::RegionPeer(regions()),
        RegionResponse::LinkDirectory(DirectoryTold {
            home: Some(region("eu-west")),
            regions: vec![region("eu-west"), region("us-east")],
            place: Some(place()),
            taken: vec![place()],
        }),
        RegionResponse::LinkCreate(control::ChannelCreated {
            created: true,
            channel: info(),
        }),
        RegionResponse::LinkFind(LinkFound {
            found: true,
            agent: Some(Actor {
                org: org("acme"),
                name: AgentName::parse("writer").unwrap(),
            }),
            others: Vec::new(),
            filers: vec![Actor {
                org: org("bolt"),
                name: AgentName::parse("reader").unwrap(),
            }],
            orgs: Some([org("acme"), org("bolt")].into()),
        }),
        RegionResponse::ConsentSet(consents()),
        RegionResponse::ConsentList(consents()),
        RegionResponse::DirectoryMove(moved()),
        RegionResponse::RegionLeave(RegionLeft {
            region: region("eu-west"),
            regions: vec![region("us-east")],
        }),
        RegionResponse::RegionStatus(RegionTold {
            outboxes: Vec::new(),
            region: region("eu-west"),
            links: vec![LinkRow {
                peer: region("us-east"),
                state: LinkState::Waiting,
                since: TIME,
                round_trip_us: Some(101_000),
                bytes: 4096,
                wire_bytes: 1024,
                opened: 3,
                error: Some("the broker closed the connection".to_owned()),
            }],
            copies: vec![CopyStatus {
                name: channel(),
                incarnation: LOG,
                home: region("us-east"),
                followed: false,
                source: Some(region("us-east")),
                whole: false,
                types: Some(types()),
                begins_at: Offset(3),
                next: Offset(43),
                home_flushed: Some(Offset(50)),
                lag_records: Some(7),
                lag_ms: Some(250),
                bytes: 4096,
                gaps: vec![(Offset(5), Offset(9))],
                beside: Some((Offset(0), Offset(20))),
                wider: Some(WiderStatus {
                    error: "NO_CONSENT: the region may not hold it".to_owned(),
                    times: 2,
                    again_ms: Some(1500),
                }),
                error: Some("DIVERGED: the batch before 43 is another one here".to_owned()),
            }],
            sent_bytes: 8192,
            moved: vec![MovedRow {
                name: channel(),
                incarnation: LOG,
                home: region("us-east"),
                term: 3,
                epoch: (3u64 << 40 | 3_692 << 24 | 7).to_string(),
                moving: Some(region("eu-west")),
                missing: vec![MissingRange {
                    from: Offset(40),
                    to: None,
                }],
            }],
            aside: vec![AsideRow {
                incarnation: LOG,
                reason: AsideReason::Overtaken,
                from: Offset(40),
                end: Offset(43),
                place: format!("lost+found/ml.models-{LOG}-40.batches"),
                at: TIME,
                republished: Vec::new(),
                refused: None,
            }],
            held: vec![HeldStatus {
                name: channel(),
                incarnation: LOG,
                flushed: Offset(43),
                regions: vec![HeldBy {
                    region: region("ap-south"),
                    offset: Offset(41),
                }],
            }],
            logs: vec![log("eu-west")],
            disputed: vec![DisputedName {
                channel: channel(),
                named_in: region("us-east"),
            }],
        }),
        RegionResponse::RegionVerify(Verified {
            name: channel(),
            home: region("us-east"),
            from: Offset(3),
            to: Offset(40),
            batches: 9,
            equal: false,
            differs: Some((Offset(40), Offset(43))),
            copies: None,
        }),
        RegionResponse::RegionPurge(RegionPurged {
            name: channel(),
            incarnation: LOG,
        }),
        RegionResponse::RegionLogs(ChannelLogs {
            channel: channel(),
            regions: Spread::Each,
            version: 42,
            logs: vec![log("eu-west"), log("us-east")],
            unreachable: vec![region("ap-south")],
        }),
        RegionResponse::InterestAdd(interest()),
        RegionResponse::InterestList(InterestRows {
            interests: vec![
                interest(),
                InterestRow {
                    pattern: "orders".parse().unwrap(),
                    types: None,
                    from: Since::End,
                    retention_days: None,
                    automatic: true,
                    declared_at: None,
                    until: Some(TIME),
                },
            ],
        }),
        RegionResponse::InterestRemove(InterestRemoved {
            pattern: "ml.>".parse().unwrap(),
        }),
    ];
    let json = json.map(|answer| Response::Region(Box::new(answer)));
    let mut all: Vec<Response> = json.into();
    all.push(Response::LinkFetch(LinkFetchResponse {
        number: 9,
        now: TIME,
        items: vec![
            LinkItem::Head {
                handle: 1,
                log_start: Offset(3),
                flushed: Offset(43),
                epoch: LogEpoch(7),
            },
            LinkItem::Gap {
                handle: 1,
                from: Offset(0),
                to: Offset(3),
            },
            LinkItem::Batches {
                handle: 1,
                flushed: Offset(43),
                batches: Bytes::from(stored_batch()),
            },
            LinkItem::Packed {
                handle: 3,
                flushed: Offset(43),
                unpacked: 3,
                frame: Bytes::from_static(&[
                    0x28, 0xb5, 0x2f, 0xfd, 0x20, 0x03, 0x19, 0x00, 0x00, b'a', b'b', b'c',
                ]),
            },
            LinkItem::Skip {
                handle: 3,
                from: Offset(43),
                to: Offset(50),
                epoch: LogEpoch(7),
                append_time: TIME,
                flushed: Offset(51),
            },
            LinkItem::Position {
                handle: 1,
                consumer: ConsumerName::parse("billing").unwrap(),
                offset: Some(Offset(42)),
                epoch: LogEpoch(7),
                at: TIME,
                metadata: "run 7".to_owned(),
            },
            LinkItem::Position {
                handle: 1,
                consumer: ConsumerName::parse("gone").unwrap(),
                offset: None,
                epoch: LogEpoch(0),
                at: TIME,
                metadata: String::new(),
            },
            LinkItem::Stop { handle: 2, error },
        ],
    }));
    let published = Response::PublishAt(published(), whereabouts());
    let forwarded = LinkForwardResponse::of(region("us-east"), &published);
    all.push(Response::LinkForward(Box::new(forwarded)));
    all
}
