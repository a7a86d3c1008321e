package bus

import (
	"bufio"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/banyanhq/banyan/bus/broker"
	"github.com/banyanhq/banyan/bus/journal"
)

// serverSide sends messages of subscription 1 down a wire, and returns when the wire has handled them.
func serverSide(t *testing.T, conn net.Conn, verb string, bodies ...string) {
	t.Helper()
	lines := bufio.NewReader(conn)
	if line, err := lines.ReadString('\n'); err != nil || !strings.HasPrefix(line, "CONNECT ") {
		t.Fatalf("%q, %v", line, err)
	}
	for _, body := range bodies {
		if _, err := fmt.Fprintf(conn, verb+"%d\r\n%s\r\n", len(body), body); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := fmt.Fprint(conn, "PING\r\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := lines.ReadString('\n'); err != nil || line != "PONG\r\n" {
		t.Fatalf("%q, %v", line, err)
	}
}

// A handler that keeps a lent body finds nothing in it once it has returned; one that is given a body of its own has it for good.
func TestALentBodyIsGoneWhenItsHandlerReturns(t *testing.T) {
	for _, c := range []struct {
		name, verb string
		make       func(net.Conn, func(inbound)) (*wire, error)
		kept       []string
	}{
		{"client", "MSG queues.jobs 1 ", func(n net.Conn, h func(inbound)) (*wire, error) { return newClientWire(n, "token", h) }, []string{"\x00\x00\x00", "\x00\x00\x00", strings.Repeat("\x00", 100000)}},
		{"leaf", "LMSG queues.jobs ", func(n net.Conn, h func(inbound)) (*wire, error) { return newLeafWire(n, leafUser, "token", h) }, []string{"one", "two", strings.Repeat("3", 100000)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			near, far := net.Pipe()
			var kept [][]byte
			var seen []string
			w, err := c.make(near, func(in inbound) {
				kept = append(kept, in.body)
				seen = append(seen, string(in.body))
			})
			if err != nil {
				t.Fatal(err)
			}
			w.wake() // the greeting goes out with what is asked for first
			done := make(chan struct{})
			go func() { defer close(done); w.run() }()
			sent := []string{"one", "two", strings.Repeat("3", 100000)}
			serverSide(t, far, c.verb, sent...)
			far.Close()
			<-done
			for i := range sent {
				if seen[i] != sent[i] || string(kept[i]) != c.kept[i] {
					t.Errorf("message %d: the handler saw %.10q, and what it kept is %.10q", i, seen[i], kept[i])
				}
			}
		})
	}
}

// heldFile is a file whose writes wait.
type heldFile struct {
	journal.File
	held <-chan struct{}
}

func (f heldFile) WriteAt(p []byte, at int64) (int, error) {
	<-f.held
	return f.File.WriteAt(p, at)
}

// What a client publishes is lent to the front. The journal writes it later, and what it writes is what was lent, not what stands there then.
func TestTheFrontKeepsNothingThatWasLent(t *testing.T) {
	held := make(chan struct{})
	queues, err := broker.Open(broker.Config{Dir: filepath.Join(t.TempDir(), "queues"), Queues: map[string]broker.QueueConfig{"jobs": {}},
		OpenFile: func(path string) (journal.File, error) {
			f, err := journal.OpenFile(path)
			return heldFile{f, held}, err
		}})
	if err != nil {
		t.Fatal(err)
	}
	defer queues.Close()
	front := &natsFront{broker: queues}
	lent := make([]byte, 5)
	for _, body := range []string{"first", "other", "third"} {
		copy(lent, body)
		front.publish(inbound{subject: "queues.jobs.key", headers: []broker.Header{{Name: headerID, Value: body}}, body: lent})
		clear(lent)
	}
	close(held)
	for _, want := range []string{"first", "other", "third"} {
		got, err := queues.Receive(limited(t), "jobs", "", 1)
		if err != nil || len(got) != 1 || string(got[0].Body) != want {
			t.Fatalf("%v, %v: expected %q", got, err, want)
		}
	}
}
