package streamlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/banyanhq/banyan/bus/journal"
)

const (
	stream  = "LOG"
	subject = "log"
)

// startStream starts a server with a stream for a log.
func startStream(t *testing.T) jetstream.JetStream {
	t.Helper()
	s, err := server.NewServer(&server.Options{Port: server.RANDOM_PORT, Host: "127.0.0.1", NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the server does not come up")
	}
	conn, err := nats.Connect("", nats.InProcessServer(s), nats.Timeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn, jetstream.WithDefaultTimeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: stream, Subjects: []string{subject}, AllowDirect: true}); err != nil {
		t.Fatal(err)
	}
	return js
}

// open opens a log and returns what it replayed.
func open(t *testing.T, js jetstream.JetStream) (*Log, map[journal.Position]string) {
	t.Helper()
	got := map[journal.Position]string{}
	l, err := Open(t.Context(), js, Options{Stream: stream, Subject: subject, MaxFrame: 512 << 10}, func(at journal.Position, data []byte) error {
		got[at] = string(data)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, got
}

// add appends records and returns where they stand.
func add(t *testing.T, l *Log, records ...string) (all []journal.Position) {
	t.Helper()
	type told struct {
		at  journal.Position
		err error
	}
	done := make(chan told, len(records))
	for _, r := range records {
		if err := l.Append(journal.Record{Data: []byte(r), Done: func(at journal.Position, err error) { done <- told{at, err} }}); err != nil {
			t.Fatal(err)
		}
	}
	for range records {
		d := <-done
		if d.err != nil {
			t.Fatal(d.err)
		}
		all = append(all, d.at)
	}
	return all
}

func check(t *testing.T, l *Log, at journal.Position, want string) {
	t.Helper()
	p := make([]byte, len(want))
	if err := l.Read(at, p); err != nil || string(p) != want {
		t.Fatalf("read %q, %v; want %q", p, err, want)
	}
}

func TestWhatWasAppendedIsFoundAgain(t *testing.T) {
	js := startStream(t)
	l, _ := open(t, js)
	var want []string
	for i := range 600 {
		want = append(want, fmt.Sprint("record ", i))
	}
	big := string(bytes.Repeat([]byte("x"), 300<<10))
	want = append(want, big, big, big) // which no frame can have together
	at := add(t, l, want...)
	check(t, l, at[7], want[7])
	if err := l.Append(journal.Record{Data: make([]byte, 600<<10)}); err == nil {
		t.Error("a record that no frame can have was taken")
	}
	var copied []string
	if err := l.Copy(t.Context(), func(p []byte) error { copied = append(copied, string(p)); return nil }); err != nil || len(copied) != len(want) {
		t.Fatal(len(copied), err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(journal.Record{Data: []byte("late")}); !errors.Is(err, journal.ErrClosed) {
		t.Error(err)
	}
	again, got := open(t, js)
	if len(got) != len(want) {
		t.Fatalf("%d records were found, want %d", len(got), len(want))
	}
	for i, p := range at {
		if got[p] != want[i] || copied[i] != want[i] {
			t.Fatalf("record %d is %.20q, copied %.20q", i, got[p], copied[i])
		}
		check(t, again, p, want[i])
	}
}

// A writer that another has followed can't write, and what it sent meanwhile counts for nobody.
func TestOnlyTheLatestWrites(t *testing.T) {
	js := startStream(t)
	old, _ := open(t, js)
	add(t, old, "first")
	next, got := open(t, js)
	if len(got) != 1 {
		t.Fatal(got)
	}
	err := make(chan error, 1)
	if e := old.Append(journal.Record{Data: []byte("stale"), Done: func(_ journal.Position, e error) { err <- e }}); e != nil {
		t.Fatal(e)
	}
	if e := <-err; !errors.Is(e, ErrFailed) {
		t.Fatal(e)
	}
	<-old.Failed()
	if e := old.Append(journal.Record{Data: []byte("staler")}); !errors.Is(e, ErrFailed) {
		t.Fatal(e)
	}
	add(t, next, "second")

	// A frame of the old one that was on its way comes late, and the server stores it.
	frame, _ := encodeFrame(old.last, []journal.Record{{Data: []byte("stale")}})
	if _, e := js.Publish(t.Context(), subject, frame); e != nil {
		t.Fatal(e)
	}
	if _, e := js.Publish(t.Context(), subject, []byte("rubbish")); e != nil {
		t.Fatal(e)
	}
	_, got = open(t, js)
	if len(got) != 2 {
		t.Fatalf("found %v", got)
	}
	for _, text := range got {
		if text != "first" && text != "second" {
			t.Errorf("%q counts", text)
		}
	}
}

func TestSegmentsAreDropped(t *testing.T) {
	js := startStream(t)
	l, _ := open(t, js)
	for i := range segmentFrames + 10 {
		add(t, l, fmt.Sprint("record ", i)) // a frame each
	}
	id, _, _, ok := l.Oldest()
	if !ok {
		t.Fatal("there is no old segment")
	}
	if err := l.Drop(id); err != nil {
		t.Fatal(err)
	}
	if err := l.Drop(id); err == nil {
		t.Error("it was dropped twice")
	}
	add(t, l, "last")
	l.Close()
	l, got := open(t, js)
	if len(got) == 0 || len(got) > 20 {
		t.Errorf("%d records are left", len(got))
	}
	copied := 0
	if err := l.Copy(t.Context(), func([]byte) error { copied++; return nil }); err != nil || copied != len(got) {
		t.Errorf("a copy has %d records: %v", copied, err)
	}
}

// More frames are read than are asked for at once.
func TestManyFramesAreRead(t *testing.T) {
	js := startStream(t)
	l, _ := open(t, js)
	want := map[journal.Position]string{}
	for i := range 2*readFrames + 10 {
		text := fmt.Sprint("record ", i)
		want[add(t, l, text)[0]] = text // a frame each
	}
	l.Close()
	if _, got := open(t, js); !maps.Equal(got, want) {
		t.Errorf("found %d records of %d, or others", len(got), len(want))
	}
}

// Whatever a log does, one that was opened after it has what it acknowledged, and nothing else but what it does not know of.
func TestALogThatLosesItsServer(t *testing.T) {
	js := startStream(t)
	l, _ := open(t, js)
	add(t, l, "one")
	js.Conn().Close()
	done := make(chan error, 1)
	if err := l.Append(journal.Record{Data: []byte("two"), Done: func(_ journal.Position, err error) { done <- err }}); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, ErrFailed) {
		t.Fatal(err)
	}
	if err := l.Flush(context.Background()); !errors.Is(err, ErrFailed) {
		t.Fatal(err)
	}
}

func FuzzFrame(f *testing.F) {
	frame, _ := encodeFrame(7, []journal.Record{{Data: []byte("a")}, {Data: nil}, {Data: []byte("bc")}})
	f.Add(frame)
	f.Fuzz(func(t *testing.T, p []byte) {
		if _, err := standsBehind(p); err == nil {
			_ = eachRecord(p, func(offset int64, data []byte) error {
				if !bytes.Equal(p[offset:offset+int64(len(data))], data) {
					t.Error("the data stand elsewhere")
				}
				return nil
			})
		}
	})
}

func TestPositions(t *testing.T) {
	for _, seq := range []uint64{1, 255, 256, 257, 1 << 40} {
		p := position(seq, 123456)
		p.Offset += 77
		if s, o := place(p); s != seq || o != 123533 {
			t.Error(seq, s, o)
		}
	}
}
