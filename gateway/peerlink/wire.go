package peerlink

import (
	"bufio"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"time"
)

// The conversation on a connection. A is the one that connected and reports, B the one that listens:
//
//	A: magic, its instance (16 bytes), a number that it drew (16 bytes), its name (a byte of length, and so many)
//	B: its instance, a number that it drew, a MAC "listens" over all of this
//	A: a MAC "reports" over all of this, and then reports: length (4 bytes), content, a MAC over its number in the row, length
//	   and content
//
// The key of the MACs is derived from the secret and all of the greeting.
const magic = "BANYAN-PEERS-1\n\x00"

const (
	idSize    = 16
	macSize   = 16
	helloTime = 3 * time.Second
)

var (
	errSelf     = errors.New("peerlink: this is the gateway itself")
	errStranger = errors.New("peerlink: the other side does not know the secret")
	errWire     = errors.New("peerlink: not the greeting of a gateway, or of another version")
)

// id names an instance: a process, from its start to its end.
type id [idSize]byte

func drawn() (b id) {
	_, _ = rand.Read(b[:]) // never fails
	return b
}

// session is a connection on which both sides have shown who they are.
type session struct {
	conn   net.Conn
	in     *bufio.Reader
	mac    hash.Hash
	number uint64 // of the next report
	peer   id
	name   string // that the other side gives itself; A's only
}

func newSession(conn net.Conn, mac hash.Hash) *session {
	return &session{conn: conn, in: bufio.NewReader(conn), mac: mac}
}

// key derives the MAC of a session.
func key(secret []byte, greeting ...[]byte) hash.Hash {
	h := hmac.New(sha256.New, secret)
	for _, g := range greeting {
		h.Write(g)
	}
	return hmac.New(sha256.New, h.Sum(nil))
}

func (s *session) sum(parts ...[]byte) []byte {
	s.mac.Reset()
	for _, p := range parts {
		s.mac.Write(p)
	}
	return s.mac.Sum(nil)[:macSize]
}

// call greets as A.
func call(conn net.Conn, secret []byte, own id, name string) (*session, error) {
	_ = conn.SetDeadline(time.Now().Add(helloTime)) // fails only where writing does
	nonce := drawn()
	name = name[:min(len(name), maxName)]
	hello := append([]byte(magic), own[:]...)
	hello = append(hello, nonce[:]...)
	hello = append(append(hello, byte(len(name))), name...)
	if _, err := conn.Write(hello); err != nil {
		return nil, err
	}
	answer := make([]byte, 2*idSize+macSize)
	if _, err := io.ReadFull(conn, answer); err != nil {
		return nil, fmt.Errorf("%w: %w", errStranger, err)
	}
	s := &session{conn: conn, mac: key(secret, hello, answer[:2*idSize]), peer: id(answer)}
	if !hmac.Equal(answer[2*idSize:], s.sum([]byte("listens"))) {
		return nil, errStranger
	}
	if s.peer == own {
		return nil, errSelf
	}
	_, err := conn.Write(s.sum([]byte("reports")))
	return s, err
}

// greet answers as B.
func greet(conn net.Conn, secret []byte, own id) (*session, error) {
	_ = conn.SetDeadline(time.Now().Add(helloTime)) // fails only where reading does
	in := bufio.NewReader(conn)
	hello := make([]byte, len(magic)+2*idSize+1, len(magic)+2*idSize+1+maxName)
	if _, err := io.ReadFull(in, hello); err != nil || string(hello[:len(magic)]) != magic {
		return nil, errWire
	}
	hello = hello[:len(hello)+int(hello[len(hello)-1])]
	name := hello[len(magic)+2*idSize+1:]
	if _, err := io.ReadFull(in, name); err != nil {
		return nil, errWire
	}
	nonce := drawn()
	answer := append(own[:], nonce[:]...)
	s := &session{conn: conn, in: in, mac: key(secret, hello, answer), peer: id(hello[len(magic):]), name: string(name)}
	if _, err := conn.Write(append(answer, s.sum([]byte("listens"))...)); err != nil {
		return nil, err
	}
	if s.peer == own {
		return nil, errSelf
	}
	proof := make([]byte, macSize)
	if _, err := io.ReadFull(in, proof); err != nil || !hmac.Equal(proof, s.sum([]byte("reports"))) {
		return nil, errStranger
	}
	return s, nil
}

// send sends a report's content.
func (s *session) send(content []byte, within time.Duration) error {
	if err := fits(content); err != nil {
		return err
	}
	_ = s.conn.SetDeadline(time.Now().Add(within)) // fails only where writing does
	frame := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(content)+macSize), uint32(len(content)))
	frame = append(frame, content...)
	frame = append(frame, s.sum(s.place(), frame)...)
	_, err := s.conn.Write(frame)
	return err
}

// receive waits so long for a report.
func (s *session) receive(within time.Duration) (Report, error) {
	_ = s.conn.SetDeadline(time.Now().Add(within)) // fails only where reading does
	var head [4]byte
	if _, err := io.ReadFull(s.in, head[:]); err != nil {
		return Report{}, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxFrame {
		return Report{}, errReport
	}
	frame := make([]byte, n+macSize)
	if _, err := io.ReadFull(s.in, frame); err != nil {
		return Report{}, err
	}
	content := frame[:n]
	if !hmac.Equal(frame[n:], s.sum(s.place(), head[:], content)) {
		return Report{}, errStranger
	}
	return parseReport(content)
}

// place is the number of the next report in the row.
func (s *session) place() []byte {
	s.number++
	return binary.BigEndian.AppendUint64(nil, s.number)
}
