package simulate

import (
	"strings"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// jobs is a system whose users put messages at a rate into a queue, which workers handle in 10ms.
func jobs(rate float64, q *topology.Queue) *topology.System {
	sys := withBlocks(rate, "queues.jobs")
	sys.Services["worker"] = &topology.Service{Work: &topology.Work{Delay: ms(10)}, Replicas: topology.Replicas{Min: 1, Max: 1}}
	q.Publish, q.Fsync = free, 0
	if q.Consumers == nil {
		q.Consumers = map[string]int{"worker": 10}
	}
	sys.Queues = map[string]*topology.Queue{"jobs": q}
	return sys
}

// Consumers are given no more than their limit, and the outlook says what that comes to.
func TestALimitHoldsConsumersBack(t *testing.T) {
	for name, q := range map[string]*topology.Queue{
		"of all": {Limit: &topology.DeliveryLimit{Rate: 50, Burst: 1}},
		"of one": {Limits: map[string]*topology.DeliveryLimit{"worker": {Rate: 50, Burst: 1}}},
	} {
		r := simulate(t, jobs(80, q), Options{Duration: 60 * time.Second, Warmup: 5 * time.Second, Replications: 1})
		b := r.block(t, "queues.jobs")
		within(t, name+": delivered a second", float64(b.Delivered)/60, 50, 0.03)
		if !strings.Contains(b.Outlook, "grows by") {
			t.Errorf("%s: the outlook is %q", name, b.Outlook)
		}
		q.Limit, q.Limits = &topology.DeliveryLimit{Rate: 200}, nil
		r = simulate(t, jobs(80, q), Options{Duration: 60 * time.Second, Warmup: 5 * time.Second, Replications: 1})
		if b = r.block(t, "queues.jobs"); b.Backlog.Value > 1 || strings.Contains(b.Outlook, "grows") {
			t.Errorf("%s: with room: %v wait, %q", name, b.Backlog.Value, b.Outlook)
		}
	}
}

// A message that fails comes again after its back-off: with waits of 1s and 2s between three attempts, one that never succeeds is
// dead three seconds after it came.
func TestBackOffDelaysWhatFailed(t *testing.T) {
	q := &topology.Queue{MaxDeliver: 3, AckWait: ms(5), Backoff: &topology.QueueBackoff{First: ms(1000), Max: ms(5000), Factor: 2}}
	sys := jobs(20, q)
	sys.Services["worker"].Work.Delay = ms(1_000_000) // so that none is acknowledged in time, nor before it is given to the next
	q.Consumers["worker"] = 10_000
	r := simulate(t, sys, Options{Duration: 60 * time.Second, Warmup: 10 * time.Second, Replications: 1})
	b := r.block(t, "queues.jobs")
	within(t, "dead a second", float64(b.Dead)/60, 20, 0.15)
	within(t, "delivered again for each", float64(b.Redelivered)/float64(b.Dead), 2, 0.1)
	within(t, "waiting", b.Backlog.Value, 20*3, 0.15) // by Little's law
}

// An acknowledgement that is late counts, as long as nobody else was given the message.
func TestALateAcknowledgementCounts(t *testing.T) {
	q := &topology.Queue{MaxDeliver: 3, AckWait: ms(5), Backoff: &topology.QueueBackoff{First: ms(1000), Max: ms(1000), Factor: 1}}
	r := simulate(t, jobs(20, q), Options{Duration: 20 * time.Second, Warmup: time.Second, Replications: 1})
	if b := r.block(t, "queues.jobs"); b.Dead > 0 || b.Redelivered > 0 || b.Done == 0 {
		t.Errorf("%d dead, %d delivered again, %d done", b.Dead, b.Redelivered, b.Done)
	}
}

func TestAFullQueueRefuses(t *testing.T) {
	q := &topology.Queue{MaxMessages: 5, Limit: &topology.DeliveryLimit{Rate: 10, Burst: 1}}
	r := simulate(t, jobs(50, q), Options{Duration: 30 * time.Second, Warmup: 5 * time.Second, Replications: 1})
	b := r.block(t, "queues.jobs")
	within(t, "refused a second", float64(b.Refused)/30, 40, 0.1)
	if b.Backlog.Value > 5 {
		t.Errorf("%v wait in a queue for 5", b.Backlog.Value)
	}
}

func TestMessagesEndWithTheirLife(t *testing.T) {
	q := &topology.Queue{TTL: ms(200), Limit: &topology.DeliveryLimit{Rate: 10, Burst: 1}}
	b := simulate(t, jobs(50, q), Options{Duration: 30 * time.Second, Warmup: 5 * time.Second, Replications: 1}).block(t, "queues.jobs")
	within(t, "expired a second", float64(b.Expired)/30, 40, 0.1)
}

// The clock publishes, whether or not a user does.
func TestSchedulesPublish(t *testing.T) {
	q := &topology.Queue{Schedules: map[string]*topology.QueueSchedule{"tick": {Cron: "@every 2s"}, "minute": {Cron: "* * * * *", Zone: "Europe/Berlin"}}}
	sys := jobs(1, q)
	sys.Services["web"].Uses = nil
	b := simulate(t, sys, Options{Duration: 301 * time.Second, Warmup: time.Second, Replications: 1}).block(t, "queues.jobs")
	if b.Published != 150+5 || b.Done != b.Published {
		t.Errorf("%d were published, %d handled", b.Published, b.Done)
	}
}

// Of the messages of one user one is handled at a time.
func TestOrderTakesItsTime(t *testing.T) {
	sys := jobs(50, &topology.Queue{Ordered: true})
	loose := simulate(t, jobs(50, &topology.Queue{}), Options{Duration: 20 * time.Second, Warmup: time.Second, Replications: 1}).block(t, "queues.jobs")
	strict := simulate(t, sys, Options{Duration: 20 * time.Second, Warmup: time.Second, Replications: 1}).block(t, "queues.jobs")
	if strict.Done != strict.Published && strict.Published-strict.Done > 5 || strict.Handled.Value < loose.Handled.Value {
		t.Errorf("in order: %d of %d in %s; without: %s", strict.Done, strict.Published, strict.Handled, loose.Handled)
	}
}

func TestALimitOfATopicsGroup(t *testing.T) {
	sys := withBlocks(80, "topics.news")
	sys.Services["worker"] = &topology.Service{Work: &topology.Work{Delay: ms(1)}, Replicas: topology.Replicas{Min: 1, Max: 1}}
	sys.Topics = map[string]*topology.Topic{"news": {Consumers: map[string]int{"worker": 10}, Partitions: 10, Publish: free,
		Limits: map[string]*topology.DeliveryLimit{"worker": {Rate: 50, Burst: 1}}}}
	b := simulate(t, sys, Options{Duration: 30 * time.Second, Warmup: 5 * time.Second, Replications: 1}).block(t, "topics.news")
	within(t, "delivered a second", float64(b.Delivered)/30, 50, 0.03)
}
