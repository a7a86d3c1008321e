package policy

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/banyanhq/banyan/topology"
)

func TestBudgetsShareALedger(t *testing.T) {
	var l Ledger
	small, large := l.Retries(0.1, 0), l.Retries(0.5, 0)
	for range 100 {
		small.Deposit(0)
	}
	for i := range 10 {
		if !large.Withdraw(0) {
			t.Fatalf("retry %d of 50 refused", i)
		}
	}
	if small.Withdraw(0) {
		t.Error("ten retries of a hundred requests are made, and a budget of 10 % allows one more")
	}
	if !large.Withdraw(0) {
		t.Error("a budget of 50 % does not")
	}
	if got := l.Spent(); got.Requests != 100 || got.Retries != 11 {
		t.Errorf("spent %+v", got)
	}
}

// Two gateways that tell each other what they spent keep within one budget together.
func TestBudgetsAreSharedWithPeers(t *testing.T) {
	var a, b Ledger
	ours, theirs := a.Retries(0.2, 0), b.Retries(0.2, 0)
	for range 100 {
		ours.Deposit(0)
	}
	for ours.Withdraw(0) {
	}
	b.Peer(0, Spend{}, a.Spent())
	if theirs.Withdraw(0) {
		t.Error("the peer's 20 of 100 are spent, and one more is granted")
	}
	for range 50 {
		theirs.Deposit(0)
	}
	n := 0
	for theirs.Withdraw(0) {
		n++
	}
	if n != 10 {
		t.Errorf("%d retries for 50 more requests, want 10", n)
	}
	if got := b.Spent(); got.Requests != 50 || got.Retries != 10 {
		t.Errorf("what came from a peer counts as own: %+v", got)
	}
}

// The budget is the whole share while half of the tries succeed, and nothing where none does.
func TestBudgetFollowsTheCalleesHealth(t *testing.T) {
	for _, c := range []struct {
		failing int // of ten tries
		want    int
	}{{0, 200}, {5, 200}, {6, 160}, {8, 80}, {10, 0}} {
		var l Ledger
		b := l.Retries(0.2, 0)
		for i := range 1000 {
			b.Deposit(0)
			o := Success
			if i%10 < c.failing {
				o = Failure
			}
			l.Outcome(0, o)
		}
		n := 0
		for b.Withdraw(0) {
			n++
		}
		if n != c.want {
			t.Errorf("%d of ten tries fail: %d retries, want %d", c.failing, n, c.want)
		}
		if allowed, spent := b.Allowed(0); math.Abs(allowed-float64(c.want)) > 1e-6 || spent != int64(n) {
			t.Errorf("%v allowed, %d spent", allowed, spent)
		}
	}
}

func TestMeterQuantiles(t *testing.T) {
	for i := range meterBuckets - 1 {
		if low, high := meterBound(i), meterBound(i+1); high <= low || meterBucket(low) != i+1 || meterBucket(low-1) != i {
			t.Fatalf("bucket %d ends at %v, the next at %v", i, low, high)
		}
	}
	var m meter
	if _, ok := m.latency(0, 0.5); ok {
		t.Error("nothing is known of nothing")
	}
	rng := rand.New(rand.NewPCG(1, 1))
	now := time.Duration(0)
	for range 20_000 {
		now += time.Millisecond / 2
		m.observe(now, time.Duration(10e6*rng.ExpFloat64()))
	}
	for q, want := range map[float64]float64{0.5: 6.93, 0.95: 29.96, 0.99: 46.05} {
		d, ok := m.latency(now, q)
		if got := d.Seconds() * 1e3; !ok || math.Abs(got-want) > 0.08*want {
			t.Errorf("quantile %v is %.2f ms, want %.2f", q, got, want)
		}
	}
	if _, ok := m.latency(now+time.Hour, 0.5); ok {
		t.Error("an hour later it is still known")
	}
}

