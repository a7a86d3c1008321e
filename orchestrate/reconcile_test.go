package orchestrate

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// parseMembers reads "0:1R 1:2S": index:revision, then a letter for the phase; a '!' behind it marks a replica that
// was ready before, 'f' one that failed to start.
func parseMembers(t *testing.T, s string) []member {
	t.Helper()
	phases := map[byte]phase{'S': phaseStarting, 'R': phaseReady, 'U': phaseUnready, 'E': phaseEnding, 'W': phaseWaiting, 'X': phaseStopping}
	var members []member
	for i, word := range strings.Fields(s) {
		m := member{seq: uint64(i + 1)}
		var letters string
		if _, err := fmt.Sscanf(word, "%d:%d%s", &m.index, &m.revision, &letters); err != nil {
			t.Fatalf("%q: %v", word, err)
		}
		m.phase = phases[letters[0]]
		m.everReady = m.phase == phaseReady || m.phase == phaseUnready || strings.Contains(letters, "!")
		if strings.Contains(letters, "f") {
			m.failed = "broken"
		}
		m.retryAt = 100 * time.Second
		if strings.Contains(letters, "d") { // due
			m.retryAt = 0
		}
		members = append(members, m)
	}
	return members
}

func show(actions []action) string {
	var words []string
	for _, a := range actions {
		words = append(words, fmt.Sprintf("%s%d", map[verb]string{doCreate: "create", doRetry: "retry", doStop: "stop", doGiveUp: "giveup"}[a.verb], a.index))
	}
	return strings.Join(words, " ")
}

func TestReconcile(t *testing.T) {
	roll := target{replicas: 3, revision: 2, previous: 1, surge: 1, deadline: time.Minute}
	rollDown := roll
	rollDown.surge, rollDown.unavailable = 0, 1
	undone := target{replicas: 3, revision: 1, bad: 2, surge: 1}
	tests := []struct {
		name    string
		target  target
		members string
		want    string
		settled bool
	}{
		{"nothing yet", target{replicas: 2, revision: 1}, "", "create0 create1", false},
		{"as wanted", target{replicas: 2, revision: 1}, "0:1R 1:1R", "", true},
		{"still starting", target{replicas: 2, revision: 1}, "0:1R 1:1S", "", false},
		{"zero", target{replicas: 0, revision: 1}, "", "", true},
		{"scale up takes the free names", target{replicas: 4, revision: 1}, "1:1R 2:1X 4:1R", "create0 create3", false},
		{"scale down takes the newest", target{replicas: 1, revision: 1}, "0:1R 1:1R 2:1R", "stop2 stop1", false},
		{"scale down takes who serves nobody", target{replicas: 2, revision: 1}, "0:1W! 1:1R 2:1S 3:1R", "stop0 stop2", false},
		{"wait for the pause", target{replicas: 1, revision: 1}, "0:1W!", "", false},
		{"start again when due", target{replicas: 1, revision: 1}, "0:1Wd", "retry0", false},
		{"still stopping", target{replicas: 1, revision: 1}, "0:1R 1:1X", "", false},
		{"stop all", target{replicas: 2, revision: 1, stop: true}, "0:1R 1:1W 2:1X", "stop0 stop1", false},
		{"stopped", target{replicas: 2, revision: 1, stop: true}, "", "", true},

		{"replace: one more first", roll, "0:1R 1:1R 2:1R", "create3", false},
		{"replace: not ready, nothing moves", roll, "0:1R 1:1R 2:1R 3:2S", "", false},
		{"replace: ready, the oldest goes", roll, "0:1R 1:1R 2:1R 3:2R", "stop0 create4", false},
		{"replace: name in use while stopping", roll, "0:1X 1:1R 2:1R 3:2R", "create4", false},
		{"replace: last", roll, "2:1R 3:2R 4:2R 5:2R", "stop2", false},
		{"replace: done", roll, "3:2R 4:2R 5:2R", "", true},
		{"replace without surge: one goes first", rollDown, "0:1R 1:1R 2:1R", "stop0 create3", false},
		{"replace without surge: wait for ready", rollDown, "1:1R 2:1R 3:2S", "", false},
		{"replace what is down already", roll, "0:1W 1:1W 2:1W", "create3", false},
		{"replace what is down, no room", roll, "0:1W 1:1W 2:1W 3:2S", "stop0 create4", false},
		{"replace keeps a broken old one while there is room", roll, "0:1R 1:1R 2:1W", "create3", false},
		{"replace and scale down", target{replicas: 1, revision: 2, previous: 1, surge: 1}, "0:1R 1:1R 2:1R", "stop0 stop1 create3", false},
		{"replace and scale up", target{replicas: 4, revision: 2, previous: 1, surge: 1}, "0:1R 1:1R", "create2 create3 create4", false},
		{"replace: new one cannot start", roll, "0:1R 1:1R 2:1R 3:2Wf", "giveup0", false},
		{"replace: new one was up and crashed", roll, "1:1R 2:1R 0:2R 3:2W!", "", false},

		{"undone: the failed one goes at once", undone, "0:1R 1:1R 2:1R 3:2S", "stop3", false},
		{"undone: ready ones are rolled back", undone, "1:1R 2:1R 3:2R 4:2Wd", "stop4 create0", false},
		{"undone: done", undone, "0:1R 1:1R 2:1R", "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out := reconcile(tt.target, parseMembers(t, tt.members), time.Second)
			if got := show(out.actions); got != tt.want {
				t.Errorf("actions %q, want %q", got, tt.want)
			}
			if out.settled != tt.settled {
				t.Errorf("settled %v, want %v", out.settled, tt.settled)
			}
		})
	}
}

