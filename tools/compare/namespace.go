package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Namespace is a network that has loopback and nothing else: for a broker that listens at every address
// and can't be told not to. To make one takes root.
type Namespace struct{ file *os.File }

func NewNamespace() (*Namespace, error) {
	var made Namespace
	unshare := func() error { return unix.Unshare(unix.CLONE_NEWNET) }
	err := elsewhere(unshare, func() (err error) {
		if err = loopbackUp(); err != nil {
			return err
		}
		made.file, err = threadNamespace()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("making a network namespace: %w", err)
	}
	return &made, nil
}

// Do runs a function on a thread in the namespace. The sockets and the processes that it makes itself, not
// those of goroutines that it starts, stay there.
func (n *Namespace) Do(run func() error) error {
	enter := func() error { return unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET) }
	return elsewhere(enter, run)
}

// Dial connects to a numeric address in the namespace: a name would be looked up by another goroutine.
func (n *Namespace) Dial(ctx context.Context, network, address string) (connection net.Conn, err error) {
	err = n.Do(func() (err error) {
		var dialer net.Dialer
		connection, err = dialer.DialContext(ctx, network, address)
		return err
	})
	return connection, err
}

func (n *Namespace) Close() error { return n.file.Close() }

// elsewhere runs a function on a thread that has entered another namespace, and brings the thread home.
func elsewhere(enter, run func() error) error {
	runtime.LockOSThread()
	home, err := threadNamespace()
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer home.Close()
	if err := enter(); err != nil {
		runtime.UnlockOSThread()
		return err
	}
	err = run()
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		// Still locked, the thread ends with its goroutine and runs nothing else in the wrong place.
		return fmt.Errorf("leaving the network namespace: %w", back)
	}
	runtime.UnlockOSThread()
	return err
}

func threadNamespace() (*os.File, error) {
	return os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
}

// loopbackUp turns on the one interface that a new namespace has.
func loopbackUp() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(socket, unix.SIOCGIFFLAGS, request); err != nil {
		return err
	}
	request.SetUint16(request.Uint16() | unix.IFF_UP)
	return unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request)
}
