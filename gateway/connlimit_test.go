package gateway

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/banyanhq/banyan/gateway/proxyproto"
	"github.com/banyanhq/banyan/topology"
)

// limited is a gateway with bounds on connections, before a backend that answers /hold when the returned channel is closed.
func limited(t *testing.T, cfg Config, bounds topology.Connections) (r *rig, release chan struct{}) {
	if cfg.System == nil {
		cfg.System = shop()
	}
	cfg.System.Connections = &bounds
	r = start(t, cfg)
	release = make(chan struct{})
	r.serve("web", func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/hold" {
			<-release
		}
		_, _ = io.WriteString(w, "fine")
	})
	return r, release
}

// asker is a connection of a client that asks on it more than once.
type asker struct {
	net.Conn
	*bufio.Reader
}

func (a asker) Read(p []byte) (int, error) { return a.Reader.Read(p) }

// open dials from an address of this machine.
func (r *rig) open(from string) asker {
	r.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.Dial("tcp", r.Addr().String())
	if err != nil {
		r.t.Fatal(err)
	}
	return r.asker(c)
}

// admitted reports whether one more connection from an address is answered. One that is refused may be so before it is made.
func (r *rig) admitted(from string) bool {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.Dial("tcp", r.Addr().String())
	return err == nil && r.asker(c).answered("/")
}

func (r *rig) asker(c net.Conn) asker {
	r.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	return asker{c, bufio.NewReader(c)}
}