func TestReconcileWakes(t *testing.T) {
	members := parseMembers(t, "0:1W 1:1R 2:2S")
	members[0].retryAt = 5 * time.Second
	tgt := target{replicas: 2, revision: 2, previous: 1, surge: 1, deadline: 3 * time.Second}
	if out := reconcile(tgt, members, time.Second); out.wake != 3*time.Second {
		t.Errorf("wakes at %v, want the new replica's deadline", out.wake)
	}
	if out := reconcile(tgt, members, 3*time.Second); show(out.actions) != "giveup0" {
		t.Errorf("at the deadline: %v", show(out.actions))
	}
	tgt.previous = 0
	if out := reconcile(tgt, members[:1], time.Second); out.wake != 5*time.Second {
		t.Errorf("wakes at %v, want the end of the pause", out.wake)
	}
}

// TestReconcileKeepsItsBounds drives random replacements, scalings and failures against a model of replicas, and
// checks after each step what a replacement promises: never more than replicas+surge, and never fewer ready than
// replicas-unavailable through its own doing.
func TestReconcileKeepsItsBounds(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		tgt := target{replicas: 1 + rng.IntN(5), revision: 1, surge: rng.IntN(3), unavailable: rng.IntN(2)}
		if tgt.surge+tgt.unavailable == 0 {
			tgt.surge = 1
		}
		members := map[int]*member{}
		seq := uint64(0)
		var now time.Duration
		list := func() (l []member) {
			for _, m := range members {
				l = append(l, *m)
			}
			return l
		}
		alive := func() (n, ready int) {
			for _, m := range members {
				if m.phase != phaseStopping {
					n++
				}
				if m.phase == phaseReady {
					ready++
				}
			}
			return n, ready
		}
		step := func() outcome {
			before, readyBefore := alive()
			out := reconcile(tgt, list(), now)
			for _, a := range out.actions {
				switch a.verb {
				case doCreate:
					if members[a.index] != nil {
						t.Fatalf("seed %d: name %d is given twice", seed, a.index)
					}
					seq++
					members[a.index] = &member{index: a.index, seq: seq, revision: tgt.revision, created: now}
				case doRetry:
					members[a.index].phase = phaseStarting
				case doStop:
					members[a.index].phase = phaseStopping
				}
			}
			n, ready := alive()
			if n > max(before, tgt.replicas+tgt.surge) {
				t.Fatalf("seed %d: %d replicas, wanted %d, surge %d", seed, n, tgt.replicas, tgt.surge)
			}
			if low := tgt.replicas - tgt.unavailable; ready < readyBefore && ready < low {
				t.Fatalf("seed %d: %d ready after an action, before %d, at least %d promised", seed, ready, readyBefore, low)
			}
			return out
		}
		world := func(calm bool) {
			for _, m := range list() {
				p := members[m.index]
				switch {
				case p.phase == phaseStopping:
					delete(members, m.index)
				case p.phase == phaseStarting:
					p.phase, p.everReady = phaseReady, true
				case p.phase == phaseUnready:
					p.phase = phaseReady
				case !calm && rng.IntN(4) == 0:
					p.phase, p.retryAt = phaseWaiting, now+time.Duration(rng.IntN(3))
				case !calm && rng.IntN(6) == 0 && p.phase == phaseReady:
					p.phase = phaseUnready
				}
			}
		}
		for range 60 {
			now++
			if rng.IntN(8) == 0 {
				tgt.revision++
			}
			if rng.IntN(8) == 0 {
				tgt.replicas = rng.IntN(6)
			}
			step()
			world(false)
		}
		settled := false
		for range 60 {
			now++
			settled = step().settled
			world(true)
		}
		if !settled {
			t.Fatalf("seed %d: never settles: %+v, %+v", seed, tgt, list())
		}
	}
}
