package bus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/banyanhq/banyan/bus/backup"
	"github.com/banyanhq/banyan/policy/workqueue"
)

// What a bus holds when it is copied, a bus on the restored folder holds: messages with their attempts and times, dead letters,
// ids, events, the positions of groups, schemas; while it is copied it goes on.
func TestBackupAndRestore(t *testing.T) {
	rules := workqueue.Rules{MaxDeliver: 2, Dedupe: time.Hour}
	cfg := Config{Queues: map[string]Queue{"jobs": queueOf(rules, "graves"), "graves": {}, "other": {}}, Topics: map[string]Topic{"orders": {}, "news": {}}}
	b := start(t, cfg)
	ctx := limited(t)
	ask(t, b, "PUT", "/topics/orders/schema", orderSchema, nil, nil)
	for i := range 50 {
		ask(t, b, "POST", fmt.Sprintf("/queues/jobs/messages?id=m%d", i), fmt.Sprintf("body %d", i), map[string]string{"X-N": fmt.Sprint(i)}, nil)
		ask(t, b, "POST", "/topics/orders/events?key=k", fmt.Sprintf(`{"id": %d}`, i), nil, nil)
	}
	ask(t, b, "POST", "/queues/jobs/messages?delay=1h", "later", nil, nil)
	ask(t, b, "POST", "/queues/other/messages", "other", nil, nil)
	var got messagesAnswer
	ask(t, b, "GET", "/queues/jobs/messages?max=11&wait=50s", "", nil, &got)
	for i, m := range got.Messages {
		verb := "/nack"
		if i >= 5 {
			verb = "/ack"
		}
		if i != 10 { // that one stays in flight
			ask(t, b, "POST", "/queues/jobs/messages/"+m.Receipt+verb, "", nil, nil)
		}
	}
	ask(t, b, "GET", "/queues/jobs/messages?max=1&wait=50s", "", nil, &got)
	ask(t, b, "POST", "/queues/jobs/messages/"+got.Messages[0].Receipt+"/dead?reason=hopeless", "", nil, nil)
	var events struct{ Events []eventJSON }
	ask(t, b, "GET", "/topics/orders/groups/mail/events?max=20", "", nil, &events)
	for _, e := range events.Events[:12] {
		ask(t, b, "POST", "/topics/orders/groups/mail/"+e.Receipt+"/ack", "", nil, nil)
	}

	answer := send(t, b, "GET", "/backup", "", nil)
	var file bytes.Buffer
	if _, err := file.ReadFrom(answer.Body); err != nil || answer.StatusCode != http.StatusOK {
		t.Fatal(answer.Status, err)
	}
	answer.Body.Close()
	ask(t, b, "POST", "/queues/jobs/messages", "too late", nil, nil)

	dir := filepath.Join(t.TempDir(), "deep", "restored")
	head, sum, err := Restore(ctx, bytes.NewReader(file.Bytes()), dir)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(head.Queues, head.Topics) != "[graves jobs other] [news orders]" || sum.Events != 50 || sum.Consumers != 1 {
		t.Errorf("%+v %+v", head, sum)
	}
	cfg.Dir = dir
	again := start(t, cfg)
	s, _ := again.Broker().QueueStatus("jobs")
	if s.Ready != 43 || s.Delayed != 1 || s.InFlight != 1 || s.NextSeq != 52 {
		t.Errorf("%+v", s)
	}
	if letters, err := again.Broker().Dead("jobs", "", 10); err != nil || len(letters) != 1 || letters[0].Meta.LastReason() != "hopeless" || !strings.HasPrefix(string(letters[0].Body), "body ") {
		t.Errorf("%+v %v", letters, err)
	}
	var put struct{ Duplicate bool }
	if ask(t, again, "POST", "/queues/jobs/messages?id=m7", "", nil, &put); !put.Duplicate {
		t.Error("the ids of messages were lost")
	}
	if status := ask(t, again, "POST", "/topics/orders/events", `{}`, nil, nil); status != http.StatusUnprocessableEntity {
		t.Error("the schema was lost: ", status)
	}
	_, js := connect(t, again)
	c, err := js.Consumer(ctx, "orders", "mail")
	if err != nil {
		t.Fatal(err)
	}
	if info := c.CachedInfo(); info.NumPending+uint64(info.NumAckPending) != 38 || info.AckFloor.Stream != 12 {
		t.Errorf("%+v", info)
	}
	if ack, err := js.Publish(ctx, "topics.orders", []byte(`{"id": 99}`)); err != nil || ack.Sequence != 51 {
		t.Error(ack, err)
	}
	if _, err := js.Consumer(ctx, "news", "mail"); !errors.Is(err, jetstream.ErrConsumerNotFound) {
		t.Error(err)
	}
}

