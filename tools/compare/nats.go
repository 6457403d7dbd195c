package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// JetStream is NATS with file storage.
type JetStream struct{ peers string }

func (JetStream) Name() string   { return "NATS JetStream" }
func (JetStream) Client() string { return "nats.go" }

func (j JetStream) program() string { return filepath.Join(j.peers, "nats-server") }

func (j JetStream) Version() (string, error) {
	out, err := exec.Command(j.program(), "--version").Output()
	if err != nil {
		return "", fmt.Errorf("not installed in %s: run tools/compare/install", j.peers)
	}
	return strings.TrimPrefix(strings.TrimSpace(string(out)), "nats-server: "), nil
}

func (JetStream) Config(class Class) string {
	if class == Synced {
		return "file storage, one replica, sync_interval=always"
	}
	return "file storage, one replica, sync_interval=2m (default)"
}

func (j JetStream) Start(_ context.Context, dir string, class Class) (Broker, error) {
	if _, err := j.Version(); err != nil {
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
	interval := "2m"
	if class == Synced {
		interval = "always"
	}
	config := fmt.Sprintf("host: 127.0.0.1\nport: %s\nmax_payload: 8MB\njetstream {\n  store_dir: %q\n  sync_interval: %s\n  max_memory_store: 1GB\n  max_file_store: 64GB\n}\n",
		port, filepath.Join(dir, "data"), interval)
	file := filepath.Join(dir, "nats.conf")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		return nil, err
	}
	start := func() (*Process, error) {
		process, err := StartProcess(dir, "nats", nil, j.program(), "--config", file)
		if err != nil {
			return nil, err
		}
		return process, process.WaitFor(address)
	}
	process, err := start()
	if err != nil {
		return nil, err
	}
	clients := func() Clients { return natsClients{"nats://" + address} }
	return &Driven{clients: clients, dir: dir, process: process, again: start}, nil
}

type natsClients struct{ url string }

// Records that one producer may have unacknowledged: what the server's own benchmark has. A stream takes
// 10,000 of all producers before it turns some away.
const natsInFlight = 500

func (n natsClients) connect() (*nats.Conn, jetstream.JetStream, error) {
	connection, err := nats.Connect(n.url, nats.MaxReconnects(2), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		return nil, nil, err
	}
	stream, err := jetstream.New(connection, jetstream.WithPublishAsyncMaxPending(natsInFlight))
	if err != nil {
		connection.Close()
		return nil, nil, err
	}
	return connection, stream, nil
}

func (n natsClients) Topic(ctx context.Context, name string) error {
	for tries := 0; ; tries++ {
		connection, stream, err := n.connect()
		if err == nil {
			_, err = stream.CreateStream(ctx, jetstream.StreamConfig{
				Name: name, Subjects: []string{name}, Storage: jetstream.FileStorage, Replicas: 1,
			})
			connection.Close()
		}
		if err == nil || tries > 50 {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (n natsClients) Sender(_ context.Context, topic string) (Sender, error) {
	connection, stream, err := n.connect()
	return natsSender{connection, stream, topic}, err
}

type natsSender struct {
	connection *nats.Conn
	stream     jetstream.JetStream
	topic      string
}

func (s natsSender) Send(ctx context.Context, payload []byte) error {
	_, err := s.stream.Publish(ctx, s.topic, payload)
	return err
}
func (s natsSender) Close() { s.connection.Close() }

// natsFlooder hands the acknowledgements, which come in order, to a goroutine of its own.
type natsFlooder struct {
	natsSender
	waiting chan natsWaiting
	over    chan struct{}
}

type natsWaiting struct {
	future jetstream.PubAckFuture
	done   func(error)
}

func (n natsClients) Flooder(_ context.Context, topic string, _ int) (Flooder, error) {
	connection, stream, err := n.connect()
	if err != nil {
		return nil, err
	}
	flooder := &natsFlooder{
		natsSender: natsSender{connection, stream, topic},
		waiting:    make(chan natsWaiting, 2*natsInFlight),
		over:       make(chan struct{}),
	}
	go func() {
		defer close(flooder.over)
		for waiting := range flooder.waiting {
			select {
			case <-waiting.future.Ok():
				waiting.done(nil)
			case err := <-waiting.future.Err():
				waiting.done(err)
			}
		}
	}()
	return flooder, nil
}

func (f *natsFlooder) Publish(_ context.Context, payload []byte, done func(error)) {
	for {
		future, err := f.stream.PublishAsync(f.topic, payload)
		switch {
		case err == nil:
			f.waiting <- natsWaiting{future, done}
			return
		case errors.Is(err, jetstream.ErrTooManyStalledMsgs):
			// The library is full: it waits a little by itself, then says so.
		default:
			done(err)
			return
		}
	}
}

func (f *natsFlooder) Flush(context.Context) error {
	close(f.waiting)
	<-f.over
	f.connection.Close()
	return nil
}

func (n natsClients) Reader(ctx context.Context, topic string, fromStart bool) (Reader, error) {
	connection, stream, err := n.connect()
	if err != nil {
		return nil, err
	}
	policy := jetstream.DeliverNewPolicy
	if fromStart {
		policy = jetstream.DeliverAllPolicy
	}
	consumer, err := stream.OrderedConsumer(ctx, topic, jetstream.OrderedConsumerConfig{DeliverPolicy: policy})
	if err != nil {
		connection.Close()
		return nil, err
	}
	reader := &natsReader{connection: connection, come: make(chan []byte, 8_192)}
	reader.consuming, err = consumer.Consume(func(message jetstream.Msg) {
		reader.come <- message.Data()
	}, jetstream.PullMaxMessages(5_000))
	if err != nil {
		connection.Close()
		return nil, err
	}
	return reader, nil
}

type natsReader struct {
	connection *nats.Conn
	consuming  jetstream.ConsumeContext
	come       chan []byte
}

func (r *natsReader) Next(ctx context.Context) ([][]byte, error) {
	var payloads [][]byte
	select {
	case payload := <-r.come:
		payloads = append(payloads, payload)
	case <-ctx.Done():
		return nil, nil
	}
	for len(payloads) < cap(r.come) {
		select {
		case payload := <-r.come:
			payloads = append(payloads, payload)
		default:
			return payloads, nil
		}
	}
	return payloads, nil
}

func (r *natsReader) Close() {
	// What was under way is let go, so that the library's goroutine ends.
	go func() {
		for range r.come {
		}
	}()
	r.consuming.Stop()
	r.connection.Close()
}
