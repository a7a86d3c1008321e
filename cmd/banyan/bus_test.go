package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/banyanhq/banyan/bus/audit"
)

// aloneCommand runs this program as a bus of its own.
func aloneCommand(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, append([]string{"bus", "--dir", dir}, args...)...)
	cmd.Env = append(os.Environ(), playBanyan+"=1")
	cmd.Stderr = os.Stderr
	return cmd
}

// Killed again and again at random moments, the bus loses nothing that it acknowledged, keeps the order of each key, repeats only
// what was not confirmed, and has each poisonous message become a dead letter exactly once.
func TestKilledBusKeepsItsPromises(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	report, err := audit.Drive{
		Command: func(natsAddress, httpAddress string) *exec.Cmd {
			return aloneCommand(t, dir, "--listen", atOwnHost(natsAddress), "--http", atOwnHost(httpAddress),
				"--queue", "jobs: {ordered: true, ack_wait: 2s, max_deliver: 20, dead_letter: jobs-dead}") // a good message may be under way at each death
		},
		Kills: 6, Life: 300 * time.Millisecond, Pauses: true,
		Audit: audit.Config{Queue: "jobs", Dead: "jobs-dead", Producers: 4, Consumers: 4, KeysEach: 3, PoisonEvery: 17},
	}.Run(ctx)
	tellReport(t, report, err)
}

// tellReport fails a test by what an auditor saw, and by what went wrong with its run.
func tellReport(t *testing.T, report audit.Report, err error) {
	t.Helper()
	t.Logf("%d deaths, %d published, %d delivered, %d of them again", report.Deaths, report.Published, report.Delivered, report.Again)
	if err != nil {
		t.Error(err)
	}
	for _, p := range report.Problems {
		t.Error(p)
	}
}

func TestBusAloneSaysWhatIsWrong(t *testing.T) {
	file := filepath.Join(t.TempDir(), "banyan.yaml")
	if err := os.WriteFile(file, []byte(smallSystem), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"bus"}, "neither a queue, a topic nor a saga"},
		{[]string{"-f", file, "bus"}, "neither a queue, a topic nor a saga"},
		{[]string{"bus", "--queue", "a: {ack_wait: soon}"}, "soon"},
		{[]string{"bus", "--queue", "a: {akc_wait: 1s}"}, "ack_wait"},
		{[]string{"bus", "--queue", "A!"}, "A!"},
		{[]string{"bus", "--queue", "a: {durability: replicated}"}, "takes several nodes"},
		{[]string{"bus", "--topic", "a: {durability: replicated}"}, "takes several nodes"},
		{[]string{"bus", "--queue", "a", "--node", "1", "--peer", "2=127.0.0.1:7000"}, "--node 1"},
		{[]string{"bus", "--queue", "a", "--node", "1", "--peer", "1=127.0.0.1:7000"}, "--secret-file is missing"},
		{[]string{"bus", "--queue", "a: {schedules: {b: {cron: 5 4}}}"}, "five"},
		{[]string{"bus", "--queue", "a: {schedules: {b: {cron: '@daily', zone: Mars}}}"}, "Mars"},
		{[]string{"bus", "--queue", "a: {limit: {rate: 0/s}}"}, "rate"},
		{[]string{"bus", "--topic", "a: {compatibility: maybe}"}, "maybe"},
		{[]string{"bus", "--queue", "a", "--topic", "a"}, "same name"},
		{[]string{"bus", "--queue", "a", "--max-message", "1GiB"}, "--max-message"},
	} {
		var errs strings.Builder
		if code := run(t.Context(), c.args, strings.NewReader(""), io.Discard, &errs); code != 2 || !strings.Contains(errs.String(), c.want) {
			t.Errorf("%v: %d %s", c.args, code, errs.String())
		}
	}
}

