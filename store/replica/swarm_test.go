package replica

import (
	crand "crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/cockroachdb/pebble/v2"
)

var (
	seedsFlag = flag.Int("seeds", 0, "how many seeds the swarm runs; 0: as many as fit into a test run")
	seedFlag  = flag.Uint64("seed", 0, "run this one seed, and say what happens")
)

// profile is what a seed stands for. It is drawn from the seed and printed when the seed fails.
type profile struct {
	Seed    uint64
	Nodes   int
	Clients int // that read and write
	Readers int // that only read
	Timeout int // ticks
	Keys    int
	Safety  time.Duration // how long faults go on

	Lease     bool
	Drift     float64 // of clocks, at most
	Quiesce   int
	LogKeep   int
	Chunk     int
	Value     int // bytes that a value is made longer by
	Window    int
	Think     time.Duration // of a client between requests, at most
	Jitter    time.Duration
	Drop      float64
	Duplicate float64
	Reorder   float64
	SlowDisk  float64
	Every     time.Duration // between faults
	Faults    []string      // those that happen
}

var allFaults = []string{"crash", "crash-all", "isolate", "one-way", "cut", "pause", "slow-disk", "disk-full", "transfer", "member",
	"split", "merge", "lossy", "duel", "usurp", "transfer-cut", "flap", "bit-flip", "grow"}

func drawProfile(seed uint64) profile {
	r := rand.New(rand.NewPCG(seed, 7))
	p := profile{Seed: seed, Nodes: 3 + 2*r.IntN(2), Clients: 3 + r.IntN(6), Readers: r.IntN(5), Timeout: []int{12, 50}[r.IntN(2)], Keys: 1 + r.IntN(6), Safety: 25 * time.Second,
		Think:  []time.Duration{30 * time.Millisecond, 100 * time.Millisecond, 400 * time.Millisecond}[r.IntN(3)],
		Jitter: []time.Duration{2 * time.Millisecond, 20 * time.Millisecond, 150 * time.Millisecond}[r.IntN(3)],
		Lease:  r.IntN(2) == 0, Quiesce: []int{-1, 5, 20}[r.IntN(3)], LogKeep: []int{8, 40, 1000}[r.IntN(3)],
		Chunk: []int{64, 512, 8192}[r.IntN(3)], Window: []int{1000, 2000, 5000}[r.IntN(3)],
		Every: time.Duration(200+r.IntN(1500)) * time.Millisecond}
	if p.Lease {
		p.Drift = 0.04 * r.Float64()
	}
	if r.IntN(2) == 0 {
		p.Drop, p.Duplicate, p.Reorder = 0.1*r.Float64(), 0.1*r.Float64(), 0.2*r.Float64()
	}
	if r.IntN(3) == 0 {
		p.SlowDisk = 0.1 * r.Float64()
	}
	for _, f := range allFaults { // a swarm: each seed lacks some kinds of faults, so that the others can show
		if r.IntN(2) == 0 {
			p.Faults = append(p.Faults, f)
		}
	}
	if slices.Contains(p.Faults, "member") || slices.Contains(p.Faults, "grow") { // which could leave the damaged node in charge of a majority
		p.Faults = slices.DeleteFunc(p.Faults, func(f string) bool { return f == "bit-flip" })
	}
	if len(p.Faults) == 0 {
		p.Faults = []string{"crash"}
	}
	return p
}

// run is one seed in progress.
type run struct {
	p       profile
	s       *sim
	history [][]porcupine.Operation // by key
	open    int
	ended   bool // clients begin nothing more
	nextID  uint64
	nextGrp uint64
	tokens  uint64
	say     func(format string, args ...any)
}

type seedReport struct {
	err     error
	trace   uint64
	virtual time.Duration
	ops     int
	unknown int
	stats   Stats
	counts  map[string]int
	net     [4]int
	profile profile
}

