package observe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"
)

// The stored form of an interval, in memory and in recordings: a version byte, then varints. Names stand once, in a
// table at the front, and are referred to by their place in it. Each interval can be read alone.
const (
	codecVersion   = 3
	withoutRefused = 2 // said nothing of adaptive bounds and of what was refused
	withoutWaited  = 1 // nor of how long processes waited
)

// Bounds on what is read: no interval that was written comes near them.
const (
	maxNames    = 1 << 16
	maxName     = 1024 // bytes; longer names are cut when written
	maxInterval = 366 * 24 * time.Hour
)

var errInterval = errors.New("damaged interval")

type encoder struct {
	names []string
	index map[string]uint64
	body  []byte
}

func (e *encoder) uint(v uint64) { e.body = binary.AppendUvarint(e.body, v) }
func (e *encoder) count(v int64) { e.uint(uint64(max(v, 0))) }
func (e *encoder) milli(v float64) { // a gauge to three decimals
	e.uint(uint64(math.Round(min(max(v, 0), 1e12) * 1000)))
}

func (e *encoder) name(s string) {
	if len(s) > maxName {
		s = s[:maxName]
	}
	i, ok := e.index[s]
	if !ok {
		i = uint64(len(e.names))
		e.index[s] = i
		e.names = append(e.names, s)
	}
	e.uint(i)
}

func (e *encoder) latency(c packed) {
	e.uint(uint64(len(c)))
	e.body = append(e.body, c...)
}

// encode returns the stored form of iv.
func encode(iv *Interval) []byte {
	e := &encoder{index: map[string]uint64{}}
	e.calls(iv.Routes, func(c *CallSums) { e.name(c.Route) })
	e.calls(iv.Edges, func(c *CallSums) { e.name(c.From); e.name(c.To) })
	e.uint(uint64(len(iv.Attributed)))
	for _, a := range iv.Attributed {
		e.name(a.Route)
		e.name(a.From)
		e.name(a.To)
		e.count(a.Count)
		e.count(int64(a.Sum))
	}
	e.uint(uint64(len(iv.Backends)))
	for _, b := range iv.Backends {
		e.name(b.Service)
		e.name(b.Replica)
		e.count(b.Requests)
		e.count(b.Errors)
		e.milli(b.InFlight)
		if b.Latency != nil {
			b.packed = pack(b.Latency)
		}
		e.latency(b.packed)
	}
	e.uint(uint64(len(iv.Processes)))
	for _, p := range iv.Processes {
		e.name(p.Service)
		e.name(p.Replica)
		e.count(int64(p.CPU))
		e.count(int64(p.Throttled))
		e.count(int64(p.Alive))
		e.count(p.Memory)
		e.count(p.MemoryMax)
		e.count(int64(p.Waited))
	}
	e.uint(uint64(len(iv.Bounds)))
	for _, b := range iv.Bounds {
		e.name(b.Service)
		e.milli(b.Limit)
	}
	e.count(int64(iv.Machine.Cores))
	e.count(int64(iv.Machine.Busy))
	e.count(int64(iv.Machine.Stolen))
	e.count(iv.Machine.MemoryUsed)
	e.count(iv.Machine.MemoryTotal)
	e.milli(iv.Machine.Load1)
	return e.finish(iv)
}

func (e *encoder) calls(calls []CallSums, names func(*CallSums)) {
	e.uint(uint64(len(calls)))
	for i := range calls {
		c := &calls[i]
		names(c)
		e.count(c.Requests)
		e.count(c.Errors)
		e.count(c.Refused)
		e.uint(uint64(len(c.ByCode)))
		for _, code := range slices.Sorted(maps.Keys(c.ByCode)) {
			e.count(int64(code))
			e.count(c.ByCode[code])
		}
		e.milli(c.InFlight)
		e.count(int64(c.Sum))
		if c.Latency != nil {
			e.latency(pack(c.Latency))
		} else {
			e.latency(c.packed)
		}
	}
}

func (e *encoder) finish(iv *Interval) []byte {
	size := 32 + len(e.body)
	for _, n := range e.names {
		size += len(n) + 2
	}
	b := make([]byte, 0, size)
	b = append(b, codecVersion, byte(iv.digits))
	b = binary.AppendVarint(b, iv.Start.UnixNano())
	b = binary.AppendUvarint(b, uint64(iv.Duration()))
	b = binary.AppendUvarint(b, uint64(len(e.names)))
	for _, n := range e.names {
		b = binary.AppendUvarint(b, uint64(len(n)))
		b = append(b, n...)
	}
	return slices.Clip(append(b, e.body...))
}

type decoder struct {
	format byte
	rest   []byte
	names  []string
	err    error
}

