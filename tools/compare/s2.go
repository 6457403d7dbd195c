package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// S2 is s2-lite: streams in SlateDB, in an object store that is a directory here.
type S2 struct{ peers string }

// Where it listens in a namespace of its own: it takes a port and no address.
const (
	s2Port    = "8080"
	s2Address = "127.0.0.1:" + s2Port
	s2Basin   = "npayload-compare"
)

func (S2) Name() string { return "s2-lite" }
func (S2) Client() string {
	return "its sessions (S2S) over HTTP/2 with Go's net/http; the Go module proxy does not give its own client"
}

func (s S2) program() string { return filepath.Join(s.peers, "bin", "s2-lite") }

func (s S2) Version() (string, error) {
	out, err := exec.Command(s.program(), "--version").Output()
	if err != nil {
		return "", fmt.Errorf("not installed in %s: run `tools/compare/install s2`", s.peers)
	}
	return strings.TrimPrefix(strings.TrimSpace(string(out)), "s2-lite "), nil
}

// Config: s2-lite has its directory's files and their folders synced, and acknowledges what is in them.
func (S2) Config(class Class) string {
	if class == Synced {
		return "--local-root, defaults (write-ahead log flushed every 5 ms, each time into a file of its own that is synced)"
	}
	return ""
}

func (s S2) Start(_ context.Context, dir string, class Class) (Broker, error) {
	if s.Config(class) == "" {
		return nil, fmt.Errorf("it has nothing to acknowledge as %s", class)
	}
	if _, err := s.Version(); err != nil {
		return nil, err
	}
	network, err := NewNamespace()
	if err != nil {
		return nil, fmt.Errorf("it listens at every address: %w", err)
	}
	start := func() (process *Process, err error) {
		err = network.Do(func() error {
			process, err = StartProcess(dir, "s2-lite", nil, s.program(),
				"--local-root", filepath.Join(dir, "data"), "--port", s2Port)
			if err != nil {
				return err
			}
			return process.WaitFor(s2Address)
		})
		return process, err
	}
	process, err := start()
	if err != nil {
		network.Close()
		return nil, err
	}
	clients := func() Clients { return s2Clients{network} }
	return &s2Broker{Driven{clients: clients, dir: dir, process: process, again: start}, network}, nil
}

type s2Broker struct {
	Driven
	network *Namespace
}

func (b *s2Broker) Stop() error {
	defer b.network.Close()
	return b.Driven.Stop()
}

type s2Clients struct{ network *Namespace }

// connect makes a client whose requests have one connection, as each client of the others has.
func (c s2Clients) connect() *http.Client {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: &http.Transport{
		DialContext: c.network.Dial, Protocols: protocols, DisableCompression: true,
	}}
}

// ask sends a request and gives what it answers, if that is a success.
func (c s2Clients) ask(ctx context.Context, client *http.Client, method, path string, header http.Header, body io.ReadCloser) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+s2Address+"/v1"+path, nil)
	if err != nil {
		return nil, err
	}
	if body != nil {
		request.Body = body
	}
	if header != nil {
		request.Header = header
	}
	request.Header.Set("S2-Basin", s2Basin)
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode/100 != 2 {
		defer response.Body.Close()
		said, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10))
		return nil, fmt.Errorf("%s %s: %s: %s", method, path, response.Status, said)
	}
	return response, nil
}

func (c s2Clients) Topic(ctx context.Context, name string) error {
	client := c.connect()
	defer client.CloseIdleConnections()
	for _, path := range []string{"/basins/" + s2Basin, "/streams/" + name} {
		response, err := c.ask(ctx, client, http.MethodPut, path, nil, nil)
		if err != nil {
			return err
		}
		response.Body.Close()
	}
	return nil
}

// s2Session is a request that goes on: frames to the broker, or none, and frames back.
type s2Session struct {
	client *http.Client
	body   *s2Body
	answer io.ReadCloser
	frames *bufio.Reader
}

func s2Records(topic string) string { return "/streams/" + topic + "/records" }

// session lasts until it is closed or the context ends.
func (c s2Clients) session(ctx context.Context, method, path string, body *s2Body) (*s2Session, error) {
	client := c.connect()
	var sent io.ReadCloser
	if body != nil {
		sent = body
	}
	response, err := c.ask(ctx, client, method, path, http.Header{"Content-Type": {"s2s/proto"}}, sent)
	if err != nil {
		client.CloseIdleConnections()
		return nil, err
	}
	return &s2Session{client, body, response.Body, bufio.NewReaderSize(response.Body, 256<<10)}, nil
}

func (s *s2Session) Close() {
	if s.body != nil {
		s.body.end()
	}
	s.answer.Close()
	s.client.CloseIdleConnections()
}

// s2Body is what a session sends, frame by frame.
type s2Body struct {
	frames chan []byte
	rest   []byte
	gone   chan struct{}
	once   sync.Once
}

func newS2Body(frames int) *s2Body {
	return &s2Body{frames: make(chan []byte, frames), gone: make(chan struct{})}
}

// send hands a frame over, which is left alone until it is acknowledged.
func (b *s2Body) send(frame []byte) error {
	select {
	case b.frames <- frame:
		return nil
	case <-b.gone:
		return fmt.Errorf("the session is over")
	}
}

// end is the last thing that is called by who sends.
func (b *s2Body) end() { close(b.frames) }

func (b *s2Body) Read(into []byte) (int, error) {
	if len(b.rest) == 0 {
		select {
		case frame, ok := <-b.frames:
			if !ok {
				return 0, io.EOF
			}
			b.rest = frame
		case <-b.gone:
			return 0, io.ErrClosedPipe
		}
	}
	copied := copy(into, b.rest)
	b.rest = b.rest[copied:]
	return copied, nil
}

