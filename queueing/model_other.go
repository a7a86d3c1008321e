package queueing

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

type boundsInputs struct {
	method string

	N    int      `json:"N"`
	Lam  *float64 `json:"lam"` // instead of N: an open network (asymptotic and balanced job)
	D    numbers  `json:"D"`   // demands; or
	S    numbers  `json:"S"`   // service times, and
	V    numbers  `json:"V"`   // visits, default 1
	Z    float64  `json:"Z"`
	Note string   `json:"note"`
}

func (in *boundsInputs) solve(r *Report) error {
	var b *Bounds
	var err error
	if in.S != nil {
		if in.D != nil || in.V != nil && len(in.V) != len(in.S) {
			return errors.New("inputs: give D, or S with as many V")
		}
		for k, x := range in.S {
			if in.V != nil {
				x *= in.V[k]
			}
			in.D = append(in.D, x)
		}
	}
	if in.Lam != nil {
		return in.open(r)
	}
	switch in.method {
	case "asymptotic":
		b, err = AsymptoticBounds(in.D, in.Z, in.N)
	case "balanced job":
		b, err = BalancedJobBounds(in.D, in.Z, in.N)
	case "geometric":
		b, err = GeometricBounds(in.D, in.Z, in.N)
	default:
		if in.Z != 0 {
			return errors.New("inputs: proportional bounds are defined without think time, Z must be 0")
		}
		b, err = ProportionalBounds(in.D, in.N)
	}
	if err != nil {
		return err
	}
	r.Method, r.Exact = b.Method+" bounds", true
	r.set("X_lower", b.XLower)
	r.set("X_upper", b.XUpper)
	r.set("R_lower", b.RLower)
	r.set("R_upper", b.RUpper)
	if b.QLower != nil {
		r.set("Q_lower", b.QLower)
		r.set("Q_upper", b.QUpper)
	}
	return nil
}

// open are the bounds of an open network: no queueing below, and balanced networks on both sides (Zahorjan et al. 1982).
func (in *boundsInputs) open(r *Report) error {
	if in.N != 0 || in.Z != 0 || in.method != "asymptotic" && in.method != "balanced job" {
		return errors.New("inputs: lam goes with asymptotic and balanced job bounds, without N and Z")
	}
	lower, upper, largest, err := OpenBounds(in.D, *in.Lam, in.method != "asymptotic")
	if err != nil {
		return err
	}
	r.Method, r.Exact = in.method+" bounds", true
	r.set("X_upper", 1/largest)
	r.set("R_lower", lower)
	r.set("R_upper", upper) // left out where there is none
	return nil
}

type blockingInputs struct {
	exact bool

	N        int         `json:"N"`
	S        []float64   `json:"S"`
	Capacity []int       `json:"capacity"` // in service included; 0: no limit
	Servers  []int       `json:"m"`
	P        [][]float64 `json:"P"`
	Note     string      `json:"note"`
}

func (in *blockingInputs) solve(r *Report) error {
	b := &BlockingNetwork{Population: in.N, Service: in.S, Servers: in.Servers, Capacity: in.Capacity, Routing: in.P}
	var s *BlockingSolution
	var err error
	if in.exact {
		s, err = BlockingMarkov(b, 0)
	} else {
		s, err = MVABLO(b)
	}
	if err != nil {
		return err
	}
	r.Method, r.Exact = s.Method, s.Exact
	r.set("R", s.Response)
	r.set("Q", s.QueueLength)
	r.set("X", s.Throughput)
	r.set("U", s.Utilisation)
	if s.Exact {
		r.set("blocked", s.Blocked)
	}
	return nil
}

type uslFitInputs struct {
	method USLMethod

	Data [][2]float64 `json:"data"` // load, throughput
	Note string       `json:"note"`
}

