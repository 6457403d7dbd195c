// npayload-compare does the same work with npayload and with its peers, in turn, in one run, and sets
// figures side by side that were measured under the same promise.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

type options struct {
	peers, classes, workloads, dir, installed, program, bench, out string
	rounds                                                         int
	seconds                                                        float64
	quick                                                          bool
}

func main() {
	var o options
	flag.StringVar(&o.peers, "peers", "kafka,jetstream,redis", "peers, by name; s2 is one too")
	flag.StringVar(&o.classes, "classes", "synced,written", "what an acknowledgement promises")
	flag.StringVar(&o.workloads, "workloads", "", "workloads, by name; all of them without it (-workloads list lists them)")
	flag.StringVar(&o.dir, "dir", ".", "directory that all data is made in and removed from")
	flag.StringVar(&o.installed, "installed", "peers", "where tools/compare/install has put the peers")
	flag.StringVar(&o.program, "npayload", "../../target/release/npayload", "the npayload to start")
	flag.StringVar(&o.bench, "bench", "../../target/release/npayload-bench", "the npayload-bench that drives it")
	flag.StringVar(&o.out, "json", "", "file that every figure of every round is written to")
	flag.IntVar(&o.rounds, "rounds", 5, "rounds, npayload and the peer in turn in each")
	flag.Float64Var(&o.seconds, "seconds", 3, "seconds of each run that count")
	flag.BoolVar(&o.quick, "quick", false, "small sizes, for trying: the figures prove nothing")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "npayload-compare:", err)
		os.Exit(1)
	}
}

// Bytes that must be free: what one run of the largest workload leaves, and some to spare.
const roomBytes = 24 << 30

func run(ctx context.Context, o options) error {
	for _, path := range []*string{&o.dir, &o.installed, &o.program, &o.bench} {
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return err
		}
		*path = absolute
	}
	chosen, err := choose(o.workloads)
	if err != nil || chosen == nil {
		return err
	}
	size := Sizes{ReplayBytes: 2 << 30}
	if o.quick {
		size.ReplayBytes = 32 << 20
	} else if err := checkRoom(o.dir); err != nil {
		return err
	}
	ours := Npayload{o.program, o.bench}
	report := Report{Command: strings.Join(os.Args, " "), Machine: machine()}
	version, err := ours.Version()
	if err != nil {
		return err
	}
	report.Brokers = append(report.Brokers, fmt.Sprintf("npayload %s, driven by %s", version, ours.Client()))
	var peers []Peer
	classes := strings.Split(o.classes, ",")
	for _, peer := range []Peer{Kafka{o.installed}, JetStream{o.installed}, Redis{}, S2{o.installed}} {
		name := map[string]string{
			"Apache Kafka": "kafka", "NATS JetStream": "jetstream", "Redis Streams": "redis", "s2-lite": "s2",
		}[peer.Name()]
		if !slices.Contains(strings.Split(o.peers, ","), name) {
			continue
		}
		version, err := peer.Version()
		if err != nil {
			report.Absent = append(report.Absent, fmt.Sprintf("%s: %v", peer.Name(), err))
			continue
		}
		peers = append(peers, peer)
		report.Brokers = append(report.Brokers, fmt.Sprintf("%s %s, driven by %s; synced: %s; written: %s",
			peer.Name(), version, peer.Client(), cmp.Or(peer.Config(Synced), "none"), cmp.Or(peer.Config(Written), "none")))
		for _, class := range classes {
			if peer.Config(Class(class)) == "" {
				report.Absent = append(report.Absent, fmt.Sprintf("%s in the class %s: that is not what it acknowledges", peer.Name(), class))
			}
		}
	}
	report.Absent = append(report.Absent, absent...)
	limitSeconds := 1.0
	if o.quick {
		limitSeconds = 0.1
	}
	if report.Limits, err = ours.Limits(ctx, o.dir, limitSeconds); err != nil {
		return err
	}
	for n, class := range classes {
		one := pairs{options: o, ours: ours, class: Class(class), size: size, report: &report}
		report.Kills = append(report.Kills, one.kill(ctx, ours))
		for _, peer := range peers {
			if ctx.Err() != nil {
				break
			}
			keeps := func(class string) bool { return peer.Config(Class(class)) != "" }
			if !keeps(class) {
				continue
			}
			measured := slices.Clone(chosen)
			if slices.ContainsFunc(classes[n+1:], keeps) {
				// A read promises nothing, and to fill a peer that syncs each record takes an hour.
				measured = slices.DeleteFunc(measured, Workload.isReplay)
			}
			report.Kills = append(report.Kills, one.kill(ctx, peer))
			one.compare(ctx, peer, measured)
			// What was measured stays if a later one is interrupted.
			if err := report.write(o.out); err != nil {
				return err
			}
		}
	}
	report.markdown(os.Stdout)
	return ctx.Err()
}

