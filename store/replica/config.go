package replica

import (
	"errors"
	"fmt"
	"time"
)

// Config says how a node's replicas behave. Zero means the default.
type Config struct {
	Node uint64 // this node's id; not 0

	Tick           time.Duration // the unit of all waits below; default 50 ms
	HeartbeatTicks int           // between a leader's heartbeats; default 2
	ElectionTicks  int           // that a follower waits for its leader at least, twice that at most; default 12
	QuiesceTicks   int           // without work after which a group goes to sleep; default 40, negative for never

	// LeaseReads lets a leader answer consistent reads without asking its followers, for a little less than the time
	// that these wait before they elect another. It is right only if no two nodes' clocks run at rates that differ by
	// more than MaxClockDrift from true time (0.01: one percent), which must then be said. It also makes a node keep
	// from voting for one election time after it starts.
	LeaseReads    bool
	MaxClockDrift float64

	MaxCommandBytes   int // of one command; default 8 MiB
	MaxPending        int // proposals of this node without an outcome; default 8192
	MaxPendingBytes   int // of these; default 64 MiB
	MaxPendingReads   int // consistent reads of this node that wait; default 16384
	MaxUncommitted    int // bytes that a leader takes for one group before they are committed; default 32 MiB
	TimeoutTicks      int // after which a proposal or a read without an outcome is given up; default 100
	RetryTicks        int // after which a proposal with a token is proposed once more; default 20
	TokenWindow       int // log entries for which a token is remembered; default 16384
	LogEntries        int // of a group's log after which the applied ones are cut off; default 16384
	LogBytes          int // likewise; default 32 MiB
	SnapshotChunk     int // bytes of one chunk of a snapshot; default 256 KiB
	MaxSnapshots      int // that a node sends at a time; default 2
	MaxSnapshotsIn    int // that a node receives at a time; default 2
	snapshotWindow    int
	snapshotGiveUp    int // ticks without progress
	snapshotResend    int // ticks without acknowledgement
	maxReadRoundTicks int
}

func (c Config) withDefaults() (Config, error) {
	for _, d := range []struct {
		field *int
		value int
	}{
		{&c.HeartbeatTicks, 2}, {&c.ElectionTicks, 12}, {&c.QuiesceTicks, 40},
		{&c.MaxCommandBytes, 8 << 20}, {&c.MaxPending, 8192}, {&c.MaxPendingBytes, 64 << 20}, {&c.MaxPendingReads, 16384},
		{&c.MaxUncommitted, 32 << 20}, {&c.TimeoutTicks, 100}, {&c.RetryTicks, 20}, {&c.TokenWindow, 16384},
		{&c.LogEntries, 16384}, {&c.LogBytes, 32 << 20},
		{&c.SnapshotChunk, 256 << 10}, {&c.MaxSnapshots, 2}, {&c.MaxSnapshotsIn, 2},
		{&c.snapshotWindow, 12}, {&c.snapshotGiveUp, 60}, {&c.snapshotResend, 6}, {&c.maxReadRoundTicks, 4},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if c.Tick == 0 {
		c.Tick = 50 * time.Millisecond
	}
	switch {
	case c.Node == 0:
		return c, errors.New("replica: node id 0")
	case c.Tick < 0 || c.HeartbeatTicks < 1:
		return c, errors.New("replica: ticks must be positive")
	case c.ElectionTicks < 2*c.HeartbeatTicks+1 || c.ElectionTicks < 4:
		return c, fmt.Errorf("replica: %d election ticks are too few for a heartbeat every %d", c.ElectionTicks, c.HeartbeatTicks)
	case c.LeaseReads && (c.MaxClockDrift <= 0 || c.MaxClockDrift >= 0.5):
		return c, fmt.Errorf("replica: lease reads need a bound on clock drift between 0 and 0.5, got %v", c.MaxClockDrift)
	}
	for _, n := range []int{c.MaxCommandBytes, c.MaxPending, c.MaxPendingBytes, c.MaxPendingReads, c.MaxUncommitted,
		c.TimeoutTicks, c.RetryTicks, c.TokenWindow, c.LogEntries, c.LogBytes, c.SnapshotChunk, c.MaxSnapshots, c.MaxSnapshotsIn} {
		if n < 0 {
			return c, errors.New("replica: a limit is negative")
		}
	}
	return c, nil
}

// lease is for how long after it sent a round of heartbeats, which a quorum answered, a leader may trust that no other
// was elected. Of the followers' wait two ticks are taken off, because the first tick after a message may come at once
// and a late one may be followed by one on time; the rest is shortened by what two clocks can drift apart.
func (c Config) lease() time.Duration {
	wait := float64(c.ElectionTicks-2) * float64(c.Tick)
	return time.Duration(wait * (1 - c.MaxClockDrift) / (1 + c.MaxClockDrift))
}