// answered asks for a path, and reports whether an answer came.
func (a asker) answered(path string) bool {
	_, _ = io.WriteString(a.Conn, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n") // where that fails, so does the reading
	return a.fine()
}

func (a asker) fine() bool {
	res, err := http.ReadResponse(a.Reader, nil)
	if err != nil {
		return false
	}
	body, err := io.ReadAll(res.Body)
	return err == nil && res.StatusCode == 200 && string(body) == "fine"
}

// over reports whether the gateway has ended the connection.
func (a asker) over() bool {
	_, err := a.Peek(1)
	return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
}

func (r *rig) counts(listener string) ConnectionStats {
	all := r.Stats().Connections
	return all[slices.IndexFunc(all, func(s ConnectionStats) bool { return s.Listener == listener })]
}

// Quiet connections make room for new ones: those that were asked on, those that were not, and those on which a head does not
// come to its end. Busy ones never do.
func TestQuietConnectionsMakeRoom(t *testing.T) {
	const bound = 6
	r, release := limited(t, Config{}, topology.Connections{Max: bound})
	var quiet []asker
	for i := range bound {
		c := r.open("127.0.0.1")
		switch i % 3 {
		case 0:
			if !c.answered("/") {
				t.Fatal("no answer below the bound")
			}
		case 1:
			_, _ = io.WriteString(c.Conn, "GET / HTTP/1.1\r\nHo")
		}
		quiet = append(quiet, c)
	}
	until(t, "all are there", func() bool { return r.counts("outside").Open == bound })
	for i := range bound {
		c := r.open("127.0.0.1")
		_, _ = io.WriteString(c, "GET /hold HTTP/1.1\r\nHost: x\r\n\r\n")
		until(t, "it is let in", func() bool { return r.Stats().Routes[0].InFlight == int64(i)+1 })
		defer func() {
			if !c.fine() {
				t.Error("one that was let in has no answer")
			}
		}()
	}
	until(t, "all quiet ones are closed", func() bool { return r.counts("outside").Closed == bound })
	for _, c := range quiet {
		if !c.over() {
			t.Error("a quiet one is still open")
		}
	}
	if r.admitted("127.0.0.1") {
		t.Error("one too many is answered")
	}
	if s := r.counts("outside"); s.Open != bound || s.Refused != 1 || s.Denied != 0 || s.Max != bound || s.PerClient != bound/2 {
		t.Errorf("%+v", s)
	}
	close(release)
}

// One client has no more than its share; others get in.
func TestConnectionsPerClient(t *testing.T) {
	r, _ := limited(t, Config{}, topology.Connections{Max: 10, PerClient: 2})
	first, second := r.open("127.0.0.1"), r.open("127.0.0.1")
	if !first.answered("/") || !second.answered("/") {
		t.Fatal("no answer below the bound")
	}
	if r.admitted("127.0.0.1") {
		t.Error("the third of a client is answered")
	}
	if !r.admitted("127.0.0.2") {
		t.Error("another client is not")
	}
	if s := r.counts("outside"); s.Denied != 1 || s.Refused != 0 || s.Closed != 0 {
		t.Errorf("%+v", s)
	}
	first.Conn.Close()
	until(t, "its place is free", func() bool { return r.counts("outside").Open == 2 })
	if !r.admitted("127.0.0.1") {
		t.Error("one in the place of another is not answered")
	}
}

// The clients are those that the PROXY protocol names, not the proxy.
func TestConnectionsPerClientBehindAProxy(t *testing.T) {
	cfg, trust := secured(t, func(c *topology.TLS) { c.AcceptProxyFrom = []string{"127.0.0.0/8"} })
	cfg.System.AcceptProxyFrom = []string{"127.0.0.0/8"}
	r, _ := limited(t, cfg, topology.Connections{Max: 10, PerClient: 1})
	from := func(client string) []byte {
		h := proxyproto.Header{Source: netip.MustParseAddrPort(client), Destination: viaProxy.Destination}
		if h.Source.Addr().Is6() {
			h.Destination = netip.MustParseAddrPort("[2001:db8::80]:80")
		}
		return h.AppendV2(nil)
	}
	for listener, dial := range map[string]func(client string) net.Conn{
		"outside": func(client string) net.Conn { return after(t, r.Addr(), from(client)) },
		"tls":     func(client string) net.Conn { return tls.Client(after(t, r.TLSAddr(), from(client)), trust(r)) },
	} {
		for _, c := range []struct {
			client   string
			answered bool
		}{{"203.0.113.7:1", true}, {"203.0.113.7:2", false}, {"203.0.113.8:1", true}, {"[2001:db8::1]:1", true}, {"[2001:db8::2]:1", false}, {"[2001:db8:0:1::1]:1", true}} {
			if got := r.asker(dial(c.client)).answered("/"); got != c.answered {
				t.Errorf("%s from %s: answered %v", listener, c.client, got)
			}
		}
		if s := r.counts(listener); s.Denied != 2 || s.Refused != 0 {
			t.Errorf("%+v", s)
		}
	}
}

// Over TLS the same holds, for connections whose handshake does not come, for HTTP/1.1, HTTP/2 and HTTP/3.
func TestConnectionsOverTLSAreBounded(t *testing.T) {
	cfg, trust := secured(t, func(c *topology.TLS) { c.HTTP3 = true })
	r, release := limited(t, cfg, topology.Connections{Max: 3})
	silent := func() asker {
		c, err := net.Dial("tcp", r.TLSAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		return r.asker(c)
	}
	old := []asker{silent(), silent(), silent()}
	until(t, "all are there", func() bool { return r.counts("tls").Open == 3 })
	secure := func() asker { return r.asker(tls.Client(silent().Conn, trust(r))) }
	h1 := secure()
	if !h1.answered("/") {
		t.Error("connections without a handshake keep others out")
	}
	h2 := &http.Client{Transport: &http.Transport{TLSClientConfig: trust(r), ForceAttemptHTTP2: true}}
	defer h2.CloseIdleConnections()
	url := "https://" + r.TLSAddr().String()
	if res, body := over(t, h2, url); body != "fine" || res.ProtoMajor != 2 {
		t.Errorf("HTTP/%d %q", res.ProtoMajor, body)
	}
	transport := quicClient(trust(r))
	defer transport.Close()
	if _, body := over(t, &http.Client{Transport: transport}, url); body != "fine" {
		t.Errorf("HTTP/3: %q", body)
	}
	for _, c := range old {
		if !c.over() {
			t.Error("one without a handshake is still open")
		}
	}
	if s := r.counts("tls"); s.Open != 3 || s.Closed != 3 || s.Refused != 0 {
		t.Errorf("%+v", s)
	}
	// Two make room for those that are asked on, and HTTP/3 stays. A connection is quiet a moment after its answer.
	until(t, "both are quiet", func() bool { return r.tlsConns.restful() >= 2 })
	busy := []asker{secure(), secure()}
	for _, c := range busy {
		_, _ = io.WriteString(c.Conn, "GET /hold HTTP/1.1\r\nHost: x\r\n\r\n")
	}
	until(t, "both are asked on", func() bool { return r.Stats().Routes[0].InFlight == 2 })
	if !h1.over() {
		t.Error("a quiet one is still open")
	}
	if c, err := tls.Dial("tcp", r.TLSAddr().String(), trust(r)); err == nil && r.asker(c).answered("/") {
		t.Error("one too many is answered")
	}
	if s := r.counts("tls"); s.Open != 3 || s.Closed != 5 || s.Refused != 1 {
		t.Errorf("%+v", s)
	}
	close(release)
	for _, c := range busy {
		if !c.fine() {
			t.Error("one that was let in has no answer")
		}
	}
}

// Connections that have gone over to the full tier for good are closed when they are quiet, and not while they are in use.
func TestQuietConnectionsOfTheFullTierMakeRoom(t *testing.T) {
	r, _ := limited(t, Config{}, topology.Connections{Max: 2})
	r.serve("catalog", echoes)
	chat := r.open("127.0.0.1")
	_, _ = io.WriteString(chat, "GET /api/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	if res, err := http.ReadResponse(chat.Reader, nil); err != nil || res.StatusCode != 101 {
		t.Fatal(res, err)
	}
	h2c := new(http.Protocols)
	h2c.SetUnencryptedHTTP2(true)
	for range 3 { // each closes the one before
		two := &http.Client{Transport: &http.Transport{Protocols: h2c}}
		defer two.CloseIdleConnections()
		if _, body := over(t, two, r.url); body != "fine" {
			t.Errorf("HTTP/2: %q", body)
		}
		until(t, "it is quiet", func() bool { return r.plainConns.restful() == 1 })
		if !r.open("127.0.0.1").answered("/") {
			t.Error("a quiet connection of HTTP/2 keeps another out")
		}
		// A moment after its answer: until then there is nothing that could make room for the next one.
		until(t, "the other one is quiet", func() bool { return !fullTierOnly || r.plainConns.restful() == 1 })
	}
	_, _ = io.WriteString(chat, "still here")
	said := make([]byte, 10)
	if _, err := io.ReadFull(chat, said); err != nil || string(said) != "still here" {
		t.Errorf("an upgraded connection: %q, %v", said, err)
	}
	if s := r.counts("outside"); s.Closed != 5 || s.Refused != 0 {
		t.Errorf("%+v", s)
	}
}

// restful returns how many connections of the full tier are quiet.
func (l *connLimit) restful() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for s := range l.quiet {
		if s.since.Load() > 0 {
			n++
		}
	}
	return n
}

// What says nothing of connections has bounds that the process can keep, and does not count this machine as one client.
func TestConnectionsByDefault(t *testing.T) {
	r := start(t, Config{})
	want := int64(topology.DefaultMaxConnections)
	if files := openFiles(); files > 0 {
		want = min(want, files*3/4)
	}
	s := r.counts("outside")
	if s.Max != want || s.PerClient != (want+1)/2 {
		t.Errorf("%+v, want %d", s, want)
	}
	l := r.plainConns
	l.each.Store(1)
	for client, each := range map[string]int{"127.0.0.1": 3, "192.0.2.1": 1} {
		n := 0
		for range 3 {
			if l.enter(netip.MustParseAddr(client)) {
				defer l.leave(netip.MustParseAddr(client))
				n++
			}
		}
		if n != each {
			t.Errorf("%s has %d connections, want %d", client, n, each)
		}
	}
	if s := r.counts("services"); s.Max != 0 || s.PerClient != 0 {
		t.Errorf("%+v", s)
	}
}

// A bound changes with a reload, and what cannot be kept is said.
func TestConnectionsAfterAReload(t *testing.T) {
	var log strings.Builder
	r, _ := limited(t, Config{Log: slog.New(slog.NewTextHandler(&log, nil))}, topology.Connections{Max: 1, PerClient: 1})
	sys := shop()
	sys.Connections = &topology.Connections{Max: 1_000_000_000}
	if err := r.Reload(sys); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if !r.open("127.0.0.1").answered("/") {
			t.Error("the bound is the old one")
		}
	}
	r.stop()
	if openFiles() > 0 && !strings.Contains(log.String(), "ulimit") {
		t.Errorf("nothing is said of a bound that cannot be kept: %q", log.String())
	}
}

// Who is refused is told of once, not with each connection.
func TestRefusedConnectionsAreLoggedOnce(t *testing.T) {
	var log strings.Builder
	r, _ := limited(t, Config{Log: slog.New(slog.NewTextHandler(&log, nil))}, topology.Connections{Max: 5, PerClient: 1})
	if !r.open("127.0.0.1").answered("/") {
		t.Fatal("no answer")
	}
	for range 20 {
		if r.admitted("127.0.0.1") {
			t.Error("one too many is answered")
		}
	}
	r.stop()
	if n := strings.Count(log.String(), "connections of clients are refused"); n != 1 {
		t.Errorf("%d lines: %s", n, log.String())
	}
}
