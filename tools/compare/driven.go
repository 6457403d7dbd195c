package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Clients of a peer, as its client library has them. Driven makes the workloads of them, so that
// every peer is driven by the same loops.
type Clients interface {
	// Topic makes one, empty.
	Topic(ctx context.Context, name string) error
	// Sender sends one record and waits for its acknowledgement.
	Sender(ctx context.Context, topic string) (Sender, error)
	// Flooder batches as its library likes; publish waits where the library is full, and done is
	// called at each acknowledgement.
	Flooder(ctx context.Context, topic string, recordBytes int) (Flooder, error)
	// Reader reads from the first record, or what comes from now on.
	Reader(ctx context.Context, topic string, fromStart bool) (Reader, error)
}

type Sender interface {
	Send(ctx context.Context, payload []byte) error
	Close()
}

type Flooder interface {
	Publish(ctx context.Context, payload []byte, done func(error))
	// Flush waits until everything is acknowledged, and closes.
	Flush(ctx context.Context) error
}

type Reader interface {
	// Next waits for some payloads; none when the context ended.
	Next(ctx context.Context) ([][]byte, error)
	Close()
}

// Driven is a broker whose workloads are made of its clients.
type Driven struct {
	clients func() Clients
	dir     string
	process *Process
	// again starts it on its data after a kill.
	again func() (*Process, error)
}

func (d *Driven) DataDir() string { return d.dir }
func (d *Driven) Stop() error     { return d.process.Stop() }

func (d *Driven) Topic(ctx context.Context, name string) error {
	return d.clients().Topic(ctx, name)
}

const warmUp = 500 * time.Millisecond

func payloadOf(bytes int) []byte {
	payload := make([]byte, bytes)
	for n := range payload {
		payload[n] = byte('a' + n%26)
	}
	return payload
}

// Flood reads the clock for one record of 64: reading it for each would be part of the figure.
func (d *Driven) Flood(ctx context.Context, topic string, load Load) (Counted, error) {
	var acked, before, after atomic.Uint64
	var failed atomic.Pointer[error]
	done := func(err error) {
		if err != nil {
			failed.Store(&err)
			return
		}
		acked.Add(1)
	}
	flooders := make([]Flooder, load.Clients)
	err := each(load.Clients, func(n int) (err error) {
		if flooders[n], err = d.clients().Flooder(ctx, topic, load.RecordBytes); err != nil {
			return err
		}
		// Its connection is there when the time begins to count.
		return publishOne(ctx, flooders[n], payloadOf(load.RecordBytes))
	})
	if err != nil {
		return Counted{}, err
	}
	counting := NewCounting()
	start := time.Now().Add(warmUp)
	end := start.Add(load.Duration)
	go func() {
		time.Sleep(time.Until(start))
		before.Store(acked.Load())
		time.Sleep(time.Until(end))
		after.Store(acked.Load())
	}()
	err = each(load.Clients, func(client int) error {
		flooder, payload := flooders[client], payloadOf(load.RecordBytes)
		for n := 0; failed.Load() == nil; n++ {
			if n%64 != 0 {
				flooder.Publish(ctx, payload, done)
				continue
			}
			at := time.Now()
			// A little past the end, so that the end falls into full load.
			if at.After(end.Add(warmUp / 5)) {
				break
			}
			flooder.Publish(ctx, payload, func(err error) {
				done(err)
				if now := time.Now(); err == nil && now.After(start) && now.Before(end) {
					counting.Book(now.Sub(at), 0, 0)
				}
			})
		}
		return flooder.Flush(ctx)
	})
	if err != nil {
		return Counted{}, err
	}
	if err := failed.Load(); err != nil {
		return Counted{}, *err
	}
	records := after.Load() - before.Load()
	counting.Count(records, records*uint64(load.RecordBytes))
	return counting.Over(load.Duration), nil
}

