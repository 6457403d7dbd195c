//! The integration tests.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test ends where it is surprised, and its numbers are small"
)]

mod access; // organisations, keys and grants on the record, and the file under which keys are hashed
mod admission; // who may do what, through the server's doors: keys, scopes, organisations, grants
mod agents; // agents, their sessions and calls in the broker: kept over crashes and snapshots, behind walls, on time
mod answers; // what an answer waits for, and what is known again after a crash
mod architecture; // the rooms of src against their table in ARCHITECTURE.md
mod asp; // sessions of agents from the outside: golden files, their independent check, every byte changed
mod asp_commitments; // the tables of commitments, disputes and ceilings in docs/asp.md against the code, cell by cell
mod asp_market; // the tables of the market in docs/asp.md against the code, cell by cell
mod asp_table; // the transition table drawn in docs/asp.md against the code, cell by cell and role by role
#[cfg(target_os = "linux")]
mod bad_disk; // the real binary on a disk whose syncs fail, or take seconds
mod begun_again; // starts that end before they are done, or find less than they left, and are begun again
mod beside; // lives of a channel beside each other in one broker: one entry, either side of a crash
mod binary; // the real binary, end to end, also across kills
mod broker_failures; // the broker on a failing disk: who waits is told, one channel holds up no other
mod chain; // damage in the chain of a log's segments: headers that are lost, segments that are missing
mod copies; // logs that live elsewhere: the same bytes, whatever happens
mod copy_forward; // logs whose segments failed hold up nobody, and lose nothing
mod corruption; // every kind of file damaged in every way, against the matrix in docs/durability.md
mod crash; // a crash at every call that changes the disk, with every outcome
mod cutting; // the end of a log is cut off, and a crash at every call of that
mod damage; // every synced byte damaged in turn: reported at its place, no other record touched
mod directories; // data directories that are held, exchanged, mixed up or gone
mod encryption; // channels encrypted at rest: what shows on the disk, and what becomes of it without a key
mod failing; // calls of the disk that fail: what fails with them, and what goes on
mod full_disk; // a disk that fills up under the real binary, and has room again
mod fuzz_corpus; // the bodies of the fuzz targets, over their corpora and over random bytes
mod gaps; // a gap in place of a lost batch: told exactly, never passed over
mod golden; // the files of tests/golden: format stability, and every bit of them flipped
mod homes; // homes of logs, broker by broker: epochs of terms and regions, the steps of a move
mod hostile; // hostile and broken clients, byte by byte
mod kill; // the real binary killed at random moments under load, in its start and in its stop
mod leftovers; // what crashes and older lives of a file leave lying about is never data
mod line; // a line between two regions, to be made slow, narrow, silent or cut
mod load; // writers, atomic publishers and consumers, and a ledger of what they were promised
mod low_disk;
mod many_logs; // little space left: who is turned away, who goes on, what frees space
mod model; // logs against vectors: every kind of append, upkeep and reopening
mod mounts; // file systems of a test's own: small, read-only, slow, forgetful
mod placement; // where batches lie in their segments, and what goes when
#[cfg(target_os = "linux")]
mod positions; // damage in the topic of positions: told as damage, and nobody else is stopped
mod power_loss; // power cuts under the real binary, on a disk that forgets
mod process; // starts the real binary, stops it, kills it
mod promised; // promised groups of the journal damaged in every part: told at their place, replaced by nothing
mod promises; // what the wire protocol promises: order, retries, long polls, all or nothing
mod raw; // a client made of bytes, for the tests that need one
#[cfg(target_os = "linux")]
mod read_only; // a file system that becomes read-only under the real binary
mod region_anew; // topics of other regions that are damaged, let go, or of a region that was begun anew, and what is known meanwhile
mod region_faults; // what regions do to each other's faults, line by line of the table in docs/regions.md
mod region_names; // the directory of all regions, broker by broker: names in one entry with their channels, moves of it
mod region_sim; // three regions from one seed: their brokers, the lines between them, moves of homes; and a checker
mod regions; // processes that are regions: what one publishes, those that asked for it have
mod regions_access; // who may do what across regions: consent of organisations, keys and grants that travel
mod regions_agents; // what follows from sessions of other regions: promises, disputes, calls, money; registries that are seen
mod regions_agents_ids; // whose that is which goes by an id of its own where it is not: several, none, refused, a namesake's
mod regions_asof; // what agents say in one region, read in another from copies that say up to when they are current
mod regions_attack; // what was tried to make regions acknowledge what they do not hold, or give up what they have
mod regions_deleted; // channels that are deleted while other regions have copies, and made again elsewhere
mod regions_dir; // one directory for all regions: names, homes, who may hold what; peers that come and go
mod regions_each; // channels with a log for each region: written everywhere, read merged, the same in every region
mod regions_ends; // topics that are folded, names that are given back, wider copies that are tried again, what outboxes promise, who sees sessions
mod regions_fair; // what a link sends first: live logs, then backlogs by turns
mod regions_left; // regions whose leaving was cut short, and that have nobody left to ask
mod regions_link; // which peer a copy is pulled from, what of it, and how much at once
mod regions_long; // a link cut and both of its sides killed all the time: the copy holds every record once
mod regions_long_each; // the same of a channel that three regions write at once
mod regions_loose; // what was set aside is published again, what may be lost is named and acknowledged, positions and logs of each region
mod regions_matters; // ids of promises and calls that several organisations send, in several regions
mod regions_move; // homes that are moved, planned and by force, and losers that come back
mod regions_out; // what leaves a region for another: forwarded requests, acknowledgements that say where, outboxes
mod regions_partial; // copies that are not whole, and lives of a channel beside each other
mod regions_refused; // what a home refuses of an outbox: set aside, told, published again, and in nobody's way
mod regions_spec; // the table of faults and their tests in docs/regions.md against the tests
mod regions_unknown; // a region that can not know what others have taken over from it
mod regions_verify; // every copy of a channel, compared where the channel lives
mod scrub; // the running broker checks what is stored: what it finds, marks, and leaves alone
mod server; // a server in this process, with the Rust client
mod sim; // the whole broker from one seed: clock, disk, network, randomness, order; and a checker
mod spec; // storage-format.md against the layouts of the format room
mod starts; // what a start takes from the last end, and what it makes its own
mod storage_harness; // drives the storage room from one thread, and models what it must hold
mod stored; // what lies in the files of a data directory, for the tests that look there
mod strain; // the real binary short of file descriptors, and stopped in the middle of its work
mod successors; // logs with the identity of one before them: nothing that was to be removed of that one is theirs
mod tls; // TLS on both ports: who is let in, who is turned away, and what both sides are told
mod vouching; // what vouches for a group of the journal must be true
mod walk_through; // pages that a reader pastes from: what they say runs
mod wire; // docs/wire-protocol.md against the protocol room: tables, golden frames, hostile bytes
