package gateway

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/banyanhq/banyan/topology"
)

// access is what there is to say of one request from outside once it is over.
type access struct {
	at        time.Duration // when it began, on the gateway's clock
	duration  time.Duration
	upstream  time.Duration
	requestID string
	trace     traceID
	client    string
	method    string
	scheme    string
	host      string
	uri       string // as the client wrote it
	protocol  string
	status    int
	bytes     int64 // of the answer's body
	route     string
	service   string
	backend   string // the last one that was tried
	attempts  int
	fault     string
	parts     parts
}

// log has the access log say of the request what a holds, which its tier knows, and what the walk knows.
func (c *walk) log(p parts, a access, f fault) {
	a.at, a.upstream, a.requestID, a.trace, a.client = c.start, c.upstream, c.requestID, c.trace, c.client(p.chain())
	a.route, a.attempts, a.parts, a.scheme = c.target.traffic.name, c.attempts, p, "http"
	if p.secure() {
		a.scheme = "https"
	}
	if c.target.lane != nil {
		a.service = c.target.lane.service.name
	}
	if c.grant.Member != nil {
		a.backend = c.grant.Owner.(*backend).id
	}
	if f.kind != noFault {
		a.fault = f.kind.String()
	}
	c.g.access.add(&a, c.g.origin)
}

const (
	// accessFlush is after which time, and from how many bytes on, lines are written.
	accessFlush = 200 * time.Millisecond
	accessBatch = 64 << 10
	// accessMax bounds what waits for a slow disk; beyond it lines are lost, which is counted.
	accessMax = 8 << 20
)

// accessLog collects lines and writes them in batches, so that no request waits for the disk.
type accessLog struct {
	mu   sync.Mutex
	cfg  *topology.AccessLog // nil: off
	file io.WriteCloser
	buf  []byte
	lost int64
	full chan struct{} // there is a batch

	writing sync.Mutex // held while a batch is written, so that a file is not closed under it
	spare   []byte
}

// open begins to write to what cfg names, and no longer to what was open. On an error all stays as it was.
func (l *accessLog) open(cfg *topology.AccessLog, dir string) error {
	var file io.WriteCloser
	if cfg != nil {
		path := cfg.File
		switch {
		case path == "-":
			file = standardOutput{}
		case !filepath.IsAbs(path):
			path = filepath.Join(dir, path)
			fallthrough
		default:
			f, err := openLogFile(path, int64(cfg.MaxSize))
			if err != nil {
				return err
			}
			file = f
		}
	}
	l.flush()
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	old := l.file
	l.cfg, l.file = cfg, file
	l.mu.Unlock()
	if old != nil {
		return old.Close()
	}
	return nil
}

type standardOutput struct{}

func (standardOutput) Write(p []byte) (int, error) { return os.Stdout.Write(p) }
func (standardOutput) Close() error                { return nil }

// add writes a line about a request, if one is due.
func (l *accessLog) add(a *access, origin time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.cfg == nil || !sampled(l.cfg, a):
		return
	case len(l.buf) > accessMax:
		l.lost++
		return
	}
	at := origin.Add(a.at)
	switch l.cfg.Format {
	case "common":
		l.buf = appendCommon(l.buf, a, at)
	case "combined":
		l.buf = appendCombined(l.buf, a, at)
	default:
		l.buf = appendJSON(l.buf, a, at, l.cfg.Headers)
	}
	l.buf = append(l.buf, '\n')
	if len(l.buf) >= accessBatch {
		select {
		case l.full <- struct{}{}:
		default:
		}
	}
}

// on reports whether anything is written at all.
func (l *accessLog) on() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cfg != nil
}

// sampled reports whether a request is logged: by its trace id, so that all gateways that a request passes agree.
func sampled(cfg *topology.AccessLog, a *access) bool {
	if cfg.Sample >= 1 || a.status >= 500 || a.fault != "" {
		return true
	}
	return float64(binary.BigEndian.Uint64(a.trace[8:])) < float64(cfg.Sample)*math.MaxUint64
}

// run writes batches until ctx ends, and then the rest.
func (l *accessLog) run(ctx context.Context, warn func(error)) {
	tick := time.NewTicker(accessFlush)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			if err := l.open(nil, ""); err != nil {
				warn(err)
			}
			return
		case <-tick.C:
		case <-l.full:
		}
		err := l.flush()
		if err != nil && !failing {
			warn(fmt.Errorf("gateway: writing the access log: %w", err)) // once, not with each batch
		}
		failing = err != nil
	}
}

// flush writes what waits. What cannot be written is lost.
func (l *accessLog) flush() error {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	batch, file := l.buf, l.file
	l.buf = l.spare[:0]
	l.mu.Unlock()
	l.spare = batch
	if len(batch) == 0 || file == nil {
		return nil
	}
	_, err := file.Write(batch)
	return err
}