// write puts every figure into a file, where one is named.
func (report *Report) write(path string) error {
	if path == "" {
		return nil
	}
	text, err := json.MarshalIndent(report, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}

// Peers that no registry gave by name.
var absent = []string{
	"klite: the Go module proxy has no version of it",
	"Apache Iggy: registries have its clients alone, no server",
}

func choose(names string) ([]Workload, error) {
	all := workloads()
	switch names {
	case "":
		return all, nil
	case "list":
		for _, workload := range all {
			fmt.Printf("%s: %s\n", workload.Name, workload.What)
		}
		return nil, nil
	}
	var chosen []Workload
	for _, name := range strings.Split(names, ",") {
		n := slices.IndexFunc(all, func(workload Workload) bool { return workload.Name == name })
		if n < 0 {
			return nil, fmt.Errorf("no workload is called %s: -workloads list names them", name)
		}
		chosen = append(chosen, all[n])
	}
	return chosen, nil
}

func checkRoom(dir string) error {
	var disk unix.Statfs_t
	if err := unix.Statfs(dir, &disk); err != nil {
		return fmt.Errorf("asking %s: %w", dir, err)
	}
	if free := disk.Bavail * uint64(disk.Bsize); free < roomBytes {
		return fmt.Errorf("%s has %d MiB free, and this run needs %d MiB: give another -dir, or -quick",
			dir, free>>20, roomBytes>>20)
	}
	return nil
}

// pairs compares npayload with peers in one class.
type pairs struct {
	options options
	ours    Npayload
	class   Class
	size    Sizes
	report  *Report
}

// on starts a broker on a directory of its own, does something, stops it and removes everything.
func (p pairs) on(ctx context.Context, peer Peer, what func(Broker) error) (err error) {
	dir, err := os.MkdirTemp(p.options.dir, "npayload-compare-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	broker, err := peer.Start(ctx, dir, p.class)
	if err != nil {
		return err
	}
	defer func() {
		if stopped := broker.Stop(); err == nil {
			err = stopped
		}
	}()
	return what(broker)
}

func (p pairs) load(clients, bytes int) Load {
	return Load{
		Class: p.class, Clients: clients, RecordBytes: bytes,
		Duration: time.Duration(p.options.seconds * float64(time.Second)),
	}
}

func (p pairs) kill(ctx context.Context, peer Peer) Kill {
	kill := Kill{Name: peer.Name(), Class: p.class}
	err := p.on(ctx, peer, func(broker Broker) (err error) {
		kill.Acked, kill.Lost, err = broker.Killed(ctx, p.load(64, 100))
		return err
	})
	if err != nil {
		kill.Error = err.Error()
	}
	fmt.Fprintf(os.Stderr, "%s, %s, kill -9: %d acknowledged, %d lost %s\n", kill.Name, p.class, kill.Acked, kill.Lost, kill.Error)
	return kill
}

func (p pairs) compare(ctx context.Context, peer Peer, chosen []Workload) {
	rates := map[string]float64{}
	for _, workload := range chosen {
		if ctx.Err() != nil {
			return
		}
		row := Row{Workload: workload.Name, What: workload.What, Class: p.class, Peer: peer.Name()}
		if workload.HalfOf != "" {
			row.Rate = rates[workload.HalfOf] / 2
			if row.Rate == 0 {
				row.Error = "its rate is half of that of " + workload.HalfOf + ", which was not measured"
				p.report.Rows = append(p.report.Rows, row)
				continue
			}
		}
		// Ours, theirs, ours, theirs: what the machine does meanwhile meets both.
		for range p.options.rounds {
			for _, side := range []struct {
				peer Peer
				runs *[]Counted
			}{{p.ours, &row.Ours}, {peer, &row.Theirs}} {
				err := p.on(ctx, side.peer, func(broker Broker) error {
					load := p.load(workload.Clients, workload.RecordBytes)
					counted, err := workload.Run(ctx, broker, load, row.Rate, p.size)
					*side.runs = append(*side.runs, counted)
					return err
				})
				if err != nil {
					row.Error = fmt.Sprintf("%s: %v", side.peer.Name(), err)
				}
			}
			if row.Error != "" {
				break
			}
		}
		if row.Error == "" {
			rate := func(runs []Counted) float64 {
				return SpreadOf(figures(runs, Counted.RecordsPerSecond)).Median
			}
			rates[workload.Name] = min(rate(row.Ours), rate(row.Theirs))
		}
		p.report.Rows = append(p.report.Rows, row)
		fmt.Fprintln(os.Stderr, p.class, row.markdown(false))
	}
}