// One slow request in twenty is hedged after p95, for at most 5 % more load; and none where the service is busy.
func TestHedgerLimitsItself(t *testing.T) {
	cfg := topology.Hedge{Quantile: 0.95, MinDelay: topology.Duration(time.Millisecond), Budget: 0.05, MaxUtilization: 0.7}
	rng := rand.New(rand.NewPCG(2, 2))
	run := func(utilization float64, slower time.Duration) (hedges, requests int) {
		h := NewHedger(cfg, new(Ledger))
		now := time.Duration(0)
		for i := range 30_000 {
			now += time.Millisecond
			took := time.Duration(10e6 * rng.ExpFloat64())
			if i > 15_000 {
				took += slower
			}
			after, ok := h.Delay(now, true, utilization)
			if ok && took > after {
				if i > 15_000 {
					requests++
				}
				if h.Send(now+after, utilization) && i > 15_000 {
					hedges++
				}
			}
			h.Observe(now, took)
		}
		return hedges, requests
	}
	if n, _ := run(0.5, 0); n < 500 || n > 760 {
		t.Errorf("%d of 15,000 hedged, want about 5 %%", n)
	}
	if n, slow := run(0.5, time.Second); n > 760 || slow < 900 {
		t.Errorf("%d of %d slow ones hedged: the budget does not hold", n, slow)
	}
	if n, _ := run(0.8, 0); n != 0 {
		t.Errorf("%d hedged at a utilisation above the bound", n)
	}
	if n, _ := run(UnknownUtilization, time.Second); n > 300 {
		t.Errorf("%d hedged though all have become a hundred times as slow", n)
	}
	h := NewHedger(cfg, new(Ledger))
	for range 1000 {
		h.Observe(0, time.Millisecond)
	}
	if _, ok := h.Delay(0, false, 0); ok {
		t.Error("a POST is hedged")
	}
	if d, ok := h.Delay(0, true, 0); !ok || d < time.Millisecond {
		t.Errorf("delay %v, %v", d, ok)
	}
}

func TestTimeLeft(t *testing.T) {
	for text, want := range map[string]time.Duration{"1": time.Millisecond, "250": 250 * time.Millisecond, "0": 0, "": 0, "-5": 0, "+5": 0, "1.5": 0, "12345678901": 0, "9 ": 0} {
		if got, ok := ParseTimeLeft(text); got != want || ok != (want > 0) {
			t.Errorf("%q: %v, %v", text, got, ok)
		}
	}
	for text, want := range map[string]time.Duration{"1S": time.Second, "250m": 250 * time.Millisecond, "7u": 7 * time.Microsecond, "99999999H": 24 * time.Hour,
		"1": 0, "S": 0, "1s": 0, "123456789m": 0, "+1S": 0, "0m": 0} {
		if got, ok := ParseGRPCTimeout(text); got != want || ok != (want > 0) {
			t.Errorf("%q: %v, %v", text, got, ok)
		}
	}
	if got := FormatTimeLeft(1999 * time.Microsecond); got != "1" {
		t.Errorf("1.999 ms are passed on as %s", got)
	}
	for _, d := range []time.Duration{-1, 1, time.Microsecond, 99 * time.Second, time.Hour, 10000 * time.Hour} {
		text := FormatGRPCTimeout(d)
		if got, ok := ParseGRPCTimeout(text); !ok || got > max(d, time.Microsecond) {
			t.Errorf("%v is passed on as %s, which is %v", d, text, got)
		}
	}
}

func FuzzTimeLeft(f *testing.F) {
	f.Add("100")
	f.Add("100m")
	f.Fuzz(func(t *testing.T, text string) {
		if d, ok := ParseTimeLeft(text); ok && (d <= 0 || FormatTimeLeft(d) == "") {
			t.Errorf("%q is %v", text, d)
		}
		if d, ok := ParseGRPCTimeout(text); ok && (d <= 0 || len(FormatGRPCTimeout(d)) > 9) {
			t.Errorf("%q is %v", text, d)
		}
	})
}

