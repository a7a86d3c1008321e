package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"
)

// limitFiles has the files of a process grow no further than so many bytes: writes fail then, as on a disk that is full.
func limitFiles(t *testing.T, pid int, bytes uint64) {
	t.Helper()
	if err := unix.Prlimit(pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: bytes, Max: unix.RLIM_INFINITY}, nil); err != nil {
		t.Fatal(err)
	}
}

// publishUntil publishes until it is refused with an error that has a text, and returns how many were acknowledged. What is not answered is
// asked again, under another id.
func publishUntil(ctx context.Context, t *testing.T, js jetstream.JetStream, subject, text string) (acknowledged []string) {
	t.Helper()
	body := strings.Repeat("x", 8000)
	for i := 0; ctx.Err() == nil; i++ {
		id := fmt.Sprintf("%s-%d", subject, i)
		asking, cancel := context.WithTimeout(ctx, time.Second)
		_, err := js.Publish(asking, subject, []byte(id+" "+body), jetstream.WithMsgID(id))
		cancel()
		switch {
		case err == nil:
			acknowledged = append(acknowledged, id)
		case strings.Contains(err.Error(), text):
			return acknowledged
		case asking.Err() == nil:
			t.Fatalf("%s: refused with %v, want %s", subject, err, text)
		}
	}
	t.Fatalf("%s was never refused, after %d", subject, len(acknowledged))
	return nil
}

// fetched are the ids of what a consumer is given until all that are wanted have come.
func fetched(ctx context.Context, t *testing.T, c jetstream.Consumer, want []string) {
	t.Helper()
	left := map[string]bool{}
	for _, id := range want {
		left[id] = true
	}
	for len(left) > 0 && ctx.Err() == nil {
		batch, err := c.Fetch(100, jetstream.FetchMaxWait(time.Second))
		if err != nil {
			t.Fatal(err)
		}
		for m := range batch.Messages() {
			id, _, _ := strings.Cut(string(m.Data()), " ")
			delete(left, id)
			_ = m.Ack() // of an ordered consumer nobody asks
		}
	}
	if len(left) > 0 {
		t.Errorf("%d of %d that were acknowledged are not there", len(left), len(want))
	}
}

// When the disk takes no more, in the very moment in which it is written to, publishers hear so: those of queues at once, and they go on
// when there is room again; those of topics from the next look on, until the process is started anew. Nothing that was acknowledged is lost.
func TestFullDiskIsSaidAndLosesNothing(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	dir := t.TempDir()
	args := []string{"--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--queue", "jobs: {max_deliver: 1000}", "--topic", "news: {durability: relaxed}"}
	p := startBus(t, aloneCommand(t, dir, args...))
	js := jetStreamAt(t, p)
	limitFiles(t, p.cmd.Process.Pid, 512<<10)
	jobs := publishUntil(ctx, t, js, "queues.jobs", "no room")
	news := publishUntil(ctx, t, js, "topics.news", "could not be written to")
	if len(jobs) == 0 || len(news) == 0 {
		t.Errorf("%d and %d were acknowledged before the files were full", len(jobs), len(news))
	}
	limitFiles(t, p.cmd.Process.Pid, unix.RLIM_INFINITY)
	if _, err := js.Publish(ctx, "queues.jobs", []byte("again x")); err != nil {
		t.Errorf("with room again: %v", err)
	}
	jobs = append(jobs, "again")
	p.kill()
	js = jetStreamAt(t, startBus(t, aloneCommand(t, dir, args...)))
	if _, err := js.Publish(ctx, "topics.news", []byte("again x")); err != nil {
		t.Errorf("started anew: %v", err)
	}
	news = append(news, "again")
	queue, err := js.Consumer(ctx, "jobs", "workers")
	if err != nil {
		t.Fatal(err)
	}
	fetched(ctx, t, queue, jobs)
	topic, err := js.OrderedConsumer(ctx, "news", jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	fetched(ctx, t, topic, news)
}

func jetStreamAt(t *testing.T, p *busProcess) jetstream.JetStream {
	t.Helper()
	conn, err := nats.Connect(p.nats, nats.Timeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn, jetstream.WithDefaultTimeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	return js
}
