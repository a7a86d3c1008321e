package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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

// publishAgain publishes until it is taken.
func publishAgain(ctx context.Context, t *testing.T, js jetstream.JetStream, subject string) {
	t.Helper()
	for {
		asking, cancel := context.WithTimeout(ctx, time.Second)
		_, err := js.Publish(asking, subject, []byte("again x"))
		cancel()
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("%s with room again: %v", subject, err)
		}
	}
}

// When the disk takes no more, in the very moment in which it is written to, publishers hear so: those of queues at once, those of topics from
// the next look on. Both go on when there is room again. Nothing that was acknowledged is lost.
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
	publishAgain(ctx, t, js, "topics.news")
	jobs, news = append(jobs, "again"), append(news, "again")
	allAreThere(ctx, t, js, jobs, news)
	p.kill()
	allAreThere(ctx, t, jetStreamAt(t, startBus(t, aloneCommand(t, dir, args...))), nil, news)
}

// allAreThere takes what is said from the queue jobs, and reads the topic news.
func allAreThere(ctx context.Context, t *testing.T, js jetstream.JetStream, jobs, news []string) {
	t.Helper()
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

// A disk that is full, and then has room, is gone on with: a small one of the test's own, in a name space where it may mount one.
func TestFullDiskThatHasRoomAgain(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	dir := t.TempDir()
	for _, needed := range []string{"unshare", "mount"} {
		if _, err := exec.LookPath(needed); err != nil {
			t.Skip(needed, "is not installed")
		}
	}
	bus := aloneCommand(t, filepath.Join(dir, "bus"), "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--queue", "jobs: {max_deliver: 1000}", "--topic", "news: {durability: relaxed}")
	script := `mount -t tmpfs -o size=80m none "$0" || exit 77; exec "$@"`
	cmd := exec.Command("unshare", append([]string{"--user", "--map-root-user", "--mount", "sh", "-c", script, dir}, bus.Args...)...)
	cmd.Env = bus.Env
	if exec.Command("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", `mount -t tmpfs none "$0"`, dir).Run() != nil {
		t.Skip("no disk can be mounted in a name space of its own")
	}
	p := startBus(t, cmd)
	js := jetStreamAt(t, p)
	inside := filepath.Join("/proc", fmt.Sprint(p.cmd.Process.Pid), "root", dir)
	// The journal of the queues has set 64 MiB aside; what is left is filled between two looks at the room.
	filler, err := os.Create(filepath.Join(inside, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer filler.Close()
	publish := func() error {
		asking, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := js.Publish(asking, "topics.news", make([]byte, 64<<10))
		return err
	}
	if err := publish(); err != nil {
		t.Fatal(err)
	}
	for piece := make([]byte, 64<<10); ; {
		if _, err := filler.Write(piece); err != nil {
			break
		}
	}
	refused := publish()
	for ; ctx.Err() == nil && (refused == nil || !strings.Contains(refused.Error(), "no room") && !strings.Contains(refused.Error(), "could not be written to")); refused = publish() {
	}
	if err := filler.Truncate(0); err != nil {
		t.Fatal(err)
	}
	publishAgain(ctx, t, js, "topics.news")
	publishAgain(ctx, t, js, "queues.jobs")
	allAreThere(ctx, t, js, []string{"again"}, []string{"again"})
}