func TestBackupOfSomeStreams(t *testing.T) {
	b := start(t, Config{Queues: map[string]Queue{"jobs": {}, "other": {}}, Topics: map[string]Topic{"orders": {}}})
	ask(t, b, "POST", "/queues/jobs/messages", "mine", nil, nil)
	ask(t, b, "POST", "/queues/other/messages", "not mine", nil, nil)
	var no refusal
	if status := ask(t, b, "GET", "/backup?stream=jobs&stream=nothing", "", nil, &no); status != http.StatusNotFound || !strings.Contains(no.Error, "nothing") {
		t.Error(status, no)
	}
	var file bytes.Buffer
	if err := b.Backup(limited(t), &file, []string{"jobs"}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if _, _, err := Restore(limited(t), bytes.NewReader(file.Bytes()), dir); err != nil { // an empty folder will do
		t.Fatal(err)
	}
	again := start(t, Config{Dir: dir, Queues: map[string]Queue{"jobs": {}, "other": {}}})
	for name, want := range map[string]int{"jobs": 1, "other": 0} {
		if s, _ := again.Broker().QueueStatus(name); s.Ready != want {
			t.Errorf("%s has %d", name, s.Ready)
		}
	}
}

func TestRestoreMakesNothingOfADamagedBackup(t *testing.T) {
	b := start(t, Config{Queues: map[string]Queue{"jobs": {}}, Topics: map[string]Topic{"orders": {}}})
	ask(t, b, "POST", "/queues/jobs/messages", strings.Repeat("x", 1000), nil, nil)
	ask(t, b, "POST", "/topics/orders/events", "x", nil, nil)
	var file bytes.Buffer
	if err := b.Backup(limited(t), &file, nil); err != nil {
		t.Fatal(err)
	}
	parent := t.TempDir()
	dir := filepath.Join(parent, "restored")
	for n := 0; n < file.Len(); n += 97 {
		for _, p := range [][]byte{file.Bytes()[:n], bytes.Replace(file.Bytes(), file.Bytes()[n:n+1], []byte{file.Bytes()[n] ^ 1}, 1)} {
			if _, _, err := Restore(limited(t), bytes.NewReader(p), dir); !errors.Is(err, backup.ErrDamaged) {
				t.Fatalf("at byte %d: %v", n, err)
			}
		}
	}
	// Whole frames in a row that is none.
	for name, kinds := range map[string][]backup.Kind{"empty": {}, "no sum": {backup.Head}, "no head": {backup.Sum}, "two sums": {backup.Head, backup.Sum, backup.Sum},
		"a piece of nothing": {backup.Head, backup.Chunk, backup.Sum}, "out of order": {backup.Head, backup.Topic, backup.Queues, backup.Sum}, "unknown": {backup.Head, 'x', backup.Sum}} {
		var made bytes.Buffer
		w := backup.NewWriter(&made)
		for _, k := range kinds {
			if err := w.Write(k, []byte("{}")); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Restore(limited(t), bytes.NewReader(made.Bytes()), dir); err == nil {
			t.Errorf("%s is restored", name)
		}
	}
	if left, _ := os.ReadDir(parent); len(left) > 0 {
		t.Errorf("something is left: %v", left)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := Restore(gone, bytes.NewReader(file.Bytes()), dir); err == nil {
		t.Error("what was given up is restored")
	}
	if err := os.MkdirAll(filepath.Join(dir, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Restore(limited(t), bytes.NewReader(file.Bytes()), dir); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("into a folder that holds something: %v", err)
	}
}