// dropped returns how many lines there was no room for.
func (l *accessLog) dropped() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

func appendJSON(b []byte, a *access, at time.Time, headers []string) []byte {
	b = append(b, `{"time":"`...)
	b = at.UTC().AppendFormat(b, "2006-01-02T15:04:05.000000Z07:00")
	b = append(b, '"')
	for _, f := range [...]struct{ key, value string }{
		{`,"request_id":`, a.requestID}, {`,"client":`, a.client}, {`,"method":`, a.method}, {`,"scheme":`, a.scheme},
		{`,"host":`, a.host}, {`,"uri":`, a.uri}, {`,"protocol":`, a.protocol},
	} {
		b = append(b, f.key...)
		b = appendString(b, f.value)
	}
	b = append(b, `,"status":`...)
	b = strconv.AppendInt(b, int64(a.status), 10)
	b = append(b, `,"bytes":`...)
	b = strconv.AppendInt(b, a.bytes, 10)
	b = append(b, `,"duration_ms":`...)
	b = appendMillis(b, a.duration)
	b = append(b, `,"upstream_ms":`...)
	b = appendMillis(b, a.upstream)
	b = append(b, `,"attempts":`...)
	b = strconv.AppendInt(b, int64(a.attempts), 10)
	for _, f := range [...]struct{ key, value string }{
		{`,"route":`, a.route}, {`,"service":`, a.service}, {`,"backend":`, a.backend}, {`,"error":`, a.fault},
		{`,"referer":`, field(a.parts, "Referer")}, {`,"user_agent":`, field(a.parts, "User-Agent")},
	} {
		if f.value != "" {
			b = append(b, f.key...)
			b = appendString(b, f.value)
		}
	}
	open := false
	for _, name := range headers {
		name = http.CanonicalHeaderKey(name)
		value, ok := a.parts.Header(name)
		if !ok {
			continue
		}
		if !open {
			b = append(b, `,"headers":{`...)
			open = true
		} else {
			b = append(b, ',')
		}
		b = appendString(b, name)
		b = append(b, ':')
		b = appendString(b, value)
	}
	if open {
		b = append(b, '}')
	}
	return append(b, '}')
}

func field(p parts, name string) string {
	v, _ := p.Header(name)
	return v
}

func appendMillis(b []byte, d time.Duration) []byte {
	return strconv.AppendFloat(b, float64(d.Microseconds())/1e3, 'f', -1, 64)
}

// appendString appends a JSON string. What is not UTF-8 becomes U+FFFD, as RFC 8259 wants text.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
			i++
		case c < ' ' || c == 0x7f:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			i++
		case c < utf8.RuneSelf:
			b = append(b, c)
			i++
		default:
			r, n := utf8.DecodeRuneInString(s[i:])
			b = utf8.AppendRune(b, r)
			i += n
		}
	}
	return append(b, '"')
}

// appendCommon appends a line of the Common Log Format, as Apache httpd writes it.
func appendCommon(b []byte, a *access, at time.Time) []byte {
	b = appendQuotable(b, a.client)
	b = append(b, ` - - [`...)
	b = at.AppendFormat(b, "02/Jan/2006:15:04:05 -0700")
	b = append(b, `] "`...)
	b = appendQuotable(b, a.method)
	b = append(b, ' ')
	b = appendQuotable(b, a.uri)
	b = append(b, ' ')
	b = append(b, a.protocol...)
	b = append(b, `" `...)
	b = strconv.AppendInt(b, int64(a.status), 10)
	b = append(b, ' ')
	if a.bytes == 0 {
		return append(b, '-')
	}
	return strconv.AppendInt(b, a.bytes, 10)
}

func appendCombined(b []byte, a *access, at time.Time) []byte {
	b = appendCommon(b, a, at)
	for _, name := range [...]string{"Referer", "User-Agent"} {
		b = append(b, ` "`...)
		if v := field(a.parts, name); v != "" {
			b = appendQuotable(b, v)
		} else {
			b = append(b, '-')
		}
		b = append(b, '"')
	}
	return b
}

// appendQuotable escapes what would end a quoted field or begin another line.
func appendQuotable(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ' || c >= 0x7f:
			b = append(b, '\\', 'x', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
	}
	return b
}

// meter counts what is written of an answer's body. It stands for the server's writer in all that the gateway asks of it.
type meter struct {
	http.ResponseWriter
	n    int64
	bare bool        // it answers a HEAD: of what is written nothing is sent
	busy atomic.Bool // the client is waited for
}

func (m *meter) Write(p []byte) (int, error) {
	m.busy.Store(true)
	n, err := m.ResponseWriter.Write(p)
	m.busy.Store(false)
	if !m.bare {
		m.n += int64(n)
	}
	return n, err
}

// Unwrap lets http.ResponseController find what the writer behind can do.
func (m *meter) Unwrap() http.ResponseWriter { return m.ResponseWriter }