func TestFeasibility(t *testing.T) {
	last := -1
	for n := int64(1); n < 1<<17; n++ {
		if i := feasibleIndex(n); i < last || i >= feasibleCells {
			t.Fatalf("cell of %d is %d, after %d", n, i, last)
		} else {
			last = i
		}
	}
	const ms = time.Millisecond
	f := NewFeasibility(topology.Admission{Margin: 1})
	if _, ok := f.Admit(0, ms, 1000); !ok {
		t.Error("it refuses what it knows nothing of")
	}
	for i := range 20 {
		f.Observe(time.Duration(i), 1, 10*ms)
		f.Observe(time.Duration(i), 50, 200*ms)
	}
	f.probe = 0
	for _, c := range []struct {
		inFlight int64
		left     time.Duration
		retry    time.Duration
	}{{1, 10 * ms, 0}, {1, 9 * ms, ms}, {20, 10 * ms, 0}, {50, 150 * ms, 50 * ms}, {500, 150 * ms, 50 * ms}, {50, 200 * ms, 0}} {
		if retry, ok := f.Admit(50*ms, c.left, c.inFlight); retry != c.retry || ok != (c.retry == 0) {
			t.Errorf("%d in flight, %v left: %v, %v", c.inFlight, c.left, retry, ok)
		}
	}
	if _, ok := f.Admit(100*ms, ms, 50); !ok {
		t.Error("nothing is let in to learn")
	}
	if _, ok := f.Admit(150*ms, ms, 50); ok {
		t.Error("two within a tenth of a second are")
	}
	// Better times are learned from those that are let in.
	now, refused := 200*ms, 0
	for range 20 {
		now += 110 * ms
		if _, ok := f.Admit(now, 20*ms, 50); ok {
			f.Observe(now, 50, 5*ms)
		}
		if _, ok := f.Admit(now, 20*ms, 50); !ok {
			refused++
		}
	}
	if refused == 0 || refused > 6 {
		t.Errorf("after %d tenths of a second it knows that all is well", refused)
	}
	if f.Expect(now+feasibleForget, 1000) != 0 {
		t.Error("it never forgets")
	}
}

// Classes are shed one after the other, each first a little and then altogether.
func TestShedding(t *testing.T) {
	share := func(c Class, u float64) float64 {
		n := 0
		for i := range 10_000 {
			if Shed(c, u, Draw(uint64(i))) {
				n++
			}
		}
		return float64(n) / 10_000
	}
	order := []Class{BulkClass, BestEffortClass, DegradedClass, CriticalClass}
	for u := 0.0; u <= 1.2; u += 0.02 {
		for i, c := range order {
			if i > 0 && share(c, u) > share(order[i-1], u) {
				t.Errorf("at %.2f, %v is shed more than %v", u, c, order[i-1])
			}
			if share(c, u+0.02) < share(c, u) {
				t.Errorf("%v is shed less above %.2f", c, u)
			}
		}
	}
	for _, c := range []struct {
		class Class
		u     float64
		want  float64
	}{{BulkClass, 0.6, 0}, {BulkClass, 0.7, 0.125}, {BulkClass, 0.8, 1}, {BestEffortClass, 0.7, 0}, {BestEffortClass, 0.9, 1}, {DegradedClass, 0.8, 0}, {DegradedClass, 0.9, 0.125}, {DegradedClass, 1, 1}, {CriticalClass, 5, 0}} {
		if got := share(c.class, c.u); math.Abs(got-c.want) > 0.02 {
			t.Errorf("at %.1f, %.3f of %v is shed, want %.3f", c.u, got, c.class, c.want)
		}
	}
	for i, c := range order {
		if got, ok := ParseClass(c.String()); !ok || got != c {
			t.Errorf("%v reads as %v", c, got)
		}
		if i > 0 && (!order[i-1].Below(c) || c.Below(order[i-1])) {
			t.Errorf("%v is not below %v", order[i-1], c)
		}
	}
	if _, ok := ParseClass("urgent"); ok {
		t.Error("there is no class urgent")
	}
}

