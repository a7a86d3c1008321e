package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/banyanhq/banyan/queueing"
	"github.com/banyanhq/banyan/topology"
)

// maxSweep is the most populations that a sweep runs.
const maxSweep = 100

// Sweep is how the throughput of a target grew with the number of users, and the Universal Scalability Law fitted to it.
type Sweep struct {
	Version int          `json:"version"`
	Target  string       `json:"target"`
	Start   time.Time    `json:"start"`
	End     time.Time    `json:"end"`
	Seed    uint64       `json:"seed"`
	Points  []SweepPoint `json:"points"`
	// Fit is nil where there is none; Why says so.
	Fit *USLFit `json:"fit,omitempty"`
	Why string  `json:"why,omitempty"`
	// Workload that was sent; its users are those of the point.
	Workload *topology.Workload `json:"workload"`
	Warnings []string           `json:"warnings,omitempty"`
}

// SweepPoint is the run with one number of users.
type SweepPoint struct {
	Users int `json:"users"`
	// Throughput of requests that ended well, per second, and what the fitted law says of it, 0 without a fit.
	Throughput float64       `json:"throughput"`
	Fitted     float64       `json:"fitted,omitempty"`
	Mean       time.Duration `json:"mean_ns"`
	P50        time.Duration `json:"p50_ns"`
	P99        time.Duration `json:"p99_ns"`
	Errors     float64       `json:"errors"` // share
}

// USLFit is X(N) = gamma N / (1 + alpha (N-1) + beta N (N-1)): alpha is the share of contention, beta that of coherence.
type USLFit struct {
	Method string  `json:"method"`
	Alpha  float64 `json:"alpha"`
	Beta   float64 `json:"beta"`
	Gamma  float64 `json:"gamma"` // throughput of one user
	R2     float64 `json:"r2"`
	// PeakUsers at which throughput is highest, and that throughput; 0 where it grows for ever.
	PeakUsers      float64 `json:"peak_users,omitempty"`
	PeakThroughput float64 `json:"peak_throughput,omitempty"`
	// Ceiling is what throughput tends to where beta is 0 and alpha is not; 0 otherwise.
	Ceiling float64 `json:"ceiling,omitempty"`
}

// ParseSweep reads 'users=1,2,4,8,16'.
func ParseSweep(text string) ([]int, error) {
	list, ok := strings.CutPrefix(strings.ReplaceAll(text, " ", ""), "users=")
	if !ok {
		return nil, fmt.Errorf("sweep %.80q: want users= and numbers, such as users=1,2,4,8,16", text)
	}
	var users []int
	for _, word := range strings.Split(list, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 || n > maxUsers {
			return nil, fmt.Errorf("sweep: %.40q users: want a number from 1 to %d", word, maxUsers)
		}
		users = append(users, n)
	}
	slices.Sort(users)
	if users = slices.Compact(users); len(users) > maxSweep {
		return nil, fmt.Errorf("sweep: %d populations: want at most %d", len(users), maxSweep)
	}
	return users, nil
}

// RunSweep runs the workload once for each number of users, for its duration, and fits the law to the throughputs by
// bounded least squares. The workload's rate, stages, trace and thresholds are left out; its think time is kept, and
// should be 0 for the law to speak of the target alone. When ctx is done the sweep ends with what it has.
func RunSweep(ctx context.Context, cfg Config, users []int, onPoint func(SweepPoint)) (*Sweep, error) {
	if cfg.Workload == nil || len(users) == 0 {
		return nil, errors.New("load: a sweep needs a workload and numbers of users")
	}
	w := *cfg.Workload
	w.Rate, w.Stages, w.Trace, w.Thresholds = 0, nil, nil, nil
	s := &Sweep{Version: 1, Target: cfg.Target, Seed: cfg.Seed, Workload: &w, Start: time.Now().Round(0).UTC()}
	for i, n := range users {
		point := w
		point.Users = n
		run := cfg
		run.Workload, run.Connections = &point, 0
		run.Seed, _ = streamOf(cfg.Seed, int64(i))
		r, err := Run(ctx, run)
		if err != nil {
			return nil, err
		}
		if r.CutShort {
			s.Warnings = append(s.Warnings, fmt.Sprintf("the sweep was interrupted at %d users", n))
			break
		}
		p := SweepPoint{Users: n, Throughput: r.Total.Rate, Mean: time.Duration(r.Total.Latency.Mean()),
			P50: r.Total.Latency.QuantileDuration(0.5), P99: r.Total.Latency.QuantileDuration(0.99), Errors: r.Total.ErrorRate()}
		s.Points = append(s.Points, p)
		for _, warning := range r.Warnings {
			s.Warnings = append(s.Warnings, fmt.Sprintf("%d users: %s", n, warning))
		}
		if onPoint != nil {
			onPoint(p)
		}
	}
	s.End = time.Now().Round(0).UTC()
	if w.Think > 0 {
		s.Warnings = append(s.Warnings, "the users think: the fitted law mixes their pauses with the target's scaling")
	}
	s.fit()
	return s, nil
}

