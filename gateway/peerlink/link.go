package peerlink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"
)

// Silence is after which time without a report a peer is gone.
const Silence = 3 * time.Second

// Config of a Link. All but Log and Dial are required.
type Config struct {
	// Listener at which others report. Run closes it.
	Listener net.Listener
	// Name by which the others know this one.
	Name string
	// Peers are the addresses of the others. This one's own may be among them: it is found out and left alone.
	Peers []string
	// Secret that all gateways of the system share, at least 16 bytes.
	Secret []byte
	// Every is how often a report is sent.
	Every time.Duration
	// Report is what there is to tell. It is called by one goroutine.
	Report func() Report
	// Heard is told of what a peer, by its instance, has reported, and Gone that it will report nothing more. They are
	// called by several goroutines.
	Heard func(peer string, r Report)
	Gone  func(peer string)
	// Log of peers that come and go. Default: none.
	Log *slog.Logger
	// Dial connects to a peer. Default: by TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)
}

// Link is one gateway's part in the exchange. Run runs it; Peers may be called at any time.
type Link struct {
	cfg  Config
	self id

	mu    sync.Mutex
	out   map[string]*outward // by address
	in    map[id]*inward
	conns map[net.Conn]struct{}
	over  bool
}

// outward is a peer that is reported to.
type outward struct {
	address string
	queue   chan []byte // what is to be sent
	state   string
	self    bool
}

// inward is a peer that reports.
type inward struct {
	name string
	last time.Time // of its last report; zero: there was none yet
	conn net.Conn
}

// Peer says how it stands with one peer.
type Peer struct {
	// Address as the configuration has it, for a peer that is reported to; the name that it gives itself for one that
	// reports.
	Address string `json:"address"`
	// Reports is whether it reports to this gateway; Hears, that this one reports to it. Self is this gateway itself.
	Reports bool `json:"reports"`
	Hears   bool `json:"hears"`
	Self    bool `json:"self,omitempty"`
	// Silent is for how long nothing has been heard of it, where it reports.
	Silent time.Duration `json:"silent,omitempty"`
	// Error is why it is not reported to.
	Error string `json:"error,omitempty"`
}

const (
	minSecret = 16
	// queued is how many reports may wait for a peer. One that does not take them is cut off.
	queued = 16
	// maxInward bounds the connections at the listener.
	maxInward = 1024
	firstWait = 100 * time.Millisecond
	longWait  = 5 * time.Second
	selfWait  = time.Minute
)

// New returns a link. It opens nothing.
func New(cfg Config) (*Link, error) {
	if len(cfg.Secret) < minSecret {
		return nil, fmt.Errorf("peerlink: a secret of %d bytes: want at least %d", len(cfg.Secret), minSecret)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Dial == nil {
		d := net.Dialer{Timeout: time.Second}
		cfg.Dial = func(ctx context.Context, address string) (net.Conn, error) { return d.DialContext(ctx, "tcp", address) }
	}
	l := &Link{cfg: cfg, self: drawn(), out: map[string]*outward{}, in: map[id]*inward{}, conns: map[net.Conn]struct{}{}}
	for _, a := range cfg.Peers {
		l.out[a] = &outward{address: a, state: "not connected yet"}
	}
	return l, nil
}

// Run exchanges reports until ctx ends.
func (l *Link) Run(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	defer l.end() // not by the context: who hears and reports ends by it, and is waited for
	for _, o := range l.out {
		all.Go(func() { l.reportTo(ctx, o) })
	}
	all.Go(func() { l.accept(&all) })
	tick := time.NewTicker(l.cfg.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			l.tell(l.cfg.Report())
		}
	}
}

// Part hears and reports no more, as Run does when its context ends, and leaves the rest to another process.
func (l *Link) Part() { l.end() }

// end closes everything.
func (l *Link) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	_ = l.cfg.Listener.Close()
	for c := range l.conns {
		_ = c.Close()
	}
}

// keep has end close a connection; false: it has ended already.
func (l *Link) keep(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over || len(l.conns) >= maxInward+len(l.out) {
		_ = c.Close()
		return false
	}
	l.conns[c] = struct{}{}
	return true
}