// Close is called by net/http, at the latest when the session's context ends.
func (b *s2Body) Close() error {
	b.once.Do(func() { close(b.gone) })
	return nil
}

func (c s2Clients) Sender(ctx context.Context, topic string) (Sender, error) {
	session, err := c.session(ctx, http.MethodPost, s2Records(topic), newS2Body(1))
	if err != nil {
		return nil, err
	}
	return &s2Sender{s2Session: session}, nil
}

// s2Sender waits for the acknowledgement of a batch of one record.
type s2Sender struct {
	*s2Session
	frame []byte
}

// Send ends with the session's context.
func (s *s2Sender) Send(_ context.Context, payload []byte) error {
	s.frame = appendS2Record(s.frame[:0], payload)
	sealS2Frame(s.frame)
	if err := s.body.send(s.frame); err != nil {
		return err
	}
	_, err := readS2Frame(s.frames)
	return err
}

// What its own clients wait for more records of a batch, and what they have unacknowledged.
const (
	s2Linger      = 5 * time.Millisecond
	s2UnackedMost = 5 << 20
)

// s2Flooder makes batches and hands their acknowledgements, which come in order, to a goroutine of its own.
type s2Flooder struct {
	session *s2Session
	most    int // records of a batch
	mu      sync.Mutex
	batch   s2Batch
	linger  *time.Timer
	waiting chan s2Batch
	spare   chan s2Batch
	over    chan struct{}
}

type s2Batch struct {
	frame []byte
	dones []func(error)
}

func (c s2Clients) Flooder(ctx context.Context, topic string, recordBytes int) (Flooder, error) {
	most := min(s2BatchRecords, s2BatchBytes/(recordBytes+s2RecordBytes))
	unacked := max(2, s2UnackedMost/(most*(recordBytes+s2RecordBytes)))
	session, err := c.session(ctx, http.MethodPost, s2Records(topic), newS2Body(unacked))
	if err != nil {
		return nil, err
	}
	flooder := &s2Flooder{
		session: session, most: most, over: make(chan struct{}),
		waiting: make(chan s2Batch, unacked), spare: make(chan s2Batch, unacked),
	}
	flooder.linger = time.AfterFunc(time.Hour, flooder.lingered)
	flooder.linger.Stop()
	go flooder.acknowledge()
	return flooder, nil
}

func (f *s2Flooder) acknowledge() {
	defer close(f.over)
	for batch := range f.waiting {
		_, err := readS2Frame(f.session.frames)
		for _, done := range batch.dones {
			done(err)
		}
		select {
		case f.spare <- s2Batch{batch.frame[:0], batch.dones[:0]}:
		default:
		}
	}
}

func (f *s2Flooder) Publish(_ context.Context, payload []byte, done func(error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.batch.dones) == 0 {
		f.linger.Reset(s2Linger)
	}
	f.batch.frame = appendS2Record(f.batch.frame, payload)
	f.batch.dones = append(f.batch.dones, done)
	if len(f.batch.dones) == f.most {
		f.linger.Stop()
		f.send()
	}
}

func (f *s2Flooder) lingered() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.batch.dones) > 0 {
		f.send()
	}
}

// send waits where as much is unacknowledged as may be.
func (f *s2Flooder) send() {
	batch := f.batch
	sealS2Frame(batch.frame)
	select {
	case f.batch = <-f.spare:
	default:
		f.batch = s2Batch{}
	}
	f.waiting <- batch
	// If the session is over, that is what is read instead of an acknowledgement.
	_ = f.session.body.send(batch.frame)
}

func (f *s2Flooder) Flush(context.Context) error {
	f.linger.Stop()
	f.lingered()
	close(f.waiting)
	<-f.over
	f.session.Close()
	return nil
}

func (c s2Clients) Reader(ctx context.Context, topic string, fromStart bool) (Reader, error) {
	path := s2Records(topic) + "?seq_num=0"
	if !fromStart {
		path = s2Records(topic) + "?tail_offset=0"
	}
	ctx, stop := context.WithCancel(ctx)
	session, err := c.session(ctx, http.MethodGet, path, nil)
	if err != nil {
		stop()
		return nil, err
	}
	reader := &s2Reader{session: session, stop: stop, come: make(chan [][]byte, 16)}
	go reader.follow(ctx)
	return reader, nil
}

// s2Reader reads ahead in a goroutine of its own, so that a wait can end before the session does.
type s2Reader struct {
	session *s2Session
	stop    context.CancelFunc
	come    chan [][]byte
	err     error // once come is closed
}

func (r *s2Reader) follow(ctx context.Context) {
	defer close(r.come)
	for {
		message, err := readS2Frame(r.session.frames)
		if err != nil {
			r.err = err
			return
		}
		payloads, err := s2Payloads(message)
		if err != nil {
			r.err = err
			return
		}
		if len(payloads) == 0 {
			continue
		}
		select {
		case r.come <- payloads:
		case <-ctx.Done():
			r.err = ctx.Err()
			return
		}
	}
}

func (r *s2Reader) Next(ctx context.Context) ([][]byte, error) {
	select {
	case payloads, ok := <-r.come:
		if !ok && ctx.Err() == nil {
			return nil, fmt.Errorf("reading: %w", r.err)
		}
		return payloads, nil
	case <-ctx.Done():
		return nil, nil
	}
}

func (r *s2Reader) Close() {
	r.stop()
	r.session.Close()
}
