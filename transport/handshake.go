package transport

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// A handshake, all numbers big endian:
//
//	dialler:  magic (4), version (1), its node (8), the node it wants (8), nonce (16)
//	acceptor: magic (4), version (1), its node (8), nonce (16), proof (32)
//	dialler:  proof (32)
//
// Who is no node but asks a single question (Caller) says 0 for both nodes.
//
// A proof is an HMAC-SHA256 with the secret over the side that gives it and everything said so far.
const (
	magic    = "bnrs"
	version  = 1
	helloLen = 4 + 1 + 8 + 8 + 16
	replyLen = 4 + 1 + 8 + 16
	proofLen = sha256.Size
	anyNode  = 0
)

// ErrHandshake is wrapped by what a connection is refused for.
var ErrHandshake = errors.New("handshake")

func prove(secret []byte, side string, said ...[]byte) []byte {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte("banyan store transport, " + side))
	for _, s := range said {
		h.Write(s)
	}
	return h.Sum(nil)
}

func begin(b []byte) []byte { return append(append(b, magic...), version) }

func checkBegin(b []byte) error {
	switch {
	case string(b[:4]) != magic:
		return fmt.Errorf("%w: peer speaks another protocol", ErrHandshake)
	case b[4] != version:
		return fmt.Errorf("%w: peer speaks version %d, this is %d", ErrHandshake, b[4], version)
	}
	return nil
}

// dialled does the dialler's part.
func dialled(conn io.ReadWriter, secret []byte, self, peer uint64) error {
	hello := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(begin(nil), self), peer)
	hello = append(hello, make([]byte, 16)...)
	if _, err := rand.Read(hello[helloLen-16:]); err != nil {
		return err
	}
	if _, err := conn.Write(hello); err != nil {
		return err
	}
	reply := make([]byte, replyLen+proofLen)
	if _, err := io.ReadFull(conn, reply); err != nil {
		return fmt.Errorf("%w: node %d ended it: %w", ErrHandshake, peer, err)
	}
	said, proof := reply[:replyLen], reply[replyLen:]
	if err := checkBegin(said); err != nil {
		return err
	}
	if !hmac.Equal(proof, prove(secret, "acceptor", hello, said)) {
		return fmt.Errorf("%w: node %d does not know the secret", ErrHandshake, peer)
	}
	if got := binary.BigEndian.Uint64(said[5:]); got != peer && peer != anyNode {
		return fmt.Errorf("%w: node %d answers where node %d should", ErrHandshake, got, peer)
	}
	_, err := conn.Write(prove(secret, "dialler", hello, reply))
	return err
}

// accepted does the acceptor's part and returns who dialled, anyNode for a Caller.
func accepted(conn io.ReadWriter, secret []byte, self uint64) (peer uint64, err error) {
	hello := make([]byte, helloLen)
	if _, err := io.ReadFull(conn, hello); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrHandshake, err)
	}
	if err := checkBegin(hello); err != nil {
		return 0, err
	}
	peer = binary.BigEndian.Uint64(hello[5:])
	want := binary.BigEndian.Uint64(hello[13:])
	if caller := peer == anyNode && want == anyNode; !caller && (want != self || peer == anyNode || peer == self) {
		return 0, fmt.Errorf("%w: node %d looks for node %d, this is %d", ErrHandshake, peer, want, self)
	}
	said := binary.BigEndian.AppendUint64(begin(nil), self)
	said = append(said, make([]byte, 16)...)
	if _, err := rand.Read(said[replyLen-16:]); err != nil {
		return 0, err
	}
	reply := append(said, prove(secret, "acceptor", hello, said)...)
	if _, err := conn.Write(reply); err != nil {
		return 0, err
	}
	proof := make([]byte, proofLen)
	if _, err := io.ReadFull(conn, proof); err != nil {
		return 0, fmt.Errorf("%w: node %d ended it: %w", ErrHandshake, peer, err)
	}
	if !hmac.Equal(proof, prove(secret, "dialler", hello, reply)) {
		return 0, fmt.Errorf("%w: node %d does not know the secret", ErrHandshake, peer)
	}
	return peer, nil
}