func (d *decoder) fail() { d.err = errInterval; d.rest = nil }

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) count() int64 {
	v := d.uint()
	if v > math.MaxInt64/1024 { // room to add many of them up
		d.fail()
		return 0
	}
	return int64(v)
}

func (d *decoder) milli() float64 { return float64(d.uint()) / 1000 }

// length reads how many entries follow; each needs at least size bytes, which bounds what a lie can allocate.
func (d *decoder) length(size int) int {
	n := d.uint()
	if n > uint64(len(d.rest)/size) {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *decoder) bytes(limit int) []byte {
	n := d.uint()
	if n > uint64(len(d.rest)) || n > uint64(limit) {
		d.fail()
		return nil
	}
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) name() string {
	i := d.uint()
	if i >= uint64(len(d.names)) {
		d.fail()
		return ""
	}
	return d.names[i]
}

// decodeSpan reads no more than when the interval was.
func decodeSpan(b []byte) (start, end time.Time, digits int, rest []byte, err error) {
	if len(b) < 2 {
		return start, end, 0, nil, errInterval
	}
	if b[0] < withoutWaited || b[0] > codecVersion {
		return start, end, 0, nil, fmt.Errorf("interval of format %d: this program reads format %d", b[0], codecVersion)
	}
	digits = int(b[1])
	at, n := binary.Varint(b[2:])
	if n <= 0 || digits < 1 || digits > 4 {
		return start, end, 0, nil, errInterval
	}
	length, m := binary.Uvarint(b[2+n:])
	if m <= 0 || length == 0 || length > uint64(maxInterval) {
		return start, end, 0, nil, errInterval
	}
	start = time.Unix(0, at)
	return start, start.Add(time.Duration(length)), digits, b[2+n+m:], nil
}

// decode reads what encode wrote. The latencies stay packed and share b's memory.
func decode(b []byte) (*Interval, error) {
	start, end, digits, rest, err := decodeSpan(b)
	if err != nil {
		return nil, err
	}
	iv := &Interval{Start: start, End: end, digits: digits}
	d := &decoder{format: b[0], rest: rest}
	if n := d.length(1); n <= maxNames {
		d.names = make([]string, 0, n)
		for range n {
			d.names = append(d.names, string(d.bytes(maxName)))
		}
	} else {
		d.fail()
	}
	iv.Routes = d.calls(func(c *CallSums) { c.Route = d.name() })
	iv.Edges = d.calls(func(c *CallSums) { c.From = d.name(); c.To = d.name() })
	iv.Attributed = make([]AttributedSums, d.length(5))
	for i := range iv.Attributed {
		iv.Attributed[i] = AttributedSums{Route: d.name(), From: d.name(), To: d.name(), Count: d.count(), Sum: time.Duration(d.count())}
	}
	iv.Backends = make([]BackendSums, d.length(6))
	for i := range iv.Backends {
		iv.Backends[i] = BackendSums{Service: d.name(), Replica: d.name(), Requests: d.count(), Errors: d.count(),
			InFlight: d.milli(), packed: d.bytes(len(d.rest))}
	}
	iv.Processes = make([]ProcessSums, d.length(7))
	for i := range iv.Processes {
		iv.Processes[i] = ProcessSums{Service: d.name(), Replica: d.name(), CPU: time.Duration(d.count()),
			Throttled: time.Duration(d.count()), Alive: time.Duration(d.count()), Memory: d.count(), MemoryMax: d.count()}
		if d.format > withoutWaited {
			iv.Processes[i].Waited = time.Duration(d.count())
		}
	}
	if d.format > withoutRefused {
		iv.Bounds = make([]BoundMean, d.length(2))
		for i := range iv.Bounds {
			iv.Bounds[i] = BoundMean{d.name(), d.milli()}
		}
	}
	iv.Machine = MachineSums{Cores: int(d.count()), Busy: time.Duration(d.count()), Stolen: time.Duration(d.count()),
		MemoryUsed: d.count(), MemoryTotal: d.count(), Load1: d.milli()}
	if d.err != nil || len(d.rest) > 0 {
		return nil, errInterval
	}
	return iv, nil
}

func (d *decoder) calls(names func(*CallSums)) []CallSums {
	calls := make([]CallSums, d.length(7))
	for i := range calls {
		c := &calls[i]
		names(c)
		c.Requests, c.Errors = d.count(), d.count()
		if d.format > withoutRefused {
			c.Refused = d.count()
		}
		if n := d.length(2); n > 0 {
			c.ByCode = make(map[int]int64, n)
			for range n {
				code := int(d.count())
				c.ByCode[code] = d.count()
			}
		}
		c.InFlight, c.Sum = d.milli(), time.Duration(d.count())
		c.packed = d.bytes(len(d.rest))
	}
	return calls
}