func runSeed(p profile, planted bugs, say func(string, ...any)) (rep seedReport) {
	defer seedRandomness(p.Seed)()
	rep.profile = p
	defer func() {
		if r := recover(); r != nil {
			rep.err = fmt.Errorf("panic: %v", r) // the Raft algorithm, or a database, saw that something is impossible
			if planted == 0 {
				rep.err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
			}
		}
	}()
	cfg := Config{Tick: 100 * time.Millisecond, ElectionTicks: 10, HeartbeatTicks: 2, QuiesceTicks: p.Quiesce, LeaseReads: p.Lease,
		TimeoutTicks: p.Timeout, RetryTicks: 10, TokenWindow: p.Window, LogEntries: p.LogKeep, SnapshotChunk: p.Chunk}
	if p.Lease {
		cfg.MaxClockDrift = 0.05
	}
	d := Descriptor{Group: 1, Start: []byte("d"), End: []byte("e"), NextReplica: 4}
	for id := range uint64(3) {
		d.Replicas = append(d.Replicas, Replica{ID: id + 1, Node: id + 1})
	}
	r := &run{p: p, history: make([][]porcupine.Operation, p.Keys), nextGrp: 2, say: say}
	r.s = newSim(p.Seed, p.Nodes, cfg, planted, []Descriptor{d})
	s := r.s
	s.net.Faults.Jitter, s.net.Faults.Drop, s.net.Faults.Duplicate, s.net.Faults.Reorder = p.Jitter, p.Drop, p.Duplicate, p.Reorder
	for _, n := range s.nodes {
		n.rate = 1 + p.Drift*(2*s.w.Rand().Float64()-1)
		n.disk.Faults.Slow, n.disk.Faults.SlowTime = p.SlowDisk, 300*time.Millisecond
	}
	for c := range p.Clients + p.Readers {
		s.w.After(s.w.Between(0, time.Second), func() { r.client(c) })
	}
	s.w.After(2*time.Second, r.fault)
	s.w.Run(p.Safety)
	if s.broken == nil {
		r.heal()
	}
	for _, n := range s.nodes {
		if n.up {
			n.addStats()
		}
	}
	if s.broken == nil {
		s.fail(r.checkHistories())
	}
	if s.broken == nil {
		s.fail(r.compareReplicas())
	}
	rep.err, rep.trace, rep.virtual, rep.stats, rep.counts = s.broken, s.w.Trace(), s.w.Now(), s.total, s.counts
	rep.net = [4]int{s.net.Delivered, s.net.Dropped, s.net.Duplicated, s.net.Cut}
	for _, h := range r.history {
		rep.ops += len(h)
		for _, op := range h {
			if op.Output.(kvOutput).unknown {
				rep.unknown++
			}
		}
	}
	for _, n := range s.nodes {
		if n.up {
			if err := n.core.close(); err == nil {
				_ = n.db.Close()
			}
			n.up = false
		}
	}
	return rep
}

// seedRandomness makes the random waits of the Raft algorithm, which draws them from crypto/rand, follow from the seed.
func seedRandomness(seed uint64) (restore func()) {
	before := crand.Reader
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	crand.Reader = io.Reader(rand.NewChaCha8(key))
	return func() { crand.Reader = before }
}

// client makes one request after the other until the run ends.
func (r *run) client(c int) {
	if r.ended {
		return
	}
	s := r.s
	again := func() { s.w.After(s.w.Between(0, r.p.Think), func() { r.client(c) }) }
	node := s.nodes[s.w.Rand().IntN(len(s.nodes))]
	key := s.w.Rand().IntN(r.p.Keys)
	kind := s.w.Rand().IntN(10)
	if c >= r.p.Clients {
		kind = 0
	}
	withToken := s.w.Rand().IntN(2) == 0
	if !node.up {
		again()
		return
	}
	r.open++
	begun := s.w.Now()
	r.nextID++
	in := kvInput{op: opPut, value: fmt.Sprintf("%d.", r.nextID) + strings.Repeat("-", r.p.Value)}
	switch {
	case kind < 4:
		in = kvInput{op: 'g'}
	case kind < 7:
		in.op = opAppend
	}
	end := func(out kvOutput, happened bool) {
		r.open--
		if happened {
			op := porcupine.Operation{ClientId: c, Input: in, Output: out, Call: int64(begun), Return: int64(s.w.Now())}
			if out.unknown {
				op.Return = int64(1) << 60
			}
			r.history[key] = append(r.history[key], op)
		}
		again()
	}
	if in.op == 'g' {
		r.read(node, key, func(value string, err error) { end(kvOutput{value: value}, err == nil) })
		return
	}
	var token []byte
	attempts := 1
	if withToken {
		r.tokens++
		token = fmt.Appendf(nil, "t%d", r.tokens)
		attempts = 4
	}
	r.write(node, key, in, token, attempts, false, end)
}

func (r *run) write(node *simNode, key int, in kvInput, token []byte, attempts int, maybe bool, end func(kvOutput, bool)) {
	k := simKey(key)
	node.ask(func(id uint64) event {
		return propose{event: id, token: token, key: k, body: kvCommand(in.op, k, in.value)}
	}, func(res result) {
		unknown := errors.Is(res.err, ErrUnknownOutcome)
		switch {
		case res.err == nil:
			end(kvOutput{value: string(res.value)}, true)
		case attempts > 1:
			r.s.w.After(100*time.Millisecond, func() {
				next := r.s.nodes[r.s.w.Rand().IntN(len(r.s.nodes))]
				if !next.up {
					next = node
				}
				if !next.up {
					end(kvOutput{unknown: true}, maybe || unknown)
					return
				}
				r.write(next, key, in, token, attempts-1, maybe || unknown, end)
			})
		default:
			end(kvOutput{unknown: true}, maybe || unknown)
		}
	})
}

