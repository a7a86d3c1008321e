package forecast

import (
	"math"
	"math/cmplx"
	"time"
)

const (
	maxSeason = maxHistory / 2 // two of them must be seen before one is believed
	// autocorrelation is taken over at most so many cells, each the mean of several steps where there are more steps
	maxCells   = 2048
	firstLook  = 24  // values before seasons are searched for
	leastRatio = 0.2 // autocorrelation from which a lag is a season
)

// seasonFinder finds at most two periods: the shortest lag at which the series repeats itself about as well as at any,
// and a multiple of it at which it does so clearly better (the week beside the day). It looks when the history has
// grown by an eighth, and in a full history each 1/8 of it.
type seasonFinder struct {
	step     time.Duration
	fixed    bool
	periods  [2]int // zero: none
	nextLook int
	seen     int
}

func newSeasonFinder(cfg Config) seasonFinder {
	s := seasonFinder{step: cfg.Step, nextLook: firstLook}
	for i, p := range cfg.Seasons {
		s.periods[i], s.fixed = p, true
	}
	if s.periods[1] != 0 && s.periods[1] < s.periods[0] {
		s.periods[0], s.periods[1] = s.periods[1], s.periods[0]
	}
	return s
}

// observe returns whether the periods changed.
func (s *seasonFinder) observe(r *history) bool {
	s.seen++
	if s.fixed || s.seen < s.nextLook {
		return false
	}
	s.nextLook = s.seen + max(16, min(s.seen, maxHistory)/8)
	found := s.search(r)
	if found[0] == 0 {
		found[0] = s.presumed(r)
	}
	if found == s.periods || found[0] == 0 && s.periods[0] != 0 && r.len() > 2*s.periods[0] && s.at(r, s.periods[0]) >= leastRatio/2 {
		return false
	}
	s.periods = found
	return true
}

func (s *seasonFinder) search(r *history) [2]int {
	acf, cell := autocorrelation(r)
	n := len(acf)
	best := 0
	for lag := 3; lag < n/2; lag++ {
		if acf[lag] >= acf[lag-1] && acf[lag] >= acf[lag+1] && (best == 0 || acf[lag] > acf[best]) && troughBefore(acf, lag) {
			best = lag
		}
	}
	if best == 0 || acf[best] < leastRatio {
		return [2]int{}
	}
	first := best
	for lag := 3; lag < best; lag++ {
		if acf[lag] >= acf[lag-1] && acf[lag] >= acf[lag+1] && acf[lag] >= 0.8*acf[best] && troughBefore(acf, lag) {
			first = lag
			break
		}
	}
	var found [2]int
	found[0] = s.refine(r, first, cell)
	if best > first && acf[best] > acf[first]+0.03 {
		found[1] = s.refine(r, best, cell)
	}
	s.preferCalendar(r, acf[best], &found)
	if found[1] <= found[0] {
		found[1] = 0
	}
	return found
}

// presumed is a day where one has passed and nothing has been found yet: most traffic has one, and models of a season
// that is none get no weight.
func (s *seasonFinder) presumed(r *history) int {
	if s.step <= 0 {
		return 0
	}
	if day := int(24 * time.Hour / s.step); day >= 4 && day < maxSeason && r.len() > day+day/16 && r.len() < 3*day {
		return day
	}
	return 0
}

// preferCalendar takes a day and a week instead where they do nearly as well: people live by them, and a period found
// in noise is often a few steps off, or a multiple.
func (s *seasonFinder) preferCalendar(r *history, best float64, found *[2]int) {
	if s.step <= 0 {
		return
	}
	day, week := int(24*time.Hour/s.step), int(7*24*time.Hour/s.step)
	if day < 4 || 2*day > r.len() || s.at(r, day) < 0.7*best {
		return
	}
	if found[0] < day/2 && found[0] > 0 && s.at(r, found[0]) > s.at(r, day) {
		return
	}
	found[0], found[1] = day, 0
	if week < maxSeason && 2*week <= r.len() && s.at(r, week) > s.at(r, day)+0.02 {
		found[1] = week
	}
}

