package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAFrameOfRecordsIsWhatS2Takes(t *testing.T) {
	frame := appendS2Record(nil, []byte("ab"))
	frame = appendS2Record(frame, []byte("c"))
	sealS2Frame(frame)
	wanted := []byte{0, 0, 12, 0, 0x0a, 4, 0x1a, 2, 'a', 'b', 0x0a, 3, 0x1a, 1, 'c'}
	if !bytes.Equal(frame, wanted) {
		t.Fatalf("%x instead of %x", frame, wanted)
	}
	message, err := readS2Frame(bytes.NewReader(frame))
	if err != nil || !bytes.Equal(message, wanted[4:]) {
		t.Errorf("%x came back, %v", message, err)
	}
}

func TestPayloadsAreReadAndOtherFieldsPassedOver(t *testing.T) {
	batch := []byte{
		0x0a, 9, 0x08, 7, 0x10, 0xac, 0x02, 0x22, 2, 'a', 'b', // sequence number, timestamp, body
		0x12, 2, 0x08, 8, // the tail
		0x0a, 2, 0x08, 8, // a record without a body
	}
	payloads, err := s2Payloads(batch)
	if err != nil || len(payloads) != 2 || string(payloads[0]) != "ab" || len(payloads[1]) != 0 {
		t.Errorf("%q, %v", payloads, err)
	}
	for cut := range batch {
		if cut == 0 || cut == 11 || cut == 15 {
			continue // ends between fields
		}
		if _, err := s2Payloads(batch[:cut]); err == nil {
			t.Errorf("%d of %d bytes are taken for a message", cut, len(batch))
		}
	}
}

func TestASessionThatEndsSaysWhy(t *testing.T) {
	_, err := readS2Frame(strings.NewReader("\x00\x00\x07\x80\x01\x99gone"))
	if err == nil || !strings.Contains(err.Error(), "409: gone") {
		t.Errorf("%v", err)
	}
	if _, err := readS2Frame(strings.NewReader("\x00\x00\x02\x20x")); err == nil {
		t.Error("a packed frame is taken for a plain one")
	}
	if _, err := readS2Frame(strings.NewReader("")); !errors.Is(err, io.EOF) {
		t.Errorf("%v at the end", err)
	}
}

func TestANamespaceIsReachedFromWithinAlone(t *testing.T) {
	network, err := NewNamespace()
	if errors.Is(err, unix.EPERM) {
		t.Skip("takes root: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer network.Close()
	var listener net.Listener
	if err := network.Do(func() (err error) {
		listener, err = net.Listen("tcp", "0.0.0.0:0")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	address := net.JoinHostPort("127.0.0.1", port)
	within, err := network.Dial(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	within.Close()
	if outside, err := net.Dial("tcp", address); err == nil {
		outside.Close()
		t.Errorf("%s is reached from outside", address)
	}
}
