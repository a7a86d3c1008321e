package orchestrate

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// phase is where a replica is in its life.
type phase uint8

const (
	phaseStarting phase = iota // its process is being started, or has not been ready yet
	phaseReady                 // its ready check passes
	phaseUnready               // it was ready, and its ready check fails now
	phaseEnding                // its process is being ended because it failed a check; it will be started again
	phaseWaiting               // its process exited; it is started again at retryAt
	phaseStopping              // it is being drained and stopped for good
)

// String returns the phase as 'banyan status' shows it.
func (p phase) String() string {
	switch p {
	case phaseStarting:
		return "starting"
	case phaseReady:
		return "ready"
	case phaseUnready:
		return "unready"
	case phaseEnding:
		return "ending"
	case phaseWaiting:
		return "waiting"
	case phaseStopping:
		return "stopping"
	}
	return fmt.Sprintf("phase(%d)", uint8(p))
}

// target is the desired state of one service.
type target struct {
	replicas    int
	revision    int           // that all replicas should run
	previous    int           // to return to if the replacement fails; 0: no replacement is under way, or no way back
	bad         int           // revision whose replacement failed; 0: none
	surge       int           // replicas more than wanted while replacing
	unavailable int           // replicas fewer than wanted that may be ready while replacing
	deadline    time.Duration // by which a new replica must be ready, since its creation; 0: none
	stop        bool          // stop everything
}

// member is what reconcile knows of one replica.
type member struct {
	index     int    // of its name: orders-0
	seq       uint64 // grows with each replica that is created
	revision  int
	phase     phase
	retryAt   time.Duration // instant, for phaseWaiting
	created   time.Duration // instant
	everReady bool          // since it was created
	failed    string        // why it counts as failed to start, "" while it may still come up
}

type verb uint8

const (
	doCreate verb = iota // create a new replica with this index
	doRetry              // start the process of a waiting replica again
	doStop               // drain and stop the replica for good
	doGiveUp             // the replacement failed: return to the previous revision
)

// action is one step from actual towards desired.
type action struct {
	verb  verb
	index int
	why   string
}

// outcome is what reconcile found.
type outcome struct {
	actions []action
	wake    time.Duration // instant at which to look again though nothing happened; 0: none
	rolled  bool          // all replicas that are wanted run the wanted revision and are ready, none runs another
	settled bool          // rolled, and nothing is left to do or to wait for
}

// reconcile compares what is wanted with what is and returns the steps to take now. It is called again after every
// event, so it never plans ahead.
//
// Replacing follows the rules of a Kubernetes Deployment: at most replicas+surge exist, at least replicas-unavailable
// are ready as long as enough were ready before, and an old replica is given up only for a ready new one.
func reconcile(t target, members []member, now time.Duration) outcome {
	var out outcome
	alive := make([]member, 0, len(members))
	stopping := 0
	for _, m := range members {
		if m.phase == phaseStopping {
			stopping++
			continue
		}
		alive = append(alive, m)
	}
	if t.stop {
		for _, m := range alive {
			out.actions = append(out.actions, action{doStop, m.index, "the system is stopping"})
		}
		out.settled = len(members) == 0
		return out
	}
	if why := t.failure(alive, now); why != "" {
		out.actions = []action{{verb: doGiveUp, why: why}}
		return out
	}

	fresh, old := t.split(alive)
	stops := t.stops(fresh, old)
	stopped := make(map[int]bool, len(stops))
	for _, a := range stops {
		stopped[a.index] = true
	}
	out.actions = append(out.actions, stops...)

	room := t.replicas - len(fresh)
	if len(old) > 0 {
		room = min(room, t.replicas+t.surge-(len(alive)-len(stops)))
	}
	used := make(map[int]bool, len(members))
	for _, m := range members {
		used[m.index] = true
	}
	for index := 0; room > 0; index++ {
		if !used[index] {
			out.actions = append(out.actions, action{verb: doCreate, index: index})
			room--
		}
	}

	wakeAt := func(at time.Duration) {
		if out.wake == 0 || at < out.wake {
			out.wake = at
		}
	}
	for _, m := range alive {
		switch {
		case stopped[m.index]:
		case m.phase == phaseWaiting && m.retryAt <= now:
			out.actions = append(out.actions, action{verb: doRetry, index: m.index})
		case m.phase == phaseWaiting:
			wakeAt(m.retryAt)
		}
		if t.onTrial(m) && t.deadline > 0 {
			wakeAt(m.created + t.deadline)
		}
	}
	out.rolled = len(old) == 0 && len(fresh) == t.replicas && countReady(fresh) == t.replicas
	out.settled = out.rolled && stopping == 0 && len(out.actions) == 0
	return out
}

// onTrial reports whether the replica decides whether the replacement that is under way goes on.
func (t target) onTrial(m member) bool {
	return t.previous != 0 && m.revision == t.revision && !m.everReady
}

// failure says why the replacement that is under way has failed, "" if it has not.
func (t target) failure(alive []member, now time.Duration) string {
	for _, m := range alive {
		switch {
		case !t.onTrial(m):
		case m.failed != "":
			return m.failed
		case t.deadline > 0 && now >= m.created+t.deadline:
			return fmt.Sprintf("a new replica was not ready within %v", t.deadline)
		}
	}
	return ""
}

// split parts the replicas by whether they run the wanted revision, in order of creation.
func (t target) split(alive []member) (fresh, old []member) {
	for _, m := range alive {
		if m.revision == t.revision {
			fresh = append(fresh, m)
		} else {
			old = append(old, m)
		}
	}
	bySeq := func(a, b member) int { return cmp.Compare(a.seq, b.seq) }
	slices.SortFunc(fresh, bySeq)
	slices.SortFunc(old, bySeq)
	return fresh, old
}

// stops says which replicas to stop now.
func (t target) stops(fresh, old []member) []action {
	var stops []action
	// Too many: first those that serve nobody, then the newest.
	surplus := slices.Clone(fresh)
	slices.SortStableFunc(surplus, func(a, b member) int {
		if c := cmp.Compare(serving(a), serving(b)); c != 0 {
			return c
		}
		return cmp.Compare(b.seq, a.seq)
	})
	for i := 0; i < len(fresh)-t.replicas; i++ {
		stops = append(stops, action{doStop, surplus[i].index, "scaled down"})
	}
	if len(old) == 0 {
		return stops
	}

	freshReady := min(countReady(fresh), t.replicas)
	spare := freshReady + countReady(old) - max(t.replicas-t.unavailable, 0)
	stopsBefore := len(stops)
	for _, m := range old {
		switch {
		case m.phase == phaseReady && spare > 0:
			spare--
			stops = append(stops, action{doStop, m.index, "replaced"})
		case m.phase != phaseReady && (m.revision == t.bad || freshReady >= t.replicas):
			stops = append(stops, action{doStop, m.index, "replaced"})
		}
	}
	// Without room for a new replica and without a ready old one to spare, one that serves nobody makes way: it takes
	// nothing from those who are served, and the replacement may be what mends it.
	full := len(fresh)+len(old) >= t.replicas+t.surge
	if full && len(stops) == stopsBefore && len(fresh) < t.replicas {
		for _, m := range old {
			if m.phase != phaseReady {
				stops = append(stops, action{doStop, m.index, "replaced"})
				break
			}
		}
	}
	return stops
}

func serving(m member) int {
	switch m.phase {
	case phaseReady:
		return 2
	case phaseUnready, phaseStarting:
		return 1
	}
	return 0
}

func countReady(members []member) int {
	n := 0
	for _, m := range members {
		if m.phase == phaseReady {
			n++
		}
	}
	return n
}