func (in *uslFitInputs) solve(r *Report) error {
	points := make([]USLPoint, len(in.Data))
	for i, p := range in.Data {
		points[i] = USLPoint{p[0], p[1]}
	}
	u, r2, err := FitUSL(points, in.method)
	if err != nil {
		return err
	}
	r.Method = string(in.method)
	r.set("alpha", u.Alpha)
	r.set("beta", u.Beta)
	r.set("gamma", u.Gamma)
	r.set("R2", r2)
	if n, x, err := u.Peak(); err == nil {
		r.set("peak load", n)
		r.set("peak X", x)
	}
	return nil
}

type uslInputs struct {
	Alpha      float64  `json:"alpha"`
	Beta       float64  `json:"beta"`
	Gamma      *float64 `json:"gamma"` // default 1
	N          *float64 `json:"N"`     // one of: load,
	Latency    *float64 `json:"latency"`
	Throughput *float64 `json:"throughput"`
	Note       string   `json:"note"`
}

func (in *uslInputs) solve(r *Report) error {
	u := USL{in.Alpha, in.Beta, 1}
	if in.Gamma != nil {
		u.Gamma = *in.Gamma
	}
	var n float64
	var err error
	given := 0
	if in.N != nil {
		given++
		n = *in.N
	}
	if in.Latency != nil {
		given++
		n, err = u.LoadAtLatency(*in.Latency)
	}
	if in.Throughput != nil {
		given++
		n, err = u.LoadAtThroughput(*in.Throughput)
	}
	if err != nil {
		return err
	}
	r.Method, r.Exact = "universal scalability law", true
	if given > 1 {
		return errors.New("inputs: give one of N, latency and throughput")
	}
	peak, peakX, err := u.Peak()
	if err != nil {
		return err
	}
	if given == 1 {
		x, err := u.Throughput(n)
		if err != nil {
			return err
		}
		r.set("N", n)
		r.set("X", x)
		r.set("R", n/x)
		r.set("C", x/u.Gamma)
	}
	r.set("peak load", peak)
	r.set("peak X", peakX)
	return nil
}

type cacheInputs struct {
	Size       float64  `json:"size"`
	Popularity numbers  `json:"popularity"` // relative rates; or
	Zipf       *float64 `json:"zipf"`       // exponent, with
	Objects    int      `json:"objects"`
	Evict      Eviction `json:"evict"` // LRU (default), FIFO, RANDOM
	Note       string   `json:"note"`
}

func (in *cacheInputs) solve(r *Report) error {
	popularity := []float64(in.Popularity)
	if (in.Popularity == nil) == (in.Zipf == nil) {
		return errors.New("inputs: give one of popularity and zipf")
	}
	if in.Zipf != nil {
		var err error
		if popularity, err = Zipf(in.Objects, *in.Zipf); err != nil {
			return err
		}
	}
	each, all, err := CacheHits(popularity, in.Size, in.Evict)
	if err != nil {
		return err
	}
	r.Method = "Che's approximation"
	r.set("hit", all)
	r.set("miss", 1-all)
	if len(each) <= 100 {
		r.set("hits", each)
	}
	return nil
}

type pollingInputs struct {
	Queues     int            `json:"n_queues"`
	Arrivals   distributions  `json:"arrivals"` // one for each queue, only the rate is used: Poisson
	Service    distributions  `json:"service"`
	Switchover distributions  `json:"switchover"` // one for all or one for each queue
	Discipline PollingService `json:"discipline"` // gated (default), exhaustive, 1-limited
	Note       string         `json:"note"`
}

