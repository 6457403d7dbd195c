package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"

	"github.com/redis/rueidis"
)

// Redis keeps streams in memory and every write in an append-only file.
type Redis struct{}

func (Redis) Name() string   { return "Redis Streams" }
func (Redis) Client() string { return "rueidis" }

func (Redis) Version() (string, error) {
	out, err := exec.Command("redis-server", "--version").Output()
	if err != nil {
		return "", fmt.Errorf("not installed: run tools/compare/install")
	}
	found := regexp.MustCompile(`v=(\S+)`).FindSubmatch(out)
	if found == nil {
		return "", fmt.Errorf("redis-server --version says %q", out)
	}
	return string(found[1]), nil
}

func (Redis) Config(class Class) string {
	if class == Synced {
		return "appendonly yes, appendfsync always"
	}
	return "appendonly yes, appendfsync no"
}

func (r Redis) Start(_ context.Context, dir string, class Class) (Broker, error) {
	if _, err := r.Version(); err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	if err := os.MkdirAll(data, 0o755); err != nil {
		return nil, err
	}
	appendfsync := "no"
	if class == Synced {
		appendfsync = "always"
	}
	start := func() (*Process, error) {
		process, err := StartProcess(dir, "redis", nil, "redis-server", "--bind", "127.0.0.1",
			"--port", port, "--dir", data, "--appendonly", "yes", "--appendfsync", appendfsync,
			"--save", "", "--protected-mode", "yes", "--daemonize", "no")
		if err != nil {
			return nil, err
		}
		return process, process.WaitFor(address)
	}
	process, err := start()
	if err != nil {
		return nil, err
	}
	clients := func() Clients { return redisClients{address} }
	return &Driven{clients: clients, dir: dir, process: process, again: start}, nil
}

type redisClients struct{ address string }

func (r redisClients) connect() (rueidis.Client, error) {
	return rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{r.address}, DisableCache: true, DisableRetry: true,
		// One connection for each client, as the others have.
		PipelineMultiplex: -1,
	})
}

// Topic waits until the data is loaded; a stream is made by its first record.
func (r redisClients) Topic(ctx context.Context, name string) error {
	for tries := 0; ; tries++ {
		client, err := r.connect()
		if err == nil {
			err = client.Do(ctx, client.B().Del().Key(name).Build()).Error()
			client.Close()
		}
		if err == nil || tries > 300 {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (r redisClients) Sender(_ context.Context, topic string) (Sender, error) {
	client, err := r.connect()
	return redisSender{client, topic}, err
}

type redisSender struct {
	client rueidis.Client
	topic  string
}

func (s redisSender) add(payload []byte) rueidis.Completed {
	return s.client.B().Xadd().Key(s.topic).Id("*").FieldValue().
		FieldValue("p", rueidis.BinaryString(payload)).Build()
}

func (s redisSender) Send(ctx context.Context, payload []byte) error {
	return s.client.Do(ctx, s.add(payload)).Error()
}
func (s redisSender) Close() { s.client.Close() }

// redisFlooder sends pipelines of many records, two of them under way.
type redisFlooder struct {
	redisSender
	commands rueidis.Commands
	dones    []func(error)
	most     int
	under    chan struct{}
}

func (r redisClients) Flooder(_ context.Context, topic string, recordBytes int) (Flooder, error) {
	client, err := r.connect()
	if err != nil {
		return nil, err
	}
	return &redisFlooder{
		redisSender: redisSender{client, topic},
		most:        min(1_000, max(16, 1<<20/recordBytes)),
		under:       make(chan struct{}, 2),
	}, nil
}

func (f *redisFlooder) Publish(ctx context.Context, payload []byte, done func(error)) {
	f.commands = append(f.commands, f.add(payload))
	f.dones = append(f.dones, done)
	if len(f.commands) >= f.most {
		f.send(ctx)
	}
}

func (f *redisFlooder) send(ctx context.Context) {
	commands, dones := f.commands, f.dones
	f.commands, f.dones = make(rueidis.Commands, 0, f.most), make([]func(error), 0, f.most)
	f.under <- struct{}{}
	go func() {
		for n, result := range f.client.DoMulti(ctx, commands...) {
			dones[n](result.Error())
		}
		<-f.under
	}()
}

func (f *redisFlooder) Flush(ctx context.Context) error {
	if len(f.commands) > 0 {
		f.send(ctx)
	}
	for range cap(f.under) {
		f.under <- struct{}{}
	}
	f.client.Close()
	return nil
}

func (r redisClients) Reader(ctx context.Context, topic string, fromStart bool) (Reader, error) {
	// After a start the data may still be loading.
	var client rueidis.Client
	var err error
	for range 300 {
		if client, err = r.connect(); err == nil {
			if err = client.Do(ctx, client.B().Ping().Build()).Error(); err == nil {
				break
			}
			client.Close()
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err != nil {
		return nil, err
	}
	last := "0"
	if !fromStart {
		ended, err := client.Do(ctx, client.B().Xrevrange().Key(topic).End("+").Start("-").Count(1).Build()).AsXRange()
		if err != nil {
			client.Close()
			return nil, err
		}
		if len(ended) > 0 {
			last = ended[0].ID
		}
	}
	return &redisReader{client: client, topic: topic, last: last}, nil
}

type redisReader struct {
	client      rueidis.Client
	topic, last string
}

func (r *redisReader) Next(ctx context.Context) ([][]byte, error) {
	read := r.client.B().Xread().Count(1_000).Block(500).Streams().Key(r.topic).Id(r.last).Build()
	entries, err := r.client.Do(ctx, read).AsXRead()
	// The client holds a deadline by a clock of its own, which may run out a little earlier.
	if rueidis.IsRedisNil(err) || ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var payloads [][]byte
	for _, entry := range entries[r.topic] {
		payloads = append(payloads, []byte(entry.FieldValues["p"]))
		r.last = entry.ID
	}
	return payloads, nil
}
func (r *redisReader) Close() { r.client.Close() }
