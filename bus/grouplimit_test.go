package bus

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/banyanhq/banyan/policy/workqueue"
)

// A limit holds for who it names, by any way: those who pull from a queue, fetch for a group, or are pushed to.
func TestLimitsOfConsumers(t *testing.T) {
	var pushed, free atomic.Int32
	service := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/free" {
			free.Add(1)
		} else {
			pushed.Add(1)
		}
	}))
	defer service.Close()
	to := func(name string) []Push {
		return []Push{{Name: name, URL: func() string { return service.URL + "/" + name }, Concurrency: func() int { return 5 }}}
	}
	few := map[string]workqueue.Limit{"slow": {PerSecond: 1e-6, Burst: 3}}
	jobs, mails := queueOf(workqueue.Rules{}, ""), queueOf(workqueue.Rules{}, "")
	jobs.Limits, mails.Limits, mails.Push = few, few, to("slow")
	b := start(t, Config{Secret: testSecret, Queues: map[string]Queue{"jobs": jobs, "mails": mails},
		Topics: map[string]Topic{"news": {Limits: few, Push: to("free")}, "alerts": {Limits: few, Push: to("slow")}}})
	for range 10 {
		for _, path := range []string{"/queues/jobs/messages", "/queues/mails/messages", "/topics/news/events", "/topics/alerts/events"} {
			ask(t, b, "POST", path, "x", nil, nil)
		}
	}
	for i, c := range []struct {
		path string
		want int
	}{
		{"/queues/jobs/messages?max=10&consumer=slow", 3}, {"/queues/jobs/messages?max=10&consumer=slow", 0}, {"/queues/jobs/messages?max=10&consumer=other", 7},
		{"/topics/news/groups/slow/events?max=10", 3}, {"/topics/news/groups/slow/events?max=10&wait=1ms", 0}, {"/topics/news/groups/other/events?max=10", 10},
	} {
		var got struct {
			Messages []Message
			Events   []eventJSON
		}
		if ask(t, b, "GET", c.path, "", nil, &got); len(got.Messages)+len(got.Events) != c.want {
			t.Errorf("%d: %s: %d messages, want %d", i, c.path, len(got.Messages)+len(got.Events), c.want)
		}
	}
	eventually(t, func() string {
		s, _ := b.Broker().QueueStatus("mails")
		if pushed.Load() != 6 || free.Load() != 10 || s.Acked != 3 || s.Ready != 7 {
			return fmt.Sprintf("%d were pushed to who is limited, %d to who is not; %+v", pushed.Load(), free.Load(), s.Stats)
		}
		return ""
	})
}
