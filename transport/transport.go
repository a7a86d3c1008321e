package transport

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Config says who this node is and what its streams may hold.
type Config struct {
	Node   uint64 // not 0
	Secret []byte // of the cluster; at least 16 bytes, or none with TLS
	// TLS of all streams, in both directions: each side shows a certificate (see Certificates). Nil: in the clear.
	TLS *tls.Config
	// Receive takes what comes in, from one goroutine for each peer. While it does not return, that peer's stream
	// stands still.
	Receive func(from uint64, frame []byte)
	// Answer answers what a Caller asks, on a goroutine for each. Default: callers are turned away.
	Answer func(ctx context.Context, request []byte) []byte

	MaxFrame     int           // bytes; default 32 MiB
	QueueBytes   int           // that wait for one peer; default 64 MiB
	WriteTimeout time.Duration // after which a stream that takes nothing is broken off; default 10 s
	Log          *slog.Logger  // default: none

	redialWait time.Duration // before a peer is dialled again, at first; default 20 ms
}

// Transport is one node's end of all its streams.
type Transport struct {
	cfg Config

	mu      sync.Mutex
	addrs   map[uint64]string
	peers   map[uint64]*peer
	inbound map[uint64]net.Conn
	run     context.Context // nil before Run
	group   sync.WaitGroup

	dropped atomic.Int64
	calls   atomic.Int64 // that are being answered
}

// peer is the stream to a peer.
type peer struct {
	node   uint64
	mu     sync.Mutex
	queue  [][]byte
	bytes  int
	wakeup chan struct{} // holds one
	back   chan struct{} // holds one: there is reason to believe that the peer can be reached now
	gone   chan struct{} // closed by RemovePeer
}

// New checks the configuration.
func New(cfg Config) (*Transport, error) {
	if cfg.MaxFrame == 0 {
		cfg.MaxFrame = 32 << 20
	}
	if cfg.QueueBytes == 0 {
		cfg.QueueBytes = 64 << 20
	}
	if cfg.WriteTimeout == 0 {
		cfg.WriteTimeout = 10 * time.Second
	}
	if cfg.redialWait == 0 {
		cfg.redialWait = 20 * time.Millisecond
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	switch {
	case cfg.Node == 0:
		return nil, errors.New("transport: node id 0")
	case len(secretOr(cfg.Secret, cfg.TLS)) < 16:
		return nil, fmt.Errorf("transport: the secret has %d bytes, at least 16 are needed", len(cfg.Secret))
	case cfg.Receive == nil:
		return nil, errors.New("transport: nobody receives")
	case cfg.MaxFrame < 0 || cfg.MaxFrame > 1<<30 || cfg.QueueBytes < 0 || cfg.WriteTimeout < 0:
		return nil, errors.New("transport: a limit is out of range")
	}
	cfg.Secret = secretOr(cfg.Secret, cfg.TLS)
	return &Transport{cfg: cfg, addrs: map[uint64]string{}, peers: map[uint64]*peer{}, inbound: map[uint64]net.Conn{}}, nil
}

// SetPeer says where a node listens. A stream that stands is not touched.
func (t *Transport) SetPeer(node uint64, address string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.addrs[node] != address {
		t.addrs[node] = address
		t.redial(node)
	}
}

// redial has a stream that broke be dialled without waiting any longer. The lock must be held.
func (t *Transport) redial(node uint64) {
	if p := t.peers[node]; p != nil {
		select {
		case p.back <- struct{}{}:
		default:
		}
	}
}

// RemovePeer forgets a node, ends the stream to it and drops what waits there.
func (t *Transport) RemovePeer(node uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.addrs, node)
	if p := t.peers[node]; p != nil {
		delete(t.peers, node)
		close(p.gone)
	}
}

// Dropped counts frames that did not fit a queue or were lost with a stream.
func (t *Transport) Dropped() int64 { return t.dropped.Load() }

// Send gives a frame to the stream to a node. It does not wait; if the queue is full, the frame is lost. The frame must
// not be changed afterwards.
func (t *Transport) Send(node uint64, frame []byte) {
	p := t.peer(node)
	if p == nil || len(frame) > t.cfg.MaxFrame {
		t.dropped.Add(1)
		return
	}
	p.mu.Lock()
	if p.bytes+len(frame) > t.cfg.QueueBytes {
		p.mu.Unlock()
		t.dropped.Add(1)
		return
	}
	p.queue, p.bytes = append(p.queue, frame), p.bytes+len(frame)
	p.mu.Unlock()
	select {
	case p.wakeup <- struct{}{}:
	default:
	}
}

// peer returns the stream to a node, nil if the transport does not know where the node is or has stopped.
func (t *Transport) peer(node uint64) *peer {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.peers[node]
	if p != nil || t.addrs[node] == "" || t.run != nil && t.run.Err() != nil {
		return p
	}
	p = &peer{node: node, wakeup: make(chan struct{}, 1), back: make(chan struct{}, 1), gone: make(chan struct{})}
	t.peers[node] = p
	if ctx := t.run; ctx != nil {
		t.group.Go(func() { t.serve(ctx, p) })
	}
	return p
}