// publishOne waits for the acknowledgement of one record. Libraries that batch until they are full send
// it when they are flushed or as many have come; what is not sent alone is not waited for.
func publishOne(ctx context.Context, flooder Flooder, payload []byte) error {
	acked := make(chan error, 1)
	flooder.Publish(ctx, payload, func(err error) { acked <- err })
	select {
	case err := <-acked:
		return err
	case <-time.After(5 * time.Second):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// senders connects so many and has each send a record, so that its connection is there.
func (d *Driven) senders(ctx context.Context, topic string, load Load) ([]Sender, error) {
	senders := make([]Sender, load.Clients)
	err := each(load.Clients, func(n int) (err error) {
		if senders[n], err = d.clients().Sender(ctx, topic); err != nil {
			return err
		}
		return senders[n].Send(ctx, payloadOf(load.RecordBytes))
	})
	return senders, err
}

// each runs a function so many times at once and gives the first error.
func each(count int, run func(n int) error) error {
	var group sync.WaitGroup
	errs := make(chan error, count)
	for n := range count {
		group.Go(func() { errs <- run(n) })
	}
	group.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *Driven) OneByOne(ctx context.Context, topic string, load Load) (Counted, error) {
	senders, err := d.senders(ctx, topic, load)
	if err != nil {
		return Counted{}, err
	}
	counting := NewCounting()
	start := time.Now().Add(warmUp)
	end := start.Add(load.Duration)
	err = each(load.Clients, func(n int) error {
		sender, payload := senders[n], payloadOf(load.RecordBytes)
		defer sender.Close()
		for {
			at := time.Now()
			if at.After(end) {
				return nil
			}
			if err := sender.Send(ctx, payload); err != nil {
				return err
			}
			if now := time.Now(); now.After(start) && now.Before(end) {
				counting.Book(now.Sub(at), 1, uint64(load.RecordBytes))
			}
		}
	})
	return counting.Over(load.Duration), err
}

func (d *Driven) Fill(ctx context.Context, topic string, load Load, records uint64) error {
	flooder, err := d.clients().Flooder(ctx, topic, load.RecordBytes)
	if err != nil {
		return err
	}
	payload := payloadOf(load.RecordBytes)
	var failed atomic.Pointer[error]
	for range records {
		flooder.Publish(ctx, payload, func(err error) {
			if err != nil {
				failed.Store(&err)
			}
		})
	}
	if err := flooder.Flush(ctx); err != nil {
		return err
	}
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (d *Driven) Replay(ctx context.Context, topic string, records uint64) (Counted, error) {
	reader, err := d.clients().Reader(ctx, topic, true)
	if err != nil {
		return Counted{}, err
	}
	defer reader.Close()
	counting := NewCounting()
	began := time.Now()
	for read := uint64(0); read < records; {
		at := time.Now()
		payloads, err := reader.Next(ctx)
		if err != nil {
			return Counted{}, err
		}
		if ctx.Err() != nil {
			return Counted{}, fmt.Errorf("only %d of %d records came", read, records)
		}
		bytes := uint64(0)
		for _, payload := range payloads {
			bytes += uint64(len(payload))
		}
		read += uint64(len(payloads))
		counting.Book(time.Since(at), uint64(len(payloads)), bytes)
	}
	return counting.Over(time.Since(began)), nil
}

// Tail sends at times that were fixed before; a record begins with the time it was due.
func (d *Driven) Tail(ctx context.Context, topic string, load Load, rate float64) (Counted, error) {
	senders, err := d.senders(ctx, topic, load)
	if err != nil {
		return Counted{}, err
	}
	reader, err := d.clients().Reader(ctx, topic, false)
	if err != nil {
		return Counted{}, err
	}
	defer reader.Close()
	counting := NewCounting()
	zero := time.Now()
	start := zero.Add(warmUp)
	end := start.Add(load.Duration)
	following, stop := context.WithDeadline(ctx, end.Add(2*time.Second))
	defer stop()
	followed := make(chan error, 1)
	go func() {
		for following.Err() == nil {
			payloads, err := reader.Next(following)
			if err != nil && following.Err() == nil {
				followed <- err
				return
			}
			now := time.Now()
			for _, payload := range payloads {
				due := zero.Add(time.Duration(binary.LittleEndian.Uint64(payload)))
				if due.After(start) && due.Before(end) {
					counting.Book(now.Sub(due), 1, uint64(len(payload)))
				}
			}
		}
		followed <- nil
	}()
	interval := time.Duration(float64(time.Second) * float64(load.Clients) / rate)
	var due atomic.Uint64
	err = each(load.Clients, func(n int) error {
		sender, payload := senders[n], payloadOf(load.RecordBytes)
		defer sender.Close()
		at := zero.Add(interval * time.Duration(n) / time.Duration(load.Clients))
		for ; at.Before(end); at = at.Add(interval) {
			time.Sleep(time.Until(at))
			if at.After(start) {
				due.Add(1)
			}
			binary.LittleEndian.PutUint64(payload, uint64(at.Sub(zero)))
			if err := sender.Send(ctx, payload); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return Counted{}, err
	}
	if err := <-followed; err != nil {
		return Counted{}, err
	}
	counted := counting.Over(load.Duration)
	counted.Missed = due.Load() - min(due.Load(), counted.Records)
	return counted, nil
}

// Killed gives every record a number of its own, so that one that is gone is known by name.
func (d *Driven) Killed(ctx context.Context, load Load) (acked, lost uint64, err error) {
	const topic = "killed"
	if err := d.Topic(ctx, topic); err != nil {
		return 0, 0, err
	}
	var mu sync.Mutex
	kept := map[uint64]bool{}
	var next atomic.Uint64
	// The clients' libraries may try again for ever: what they send after the kill does not count.
	sending, stop := context.WithCancel(ctx)
	var killed atomic.Bool
	senders, err := d.senders(sending, topic, load)
	if err != nil {
		stop()
		return 0, 0, err
	}
	finished := make(chan error, 1)
	go func() {
		finished <- each(load.Clients, func(n int) error {
			sender, payload := senders[n], payloadOf(load.RecordBytes)
			defer sender.Close()
			for !killed.Load() {
				number := next.Add(1)
				binary.LittleEndian.PutUint64(payload, number)
				if err := sender.Send(sending, payload); err != nil {
					return nil
				}
				mu.Lock()
				kept[number] = true
				mu.Unlock()
			}
			return nil
		})
	}()
	time.Sleep(load.Duration)
	if err := d.process.Kill(); err != nil {
		stop()
		return 0, 0, err
	}
	killed.Store(true)
	stop()
	if err := <-finished; err != nil {
		return 0, 0, err
	}
	if d.process, err = d.again(); err != nil {
		return 0, 0, fmt.Errorf("starting again after the kill: %w", err)
	}
	acked = uint64(len(kept))
	if acked == 0 {
		return 0, 0, fmt.Errorf("nothing was acknowledged before the kill, which proves nothing: give more -seconds")
	}
	reading, done := context.WithTimeout(ctx, 60*time.Second)
	defer done()
	reader, err := d.clients().Reader(reading, topic, true)
	if err != nil {
		return acked, 0, err
	}
	defer reader.Close()
	for len(kept) > 0 {
		quiet, enough := context.WithTimeout(reading, 10*time.Second)
		payloads, err := reader.Next(quiet)
		enough()
		if err != nil || len(payloads) == 0 {
			break
		}
		for _, payload := range payloads {
			delete(kept, binary.LittleEndian.Uint64(payload))
		}
	}
	return acked, uint64(len(kept)), nil
}
