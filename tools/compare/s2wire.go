package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/encoding/protowire"
)

// S2S, the sessions of S2: each frame is its length without itself (three bytes, big-endian), flags (one
// byte), a protobuf message. What is here is of s2/v1/s2.proto; s2-lite takes frames of up to 2 MiB.
const (
	s2FrameHeader   = 4
	s2FrameMost     = 2 << 20
	s2FlagTerminal  = 0x80
	s2FlagsPacked   = 0x60
	s2RecordsField  = 1 // of AppendInput and of ReadBatch
	s2AppendedField = 3 // the body of an AppendRecord
	s2ReadField     = 4 // the body of a SequencedRecord
	// A batch has so many records and bytes, counted with eight for each record.
	s2BatchRecords = 1_000
	s2BatchBytes   = 1 << 20
	s2RecordBytes  = 8
)

// appendS2Record puts a record into a frame, which begins with room for its header.
func appendS2Record(frame, payload []byte) []byte {
	if len(frame) == 0 {
		frame = append(frame, make([]byte, s2FrameHeader)...)
	}
	frame = protowire.AppendTag(frame, s2RecordsField, protowire.BytesType)
	frame = protowire.AppendVarint(frame, uint64(protowire.SizeTag(s2AppendedField)+protowire.SizeBytes(len(payload))))
	frame = protowire.AppendTag(frame, s2AppendedField, protowire.BytesType)
	return protowire.AppendBytes(frame, payload)
}

// sealS2Frame writes the header, now that the length is known.
func sealS2Frame(frame []byte) {
	binary.BigEndian.PutUint32(frame, uint32(len(frame)-s2FrameHeader+1)<<8)
}

// readS2Frame gives the message of the next frame, in bytes of its own.
func readS2Frame(from io.Reader) ([]byte, error) {
	var header [s2FrameHeader]byte
	if _, err := io.ReadFull(from, header[:]); err != nil {
		return nil, err
	}
	length, flags := binary.BigEndian.Uint32(header[:])>>8, header[3]
	if length == 0 || length > s2FrameMost {
		return nil, fmt.Errorf("a frame of %d bytes", length)
	}
	message := make([]byte, length-1)
	if _, err := io.ReadFull(from, message); err != nil {
		return nil, err
	}
	switch {
	case flags&s2FlagTerminal != 0 && len(message) >= 2:
		return nil, fmt.Errorf("the session ended with %d: %s", binary.BigEndian.Uint16(message), message[2:])
	case flags&(s2FlagTerminal|s2FlagsPacked) != 0:
		return nil, fmt.Errorf("a frame with flags %#x, which was not asked for", flags)
	}
	return message, nil
}

var errS2Message = errors.New("a message that is no protobuf")

// s2Payloads gives the bodies of a ReadBatch's records; none of a heartbeat's.
func s2Payloads(message []byte) (payloads [][]byte, err error) {
	err = s2Fields(message, s2RecordsField, func(record []byte) error {
		var payload []byte
		err := s2Fields(record, s2ReadField, func(body []byte) error {
			payload = body
			return nil
		})
		payloads = append(payloads, payload)
		return err
	})
	return payloads, err
}

// s2Fields calls a function for each field of a number, which are bytes, and passes over all others.
func s2Fields(message []byte, number protowire.Number, each func([]byte) error) error {
	for len(message) > 0 {
		found, kind, length := protowire.ConsumeTag(message)
		if length < 0 {
			return errS2Message
		}
		message = message[length:]
		if found == number && kind == protowire.BytesType {
			value, length := protowire.ConsumeBytes(message)
			if length < 0 {
				return errS2Message
			}
			if err := each(value); err != nil {
				return err
			}
			message = message[length:]
			continue
		}
		if length = protowire.ConsumeFieldValue(found, kind, message); length < 0 {
			return errS2Message
		}
		message = message[length:]
	}
	return nil
}
