package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// Npayload is driven by its Rust client, which npayload-bench holds.
type Npayload struct{ program, bench string }

func (Npayload) Name() string   { return "npayload" }
func (Npayload) Client() string { return "its Rust client" }

func (n Npayload) Version() (string, error) {
	out, err := exec.Command(n.program, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: build it with `cargo build --profile bench -p npayload -p npayload-bench`", n.program, err)
	}
	return strings.TrimPrefix(strings.TrimSpace(string(out)), "npayload "), nil
}

func (Npayload) Config(class Class) string {
	if class == Synced {
		return "defaults (durability synced)"
	}
	return "durability written"
}

func (n Npayload) Start(_ context.Context, dir string, class Class) (Broker, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	process, err := StartProcess(dir, "npayload", nil, n.program, "serve", "--json",
		"--listen", address, "--data-dir", filepath.Join(dir, "data"))
	if err != nil {
		return nil, err
	}
	if err := process.WaitFor(address); err != nil {
		return nil, err
	}
	return &npayloadBroker{Npayload: n, dir: dir, address: address, class: class, process: process}, nil
}

type npayloadBroker struct {
	Npayload
	dir, address string
	class        Class
	process      *Process
}

func (b *npayloadBroker) DataDir() string { return b.dir }
func (b *npayloadBroker) Stop() error     { return b.process.Stop() }

// Topic does nothing: the bench makes its channels with the load's durability.
func (b *npayloadBroker) Topic(context.Context, string) error { return nil }

// result is what npayload-bench prints for one measurement.
type result struct {
	Result struct {
		Counted
		Missed *uint64 `json:"missed"`
		Level  *string `json:"level"`
	} `json:"result"`
}

// run has the bench measure something and gives its first result.
func (b *npayloadBroker) run(ctx context.Context, args ...string) (Counted, error) {
	args = append([]string{"--url", b.address, "--json"}, args...)
	command := exec.CommandContext(ctx, b.bench, args...)
	var errors bytes.Buffer
	command.Stderr = &errors
	out, err := command.Output()
	if err != nil {
		return Counted{}, fmt.Errorf("%s: %w: %s", strings.Join(command.Args, " "), err, errors.String())
	}
	var first result
	if err := json.NewDecoder(bytes.NewReader(out)).Decode(&first); err != nil {
		return Counted{}, fmt.Errorf("%s printed %q: %w", b.bench, out, err)
	}
	if level := first.Result.Level; level != nil && *level != string(b.class) {
		return Counted{}, fmt.Errorf("acknowledged as %s, wanted %s", *level, b.class)
	}
	counted := first.Result.Counted
	if first.Result.Missed != nil {
		counted.Missed = *first.Result.Missed
	}
	return counted, nil
}

func (b *npayloadBroker) load(command, topic string, load Load) []string {
	return []string{command, "--channel", topic, "--durability", string(b.class),
		"--connections", strconv.Itoa(load.Clients), "--record-bytes", strconv.Itoa(load.RecordBytes),
		"--duration-s", fmt.Sprint(load.Duration.Seconds()), "--warm-up-s", fmt.Sprint(warmUp.Seconds())}
}

func (b *npayloadBroker) Flood(ctx context.Context, topic string, load Load) (Counted, error) {
	// More under way raises no rate, only what a record waits for.
	batchBytes, inFlight := 512<<10, 8
	if load.Clients > 1 {
		batchBytes, inFlight = 128<<10, 4
	}
	return b.run(ctx, append(b.load("publish", topic, load), "--via", "client",
		"--batch-bytes", strconv.Itoa(batchBytes), "--in-flight", strconv.Itoa(inFlight),
		"--unacked-bytes", strconv.Itoa(batchBytes*inFlight))...)
}

func (b *npayloadBroker) OneByOne(ctx context.Context, topic string, load Load) (Counted, error) {
	return b.run(ctx, append(b.load("publish", topic, load),
		"--via", "client", "--batch-records", "1", "--in-flight", "1")...)
}

func (b *npayloadBroker) Fill(ctx context.Context, topic string, load Load, records uint64) error {
	_, err := b.run(ctx, append(b.load("publish", topic, load),
		"--batch-bytes", "524288", "--in-flight", "8", "--records", strconv.FormatUint(records, 10))...)
	return err
}

func (b *npayloadBroker) Replay(ctx context.Context, topic string, records uint64) (Counted, error) {
	counted, err := b.run(ctx, "replay", "--no-publish", "--via", "client", "--channel", topic)
	if err == nil && counted.Records < records {
		err = fmt.Errorf("only %d of %d records came", counted.Records, records)
	}
	return counted, err
}

func (b *npayloadBroker) Tail(ctx context.Context, topic string, load Load, rate float64) (Counted, error) {
	return b.run(ctx, append(b.load("tail", topic, load),
		"--in-flight", "1", "--rate", fmt.Sprint(rate))...)
}

// Killed has the bench kill a broker of its own: it holds the client.
func (b *npayloadBroker) Killed(ctx context.Context, load Load) (acked, lost uint64, err error) {
	command := exec.CommandContext(ctx, b.bench, "--json", "--broker", b.program, "--dir", b.dir, "kill",
		"--durability", string(b.class), "--connections", strconv.Itoa(load.Clients),
		"--duration-s", fmt.Sprint(load.Duration.Seconds()))
	out, err := command.Output()
	if err != nil {
		return 0, 0, fmt.Errorf("%s: %w", strings.Join(command.Args, " "), err)
	}
	var killed struct{ Acked, Lost uint64 }
	err = json.Unmarshal(out, &killed)
	return killed.Acked, killed.Lost, err
}

// Limits of the machine, in words; measured by npayload-bench.
func (n Npayload) Limits(ctx context.Context, dir string, seconds float64) ([]string, error) {
	out, err := exec.CommandContext(ctx, n.bench, "--json", "--dir", dir, "limits",
		"--duration-s", fmt.Sprint(seconds)).Output()
	if err != nil {
		return nil, fmt.Errorf("%s limits: %w", n.bench, err)
	}
	var lines []string
	decoder := json.NewDecoder(bytes.NewReader(out))
	for decoder.More() {
		var line struct {
			Result struct {
				Name                string
				MegabytesPerSecond  float64
				OperationsPerSecond float64
				P50us, P99us        int64
			}
		}
		if err := decoder.Decode(&line); err != nil {
			return nil, err
		}
		limit := line.Result
		lines = append(lines, fmt.Sprintf("| %s | %s | %s | %d | %d |", limit.Name,
			short(limit.MegabytesPerSecond), short(limit.OperationsPerSecond), limit.P50us, limit.P99us))
	}
	return lines, nil
}
