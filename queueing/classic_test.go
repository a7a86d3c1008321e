package queueing

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

func within(t *testing.T, what string, got, want, relative float64) {
	t.Helper()
	if math.IsNaN(got) || math.Abs(got-want) > relative*math.Max(math.Abs(want), 1e-12) {
		t.Errorf("%s = %v, want %v within %g", what, got, want, relative)
	}
}

// The exact general solvers meet M/M/c, and the inverted tails the exponential ones.
func TestGeneralReducesToExponential(t *testing.T) {
	for _, rho := range []float64{0.05, 0.5, 0.9, 0.99} {
		for _, c := range []int{1, 2, 7, 40} {
			lambda := rho * float64(c)
			law, err := Exponential(1 / lambda)
			if err != nil {
				t.Fatal(err)
			}
			want, err := MMc(lambda, 1, c)
			if err != nil {
				t.Fatal(err)
			}
			got, err := GIMc(law, 1, c)
			if err != nil {
				t.Fatal(err)
			}
			within(t, fmt.Sprintf("GI/M/%d at %v: PWait", c, rho), got.PWait, want.PWait, 1e-6)
			within(t, "W", got.W, want.W, 1e-7)
		}
		service, err := Hyperexponential(0.5, 1, 1+1e-9) // exponential, but no solver knows
		if err != nil {
			t.Fatal(err)
		}
		got, err := MG1Law(rho, service)
		if err != nil {
			t.Fatal(err)
		}
		want, err := MM1(rho, 1)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range []float64{0.1, 1, 5, 30} {
			if d := got.TailW(x) - want.TailW(x); math.Abs(d) > 1e-7 {
				t.Errorf("P(W > %v) at %v is off by %v", x, rho, d)
			}
			if d := got.TailWq(x) - want.TailWq(x); math.Abs(d) > 1e-7 {
				t.Errorf("P(Wq > %v) at %v is off by %v", x, rho, d)
			}
		}
		for n := range 30 {
			if d := got.PAtMost(n) - want.PAtMost(n); math.Abs(d) > 1e-7 {
				t.Errorf("P(N <= %d) at %v is off by %v", n, rho, d)
			}
		}
	}
}