// troughBefore says whether the series forgot itself before a lag: without that a peak is but a ripple on a slope.
func troughBefore(acf []float64, lag int) bool {
	low := math.Inf(1)
	for _, r := range acf[1:lag] {
		low = math.Min(low, r)
	}
	return low < acf[lag]-0.1
}

// refine turns a lag in cells to one in steps.
func (s *seasonFinder) refine(r *history, lag, cell int) int {
	best, at := lag*cell, -1.0
	if cell == 1 {
		return best
	}
	for p := max(2, (lag-1)*cell); p <= min((lag+1)*cell, r.len()/2); p += max(1, cell/8) {
		if c := s.at(r, p); c > at {
			best, at = p, c
		}
	}
	return best
}

// at returns the autocorrelation at a lag of steps, sampled where the history is long.
func (s *seasonFinder) at(r *history, lag int) float64 {
	n := r.len() - lag
	if n < 8 {
		return 0
	}
	stride := max(1, n/1024)
	var a, b, aa, bb, ab, k float64
	for i := 0; i < n; i += stride {
		x, y := math.Log1p(r.back(i)), math.Log1p(r.back(i+lag))
		a, b, aa, bb, ab, k = a+x, b+y, aa+x*x, bb+y*y, ab+x*y, k+1
	}
	va, vb := aa-a*a/k, bb-b*b/k
	if va <= 0 || vb <= 0 {
		return 0
	}
	return (ab - a*b/k) / math.Sqrt(va*vb)
}

// autocorrelation of the logarithm of the history, its straight line taken away, by the theorem of Wiener and Khinchin;
// and how many steps a cell of it is. Each lag is divided by the share of the cells that it has.
func autocorrelation(r *history) (acf []float64, cell int) {
	cell = (r.len() + maxCells - 1) / maxCells
	n := r.len() / cell
	size := 1
	for size < 2*n {
		size *= 2
	}
	x := make([]complex128, size)
	var st, sx, stt, stx float64
	for i := range n {
		sum := 0.0
		for j := range cell {
			sum += math.Log1p(r.back((n-1-i)*cell + j))
		}
		v, t := sum/float64(cell), float64(i)
		x[i] = complex(v, 0)
		st, sx, stt, stx = st+t, sx+v, stt+t*t, stx+t*v
	}
	k := float64(n)
	slope := (stx - st*sx/k) / math.Max(stt-st*st/k, 1e-12)
	for i := range n {
		x[i] -= complex(sx/k+slope*(float64(i)-st/k), 0)
	}
	fft(x)
	for i, v := range x {
		x[i] = complex(real(v)*real(v)+imag(v)*imag(v), 0)
	}
	fft(x) // of something even: its own inverse but for a factor
	acf = make([]float64, n)
	if real(x[0]) <= 0 {
		return acf, cell
	}
	for i := range acf {
		acf[i] = real(x[i]) / real(x[0]) * k / (k - float64(i))
	}
	return acf, cell
}

// fft is the transform of Cooley and Tukey, in place; the length is a power of two.
func fft(x []complex128) {
	n := len(x)
	for i, j := 1, 0; i < n; i++ {
		bit := n >> 1
		for ; j&bit != 0; bit >>= 1 {
			j ^= bit
		}
		j ^= bit
		if i < j {
			x[i], x[j] = x[j], x[i]
		}
	}
	for size := 2; size <= n; size *= 2 {
		w := cmplx.Rect(1, -2*math.Pi/float64(size))
		for start := 0; start < n; start += size {
			u := complex(1, 0)
			for k := start; k < start+size/2; k++ {
				a, b := x[k], u*x[k+size/2]
				x[k], x[k+size/2] = a+b, a-b
				u *= w
			}
		}
	}
}