func (r *run) read(node *simNode, key int, done func(string, error)) {
	node.ask(func(id uint64) event { return readKey{event: id, key: simKey(key), consistent: true} }, func(res result) {
		if res.err != nil {
			done("", res.err)
			return
		}
		value, err := getCopy(res.view, simKey(key))
		if err != nil && !r.s.flipped[node.id] {
			r.s.fail(err)
		}
		done(string(value), err)
	})
}

// heal ends all faults and asks for service: every key must be readable and writable, at every node that has it.
func (r *run) heal() {
	s := r.s
	r.ended = true
	s.net.Heal()
	s.net.Faults.Jitter, s.net.Faults.Drop, s.net.Faults.Duplicate, s.net.Faults.Reorder = 2*time.Millisecond, 0, 0, 0
	for _, n := range s.nodes {
		n.disk.Full, n.disk.Faults.Slow = false, 0
		n.resume()
		n.restart()
	}
	s.w.Run(s.w.Now() + 25*time.Second) // in which all open requests end
	if r.open > 0 && s.broken == nil {
		s.failf("liveness: %d requests never ended", r.open)
	}
	for attempt := range 4 {
		left := r.serve(attempt)
		if left == "" || s.broken != nil {
			return
		}
		if attempt == 3 {
			s.failf("liveness: after all faults ended: %s\n%s", left, s.describe())
		}
	}
}

func (r *run) serve(attempt int) (left string) {
	s := r.s
	bad := map[string]bool{}
	for _, n := range s.nodes {
		for key := range r.p.Keys {
			name := fmt.Sprintf("node %d key %d", n.id, key)
			if n.up && n.core.route(simKey(key)) == nil || r.s.flipped[n.id] {
				continue
			}
			if g := n.core.route(simKey(key)); g.err != nil {
				continue
			}
			bad[name+" read"], bad[name+" write"] = true, true
			in := kvInput{op: opPut, value: fmt.Sprintf("h%d.%d.%d.", attempt, n.id, key)}
			begun := int64(s.w.Now())
			r.write(n, key, in, nil, 1, false, func(out kvOutput, happened bool) {
				if happened {
					op := porcupine.Operation{ClientId: 100, Input: in, Output: out, Call: begun, Return: int64(s.w.Now())}
					if out.unknown {
						op.Return = 1 << 60
					}
					r.history[key] = append(r.history[key], op)
				}
				if happened && !out.unknown {
					delete(bad, name+" write")
				}
			})
			r.read(n, key, func(value string, err error) {
				if err == nil {
					delete(bad, name+" read")
					r.history[key] = append(r.history[key], porcupine.Operation{ClientId: 101, Input: kvInput{op: 'g'},
						Output: kvOutput{value: value}, Call: begun, Return: int64(s.w.Now())})
				}
			})
		}
	}
	for key := range r.p.Keys {
		if !slices.ContainsFunc(s.nodes, func(n *simNode) bool { return n.up && n.core.route(simKey(key)) != nil }) {
			return fmt.Sprintf("no node has key %d", key)
		}
	}
	s.w.Run(s.w.Now() + 8*time.Second)
	var names []string
	for name := range bad {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// describe says where all replicas stand.
func (s *sim) describe() string {
	var b strings.Builder
	for _, n := range s.nodes {
		if !n.up {
			fmt.Fprintf(&b, "node %d is down\n", n.id)
			continue
		}
		for _, g := range n.core.status() {
			last, _ := n.core.groups[g.Group].LastIndex()
			start, _ := n.core.groups[g.Group].log.Start()
			fmt.Fprintf(&b, "node %d group %d replica %d [%x,%x) gen %d term %d leader %d leads %v log %d..%d applied %d data %v frozen %v asleep %v conf %v replicas %v err %v\n",
				n.id, g.Group, g.Replica, g.Start, g.End, g.Generation, g.Term, g.Leader, g.Leads, start, last, g.Applied, g.HasData, g.Merging, g.Asleep,
				n.core.groups[g.Group].state.conf, g.Replicas, g.Err)
		}
	}
	return b.String()
}

type kvInput struct {
	op    byte
	value string
}

type kvOutput struct {
	value   string
	unknown bool
}

// register is what each key is: reads return the value, writes return the one before.
var register = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		in, out, old := input.(kvInput), output.(kvOutput), state.(string)
		ok := out.unknown || out.value == old
		switch in.op {
		case opPut:
			return ok, in.value
		case opAppend:
			return ok, old + in.value
		}
		return ok, old
	},
	DescribeOperation: func(input, output any) string {
		in, out := input.(kvInput), output.(kvOutput)
		return fmt.Sprintf("%c %s -> %s %v", in.op, in.value, out.value, out.unknown)
	},
}