// Run accepts streams on the listener, which it closes, and keeps those to peers going until the context ends.
func (t *Transport) Run(ctx context.Context, listener net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t.mu.Lock()
	t.run = ctx
	for _, p := range t.peers { // that were sent to before
		t.group.Go(func() { t.serve(ctx, p) })
	}
	t.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	var err error
	for {
		conn, e := listener.Accept()
		if e != nil {
			if ctx.Err() == nil {
				err = fmt.Errorf("transport: accept: %w", e)
			}
			break
		}
		t.mu.Lock()
		t.group.Go(func() { t.receive(ctx, conn) })
		t.mu.Unlock()
	}
	cancel()
	t.mu.Lock() // nobody begins a stream after this, because the context has ended
	t.peers = map[uint64]*peer{}
	t.mu.Unlock()
	t.group.Wait()
	return err
}

const handshakeTimeout = 5 * time.Second

// receive serves a stream that a peer dialled.
func (t *Transport) receive(ctx context.Context, conn net.Conn) {
	if t.cfg.TLS != nil {
		conn = tls.Server(conn, t.cfg.TLS)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(handshakeTimeout))
	from, err := accepted(conn, t.cfg.Secret, t.cfg.Node)
	if err != nil {
		t.cfg.Log.Warn("transport: stream refused", "from", conn.RemoteAddr(), "err", err)
		return
	}
	if from == anyNode {
		t.answer(ctx, conn)
		return
	}
	_ = conn.SetDeadline(time.Time{})
	t.replace(from, conn)
	defer t.forget(from, conn)
	r := bufio.NewReaderSize(conn, 64<<10)
	for {
		frame, err := readFrame(r, t.cfg.MaxFrame)
		if err != nil {
			if ctx.Err() == nil {
				t.cfg.Log.Info("transport: stream ended", "node", from, "err", err)
			}
			return
		}
		t.cfg.Receive(from, frame)
	}
}

// replace makes conn the only stream from a node: the one before it is dead, whether this side has noticed or not. Where the one to
// it broke, the node is back.
func (t *Transport) replace(node uint64, conn net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if old := t.inbound[node]; old != nil {
		_ = old.Close()
	}
	t.inbound[node] = conn
	t.redial(node)
}

func (t *Transport) forget(node uint64, conn net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.inbound[node] == conn {
		delete(t.inbound, node)
	}
}

// mostWait is for how long, at most, a peer is not dialled again that could not be reached.
const mostWait = time.Second

// serve keeps the stream to a peer going.
func (t *Transport) serve(ctx context.Context, p *peer) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t.group.Go(func() {
		select {
		case <-ctx.Done():
		case <-p.gone:
			cancel()
		}
	})
	wait := t.cfg.redialWait
	for ctx.Err() == nil {
		began := time.Now()
		select {
		case <-p.back: // this is the attempt that it was for
		default:
		}
		err := t.stream(ctx, p)
		if ctx.Err() != nil {
			return
		}
		t.cfg.Log.Info("transport: stream broke", "node", p.node, "err", err)
		t.dropped.Add(int64(p.clear())) // old news: the sender says it again if it still matters
		if time.Since(began) > time.Second {
			wait = t.cfg.redialWait
		}
		timer := time.NewTimer(wait/2 + rand.N(wait/2))
		select {
		case <-ctx.Done():
		case <-p.back:
			wait = t.cfg.redialWait
		case <-timer.C:
		}
		timer.Stop()
		wait = max(wait, min(2*wait, mostWait))
	}
}

func (t *Transport) stream(ctx context.Context, p *peer) error {
	t.mu.Lock()
	address := t.addrs[p.node]
	t.mu.Unlock()
	conn, err := dial(ctx, t.cfg.TLS, address)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(handshakeTimeout))
	if err := dialled(conn, t.cfg.Secret, t.cfg.Node, p.node); err != nil {
		return err
	}
	_ = conn.SetReadDeadline(time.Time{})
	// The peer sends nothing more: a read ends when the stream does, so that a broken one is noticed with nothing to send.
	broken := make(chan struct{})
	t.group.Go(func() {
		defer close(broken)
		var one [1]byte
		_, _ = conn.Read(one[:])
		_ = conn.Close()
	})
	defer func() { _ = conn.Close(); <-broken }()
	var headers []byte
	var frames, pieces [][]byte
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-broken:
			return errors.New("closed by peer")
		case <-p.wakeup:
		}
		frames = p.take(frames)
		headers, pieces = headers[:0], pieces[:0]
		for _, f := range frames {
			n := len(headers)
			headers = appendHeader(headers, f)
			pieces = append(pieces, headers[n:], f)
		}
		_ = conn.SetWriteDeadline(time.Now().Add(t.cfg.WriteTimeout))
		if err := t.write(conn, pieces); err != nil {
			t.dropped.Add(int64(len(frames)))
			return err
		}
		clear(frames)
	}
}

// write sends buffers with one call of the system, or in TLS records that are as full as can be.
func (t *Transport) write(conn net.Conn, buffers net.Buffers) error {
	if t.cfg.TLS == nil {
		_, err := buffers.WriteTo(conn)
		return err
	}
	w := bufio.NewWriterSize(conn, 16<<10)
	if _, err := buffers.WriteTo(w); err != nil {
		return err
	}
	return w.Flush()
}

// take returns what waits. The next frames are put into room.
func (p *peer) take(room [][]byte) [][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	frames := p.queue
	p.queue, p.bytes = room[:0], 0
	return frames
}

// clear drops what waits and returns how many frames that were.
func (p *peer) clear() int { return len(p.take(nil)) }