// A system with a queue: a service gets messages pushed; those that it does not take are dead letters, which a person looks at
// and puts back, a canary first.
func TestSystemWithAQueue(t *testing.T) {
	text := smallSystem + `
queues:
  jobs: {consumers: {back: 4}, push: {back: /work}, max_deliver: 2, backoff: {first: 10ms}, dead_letter: jobs-dead}
  loose: {durability: relaxed}
  clock: {schedules: {tick: {cron: "30 2 * * *", zone: Asia/Tokyo, body: tick}}}
topics: {news: {}}
`
	p := newPlace(t, text)
	if out := p.must("up", "--detach"); !strings.Contains(out, "queue loose is relaxed") {
		t.Errorf("what relaxed may lose is not said: %s", out)
	}
	var s statusAnswer
	p.ask(&s, "status")
	conn, err := nats.Connect(natsURL(t, s.Info.Endpoints), nats.Timeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn, jetstream.WithDefaultTimeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if _, err := js.Publish(t.Context(), "queues.jobs", fmt.Appendf(nil, "poison %d", i)); err != nil {
			t.Fatal(err)
		}
	}
	fiveDead := func() bool {
		var a deadAnswer
		p.ask(&a, "queue", "dead", "jobs")
		return len(a.Groups) == 1 && a.Groups[0].Count == 5
	}
	eventually(t, "five dead letters", fiveDead)
	if out := p.must("queue", "dead", "jobs", "--messages", "1"); !strings.Contains(out, "# Unprocessable Entity no good: #") || !strings.Contains(out, "attempt 2") || !strings.Contains(out, "body: poison") {
		t.Errorf("dead letters:\n%s", out)
	}
	if out, _, code := p.run("queue", "redrive", "jobs", "--canary", "2"); code != 1 || !strings.Contains(out, "died again") {
		t.Errorf("a canary that dies: %d %s", code, out)
	}
	if err := os.WriteFile(filepath.Join(p.dir, "cured"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all dead again", fiveDead)
	if out := p.must("queue", "redrive", "jobs", "--canary", "2"); !strings.Contains(out, "2 canaries were handled") || !strings.Contains(out, "3 dead letters were put back") {
		t.Errorf("redrive: %s", out)
	}
	eventually(t, "nothing left", func() bool {
		return strings.Contains(p.must("queue", "show", "jobs"), "0 ready, 0 delayed, 0 in flight, 0 dead")
	})
	if out := p.must("queue", "show", "clock"); !strings.Contains(out, "schedule tick (30 2 * * * Asia/Tokyo): next at ") || !strings.Contains(out, "02:30:00 JST, in ") {
		t.Errorf("the next firing is not said: %s", out)
	}
	schemasAndBackup(t, p)
	eventually(t, "the metrics count acknowledgements", func() bool {
		_, page, err := get(s.Info.Metrics)
		return err == nil && strings.Contains(page, `banyan_queue_events_total{event="acked",queue="jobs",system="small"} 5`)
	})
}

// schemasAndBackup gives the topic of a system a schema, and copies it all into a file, from which another bus begins.
func schemasAndBackup(t *testing.T, p *place) {
	t.Helper()
	write := func(name, text string) string {
		path := filepath.Join(p.dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	first := write("first.json", `{"type": "object", "required": ["id"]}`)
	second := write("second.json", `{"type": "object", "required": ["id", "sum"]}`)
	if out := p.must("topic", "schema", "check", "news", first); !strings.Contains(out, "no schema yet") {
		t.Error(out)
	}
	if out := p.must("topic", "schema", "register", "news", first); !strings.Contains(out, "version 1 of the schema of news") {
		t.Error(out)
	}
	if out, _, code := p.run("topic", "schema", "check", "news", second); code != 1 || !strings.Contains(out, `"sum" is required`) {
		t.Errorf("%d %s", code, out)
	}
	if _, errs, code := p.run("topic", "schema", "register", "news", second); code != 1 || !strings.Contains(errs, "not compatible") {
		t.Errorf("%d %s", code, errs)
	}
	if out := p.must("topic", "schema", "show", "news"); !strings.Contains(out, `"required": [`) {
		t.Error(out)
	}
	if out := p.must("topic", "list"); !strings.Contains(out, "v1") {
		t.Error(out)
	}
	file, dir := filepath.Join(p.dir, "bus.backup"), filepath.Join(p.dir, "restored")
	if out := p.must("bus", "backup", file); !strings.Contains(out, "queues clock, jobs, jobs-dead, loose") || !strings.Contains(out, "topics news") {
		t.Error(out)
	}
	if out := p.must("bus", "restore", file, "--check"); !strings.Contains(out, "is whole") {
		t.Error(out)
	}
	if out := p.must("bus", "restore", file, "--dir", dir); !strings.Contains(out, "restored into "+dir) {
		t.Error(out)
	}
	if _, errs, code := p.run("bus", "restore", file, "--dir", dir); code != 1 || !strings.Contains(errs, "not empty") {
		t.Errorf("%d %s", code, errs)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text[len(text)/2] ^= 1
	if _, errs, code := p.run("bus", "restore", write("damaged", string(text)), "--dir", dir+"2"); code != 1 || !strings.Contains(errs, "damaged") {
		t.Errorf("%d %s", code, errs)
	}
	if _, _, code := p.run("bus", "restore", file); code != 2 {
		t.Errorf("without a folder the exit code is %d", code)
	}
}

func natsURL(t *testing.T, endpoints []string) string {
	t.Helper()
	for _, e := range endpoints {
		if rest, ok := strings.CutPrefix(e, "queues and topics on "); ok {
			url, _, _ := strings.Cut(rest, " ")
			return url
		}
	}
	t.Fatalf("no address of the queues: %q", endpoints)
	return ""
}