func (r *run) checkHistories() error {
	for key, history := range r.history {
		switch porcupine.CheckOperationsTimeout(register, history, 2*time.Second) {
		case porcupine.Illegal:
			return fmt.Errorf("key %d: the history of %d operations is not linearizable", key, len(history))
		case porcupine.Unknown:
			r.s.counts["histories not decided"]++
		default:
			r.s.counts["histories linearizable"]++
		}
	}
	return nil
}

// compareReplicas holds the rows of replicas that stand at the same entry against each other.
func (r *run) compareReplicas() error {
	type copyOf struct {
		node uint64
		rows string
	}
	seen := map[[2]uint64]copyOf{}
	for _, n := range r.s.nodes {
		if !n.up || r.s.flipped[n.id] {
			continue
		}
		for _, g := range n.core.spans {
			if g.err != nil || g.restore {
				continue
			}
			rows, err := dump(n.db, g.state.desc.Start, g.state.desc.End)
			if err != nil {
				return err
			}
			at := [2]uint64{g.id, g.applied}
			if other, ok := seen[at]; ok && other.rows != rows {
				return fmt.Errorf("group %d at entry %d: nodes %d and %d have different rows:\n%s\n%s", g.id, g.applied, other.node, n.id, other.rows, rows)
			}
			seen[at] = copyOf{n.id, rows}
		}
	}
	return nil
}

func dump(db *pebble.DB, start, end []byte) (string, error) {
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: start, UpperBound: end})
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for it.First(); it.Valid(); it.Next() {
		fmt.Fprintf(&b, "%x=%s\n", it.Key(), it.Value())
	}
	return b.String(), errors.Join(it.Error(), it.Close())
}

func TestSwarm(t *testing.T) {
	seeds, first := *seedsFlag, uint64(1)
	say := func(string, ...any) {}
	if seeds == 0 {
		if seeds = 120; raceDetector {
			seeds = 4
		}
	}
	if *seedFlag != 0 {
		seeds, first, say = 1, *seedFlag, t.Logf
	}
	var sum seedReport
	sum.counts = map[string]int{}
	for seed := first; seed < first+uint64(seeds); seed++ {
		rep := runSeed(drawProfile(seed), 0, say)
		if rep.err != nil {
			t.Errorf("seed %d: %v\nprofile: %+v\nrun it again: go test ./store/replica -run TestSwarm -seed %d -v", seed, rep.err, rep.profile, seed)
		}
		sum.add(rep)
	}
	t.Log(sum.String())
}

func (sum *seedReport) add(rep seedReport) {
	sum.virtual += rep.virtual
	sum.ops += rep.ops
	sum.unknown += rep.unknown
	for k, v := range rep.counts {
		sum.counts[k] += v
	}
	for i := range rep.net {
		sum.net[i] += rep.net[i]
	}
	st := rep.stats
	for name, n := range map[string]int{"applied": st.Applied, "syncs": st.Syncs, "elections": st.Elections, "transfers": st.Transfers,
		"replica changes applied": st.ConfChanges, "splits applied": st.Splits, "merges applied": st.Merges, "replicas removed": st.Removed,
		"times asleep": st.Quiesced, "read rounds": st.ReadRounds, "lease reads": st.LeaseReads, "snapshots sent": st.SnapshotsSent,
		"snapshots applied": st.SnapshotsApplied, "snapshots refused": st.SnapshotsRefused, "failed groups": st.FailedGroups} {
		sum.counts[name] += n
	}
}

func (sum *seedReport) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "simulated %.2f h, %d operations (%d with unknown outcome), messages delivered %d lost %d doubled %d cut %d\n",
		sum.virtual.Hours(), sum.ops, sum.unknown, sum.net[0], sum.net[1], sum.net[2], sum.net[3])
	var names []string
	for name := range sum.counts {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(&b, "  %-28s %d\n", name, sum.counts[name])
	}
	return b.String()
}

// TestSameSeedSameRun holds the promise that a failing seed can be looked at again.
func TestSameSeedSameRun(t *testing.T) {
	for _, seed := range []uint64{3} {
		a, b := runSeed(drawProfile(seed), 0, func(string, ...any) {}), runSeed(drawProfile(seed), 0, func(string, ...any) {})
		if a.trace != b.trace || a.err != nil || b.err != nil {
			t.Errorf("seed %d: traces %x and %x, errors %v and %v", seed, a.trace, b.trace, a.err, b.err)
		}
		if other := runSeed(drawProfile(seed+100), 0, func(string, ...any) {}); other.trace == a.trace {
			t.Errorf("seeds %d and %d have the same trace %x", seed, seed+100, a.trace)
		}
	}
}