// zoned returns a pool of n members, the first few of them in zone a, for a caller in a.
func zoned(t *testing.T, balance topology.Balance, n, local int, cfg topology.Locality) *Pool {
	t.Helper()
	p, err := NewPool(balance, &topology.Breaker{Failures: 1, Open: topology.Duration(time.Hour), MaxEjected: 1})
	if err != nil {
		t.Fatal(err)
	}
	p.SetLocality("a", &cfg)
	members := make([]*Member, n)
	for i := range members {
		zone := "b"
		if i < local {
			zone = "a"
		}
		members[i] = p.NewMember(&Backend{Key: HashString(fmt.Sprint(i)), Zone: zone, Limit: 10})
	}
	p.Set(members)
	return p
}

func localShare(p *Pool, requests int, hold bool) float64 {
	n := 0
	for i := range requests {
		r := Request{Random: mix(uint64(i)), Hash: uint64(i)}
		g, why := p.Pick(&r, 0)
		if why != Picked {
			continue
		}
		if g.Zone == "a" {
			n++
		}
		if !hold {
			p.Release(g, time.Millisecond, Success)
		}
	}
	return float64(n) / float64(requests)
}

func TestLocality(t *testing.T) {
	for _, balance := range topology.Balances() {
		p := zoned(t, balance, 9, 3, topology.Locality{Overprovision: 1.4})
		if got := localShare(p, 2000, false); got != 1 {
			t.Errorf("%s: %.2f stay in a healthy zone", balance, got)
		}
		// One of three is broken: 1.4 x 2/3 stay.
		p.Members()[0].Breaker.Trip(0)
		if got := localShare(p, 20_000, false); got < 0.91 || got > 0.97 {
			t.Errorf("%s: %.3f stay with a third of the zone broken, want 0.933 and a part of what may go anywhere", balance, got)
		}
		p.Members()[1].Breaker.Trip(0)
		p.Members()[2].Breaker.Trip(0)
		if got := localShare(p, 1000, false); got != 0 {
			t.Errorf("%s: %.2f stay in a broken zone", balance, got)
		}
		// What is full spills over.
		p = zoned(t, balance, 9, 3, topology.Locality{Overprovision: 1.4})
		if got := localShare(p, 60, true); got != 0.5 {
			t.Errorf("%s: %.2f of 60 stay where there is room for 30", balance, got)
		}
		// So does what is beyond the bound that the file sets.
		p = zoned(t, balance, 9, 3, topology.Locality{Overprovision: 1.4, Spill: 2})
		for range 6 {
			if localShare(p, 1, true) != 1 {
				t.Errorf("%s: the bound is not reached, and it spills", balance)
			}
		}
		p2 := 0
		for i := range 300 {
			r := Request{Random: mix(uint64(i + 9)), Hash: uint64(i)}
			if g, why := p.Pick(&r, 0); why == Picked {
				if g.Zone == "b" {
					p2++
				}
				p.Release(g, time.Millisecond, Success)
			}
		}
		if p2 == 0 {
			t.Errorf("%s: nothing spills above the bound", balance)
		}
	}
	if got := localShare(zoned(t, topology.LeastRequest, 4, 0, topology.Locality{}), 100, false); got != 0 {
		t.Error("there is no zone to stay in")
	}
}

