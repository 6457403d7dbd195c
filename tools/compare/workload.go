package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Workload is one kind of work, the same for every broker.
type Workload struct {
	Name string
	What string
	// Rate of an open loop is half of the slower one's of this other workload.
	HalfOf string
	// Run on a broker that has just been started on an empty directory.
	Run func(ctx context.Context, broker Broker, load Load, rate float64, size Sizes) (Counted, error)
	// Clients and bytes of a record.
	Clients, RecordBytes int
}

func isReplay(name string) bool { return strings.HasPrefix(name, "replay") }

func (workload Workload) isReplay() bool { return isReplay(workload.Name) }

// Sizes of what is replayed.
type Sizes struct{ ReplayBytes uint64 }

const topic = "compare"

func workloads() []Workload {
	var all []Workload
	for _, clients := range []int{1, 16} {
		for _, bytes := range []int{100, 1024, 16384} {
			all = append(all, Workload{
				Name:    fmt.Sprintf("publish-%d-%d", bytes, clients),
				What:    fmt.Sprintf("publish, %d B records, %s, batched by the client", bytes, count(clients, "producer")),
				Clients: clients, RecordBytes: bytes, Run: flood,
			})
		}
	}
	for _, clients := range []int{1, 64} {
		all = append(all, Workload{
			Name:    fmt.Sprintf("one-by-one-%d", clients),
			What:    fmt.Sprintf("publish, 1 KiB records, one at a time, %s", count(clients, "client")),
			Clients: clients, RecordBytes: 1024, Run: oneByOne,
		})
	}
	return append(all,
		Workload{
			Name: "tail", What: "publish to tail, 64 clients, open loop at half of the slower one's rate",
			HalfOf: "one-by-one-64", Clients: 64, RecordBytes: 1024, Run: tail,
		},
		Workload{
			Name: "replay-cold", What: "replay, 1 KiB records, files dropped from the page cache before",
			Clients: 1, RecordBytes: 1024, Run: replayCold,
		},
		Workload{
			Name: "replay-cached", What: "replay, 1 KiB records, the second time",
			Clients: 1, RecordBytes: 1024, Run: replayCached,
		},
	)
}

func count(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

func flood(ctx context.Context, broker Broker, load Load, _ float64, _ Sizes) (Counted, error) {
	if err := broker.Topic(ctx, topic); err != nil {
		return Counted{}, err
	}
	return broker.Flood(ctx, topic, load)
}

func oneByOne(ctx context.Context, broker Broker, load Load, _ float64, _ Sizes) (Counted, error) {
	if err := broker.Topic(ctx, topic); err != nil {
		return Counted{}, err
	}
	return broker.OneByOne(ctx, topic, load)
}

func tail(ctx context.Context, broker Broker, load Load, rate float64, _ Sizes) (Counted, error) {
	if err := broker.Topic(ctx, topic); err != nil {
		return Counted{}, err
	}
	return broker.Tail(ctx, topic, load, rate)
}

func filled(ctx context.Context, broker Broker, load Load, size Sizes) (uint64, error) {
	if err := broker.Topic(ctx, topic); err != nil {
		return 0, err
	}
	records := size.ReplayBytes / uint64(load.RecordBytes)
	return records, broker.Fill(ctx, topic, load, records)
}

func replayCold(ctx context.Context, broker Broker, load Load, _ float64, size Sizes) (Counted, error) {
	records, err := filled(ctx, broker, load, size)
	if err != nil {
		return Counted{}, err
	}
	if err := dropFromCache(broker.DataDir()); err != nil {
		return Counted{}, err
	}
	return broker.Replay(ctx, topic, records)
}

func replayCached(ctx context.Context, broker Broker, load Load, _ float64, size Sizes) (Counted, error) {
	records, err := filled(ctx, broker, load, size)
	if err != nil {
		return Counted{}, err
	}
	if _, err := broker.Replay(ctx, topic, records); err != nil {
		return Counted{}, err
	}
	return broker.Replay(ctx, topic, records)
}

// dropFromCache syncs every file below a directory and asks the system to forget its pages. Those that
// a process has mapped stay: "cold-ish".
func dropFromCache(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			// A file may be gone meanwhile.
			return nil
		}
		file, err := os.Open(path)
		if err != nil {
			return nil
		}
		defer file.Close()
		if err := unix.Fdatasync(int(file.Fd())); err != nil {
			return fmt.Errorf("syncing %s: %w", path, err)
		}
		return unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED)
	})
}
