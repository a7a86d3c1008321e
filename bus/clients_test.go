package bus

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/banyanhq/banyan/bus/broker"
	"github.com/banyanhq/banyan/policy/workqueue"
)

// Real clients against the bus, each as its users use it. Those that are not installed are skipped.

// runClient runs a program and returns what it writes.
func runClient(t *testing.T, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skip(name, "is not installed")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir()) // so that what a user has set up is not used
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func forClients(t *testing.T) *Bus {
	return start(t, Config{MaxMessage: 1000, Topics: map[string]Topic{"news": {Durability: broker.Relaxed}},
		Queues: map[string]Queue{"jobs": queueOf(workqueue.Rules{MaxDeliver: 3, Dedupe: time.Minute}, "")}})
}

// The package "nats" of npm, where NODE_PATH finds it.
func TestNodeClient(t *testing.T) {
	if out, err := exec.Command("node", "-e", `require("nats")`).CombinedOutput(); err != nil {
		t.Skipf("the package nats of npm is not installed: %v %.100s", err, out)
	}
	const want = `published jobs 1 false
published jobs 1 true
refused `
	got := runClient(t, "node", "testdata/client.js", forClients(t).NATSURL())
	if !strings.HasPrefix(got, want) {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	_, got, _ = strings.Cut(got, want)
	_, got, _ = strings.Cut(got, "\n")
	if want := "got first 1\ngot first 2 true\ngot second 1 true\nread a,b,c\n"; got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// The command line tool of NATS (github.com/nats-io/natscli).
func TestNATSCommand(t *testing.T) {
	b := forClients(t)
	cli := func(args ...string) string {
		t.Helper()
		return runClient(t, "nats", append([]string{"--server", b.NATSURL(), "--no-context"}, args...)...)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"request", "queues.jobs", "one"}, `{"stream":"jobs","seq":1}`},
		{[]string{"publish", "--jetstream", "-H", "Nats-Msg-Id:two", "queues.jobs.anna", "two"}, "jobs"},
		{[]string{"stream", "info", "jobs"}, "WorkQueue"},
		{[]string{"consumer", "next", "jobs", "workers", "--ack"}, "one"},
		{[]string{"consumer", "next", "jobs", "workers", "--nak"}, "two"},
		{[]string{"consumer", "next", "jobs", "workers", "--term"}, "two"},
		{[]string{"request", "topics.news", "event"}, `"seq":1`},
		{[]string{"stream", "ls", "--names"}, "news"},
		{[]string{"stream", "get", "news", "1"}, "event"},
	} {
		if got := cli(c.args...); !strings.Contains(got, c.want) {
			t.Errorf("nats %s: %s\nwant %s", strings.Join(c.args, " "), got, c.want)
		}
	}
	eventually(t, func() string { // it waits for no answer to its acknowledgements
		s, err := b.Broker().QueueStatus("jobs")
		if err != nil || s.Acked != 1 || s.Dead != 1 || s.Ready != 0 {
			return fmt.Sprintf("%+v, %v", s, err)
		}
		return ""
	})
}