func (in *pollingInputs) solve(r *Report) error {
	n := in.Queues
	if n == 0 {
		n = len(in.Service)
	}
	if n < 1 || n > maxPolling {
		return fmt.Errorf("inputs: %d queues, must be 1 to %d", n, maxPolling)
	}
	queues := make([]PollingQueue, n)
	poisson := true
	for i := range queues {
		a, err := in.Arrivals.of(i, n, "arrivals")
		if err != nil {
			return err
		}
		s, err := in.Service.of(i, n, "service")
		if err != nil {
			return err
		}
		w, err := in.Switchover.of(i, n, "switchover")
		if err != nil {
			return err
		}
		if a.mean <= 0 {
			return fmt.Errorf("inputs: arrivals of queue %d: mean time between arrivals must be positive", i+1)
		}
		poisson = poisson && a.scv == 1
		queues[i] = PollingQueue{Arrival: 1 / a.mean, Service: s.mean, ServiceSCV: s.scv, Switch: w.mean, SwitchVar: w.scv * w.mean * w.mean}
	}
	if in.Discipline == "" {
		in.Discipline = Gated
	}
	wait, err := Polling(queues, in.Discipline)
	if err != nil {
		return err
	}
	r.Method, r.Exact = "station times, "+string(in.Discipline), poisson && in.Discipline != Limited1
	if in.Discipline == Limited1 {
		r.Method = "Boxma-Meister, 1-limited"
	}
	if !poisson {
		r.note("arrivals that are not exponential are taken as Poisson of the same rate")
	}
	response := make([]float64, n)
	length := make([]float64, n)
	for i := range wait {
		response[i] = wait[i] + queues[i].Service
		length[i] = queues[i].Arrival * response[i]
	}
	r.set("Wq", wait)
	r.set("W", response)
	r.set("L", length)
	return nil
}

// distribution is a time given in words: "exp mean 1", "erlang-3 mean .1",
// "hyperexp mean 1 scv 10 p .99", "det mean 2", "gamma mean 1 scv .5". What the
// solvers use is mean and SCV.
type distribution struct{ mean, scv float64 }

type distributions []string

func (d *distributions) UnmarshalJSON(raw []byte) error {
	if s, err := strconv.Unquote(string(raw)); err == nil {
		*d = distributions{s}
		return nil
	}
	var list []string
	if err := strict(raw, &list); err != nil {
		return err
	}
	*d = list
	return nil
}

func (d distributions) of(i, n int, what string) (distribution, error) {
	if len(d) != 1 && len(d) != n {
		return distribution{}, fmt.Errorf("inputs: %s: %d distributions for %d queues", what, len(d), n)
	}
	x, err := parseDistribution(d[min(i, len(d)-1)])
	if err != nil {
		return x, fmt.Errorf("inputs: %s: %w", what, err)
	}
	return x, nil
}

func parseDistribution(text string) (distribution, error) {
	words := strings.Fields(strings.TrimSuffix(strings.TrimSpace(text), " each"))
	if len(words) < 3 || len(words)%2 == 0 {
		return distribution{}, fmt.Errorf("distribution %q is not like \"erlang-2 mean .5\"", text)
	}
	given := map[string]float64{}
	for i := 1; i < len(words); i += 2 {
		x, err := strconv.ParseFloat(words[i+1], 64)
		if err != nil || checkNonNegative(words[i], x) != nil {
			return distribution{}, fmt.Errorf("distribution %q: %s %s is not a number of zero or more", text, words[i], words[i+1])
		}
		given[words[i]] = x
	}
	d := distribution{mean: given["mean"]}
	name, stages, staged := strings.Cut(words[0], "-")
	scv, ok := given["scv"]
	switch name {
	case "exp":
		d.scv = 1
	case "det":
	case "erlang":
		k, err := strconv.Atoi(stages)
		if err != nil || k < 1 {
			return d, fmt.Errorf("distribution %q: erlang needs its stages, as in erlang-2", text)
		}
		d.scv = 1 / float64(k)
	case "hyperexp", "gamma", "general":
		if !ok {
			return d, fmt.Errorf("distribution %q: %s needs scv", text, name)
		}
		d.scv = scv
	default:
		return d, fmt.Errorf("distribution %q: unknown name (have exp, det, erlang-k, hyperexp, gamma, general)", text)
	}
	if staged && name != "erlang" {
		return d, fmt.Errorf("distribution %q: %s has no stages", text, name)
	}
	for word := range given {
		if word != "mean" && word != "scv" && word != "p" {
			return d, fmt.Errorf("distribution %q: unknown word %q", text, word)
		}
	}
	if _, ok := given["mean"]; !ok {
		return d, fmt.Errorf("distribution %q has no mean", text)
	}
	return d, nil
}
