package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Class is what an acknowledgement promises. Only figures of one class are set side by side.
type Class string

const (
	// Synced survives a power cut: the disk has it before the acknowledgement.
	Synced Class = "synced"
	// Written survives kill -9: the operating system has it before the acknowledgement.
	Written Class = "written"
)

// Peer is a broker that can be started here.
type Peer interface {
	Name() string
	// Version of what is installed; an error where it is not.
	Version() (string, error)
	// Client that drives it.
	Client() string
	// Config is what makes it keep the class's promise, in the peer's own words; nothing where it can
	// only promise something else.
	Config(class Class) string
	// Start on data under dir, listening on loopback alone.
	Start(ctx context.Context, dir string, class Class) (Broker, error)
}

// Broker is a peer that runs.
type Broker interface {
	// Topic makes one, empty.
	Topic(ctx context.Context, name string) error
	// Flood publishes as fast as it is taken, the client batching as it likes.
	Flood(ctx context.Context, topic string, load Load) (Counted, error)
	// OneByOne has each client wait for the acknowledgement of a record before it sends the next.
	OneByOne(ctx context.Context, topic string, load Load) (Counted, error)
	// Fill publishes so many records.
	Fill(ctx context.Context, topic string, load Load, records uint64) error
	// Replay reads so many records from the start.
	Replay(ctx context.Context, topic string, records uint64) (Counted, error)
	// Tail publishes at a rate while another client follows the end; from intended send to arrival.
	Tail(ctx context.Context, topic string, load Load, rate float64) (Counted, error)
	// Killed publishes one by one, kills the broker with SIGKILL meanwhile, starts it again, and tells
	// how many records were acknowledged and how many of these are gone.
	Killed(ctx context.Context, load Load) (acked, lost uint64, err error)
	// DataDir is where its files lie.
	DataDir() string
	// Stop ends it in order and removes nothing.
	Stop() error
}

// Load is what is published.
type Load struct {
	Class       Class
	Clients     int
	RecordBytes int
	Duration    time.Duration
}

// Process is a broker's process, known by its id alone.
type Process struct {
	cmd  *exec.Cmd
	over chan error
}

// StartProcess runs a program with its output in a file beside its data.
func StartProcess(dir, name string, env []string, program string, args ...string) (*Process, error) {
	log, err := os.OpenFile(filepath.Join(dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = log, log
	// It ends with this program, however that ends.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	process := &Process{cmd: cmd, over: make(chan error, 1)}
	go func() { process.over <- cmd.Wait() }()
	return process, nil
}

// WaitFor waits until something takes connections at an address.
func (p *Process) WaitFor(address string) error {
	for range 600 {
		connection, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			return connection.Close()
		}
		select {
		case err := <-p.over:
			p.over <- err
			return fmt.Errorf("%s ended before it listened: %v", p.cmd.Path, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
	return fmt.Errorf("%s does not listen at %s", p.cmd.Path, address)
}

// Stop ends it in order, and by force after a while.
func (p *Process) Stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.over:
		return nil
	case <-time.After(60 * time.Second):
		return p.Kill()
	}
}

// Kill ends it with SIGKILL.
func (p *Process) Kill() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.over
	return nil
}

// freeAddress names a port of loopback that nobody listens at.
func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}
