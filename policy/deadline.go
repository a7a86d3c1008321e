package policy

import (
	"math/bits"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// ParseTimeLeft reads how much time a request has left, in whole milliseconds from 1 to ten digits.
func ParseTimeLeft(text string) (left time.Duration, ok bool) {
	if len(text) == 0 || len(text) > 10 {
		return 0, false
	}
	var n int64
	for i := range len(text) {
		c := text[i]
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int64(c-'0')
	}
	return time.Duration(n) * time.Millisecond, n > 0
}

// FormatTimeLeft writes it for the next hop: rounded down, at least one millisecond.
func FormatTimeLeft(left time.Duration) string {
	return strconv.FormatInt(max(1, int64(left/time.Millisecond)), 10)
}

// ParseGRPCTimeout reads a grpc-timeout header (gRPC over HTTP/2, 'Timeout': up to eight digits and a unit).
func ParseGRPCTimeout(text string) (left time.Duration, ok bool) {
	if len(text) < 2 || len(text) > 9 {
		return 0, false
	}
	units := map[byte]time.Duration{'H': time.Hour, 'M': time.Minute, 'S': time.Second, 'm': time.Millisecond, 'u': time.Microsecond, 'n': 1}
	unit := units[text[len(text)-1]]
	if unit == 0 {
		return 0, false
	}
	n, err := strconv.ParseUint(text[:len(text)-1], 10, 32)
	if err != nil || text[0] == '+' || text[0] == '-' {
		return 0, false
	}
	const most = 24 * time.Hour
	if n > uint64(most/unit) {
		return most, true
	}
	return time.Duration(n) * unit, n > 0
}

// FormatGRPCTimeout writes it for the next hop.
func FormatGRPCTimeout(left time.Duration) string {
	left = max(left, 1)
	switch {
	case left < 100*time.Second: // as many microseconds have eight digits at most
		return strconv.FormatInt(max(1, int64(left/time.Microsecond)), 10) + "u"
	default:
		return strconv.FormatInt(min(int64(left/time.Millisecond), 99_999_999), 10) + "m"
	}
}

// Feasibility refuses requests that cannot finish in the time that they have left. It remembers how long requests took
// by how many were in flight when they came, and expects of a new one the median of the latest that met about as many,
// or the nearest fewer: with more in flight it takes no less. What was learned is forgotten after ten seconds, and one
// request in a tenth of a second is let in whatever is expected, so that it learns of better times. It is safe for
// concurrent use; a lock is held for some arithmetic.
type Feasibility struct {
	margin float64

	mu    sync.Mutex
	cells [feasibleCells]feasibleCell
	probe time.Duration // when the last request was let in to learn
}

type feasibleCell struct {
	took [feasibleKept]time.Duration
	n    int
	at   time.Duration // of the latest
}

const (
	feasibleCells  = 64 // four an octave, up to 65,536 in flight
	feasibleKept   = 9
	feasibleLeast  = 3
	feasibleForget = 10 * time.Second
	feasibleProbe  = 100 * time.Millisecond
)

// NewFeasibility returns a core that knows nothing yet, and refuses nothing.
func NewFeasibility(cfg topology.Admission) *Feasibility {
	return &Feasibility{margin: max(cfg.Margin, 0.1), probe: -feasibleProbe}
}

// feasibleIndex returns the cell for a number of requests in flight.
func feasibleIndex(n int64) int {
	v := uint64(max(n, 1))
	octave := bits.Len64(v) - 1
	quarter := (v << 2 >> octave) & 3
	return min(octave<<2+int(quarter), feasibleCells-1)
}

// Admit reports whether a request with so much time left may come in, where so many are in flight, itself included. If
// not, retry is after which time it may be worth to try again.
func (f *Feasibility) Admit(now, left time.Duration, inFlight int64) (retry time.Duration, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	expected := f.expect(now, inFlight)
	allowed := time.Duration(f.margin * float64(left))
	if expected <= allowed {
		return 0, true
	}
	if now-f.probe >= feasibleProbe && left > 0 {
		f.probe = now
		return 0, true
	}
	return expected - allowed, false
}

// Expect returns how long a request is expected to take that finds so many in flight, itself included; 0: not known.
func (f *Feasibility) Expect(now time.Duration, inFlight int64) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.expect(now, inFlight)
}

func (f *Feasibility) expect(now time.Duration, inFlight int64) time.Duration {
	for i := feasibleIndex(inFlight); i >= 0; i-- {
		c := &f.cells[i]
		if c.n >= feasibleLeast && now-c.at < feasibleForget {
			sorted := c.took
			n := min(c.n, feasibleKept)
			slices.Sort(sorted[:n])
			return sorted[n/2]
		}
	}
	return 0
}

// Observe takes how long a request took that found so many in flight, itself included. Only those count that were
// answered well, or too late.
func (f *Feasibility) Observe(now time.Duration, inFlight int64, latency time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := &f.cells[feasibleIndex(inFlight)]
	if now-c.at >= feasibleForget {
		c.n = 0
	}
	c.took[c.n%feasibleKept] = max(latency, 1)
	c.n++
	if c.n == 2*feasibleKept {
		c.n = feasibleKept
	}
	c.at = now
}
