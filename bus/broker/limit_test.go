package broker

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/banyanhq/banyan/policy/workqueue"
)

// The limit of a queue bounds all its consumers together, that of a consumer it alone; who is bounded does not hold up others,
// and what is delivered again counts.
func TestDeliveriesAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := Open(Config{Dir: t.TempDir(), Queues: map[string]QueueConfig{"jobs": {
			Durability: Relaxed, Rules: workqueue.Rules{MaxDeliver: 1000, AckWait: time.Hour}, Limit: workqueue.Limit{PerSecond: 100, Burst: 10},
			Limits: map[string]workqueue.Limit{"slow": {PerSecond: 2, Burst: 1}}}}})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		for range 1100 {
			publish(t, b, "jobs", Message{})
		}
		begin := time.Now()
		got := map[string]*atomic.Int32{"slow": {}, "fast": {}}
		for _, consumer := range []string{"slow", "fast"} {
			p := &Pull{Batch: 2000, Consumer: consumer}
			p.Deliver = func(d Delivery, _ bool) {
				if got[consumer].Add(1)%2 == 0 {
					go b.Nack(d.Queue, d.Seq, d.Attempt, 0, "again", nil)
				}
			}
			if err := b.Pull("jobs", p); err != nil {
				t.Fatal(err)
			}
			defer b.Cancel(p)
		}
		synctest.Wait()
		if slow, fast := got["slow"].Load(), got["fast"].Load(); slow != 1 || fast != 9 {
			t.Errorf("at once: %d and %d", slow, fast)
		}
		time.Sleep(10*time.Second - time.Since(begin))
		synctest.Wait()
		if slow, fast := got["slow"].Load(), got["fast"].Load(); slow != 21 || slow+fast != 1010 {
			t.Errorf("in ten seconds: %d and %d", slow, fast)
		}
		if more, err := b.ReceiveNow(t.Context(), "jobs", "fast", 10); err != nil || len(more) > 1 {
			t.Errorf("%d can be taken beyond the limit: %v", len(more), err)
		}
	})
}
