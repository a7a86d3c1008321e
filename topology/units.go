package topology

import "time"

// Duration is a span of time, written 50ms, 2s, 1m30s, 24h or 7d.
type Duration time.Duration

// Std returns d as a standard duration.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// Bytes is an amount of memory or storage, written 64MiB, 1GiB, 500kB or a plain number of bytes.
type Bytes int64

// Percent is a share, written 70%, 99.9% or as a plain fraction 0.7. Its value is the fraction.
type Percent float64

// Rate is a number of events in a second, written 200/s, 12000/min or 50/h. Its value is per second.
type Rate float64

// CPU is an amount of processing capacity in cores, written 0.5, 2 or 500m.
type CPU float64

// GrowthRate is growth over a period, compounding, written 8%/month or 100%/year.
type GrowthRate struct {
	// Share by which it grows in one period, as a fraction.
	Share float64
	// Period is day, week, month, quarter or year.
	Period string
}

// Command is a program with its arguments. In the file it is a list of words, or a string that is split at spaces.
type Command []string

// Strings is a list of strings. In the file a single string is a list of one.
type Strings []string
