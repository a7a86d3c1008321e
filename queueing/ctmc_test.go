package queueing

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// bruteClosed is the exact answer for a small closed multi-class network with
// processor-sharing multi-servers and delays, from its Markov chain written down
// without any queueing theory: state = number of each class at each station (think
// times are station K). Cyclic routing in station order.
func bruteClosed(t testing.TB, n *Network) (x []float64, q [][]float64) {
	t.Helper()
	R, K := len(n.Classes), len(n.Stations)
	type state = string
	index := map[state]int{}
	var states [][]int
	number := func(v []int) int {
		k := fmt.Sprint(v)
		if i, ok := index[k]; ok {
			return i
		}
		index[k] = len(states)
		states = append(states, append([]int(nil), v...))
		return len(states) - 1
	}
	start := make([]int, R*(K+1))
	for r := range R {
		start[r*(K+1)+K] = n.Classes[r].Population
	}
	number(start)
	var c chain
	type flow struct {
		state, class int
		rate         float64
	}
	var cycles []flow
	for at := 0; at < len(states); at++ {
		v := states[at]
		for r := range R {
			for k := 0; k <= K; k++ {
				here := v[r*(K+1)+k]
				if here == 0 {
					continue
				}
				mean, rate := n.Classes[r].Think, float64(here)
				if k < K {
					mean = n.Classes[r].Demands[k]
					all := 0
					for j := range R {
						all += v[j*(K+1)+k]
					}
					if st := &n.Stations[k]; !st.delay() {
						rate *= float64(min(all, st.servers())) / float64(all)
					}
				}
				if mean == 0 {
					mean = 1e-7 // in effect instantaneous
				}
				next := (k + 1) % (K + 1)
				w := append([]int(nil), v...)
				w[r*(K+1)+k]--
				w[r*(K+1)+next]++
				c.add(at, number(w), rate/mean)
				if k == K {
					cycles = append(cycles, flow{at, r, rate / mean})
				}
			}
		}
	}
	pi, err := c.steady()
	if err != nil {
		t.Fatal(err)
	}
	x, q = make([]float64, R), matrix(R, K)
	for _, f := range cycles {
		x[f.class] += pi[f.state] * f.rate
	}
	for at, v := range states {
		for r := range R {
			for k := range K {
				q[r][k] += pi[at] * float64(v[r*(K+1)+k])
			}
		}
	}
	return x, q
}

func randomClosed(rng *rand.Rand, maxServers int) *Network {
	K, R := 1+rng.IntN(3), 1+rng.IntN(2)
	n := &Network{Stations: make([]Station, K), Classes: make([]Class, R)}
	for k := range n.Stations {
		n.Stations[k] = Station{Servers: 1 + rng.IntN(maxServers)}
		if rng.IntN(6) == 0 {
			n.Stations[k].Kind = Delay
		}
	}
	for r := range n.Classes {
		n.Classes[r] = Class{Population: 1 + rng.IntN(4), Think: 0.5 + 2*rng.Float64(), Demands: make([]float64, K)}
		for k := range K {
			n.Classes[r].Demands[k] = 0.1 + rng.Float64()
		}
	}
	return n
}

func TestExactMVAIsExact(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		n := randomClosed(rng, 4)
		x, q := bruteClosed(t, n)
		s, err := ExactMVA(n, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for r := range x {
			if math.Abs(s.Throughput[r]-x[r]) > 1e-6*x[r] {
				t.Fatalf("%+v: class %d throughput %v, chain %v", n, r, s.Throughput[r], x[r])
			}
			for k := range q[r] {
				if math.Abs(s.QueueLength[r][k]-q[r][k]) > 1e-6*(1+q[r][k]) {
					t.Fatalf("%+v: queue of class %d at %d %v, chain %v", n, r, k, s.QueueLength[r][k], q[r][k])
				}
			}
		}
	}
}

// errorsOf measures a solver against exact MVA over random networks.
func errorsOf(t *testing.T, servers, pop int, solve func(*Network) (*Solution, error)) (meanX, maxX, meanR, maxR float64) {
	rng := rand.New(rand.NewPCG(3, 4))
	count := 0.0
	for range 300 {
		K, R := 2+rng.IntN(4), 1+rng.IntN(3)
		n := &Network{Stations: make([]Station, K), Classes: make([]Class, R)}
		for k := range n.Stations {
			n.Stations[k] = Station{Servers: 1 + rng.IntN(servers)}
		}
		for r := range n.Classes {
			n.Classes[r] = Class{Population: 1 + rng.IntN(pop), Think: 5 * rng.Float64(), Demands: make([]float64, K)}
			for k := range K {
				n.Classes[r].Demands[k] = rng.Float64() * float64(n.Stations[k].Servers)
			}
		}
		exact, err := ExactMVA(n, Options{MaxStates: 1e8})
		if err != nil {
			t.Fatal(err)
		}
		s, err := solve(n)
		if err != nil {
			t.Fatalf("%+v: %v", n, err)
		}
		for r := range n.Classes {
			ex := math.Abs(s.Throughput[r]/exact.Throughput[r] - 1)
			er := math.Abs(s.Response[r]/exact.Response[r] - 1)
			meanX, maxX = meanX+ex, math.Max(maxX, ex)
			meanR, maxR = meanR+er, math.Max(maxR, er)
			count++
		}
	}
	return meanX / count, maxX, meanR / count, maxR
}

// seidmann replaces c servers by one c times as fast and a delay.
func seidmann(n *Network) *Network {
	m := n.clone()
	for k := range m.Stations {
		c := float64(m.Stations[k].servers())
		m.Stations[k].Servers = 1
		for r := range m.Classes {
			d := m.Classes[r].Demands[k]
			m.Classes[r].Demands[k] = d / c
			m.Classes[r].Think += d * (c - 1) / c
		}
	}
	return m
}

func TestApproximationsAgainstExact(t *testing.T) {
	heavy(t)
	for _, c := range []struct {
		name         string
		servers, pop int
	}{{"single servers", 1, 12}, {"up to 4 servers", 4, 12}, {"up to 16 servers", 16, 20}} {
		for _, m := range []struct {
			name  string
			solve func(*Network) (*Solution, error)
		}{
			{"Schweitzer", func(n *Network) (*Solution, error) { return Schweitzer(n, Options{}) }},
			{"Linearizer", func(n *Network) (*Solution, error) { return Linearizer(n, Options{}) }},
			{"Seidmann+Linearizer", func(n *Network) (*Solution, error) {
				s, err := Linearizer(seidmann(n), Options{})
				if err != nil {
					return nil, err
				}
				for r := range s.Response { // the delay is part of the response
					s.Response[r] = float64(n.Classes[r].Population)/s.Throughput[r] - n.Classes[r].Think
				}
				return s, nil
			}},
		} {
			meanX, maxX, meanR, maxR := errorsOf(t, c.servers, c.pop, m.solve)
			t.Logf("%-17s %-20s X: mean %.2f %% max %.2f %%   R: mean %.2f %% max %.2f %%", c.name, m.name, 100*meanX, 100*maxX, 100*meanR, 100*maxR)
		}
	}
}
