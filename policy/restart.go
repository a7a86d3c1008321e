package policy

import (
	"time"

	"github.com/banyanhq/banyan/topology"
)

// Restart spaces out the restarts of a replica whose process exits: at once the first time, then after min, 2 min,
// 4 min and so on, up to max. A replica that has run for the reset time starts from the beginning. One goroutine at a
// time may call its methods.
type Restart struct {
	cfg   topology.Restart
	exits int // in a row, each after less than the reset time
}

// NewRestart returns the restart policy of one replica that has not exited yet.
func NewRestart(cfg topology.Restart) *Restart {
	cfg.Min = max(cfg.Min, 0)
	cfg.Max = max(cfg.Max, cfg.Min)
	return &Restart{cfg: cfg}
}

// Exited takes the exit of a process that ran for the given time, and returns the pause before it is started again.
// A process that could not be started at all ran for 0.
func (r *Restart) Exited(ran time.Duration) (pause time.Duration) {
	r.Running(ran)
	r.exits++
	if r.exits == 1 {
		return 0
	}
	return doubled(r.cfg.Min.Std(), r.cfg.Max.Std(), r.exits-2)
}

// Running takes note that the process has been running for the given time: from the reset time on, earlier exits are
// forgotten, and with them a crash loop. It need not be called, but until it is, or the next exit, CrashLooping speaks
// of the past.
func (r *Restart) Running(ran time.Duration) {
	if ran >= r.cfg.Reset.Std() && ran > 0 {
		r.exits = 0
	}
}

// Exits returns how many exits in a row came before the reset time.
func (r *Restart) Exits() int { return r.exits }

// CrashLooping reports whether as many exits came in a row as the configuration calls a crash loop. The replica is
// started again all the same, after Exited's pause: what broke it may be mended.
func (r *Restart) CrashLooping() bool {
	return r.cfg.CrashLoop > 0 && r.exits >= r.cfg.CrashLoop
}

// doubled returns first*2^n, at most limit, without overflow.
func doubled(first, limit time.Duration, n int) time.Duration {
	d := first
	for ; n > 0 && d < limit && d > 0; n-- {
		if d > limit/2 {
			return limit
		}
		d *= 2
	}
	return min(d, limit)
}
