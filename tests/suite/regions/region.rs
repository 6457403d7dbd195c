//! A process that is a region, and what is asked of one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use npayload::client::{Client, Link};
use npayload::protocol::RegionRequest;
use npayload::protocol::region::{FollowFrom, FollowLog, LinkFollow, LinkOpen};
use npayload::region::interest::Since;
use npayload::types::{ChannelName, Incarnation, RegionName};
use serde_json::{Value, json};
use tokio::net::TcpSocket;

use crate::line::Line;
use crate::process::{Broker, Ran, wait_for};

/// A region that can be killed and comes back at its address.
pub struct Region {
    name: &'static str,
    pub data: PathBuf,
    pub peers: Vec<String>,
    pub more: &'static [&'static str],
    listen: String,
    /// Bound to its address, so that nobody is given the port while it is away.
    _reserved: TcpSocket,
    broker: Option<Broker>,
}

impl Region {
    pub fn start(dir: &Path, name: &'static str, peers: &[&Region]) -> Self {
        let peers = peers
            .iter()
            .map(|peer| format!("{}={}", peer.name, peer.url()));
        Self::start_at(dir, name, peers.collect())
    }

    /// With peers at addresses of the test's own.
    pub fn start_at(dir: &Path, name: &'static str, peers: Vec<String>) -> Self {
        let reserved = TcpSocket::new_v4().expect("a socket");
        reserved.set_reuseaddr(true).expect("an option");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        reserved.bind(any).expect("a port");
        let address = reserved.local_addr().expect("an address");
        let mut region = Self {
            name,
            data: dir.join(name),
            peers,
            more: &[],
            listen: address.to_string(),
            _reserved: reserved,
            broker: None,
        };
        region.restart();
        region
    }

    /// Kills it and starts it again with these options beside its own.
    pub fn restart_with(&mut self, more: &'static [&'static str]) {
        self.kill();
        self.more = more;
        self.restart();
    }

    pub fn restart(&mut self) {
        let mut args = vec!["--region", self.name, "--listen", &self.listen];
        for peer in &self.peers {
            args.extend(["--peer", peer]);
        }
        args.extend(self.more);
        self.broker = Some(Broker::start_with(&self.data, &args));
    }

    pub fn kill(&mut self) {
        self.broker.take().expect("it runs").kill();
    }

    pub fn broker(&self) -> &Broker {
        self.broker.as_ref().expect("it runs")
    }

    pub fn url(&self) -> String {
        self.broker().url.clone()
    }

    /// Waits until all its links are open.
    pub fn linked(&self) {
        wait_for(&format!("the links of {}", self.name), || {
            let status = self.status();
            let mut links = status["links"].as_array().expect("rows").iter();
            links.all(|link| link["state"] == "open").then_some(())
        });
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        self.broker().run(args)
    }

    /// Publishes lines; the offset of the first.
    pub fn publish(&self, channel: &str, lines: &[&str]) -> u64 {
        let input = lines.join("\n") + "\n";
        let args = ["publish", channel, "--json"];
        let told = self.broker().run_with(&args, input.as_bytes()).json();
        assert_eq!(told["count"], json!(lines.len()), "{told}");
        told["firstOffset"].as_u64().expect("an offset")
    }

    pub fn status(&self) -> Value {
        self.run(&["region", "status", "--json"]).json()
    }

    pub fn copy(&self, channel: &str) -> Option<Value> {
        let status = self.status();
        let mut copies = status["copies"].as_array().expect("rows").iter();
        copies.find(|copy| copy["name"] == channel).cloned()
    }

    /// Waits until the copy of a channel is followed and has as much as `next`.
    pub fn has(&self, channel: &str, next: u64) {
        wait_for(
            &format!("{next} records of {channel} in {}", self.name),
            || {
                let copy = self.copy(channel)?;
                let is_there = copy["followed"] == true && copy["next"].as_u64() >= Some(next);
                is_there.then_some(())
            },
        );
    }

    /// All records of a channel, as offset and payload.
    pub fn records(&self, channel: &str) -> BTreeMap<u64, String> {
        self.records_of(channel, "start")
    }

    fn records_of(&self, channel: &str, from: &str) -> BTreeMap<u64, String> {
        let args = ["consume", channel, "--from", from, "--json"];
        let lines = self.run(&args).json_lines();
        let records = lines.iter().map(|line| {
            let payload = line["payloadText"].as_str().expect("a text").to_owned();
            (line["offset"].as_u64().expect("an offset"), payload)
        });
        records.collect()
    }

    /// The records of a channel from an offset on.
    pub fn records_from(&self, channel: &str, offset: u64) -> BTreeMap<u64, String> {
        self.records_of(channel, &offset.to_string())
    }

    /// Stops it in order; its exit code.
    pub fn stop(&mut self) -> i32 {
        self.broker.take().expect("it runs").terminate()
    }

    /// Waits until a link of it is missed.
    pub fn is_unlinked(&self) {
        wait_for("the link to be missed", || {
            let status = self.status();
            (status["links"][0]["state"] != "open").then_some(())
        });
    }

    /// Bytes of batches that came from other regions.
    pub fn received(&self) -> u64 {
        let status = self.status();
        let links = status["links"].as_array().expect("rows");
        links.iter().filter_map(|link| link["bytes"].as_u64()).sum()
    }
}

/// `us-east`, a line to it, and `eu-west`, which pulls over the line.
pub fn over_line(dir: &Path) -> (Region, Line, Region) {
    let east = Region::start(dir, "us-east", &[]);
    let line = Line::to(east.broker().address());
    let west = Region::start_at(dir, "eu-west", vec![format!("us-east={}", line.url())]);
    (east, line, west)
}

/// A link to `us-east` as another region makes one.
pub async fn link_as(by: &str, region: &Region) -> Link {
    let open = RegionRequest::LinkOpen(LinkOpen {
        region: RegionName::parse(by).expect("a name"),
        expect: RegionName::parse("us-east").expect("a name"),
        directory_id: Incarnation(7),
        pack: false,
    });
    let linked = Link::connect(Client::builder(), &region.url(), open).await;
    linked.expect("a link").0
}

/// Follows a channel from its start, as another region does.
pub fn follow_from_start(handle: u32, name: &str) -> RegionRequest {
    let log = FollowLog {
        handle,
        name: ChannelName::parse(name).expect("a name"),
        incarnation: None,
        from: FollowFrom::Since(Since::Start),
        last: None,
        last_epoch: None,
        begins_at: None,
        types: None,
        orgs: BTreeSet::new(),
    };
    RegionRequest::LinkFollow(LinkFollow { logs: vec![log] })
}

/// All stored batches of a channel as they are served.
pub fn raw(region: &Region, channel: &str) -> Vec<u8> {
    let mut raw = crate::raw::Raw::greeted(region.broker().address());
    raw.all_batches(channel)
}

pub fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_dir(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).expect("copied");
        }
    }
}