// fit fits the law to the points that have a throughput.
func (s *Sweep) fit() {
	var points []queueing.USLPoint
	for _, p := range s.Points {
		if p.Throughput > 0 {
			points = append(points, queueing.USLPoint{N: float64(p.Users), X: p.Throughput})
		}
	}
	u, r2, err := queueing.FitUSL(points, queueing.USLLeastSquares)
	if err != nil {
		s.Why = err.Error()
		return
	}
	f := &USLFit{Method: string(queueing.USLLeastSquares), Alpha: u.Alpha, Beta: u.Beta, Gamma: u.Gamma, R2: r2}
	if u.Beta > 0 && u.Alpha < 1 {
		f.PeakUsers = math.Sqrt((1 - u.Alpha) / u.Beta)
		f.PeakThroughput = f.throughput(f.PeakUsers)
	} else if u.Beta == 0 && u.Alpha > 0 {
		f.Ceiling = u.Gamma / u.Alpha
	}
	s.Fit = f
	for i := range s.Points {
		s.Points[i].Fitted = f.throughput(float64(s.Points[i].Users))
	}
}

func (f *USLFit) throughput(n float64) float64 {
	return f.Gamma * n / (1 + f.Alpha*(n-1) + f.Beta*n*(n-1))
}

// WriteText writes the sweep for a person to read.
func (s *Sweep) WriteText(out io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: throughput by number of users, seed %d\n\n", s.Target, s.Seed)
	var t table
	t.row("users", "throughput", "fitted", "mean", "p50", "p99", "errors")
	for _, p := range s.Points {
		fitted := "-"
		if p.Fitted > 0 {
			fitted = number3(p.Fitted) + "/s"
		}
		t.row(strconv.Itoa(p.Users), number3(p.Throughput)+"/s", fitted, brief(p.Mean), brief(p.P50), brief(p.P99), percent(p.Errors))
	}
	t.write(&b)
	b.WriteString("\n")
	if f := s.Fit; f == nil {
		fmt.Fprintf(&b, "No fit of the Universal Scalability Law: %s.\n", s.Why)
	} else {
		fmt.Fprintf(&b, "Universal Scalability Law (%s): contention %s, coherence %s, one user %s/s, R² %.4f.\n", f.Method, number3percent(f.Alpha), number3percent(f.Beta), number3(f.Gamma), f.R2)
		last := 0
		if len(s.Points) > 0 {
			last = s.Points[len(s.Points)-1].Users
		}
		switch {
		case f.PeakUsers > 0:
			fmt.Fprintf(&b, "Throughput is highest with %s users: %s/s", number3(f.PeakUsers), number3(f.PeakThroughput))
			if f.PeakUsers > float64(last) {
				b.WriteString(" (beyond what was measured)")
			}
			b.WriteString(".\n")
		case f.Ceiling > 0:
			fmt.Fprintf(&b, "Throughput tends to %s/s.\n", number3(f.Ceiling))
		default:
			b.WriteString("Throughput grows in proportion to the users as far as was measured.\n")
		}
	}
	for _, warning := range s.Warnings {
		fmt.Fprintf(&b, "! %s\n", warning)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func number3percent(x float64) string { return fmt.Sprintf("%.3g%%", 100*x) }