// Constant service by three ways: Spitzer's sums, Pollaczek and Khinchine's mean, and the tail's integral.
func TestConstantService(t *testing.T) {
	heavy(t)
	for _, rho := range []float64{0.1, 0.5, 0.8, 0.95, 0.995} {
		one, err := MD1(rho, 1)
		if err != nil {
			t.Fatal(err)
		}
		atom, mean, variance := spitzer(rho, 1)
		within(t, fmt.Sprintf("mean at %v", rho), mean, one.Wq, 1e-4)
		within(t, "variance", variance, one.VarWq, 1e-3)
		within(t, "P(wait)", -math.Expm1(-atom), rho, 1e-6)
		if rho <= 0.95 {
			integral := 0.0
			const h = 0.02
			for x := 0.0; x < 60/(1-rho)*0.5; x += h {
				integral += h / 2 * (one.TailWq(x) + one.TailWq(x+h))
			}
			within(t, "integral of the tail", integral, one.Wq, 2e-4)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for _, c := range []int{2, 5} {
		s, err := MDc(0.85*float64(c), 1, c)
		if err != nil {
			t.Fatal(err)
		}
		waits, _ := lindley(c, 400_000, func() float64 { return rng.ExpFloat64() / (0.85 * float64(c)) }, func() float64 { return 1 })
		within(t, "M/D/c wait", s.Wq, meanOf(waits), 0.05)
		within(t, "M/D/c variance", s.VarWq, varianceOf(waits), 0.1)
		late := 0
		for _, w := range waits {
			if w > 2*s.Wq {
				late++
			}
		}
		within(t, "M/D/c tail", s.TailWq(2*s.Wq), float64(late)/float64(len(waits)), 0.08)
	}
}

// Tails, GI/M/c and what follows from a law, held against simulation.
func TestLawsAgainstSimulation(t *testing.T) {
	heavy(t)
	rng := rand.New(rand.NewPCG(3, 4))
	for _, x := range []struct {
		law  string
		draw func() float64
	}{
		{"erlang-3 mean 1", func() float64 { return (rng.ExpFloat64() + rng.ExpFloat64() + rng.ExpFloat64()) / 3 }},
		{"uniform a 0 b 2", func() float64 { return 2 * rng.Float64() }},
		{"hyperexp p .9 m1 .5 m2 5.5", func() float64 {
			if rng.Float64() < 0.9 {
				return 0.5 * rng.ExpFloat64()
			}
			return 5.5 * rng.ExpFloat64()
		}},
	} {
		law, err := ParseLaw(x.law)
		if err != nil {
			t.Fatal(err)
		}
		s, err := MG1Law(0.7, law)
		if err != nil {
			t.Fatal(err)
		}
		_, sojourns := lindley(1, 400_000, func() float64 { return rng.ExpFloat64() / 0.7 }, x.draw)
		for _, at := range []float64{0.5, 1.3, 4} {
			n := 0
			for _, w := range sojourns {
				if w > at*s.W {
					n++
				}
			}
			if d := s.TailW(at*s.W) - float64(n)/float64(len(sojourns)); math.Abs(d) > 0.01 {
				t.Errorf("%s: P(W > %v) is off by %v", x.law, at*s.W, d)
			}
		}
		for _, c := range []int{1, 3} {
			between, err := ParseLaw(x.law)
			if err != nil {
				t.Fatal(err)
			}
			mu := 1 / (0.8 * float64(c))
			g, err := GIMc(between, mu, c)
			if err != nil {
				t.Fatal(err)
			}
			waits, _ := lindley(c, 1_000_000, x.draw, func() float64 { return rng.ExpFloat64() / mu })
			within(t, x.law+" GI/M/c wait", g.Wq, meanOf(waits), 0.08)
		}
	}
}

// stationary solves a small chain that is given by its arcs.
func stationary(t *testing.T, states int, arcs func(i int, to func(j int, rate float64))) []float64 {
	t.Helper()
	var c chain
	for i := range states {
		arcs(i, func(j int, rate float64) { c.add(i, j, rate) })
	}
	pi, err := c.steady()
	if err != nil {
		t.Fatal(err)
	}
	return pi
}

func TestBulkBatchRetrialAgainstChains(t *testing.T) {
	const top = 400
	bulk, err := MMBulk(3, 1, 5)
	if err != nil {
		t.Fatal(err)
	}
	pi := stationary(t, top, func(i int, to func(int, float64)) {
		if i+1 < top {
			to(i+1, 3)
		}
		if i > 0 {
			to(max(0, i-5), 1)
		}
	})
	mean := 0.0
	for n, p := range pi {
		mean += float64(n) * p
	}
	within(t, "bulk L", bulk.L, mean, 1e-6)

	batch, err := MXM1(0.25, 1, 2, 5) // sizes 1 and 3 alike: mean 2, second moment 5
	if err != nil {
		t.Fatal(err)
	}
	pi = stationary(t, top, func(i int, to func(int, float64)) {
		for _, n := range []int{1, 3} {
			if i+n < top {
				to(i+n, 0.125)
			}
		}
		if i > 0 {
			to(i-1, 1)
		}
	})
	mean = 0
	for n, p := range pi {
		mean += float64(n) * p
	}
	within(t, "batch L", batch.L, mean, 1e-6)

	service, err := Exponential(1)
	if err != nil {
		t.Fatal(err)
	}
	retrial, err := MG1Retrial(0.5, service, 2)
	if err != nil {
		t.Fatal(err)
	}
	pi = stationary(t, 2*top, func(i int, to func(int, float64)) { // 2 away + busy
		away, busy := i/2, i%2
		if busy == 1 {
			to(2*away, 1)
			if away+1 < top {
				to(i+2, 0.5)
			}
			return
		}
		to(i+1, 0.5)
		if away > 0 {
			to(2*(away-1)+1, 2*float64(away))
		}
	})
	mean = 0
	for i, p := range pi {
		mean += float64(i/2) * p
	}
	within(t, "retrial Lq", retrial.Lq, mean, 1e-6)
}

func TestPoliciesOfMG1(t *testing.T) {
	law, err := ParseLaw("hyperexp mean 1 scv 4")
	if err != nil {
		t.Fatal(err)
	}
	w := map[Policy]float64{}
	for _, p := range Policies() {
		s, err := MG1Scheduled(0.8, law, p)
		if err != nil {
			t.Fatal(err)
		}
		within(t, string(p)+" by Little", s.L, 0.8*s.W, 1e-12)
		w[p] = s.W
	}
	within(t, "LCFS", w[PolicyLCFS], w[PolicyFCFS], 1e-12)
	within(t, "LCFS-PR", w[PolicyLCFSPR], w[PolicyPS], 1e-12)
	for _, p := range Policies() {
		if p != PolicySRPT && w[p] <= w[PolicySRPT] {
			t.Errorf("%s has mean %v, below SRPT's %v, which is the least of all", p, w[p], w[PolicySRPT])
		}
	}
	if w[PolicyFB] >= w[PolicyPS] {
		t.Errorf("FB %v, PS %v: with a falling hazard rate FB is better", w[PolicyFB], w[PolicyPS])
	}
	// With exponential service FB has PS's mean, for no attained service tells anything (Kleinrock's conservation law).
	exp, err := Exponential(1)
	if err != nil {
		t.Fatal(err)
	}
	s, err := MG1Scheduled(0.8, exp, PolicyFB)
	if err != nil {
		t.Fatal(err)
	}
	within(t, "FB, exponential", s.W, 5, 2e-3)
	s, err = MG1Scheduled(0.8, exp, PolicySRPT)
	if err != nil {
		t.Fatal(err)
	}
	within(t, "SRPT, exponential", s.W, simulateSRPT(0.8, 400_000), 0.05)
	det, err := Constant(1)
	if err != nil {
		t.Fatal(err)
	}
	s, err = MG1Scheduled(0.8, det, PolicySRPT)
	if err != nil {
		t.Fatal(err)
	}
	within(t, "SRPT, constant is FCFS", s.W, 3, 1e-9)
}

// Close to saturation the wait is that of a Brownian motion held at zero: mean and deviation are 1/(2 c (1 - rho)). That of one server is known besides.
func TestConstantServiceCloseToSaturation(t *testing.T) {
	for _, rho := range []float64{0.999, 0.9999, 0.99999, 0.999999} {
		one, err := MD1(rho, 1)
		if err != nil {
			t.Fatal(err)
		}
		_, mean, variance := spitzer(rho, 1)
		within(t, fmt.Sprintf("mean of one at %v", rho), mean, one.Wq, 1e-4)
		within(t, fmt.Sprintf("variance of one at %v", rho), variance, one.VarWq, 1e-4)
		for _, c := range []int{2, 10, 1000, 10_000} {
			s, err := MDc(rho*float64(c), 1, c)
			if err != nil {
				t.Fatal(err)
			}
			if heavy := 1 / (2 * float64(c) * (1 - rho)); heavy > 100 {
				within(t, fmt.Sprintf("wait of %d at %v", c, rho), s.Wq, heavy, 0.01)
				within(t, fmt.Sprintf("its deviation for %d at %v", c, rho), math.Sqrt(s.VarWq), heavy, 0.01)
			}
		}
	}
	// Where the two ways meet they agree.
	for _, b := range []float64{0.1, 1, 3, 5} {
		n, a := 2e5, 2.0
		k := (n - b*math.Sqrt(n)) / a
		f0, f1 := 1-gammaTail(n, k*a), 1-gammaTail(n+1, k*a)
		e0, e1, _ := erlangBelow(k, n, a)
		within(t, fmt.Sprintf("P(below by %v)", b), e0, f0, 2e-4)
		within(t, fmt.Sprintf("mean below by %v", b), e1, k*f0-n/a*f1, 2e-4)
	}
}

// Means by size are sums over a grid; they are held to closed forms and to finely integrated ones.
func TestScheduledIntegralsAreAccurate(t *testing.T) {
	exp, _ := Exponential(1)
	even, _ := Uniform(1, 3)
	for _, c := range []struct {
		policy Policy
		lambda float64
		law    *Law
		w      float64
	}{
		{PolicyFB, 0.8, exp, 5}, // sizes without memory: as any order that does not look at them
		{PolicySRPT, 0.8, exp, 2.3527775},
		{PolicyPSJF, 0.8, exp, 2.6588968},
		{PolicyFB, 0.4, even, 16.4688555},
		{PolicySRPT, 0.4, even, 5.3729854},
		{PolicyPSJF, 0.4, even, 6.2159253},
	} {
		s, err := MG1Scheduled(c.lambda, c.law, c.policy)
		if err != nil {
			t.Fatal(err)
		}
		within(t, fmt.Sprintf("%s, %s", c.policy, c.law), s.W, c.w, 2e-5)
	}
}

// simulateSRPT is the mean time in M/M/1 under SRPT, by events.
func simulateSRPT(rho float64, customers int) float64 {
	rng := rand.New(rand.NewPCG(7, 8))
	var left, came []float64
	now, next, total, done := 0.0, rng.ExpFloat64()/rho, 0.0, 0
	for done < customers {
		best := -1
		for i := range left {
			if best < 0 || left[i] < left[best] {
				best = i
			}
		}
		if best < 0 || next-now < left[best] {
			if best >= 0 {
				left[best] -= next - now
			}
			now = next
			left, came = append(left, rng.ExpFloat64()), append(came, now)
			next = now + rng.ExpFloat64()/rho
			continue
		}
		now += left[best]
		total += now - came[best]
		done++
		last := len(left) - 1
		left[best], came[best] = left[last], came[last]
		left, came = left[:last], came[:last]
	}
	return total / float64(done)
}

// Variances of priority classes: one class is M/G/1; two classes agree with simulation.
func TestPriorityVariances(t *testing.T) {
	one, err := Priority([]PriorityClass{{Arrival: 0.7, Service: 1, SCV: 0.5}}, false)
	if err != nil {
		t.Fatal(err)
	}
	want, err := MG1(0.7, 1, math.Sqrt(0.5))
	if err != nil {
		t.Fatal(err)
	}
	within(t, "VarWq", one[0].VarWq, want.VarWq, 1e-12)
	within(t, "VarW", one[0].VarW, want.VarW, 1e-12)
	one, err = Priority([]PriorityClass{{Arrival: 0.7, Service: 1, SCV: 0.5}}, true)
	if err != nil {
		t.Fatal(err)
	}
	within(t, "preemptive VarW", one[0].VarW, want.VarW, 1e-12)
	classes := []PriorityClass{{Arrival: 0.3, Service: 1, SCV: 1}, {Arrival: 0.2, Service: 2, SCV: 1}}
	for _, preemptive := range []bool{false, true} {
		got, err := Priority(classes, preemptive)
		if err != nil {
			t.Fatal(err)
		}
		sojourns := simulatePriority(classes, preemptive, 600_000)
		for i := range classes {
			within(t, fmt.Sprintf("preemptive %v class %d mean", preemptive, i+1), got[i].W, meanOf(sojourns[i]), 0.03)
			within(t, fmt.Sprintf("preemptive %v class %d variance", preemptive, i+1), got[i].VarW, varianceOf(sojourns[i]), 0.08)
		}
	}
}

func simulatePriority(classes []PriorityClass, preemptive bool, customers int) [][]float64 {
	rng := rand.New(rand.NewPCG(9, 10))
	type job struct {
		came, left float64
	}
	line := make([][]job, len(classes))
	out := make([][]float64, len(classes))
	next := make([]float64, len(classes))
	for i, c := range classes {
		next[i] = rng.ExpFloat64() / c.Arrival
	}
	now, serving := 0.0, -1
	for n := 0; n < customers; {
		if serving < 0 || preemptive {
			serving = -1
			for i := len(line) - 1; i >= 0; i-- {
				if len(line[i]) > 0 {
					serving = i
				}
			}
		}
		soon := 0
		for i := range next {
			if next[i] < next[soon] {
				soon = i
			}
		}
		if serving < 0 || next[soon]-now < line[serving][0].left {
			if serving >= 0 {
				line[serving][0].left -= next[soon] - now
			}
			now = next[soon]
			line[soon] = append(line[soon], job{now, rng.ExpFloat64() * classes[soon].Service})
			next[soon] = now + rng.ExpFloat64()/classes[soon].Arrival
			continue
		}
		now += line[serving][0].left
		out[serving] = append(out[serving], now-line[serving][0].came)
		line[serving] = line[serving][1:]
		serving = -1
		n++
	}
	return out
}

// Loss: Erlang B is the loss network of one class; two classes at a link against the chain; fixed point near a small network.
func TestLossNetworks(t *testing.T) {
	want, err := ErlangB(10, 7)
	if err != nil {
		t.Fatal(err)
	}
	b, _, err := KaufmanRoberts(10, []LossClass{{7, []int{1}}})
	if err != nil {
		t.Fatal(err)
	}
	within(t, "one class", b[0], want, 1e-12)
	// The product form over all states of two links and three classes.
	capacity := []int{6, 8}
	classes := []LossClass{{2, []int{1, 0}}, {1.5, []int{1, 1}}, {1, []int{0, 2}}}
	total, blocked := 0.0, make([]float64, 3)
	for x := range 9 {
		for y := range 9 {
			for z := range 9 {
				if x+y > 6 || y+2*z > 8 {
					continue
				}
				p := 1.0
				for i, n := range []int{x, y, z} {
					for k := 1; k <= n; k++ {
						p *= classes[i].Load / float64(k)
					}
				}
				total += p
				for i, c := range classes {
					if x+y+c.Units[0] > 6 && c.Units[0] > 0 || y+2*z+c.Units[1] > 8 && c.Units[1] > 0 {
						blocked[i] += p
					}
				}
			}
		}
	}
	got, exact, err := LossNetwork(capacity, classes)
	if err != nil || exact {
		t.Fatal(exact, err)
	}
	for i := range got {
		within(t, fmt.Sprintf("class %d", i+1), got[i], blocked[i]/total, 0.05)
	}
	// Engset with many rare sources is Erlang's loss; the carried calls never exceed the servers.
	s, _, err := Engset(7.0/1e5, 1, 10, 100_000)
	if err != nil {
		t.Fatal(err)
	}
	within(t, "Engset", s.PLoss, want, 1e-3)
	c, err := ErlangServers(20, 0.01, false)
	if err != nil || c != 30 {
		t.Errorf("servers for 20 Erlangs at 1 %%: %d (%v), tables say 30", c, err)
	}
}

func TestAbandonmentAndForkJoin(t *testing.T) {
	s, err := MMcAbandon(8, 1, 1e-6, 10)
	if err != nil {
		t.Fatal(err)
	}
	want, err := MMc(8, 1, 10)
	if err != nil {
		t.Fatal(err)
	}
	within(t, "patient customers: Wq", s.Wq, want.Wq, 1e-3)
	// theta = mu makes it M/M/inf.
	s, err = MMcAbandon(12, 1, 1, 10)
	if err != nil {
		t.Fatal(err)
	}
	within(t, "theta = mu: L", s.L, 12, 1e-9)
	rng := rand.New(rand.NewPCG(5, 5))
	for _, n := range []int{2, 4, 8} {
		var free [8]float64
		now, total := 0.0, 0.0
		const jobs = 400_000
		for range jobs {
			now += rng.ExpFloat64() / 0.7
			last := 0.0
			for i := range n {
				free[i] = math.Max(free[i], now) + rng.ExpFloat64()
				last = math.Max(last, free[i])
			}
			total += last - now
		}
		for _, m := range []ForkJoinMethod{NelsonTantawi, Varma} {
			r, lo, hi, _, err := ForkJoinOpen(0.7, 1, n, m)
			if err != nil {
				t.Fatal(err)
			}
			within(t, fmt.Sprintf("%d branches by %s", n, m), r, total/jobs, 0.05)
			if r < lo || r > hi {
				t.Errorf("%d branches: %v is outside its bounds %v to %v", n, r, lo, hi)
			}
		}
	}
}

// The convolution agrees with mean value analysis, with several servers and a think time.
func TestLoadDependentIsMVA(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	for range 40 {
		K, N := 1+rng.IntN(4), 1+rng.IntN(12)
		net := &Network{Classes: []Class{{Population: N, Think: rng.Float64() * 2}}}
		var visits []float64
		var rates [][]float64
		for range K {
			c, d := 1+rng.IntN(3), 0.1+rng.Float64()
			net.Stations = append(net.Stations, Station{Servers: c})
			net.Classes[0].Demands = append(net.Classes[0].Demands, d)
			row := make([]float64, c)
			for j := range row {
				row[j] = float64(j+1) / d
			}
			visits, rates = append(visits, 1), append(rates, row)
		}
		want, err := ExactMVA(net, Options{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := ClosedLoadDependent(N, net.Classes[0].Think, visits, rates)
		if err != nil {
			t.Fatal(err)
		}
		within(t, "throughput", got.Throughput, want.Throughput[0], 1e-9)
		for k := range K {
			within(t, "queue", got.QueueLength[k], want.QueueLength[0][k], 1e-9)
			within(t, "utilisation", got.Busy[k], want.Utilisation[0][k], 1e-9)
		}
	}
}

// Unknown fields and kinds are refused with the nearest right name, whatever the kind; kinds are found without their brackets.
func TestNearestNames(t *testing.T) {
	for doc, want := range map[string]string{
		`{"kind": "M/M/1", "inputs": {"lambda": 1, "mu": 2}}`:           `"lam"`,
		`{"kind": "M/M/1", "inputs": {"lam": 1, "mu": 2, "K": 4}}`:      `unknown field "K"`,
		`{"kind": "M/M/cc", "inputs": {"lam": 1, "mu": 2}}`:             `"M/M/c"`,
		`{"kind": "M/G/1", "inputs": {"lam": 1, "ES": 2, "stddev": 1}}`: `"sd"`,
		`{"kid": "M/G/1", "inputs": {}}`:                                `"kind"`,
	} {
		_, err := ParseModel(strings.NewReader(doc))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v does not say %s", doc, err, want)
		}
	}
	for _, kind := range []string{"balanced job bounds (BJB)", "Geometric bounds", "usl evaluation"} {
		if findKind(modelKinds(), kind) < 0 {
			t.Errorf("kind %q is not found", kind)
		}
	}
}

// Numbers of any size give an answer or an error, and nothing that is not a number.
func TestExtremeStations(t *testing.T) {
	heavy(t)
	for _, k := range stationKinds() {
		for _, rate := range []float64{1e-90, 1e-9, 1, 1e9, 1e90} {
			for _, rho := range []float64{1e-12, 0.5, 0.999999, 1, 40} {
				words := map[string]string{
					"lam": fmt.Sprint(rho * rate), "mu": fmt.Sprint(rate), "c": "1", "K": "3", "N": "4", "k": "2", "theta": fmt.Sprint(rate / 3), "scv": "2",
					"vacation": fmt.Sprintf("%q", fmt.Sprintf("exp mean %v", 1/rate)), "arrivals": fmt.Sprintf("%q", fmt.Sprintf("erlang-2 mean %v", 1/(rho*rate))),
					"policy": `"SRPT"`, "feedback": "0.25", "batch": "1.5", "batch_var": "1"}
				var inputs []string
				for _, f := range k.fields {
					if v, ok := words[f]; ok {
						inputs = append(inputs, fmt.Sprintf("%q: %s", f, v))
					}
				}
				m, err := ParseModel(strings.NewReader(fmt.Sprintf(`{"kind": %q, "inputs": {%s}}`, k.name, strings.Join(inputs, ", "))))
				if err != nil {
					if rate == 1 && rho < 1 && rho > 0.1 {
						t.Fatalf("%s: %v", k.name, err)
					}
					continue // times beyond 1e100 are refused
				}
				r, err := m.Solve()
				if err != nil {
					continue
				}
				for name, v := range r.Values {
					if x, ok := v.(float64); ok && (math.IsNaN(x) || x < -1e-9*math.Max(1, rate)) {
						t.Errorf("%s at rate %v, load %v: %s is %v", k.name, rate, rho, name, x)
					}
				}
			}
		}
	}
}