func (l *Link) drop(c net.Conn) {
	_ = c.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

// tell gives a report to all peers that are connected; one that has not taken those before is cut off.
func (l *Link) tell(r Report) {
	content := r.append(nil)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range l.out {
		if o.queue == nil {
			continue
		}
		select {
		case o.queue <- content:
		default:
			close(o.queue)
			o.queue = nil
		}
	}
}

// reportTo keeps a connection to a peer, and sends it what there is to tell.
func (l *Link) reportTo(ctx context.Context, o *outward) {
	wait := firstWait
	for ctx.Err() == nil {
		began := time.Now()
		err := l.reports(ctx, o)
		if time.Since(began) > Silence {
			wait = firstWait
		}
		if errors.Is(err, errSelf) {
			wait = selfWait
		}
		l.mu.Lock()
		if o.queue != nil {
			o.queue = nil
		}
		o.self = errors.Is(err, errSelf)
		if err != nil && err.Error() != o.state && !o.self && ctx.Err() == nil {
			l.cfg.Log.Warn("a gateway of the system is not told what this one spends", "peer", o.address, "error", err)
		}
		if err != nil {
			o.state = err.Error()
		}
		l.mu.Unlock()
		timer := time.NewTimer(wait + rand.N(wait/2))
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
		wait = min(2*wait, longWait)
	}
}

// reports connects and reports until that fails.
func (l *Link) reports(ctx context.Context, o *outward) error {
	conn, err := l.cfg.Dial(ctx, o.address)
	if err != nil {
		return err
	}
	if !l.keep(conn) {
		return net.ErrClosed
	}
	defer l.drop(conn)
	s, err := call(conn, l.cfg.Secret, l.self, l.cfg.Name)
	if err != nil {
		return err
	}
	queue := make(chan []byte, queued)
	l.mu.Lock()
	o.queue, o.state = queue, ""
	l.mu.Unlock()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case content, open := <-queue:
			if !open {
				return errors.New("peerlink: the peer takes no reports")
			}
			if err := s.send(content, Silence); err != nil {
				return err
			}
		}
	}
}

// accept hears those that report.
func (l *Link) accept(all *sync.WaitGroup) {
	for {
		conn, err := l.cfg.Listener.Accept()
		if err != nil {
			l.mu.Lock()
			over := l.over
			l.mu.Unlock()
			if over || errors.Is(err, net.ErrClosed) {
				return
			}
			l.cfg.Log.Error("accepting a gateway of the system", "error", err)
			time.Sleep(firstWait) // out of descriptors: it passes
			continue
		}
		if l.keep(conn) {
			all.Go(func() { l.hear(conn) })
		}
	}
}

// hear takes one peer's reports until it goes.
func (l *Link) hear(conn net.Conn) {
	defer l.drop(conn)
	s, err := greet(conn, l.cfg.Secret, l.self)
	if err != nil {
		if errors.Is(err, errStranger) {
			l.cfg.Log.Warn("somebody without the secret wanted to report as a gateway", "from", conn.RemoteAddr().String())
		}
		return
	}
	peer := fmt.Sprintf("%x", s.peer)
	in := &inward{name: s.name, conn: conn}
	l.mu.Lock()
	old := l.in[s.peer]
	l.in[s.peer] = in
	l.mu.Unlock()
	if old != nil {
		_ = old.conn.Close() // it has connected anew
	}
	for {
		r, err := s.receive(Silence)
		if err != nil {
			break
		}
		l.mu.Lock()
		current := l.in[s.peer] == in
		l.mu.Unlock()
		if !current {
			return
		}
		l.cfg.Heard(peer, r)
		l.mu.Lock()
		in.last = time.Now()
		l.mu.Unlock()
	}
	l.mu.Lock()
	current := l.in[s.peer] == in
	if current {
		delete(l.in, s.peer)
	}
	l.mu.Unlock()
	if current {
		l.cfg.Gone(peer)
	}
}

// Peers says how it stands with all of them: those of the configuration first, then others that report.
func (l *Link) Peers() []Peer {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]Peer, 0, len(l.cfg.Peers))
	for _, a := range l.cfg.Peers {
		o := l.out[a]
		all = append(all, Peer{Address: a, Hears: o.queue != nil, Self: o.self, Error: o.state})
		if o.self {
			all[len(all)-1].Error = ""
		}
	}
	for _, in := range l.in {
		if in.last.IsZero() {
			continue
		}
		i := slices.IndexFunc(all, func(p Peer) bool { return p.Address == in.name })
		if i < 0 {
			all = append(all, Peer{Address: in.name})
			i = len(all) - 1
		}
		all[i].Reports, all[i].Silent = true, now.Sub(in.last)
	}
	slices.SortStableFunc(all[len(l.cfg.Peers):], func(a, b Peer) int {
		if a.Address < b.Address {
			return -1
		}
		return 1
	})
	return all
}
