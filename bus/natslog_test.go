package bus

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
)

// However many clients send what the server does not understand, each kind of warning is one line in a period, with their number.
func TestWarningsOfOneKindAreOneLine(t *testing.T) {
	var out bytes.Buffer
	l := newNATSLog(slog.New(slog.NewTextHandler(&out, nil)))
	lines := func() []string {
		got := strings.FieldsFunc(out.String(), func(r rune) bool { return r == '\n' })
		out.Reset()
		return got
	}
	for i := range 1000 {
		l.Errorf(fmt.Sprintf("127.0.0.1:%d - cid:%d - %q - Client parser ERROR, state=%%d, i=%%d: proto='%%s...'", i, i, "my - app"), i, i, "GET / HTTP")
		l.Errorf("authentication error - User %q", fmt.Sprint(i))
	}
	if got := lines(); len(got) != 2 || !strings.Contains(got[0], "cid:0") || !strings.Contains(got[1], "authentication error") {
		t.Fatalf("at once: %q", got)
	}
	l.tell()
	if got := strings.Join(lines(), "\n"); strings.Count(got, "more_like_it=999") != 2 || !strings.Contains(got, "cid:999") {
		t.Errorf("at the end of the period: %s", got)
	}
	l.Errorf("127.0.0.1:1 - cid:7 - Client parser ERROR, state=%d", 1)
	if got := lines(); len(got) != 0 {
		t.Errorf("in a period that follows one with many: %q", got)
	}
	l.tell()
	l.tell()
	if got := lines(); len(got) != 1 || !strings.Contains(got[0], "more_like_it=1") {
		t.Errorf("then: %q", got)
	}
	l.Errorf("127.0.0.1:1 - cid:8 - Client parser ERROR, state=%d", 1)
	if got := lines(); len(got) != 1 {
		t.Errorf("after a quiet period: %q", got)
	}
	for i := range 100 * maxWarnings {
		if made := strings.Map(func(r rune) rune { return r - '0' + 'a' }, fmt.Sprint(i)); l.first(warningKind(made), made) {
			l.log.Warn(made)
		}
	}
	if got := lines(); len(got) > maxWarnings+1 {
		t.Errorf("%d lines of kinds that a client makes up", len(got))
	}
}

// lockedBuffer is a buffer that several goroutines use.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// Real connections that send anything are logged as one line at most until the bus ends.
func TestMalformedClientsAreLoggedOnce(t *testing.T) {
	var out lockedBuffer
	b, err := New(Config{Dir: t.TempDir(), Queues: map[string]Queue{"jobs": {}}, Log: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Listen(); err != nil {
		t.Fatal(err)
	}
	for range 30 {
		conn, err := net.Dial("tcp", b.nats.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprint(conn, "GET / HTTP/1.1\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		for buf := make([]byte, 1024); ; { // until the server ends it
			if _, err := conn.Read(buf); err != nil {
				break
			}
		}
		conn.Close()
	}
	if n := strings.Count(out.String(), "\n"); n == 0 || n > 2 {
		t.Errorf("%d lines: %s", n, out.String())
	}
	b.Close()
	if !strings.Contains(out.String(), "more_like_it=") {
		t.Errorf("the others are not counted: %s", out.String())
	}
}
