package policy

import (
	"math"
	"time"
)

// RefreshEarly decides whether one who finds an entry is to fetch it anew although it is fresh for left yet, so that the
// many who would find it expired at the same instant do not have to wait: XFetch (A. Vattani, F. Chierichetti and
// K. Lowenstein, Optimal Probabilistic Cache Stampede Prevention, 2015). took is what fetching takes, beta how eager to be
// (1 is optimal there, 0: never), chance a random number of [0, 1).
func RefreshEarly(left, took time.Duration, beta, chance float64) bool {
	if beta <= 0 || took <= 0 {
		return left <= 0
	}
	return -float64(took)*beta*math.Log(1-chance) >= float64(left)
}
