package bus

import (
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// While the disk has no room, events are refused with an error that says so, and the streams stay whole.
func TestEventsAreRefusedWhenTheDiskIsFull(t *testing.T) {
	var full atomic.Bool
	full.Store(true)
	b := start(t, Config{Topics: map[string]Topic{"news": {}}, Room: func(string) (uint64, uint64, error) {
		if full.Load() {
			return 1 << 20, 1 << 40, nil
		}
		return 1 << 39, 1 << 40, nil
	}})
	_, js := connect(t, b)
	ctx := limited(t)
	for {
		_, err := js.Publish(ctx, "topics.news.key", []byte("a"))
		if err != nil && strings.Contains(err.Error(), "no room") {
			break
		}
		if pause(ctx, time.Millisecond); ctx.Err() != nil {
			t.Fatalf("over NATS: %v", err)
		}
	}
	answer, err := http.Post(b.HTTPURL()+"/topics/news/events", "text/plain", strings.NewReader("a"))
	if err != nil || answer.StatusCode != http.StatusInsufficientStorage {
		t.Errorf("over HTTP: %v %v", answer, err)
	}
	full.Store(false)
	for {
		_, err := js.Publish(ctx, "topics.news.key", []byte("a"))
		if err == nil {
			break
		}
		if pause(ctx, time.Millisecond); ctx.Err() != nil {
			t.Fatalf("with room again: %v", err)
		}
	}
	for _, c := range []struct {
		free, total uint64
		want        bool
	}{{0, 1 << 40, true}, {33 << 20, 1 << 40, false}, {2 << 20, 24 << 20, false}, {1 << 20, 24 << 20, true}} {
		if tight(c.free, c.total) != c.want {
			t.Errorf("%d of %d", c.free, c.total)
		}
	}
}

// Only a write that found no room passes by itself; after a failed sync, whatever it says, nobody knows what the disk has.
func TestWhichFailuresOfTopicsPass(t *testing.T) {
	for text, want := range map[string]error{
		"JetStream stream 'G > news' write error: write /var/bus/1.blk: no space left on device": errNoRoom,
		"JetStream stream 'G > news' write error: write /var/bus/1.blk: file too large":          errNoRoom,
		"JetStream stream 'G > news' write error: open /var/bus/2.blk: disk quota exceeded":      errNoRoom,
		"JetStream stream 'G > news' write error: sync /var/bus/1.blk: no space left on device":  errBadDisk,
		"JetStream stream 'G > news' write error: write /var/bus/1.blk: input/output error":      errBadDisk,
	} {
		if got := kindOfFailure(text); got != want || !errors.Is(got, errUnwritable) {
			t.Errorf("%s: %v", text, got)
		}
	}
	var r resumption
	begun := time.Now()
	r.failed(begun)
	tries := 0
	for at := time.Duration(0); at < 10*time.Minute; at += roomEvery {
		if r.due(begun.Add(at)) {
			tries++
			r.failed(begun.Add(at)) // at once again
		}
	}
	if tries < 10 || tries > 25 {
		t.Errorf("%d tries in 10 minutes", tries)
	}
}
