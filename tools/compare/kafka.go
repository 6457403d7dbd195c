package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Kafka is Apache Kafka, one node that is broker and controller.
type Kafka struct{ peers string }

func (Kafka) Name() string   { return "Apache Kafka" }
func (Kafka) Client() string { return "franz-go (kgo)" }

func (k Kafka) installed() (string, error) {
	found, err := filepath.Glob(filepath.Join(k.peers, "kafka-*"))
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("not installed in %s: run tools/compare/install", k.peers)
	}
	return found[len(found)-1], nil
}

func (k Kafka) Version() (string, error) {
	dir, err := k.installed()
	return strings.TrimPrefix(filepath.Base(dir), "kafka-"), err
}

func (Kafka) Config(class Class) string {
	if class == Synced {
		return "KRaft, one node, acks=all, flush.messages=1"
	}
	return "KRaft, one node, acks=all, defaults (never synced by the broker)"
}

func (k Kafka) Start(ctx context.Context, dir string, class Class) (Broker, error) {
	installed, err := k.installed()
	if err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	controller, err := freeAddress()
	if err != nil {
		return nil, err
	}
	flush := ""
	if class == Synced {
		flush = "log.flush.interval.messages=1\n"
	}
	config := fmt.Sprintf(`process.roles=broker,controller
node.id=1
controller.quorum.voters=1@%[2]s
listeners=PLAINTEXT://%[1]s,CONTROLLER://%[2]s
advertised.listeners=PLAINTEXT://%[1]s
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=%[3]s/data
num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
message.max.bytes=10485760
%[4]s`, address, controller, dir, flush)
	properties := filepath.Join(dir, "server.properties")
	if err := os.WriteFile(properties, []byte(config), 0o644); err != nil {
		return nil, err
	}
	classes := filepath.Join(installed, "lib", "*")
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		return nil, err
	}
	cluster := base64.RawURLEncoding.EncodeToString(id)
	format := exec.CommandContext(ctx, "java", "-cp", classes, "kafka.tools.StorageTool",
		"format", "--cluster-id="+cluster, "--config", properties)
	if out, err := format.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("formatting Kafka's storage: %w: %s", err, out)
	}
	start := func() (*Process, error) {
		process, err := StartProcess(dir, "kafka", nil, "java", "-Xms1g", "-Xmx1g", "-server",
			"-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35",
			"-cp", classes, "kafka.Kafka", properties)
		if err != nil {
			return nil, err
		}
		return process, process.WaitFor(address)
	}
	process, err := start()
	if err != nil {
		return nil, err
	}
	clients := func() Clients { return kafkaClients{address} }
	return &Driven{clients: clients, dir: dir, process: process, again: start}, nil
}

type kafkaClients struct{ address string }

func (k kafkaClients) client(options ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append(options, kgo.SeedBrokers(k.address))...)
}

func (k kafkaClients) Topic(ctx context.Context, name string) error {
	client, err := k.client()
	if err != nil {
		return err
	}
	defer client.Close()
	// A broker that has just started may not lead yet.
	for tries := 0; ; tries++ {
		made, err := kadm.NewClient(client).CreateTopic(ctx, 1, 1, nil, name)
		if err == nil {
			err = made.Err
		}
		if err == nil || tries > 50 {
			return err
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func (k kafkaClients) Sender(_ context.Context, topic string) (Sender, error) {
	client, err := k.client(kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(0),
		// A record whose broker is gone can be given up: else the kill would be waited for for ever.
		kgo.AllowIdempotentProduceCancellation(),
		kgo.ProducerBatchCompression(kgo.NoCompression()))
	return kafkaSender{client}, err
}

type kafkaSender struct{ client *kgo.Client }

func (s kafkaSender) Send(ctx context.Context, payload []byte) error {
	return s.client.ProduceSync(ctx, &kgo.Record{Value: payload}).FirstErr()
}
func (s kafkaSender) Close() { s.client.Close() }

// With a quarter of it the broker's rate is a fifth lower, with four times as much it is a quarter higher
// and a record waits for a multiple of the time.
const kafkaUnackedBytes = 16 << 20

func (k kafkaClients) Flooder(_ context.Context, topic string, recordBytes int) (Flooder, error) {
	client, err := k.client(kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(5*time.Millisecond),
		kgo.ProducerBatchMaxBytes(1<<20), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.MaxBufferedRecords(max(1_000, kafkaUnackedBytes/recordBytes)))
	return kafkaFlooder{client}, err
}

type kafkaFlooder struct{ client *kgo.Client }

func (f kafkaFlooder) Publish(ctx context.Context, payload []byte, done func(error)) {
	f.client.Produce(ctx, &kgo.Record{Value: payload}, func(_ *kgo.Record, err error) { done(err) })
}

func (f kafkaFlooder) Flush(ctx context.Context) error {
	defer f.client.Close()
	return f.client.Flush(ctx)
}

func (k kafkaClients) Reader(ctx context.Context, topic string, fromStart bool) (Reader, error) {
	offset := kgo.NewOffset().AtStart()
	if !fromStart {
		// Where the end is now, not where it is once the first fetch has been made.
		client, err := k.client()
		if err != nil {
			return nil, err
		}
		defer client.Close()
		ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topic)
		if err != nil {
			return nil, err
		}
		end, _ := ends.Lookup(topic, 0)
		offset = kgo.NewOffset().At(end.Offset)
	}
	client, err := k.client(kgo.FetchMaxBytes(16<<20), kgo.FetchMaxPartitionBytes(1<<20),
		kgo.FetchMaxWait(500*time.Millisecond),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: offset}}))
	return kafkaReader{client}, err
}

type kafkaReader struct{ client *kgo.Client }

func (r kafkaReader) Next(ctx context.Context) ([][]byte, error) {
	fetches := r.client.PollFetches(ctx)
	if ctx.Err() != nil {
		return nil, nil
	}
	if err := fetches.Err(); err != nil {
		return nil, err
	}
	payloads := make([][]byte, 0, fetches.NumRecords())
	fetches.EachRecord(func(record *kgo.Record) { payloads = append(payloads, record.Value) })
	return payloads, nil
}
func (r kafkaReader) Close() { r.client.Close() }
