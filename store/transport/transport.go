package transport

import (
	"bufio"
	"context"
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
	Secret []byte // of the cluster; at least 16 bytes
	// Receive takes what comes in, from one goroutine for each peer. While it does not return, that peer's stream
	// stands still.
	Receive func(from uint64, frame []byte)

	MaxFrame     int           // bytes; default 32 MiB
	QueueBytes   int           // that wait for one peer; default 64 MiB
	WriteTimeout time.Duration // after which a stream that takes nothing is broken off; default 10 s
	Log          *slog.Logger  // default: none
}

// Transport is one node's end of all its streams.
type Transport struct {
	cfg Config

	mu      sync.Mutex
	addrs   map[uint64]string
	peers   map[uint64]*peer
	inbound map[uint64]net.Conn
	run     context.Context // nil unless running
	group   sync.WaitGroup

	dropped atomic.Int64
}

// peer is the stream to a peer.
type peer struct {
	node   uint64
	mu     sync.Mutex
	queue  [][]byte
	bytes  int
	wakeup chan struct{} // holds one
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
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	switch {
	case cfg.Node == 0:
		return nil, errors.New("transport: node id 0")
	case len(cfg.Secret) < 16:
		return nil, fmt.Errorf("transport: the secret has %d bytes, at least 16 are needed", len(cfg.Secret))
	case cfg.Receive == nil:
		return nil, errors.New("transport: nobody receives")
	case cfg.MaxFrame < 0 || cfg.MaxFrame > 1<<30 || cfg.QueueBytes < 0 || cfg.WriteTimeout < 0:
		return nil, errors.New("transport: a limit is out of range")
	}
	return &Transport{cfg: cfg, addrs: map[uint64]string{}, peers: map[uint64]*peer{}, inbound: map[uint64]net.Conn{}}, nil
}

// SetPeer says where a node listens. A stream that stands is not touched.
func (t *Transport) SetPeer(node uint64, address string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.addrs[node] = address
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

// peer returns the stream to a node, nil if the transport does not run or does not know where the node is.
func (t *Transport) peer(node uint64) *peer {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.peers[node]
	if p != nil || t.run == nil || t.run.Err() != nil || t.addrs[node] == "" {
		return p
	}
	p = &peer{node: node, wakeup: make(chan struct{}, 1)}
	t.peers[node] = p
	ctx := t.run
	t.group.Go(func() { t.serve(ctx, p) })
	return p
}

// Run accepts streams on the listener, which it closes, and keeps those to peers going until the context ends.
func (t *Transport) Run(ctx context.Context, listener net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t.mu.Lock()
	t.run = ctx
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
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(handshakeTimeout))
	from, err := accepted(conn, t.cfg.Secret, t.cfg.Node)
	if err != nil {
		t.cfg.Log.Warn("transport: stream refused", "from", conn.RemoteAddr(), "err", err)
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

// replace makes conn the only stream from a node: the one before it is dead, whether this side has noticed or not.
func (t *Transport) replace(node uint64, conn net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if old := t.inbound[node]; old != nil {
		_ = old.Close()
	}
	t.inbound[node] = conn
}

func (t *Transport) forget(node uint64, conn net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.inbound[node] == conn {
		delete(t.inbound, node)
	}
}

// serve keeps the stream to a peer going.
func (t *Transport) serve(ctx context.Context, p *peer) {
	wait := 20 * time.Millisecond
	for ctx.Err() == nil {
		began := time.Now()
		err := t.stream(ctx, p)
		if ctx.Err() != nil {
			return
		}
		t.cfg.Log.Info("transport: stream broke", "node", p.node, "err", err)
		t.dropped.Add(int64(p.clear())) // old news: the sender says it again if it still matters
		if time.Since(began) > time.Second {
			wait = 20 * time.Millisecond
		}
		timer := time.NewTimer(wait/2 + rand.N(wait/2))
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
		wait = min(2*wait, time.Second)
	}
}

func (t *Transport) stream(ctx context.Context, p *peer) error {
	t.mu.Lock()
	address := t.addrs[p.node]
	t.mu.Unlock()
	dialer := net.Dialer{Timeout: handshakeTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", address)
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
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-broken:
			return errors.New("closed by peer")
		case <-p.wakeup:
		}
		frames := p.take()
		buffers := make(net.Buffers, 0, 2*len(frames))
		for _, f := range frames {
			buffers = append(buffers, header(f), f)
		}
		_ = conn.SetWriteDeadline(time.Now().Add(t.cfg.WriteTimeout))
		if _, err := buffers.WriteTo(conn); err != nil {
			t.dropped.Add(int64(len(frames)))
			return err
		}
	}
}

func (p *peer) take() [][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	frames := p.queue
	p.queue, p.bytes = nil, 0
	return frames
}

// clear drops what waits and returns how many frames that were.
func (p *peer) clear() int { return len(p.take()) }