// Every backend is used by about as many gateways as any other, and little changes when one goes.
func TestSubset(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	for range 60 {
		n, size, clients := 1+rng.IntN(300), 1+rng.IntN(40), 1+rng.IntN(200)
		keys := make([]uint64, n)
		for i := range keys {
			keys[i] = rng.Uint64()
		}
		used := make([]int, n)
		gone := rng.IntN(n)
		fewer := slices.Delete(slices.Clone(keys), gone, gone+1)
		for client := range clients {
			s := Subset(keys, size, client, clients)
			if len(s) < min(size, n) || !slices.IsSorted(s) || len(slices.Compact(slices.Clone(s))) != len(s) {
				t.Fatalf("n %d size %d: subset %v", n, size, s)
			}
			mine := map[uint64]bool{}
			for _, i := range s {
				used[i]++
				mine[keys[i]] = true
			}
			subsets := func(n int) int { return n / max(size, (n+clients-1)/clients) }
			if subsets(n) == subsets(n-1) {
				added := 0
				for _, i := range Subset(fewer, size, client, clients) {
					if !mine[fewer[i]] {
						added++
					}
				}
				if added > 2 {
					t.Errorf("n %d size %d: one of %d backends goes, and a gateway takes %d new ones", n, size, n, added)
				}
			}
		}
		if slices.Min(used) == 0 {
			t.Errorf("n %d size %d clients %d: a backend is used by nobody", n, size, clients)
		}
		if subsets := n / max(size, (n+clients-1)/clients); subsets > 0 && slices.Max(used)-slices.Min(used) > 1 {
			t.Errorf("n %d size %d clients %d: between %d and %d gateways use a backend", n, size, clients, slices.Min(used), slices.Max(used))
		}
	}
}

// runCanary sends requests until the canary has come to an end, and returns the share that failed of those it was given.
func runCanary(t *testing.T, cfg topology.Canary, seed uint64, errors, slower float64) (state CanaryState, given int, steps int) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 1))
	c := NewCanary(cfg, 0)
	now := time.Duration(0)
	for range 4_000_000 {
		now += time.Millisecond
		tested := c.Takes(rng.Float64())
		latency, o := time.Duration(10e6*(1+rng.ExpFloat64())), Success
		if rng.Float64() < 0.001 {
			o = Failure
		}
		if tested {
			given++
			latency = time.Duration(float64(latency) * slower)
			if rng.Float64() < errors {
				o = Failure
			}
		}
		c.Observe(tested, latency, o)
		if e, changed := c.Tick(now); changed {
			steps++
			if e.Share != c.Share() || e.Reason == "" {
				t.Fatalf("event %+v with a share of %v", e, c.Share())
			}
			if e.State != CanaryRunning {
				return e.State, given, steps
			}
		}
	}
	t.Fatal("the canary never ends")
	return
}

func TestCanary(t *testing.T) {
	cfg := topology.Canary{Steps: []topology.Percent{0.05, 0.25, 0.5}, Interval: topology.Duration(time.Minute), MinRequests: 100, Errors: 0.01, Slower: 1.25, Confidence: 0.99}
	for seed := range uint64(4) {
		if state, _, steps := runCanary(t, cfg, seed, 0, 1); state != CanaryPromoted || steps != 3 {
			t.Errorf("seed %d: as good as the other, and %v after %d steps", seed, state, steps)
		}
		if state, given, _ := runCanary(t, cfg, seed, 0.3, 1); state != CanaryRolledBack || given > 1000 {
			t.Errorf("seed %d: 30 %% fail, and it is %v after %d requests", seed, state, given)
		}
		if state, given, _ := runCanary(t, cfg, seed, 0, 2); state != CanaryRolledBack || given > 2500 {
			t.Errorf("seed %d: twice as slow, and it is %v after %d requests", seed, state, given)
		}
		if state, _, _ := runCanary(t, cfg, seed, 0.02, 1); state != CanaryRolledBack {
			t.Errorf("seed %d: 2 %% fail where 1 %% may, and it is %v", seed, state)
		}
	}
	// One that nobody asks is not promoted, but given up in the end.
	c := NewCanary(cfg, 0)
	for now := time.Duration(0); now < 20*time.Minute; now += time.Second {
		c.Observe(false, time.Millisecond, Success)
		c.Tick(now)
	}
	if c.State() != CanaryRolledBack || c.Takes(0) {
		t.Errorf("without a request it is %v", c.State())
	}
}
