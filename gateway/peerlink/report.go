package peerlink

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/banyanhq/banyan/policy"
)

// Report is what one gateway tells the others.
type Report struct {
	// Spent is what it has spent on retries and hedges since it began, by service.
	Spent map[string]policy.Spend
	// Limits are the requests that its shared limits let in since the last report, by the limit's hash.
	Limits map[uint64][]policy.KeySpend
}

// The bounds on a report.
const (
	maxFrame    = 256 << 10
	maxName     = 255
	maxServices = 10_000
	// MaxKeys is how many keys of limits fit into a report.
	MaxKeys = 8_000
)

// errReport means that bytes are no report.
var errReport = errors.New("peerlink: not a report")

// append writes the report behind b: names and counts, in the order of the maps.
func (r Report) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(r.Spent)))
	for name, s := range r.Spent {
		b = binary.AppendUvarint(b, uint64(len(name)))
		b = append(b, name...)
		for _, n := range counts(&s) {
			b = binary.AppendUvarint(b, uint64(max(*n, 0)))
		}
	}
	b = binary.AppendUvarint(b, uint64(len(r.Limits)))
	for id, keys := range r.Limits {
		b = binary.BigEndian.AppendUint64(b, id)
		b = binary.AppendUvarint(b, uint64(len(keys)))
		for _, k := range keys {
			b = binary.BigEndian.AppendUint64(b, k.Key)
			b = binary.AppendUvarint(b, uint64(k.N))
		}
	}
	return b
}

// counts are a Spend's, in the order in which they are sent.
func counts(s *policy.Spend) [6]*int64 {
	return [6]*int64{&s.Requests, &s.Retries, &s.Hedged, &s.Hedges, &s.Tries, &s.Failures}
}

// parseReport reads what append has written.
func parseReport(b []byte) (r Report, err error) {
	p := parser{b}
	n := p.number(maxServices)
	r.Spent = make(map[string]policy.Spend, min(n, 64))
	for range n {
		name := string(p.bytes(p.number(maxName)))
		var s policy.Spend
		for _, c := range counts(&s) {
			*c = int64(p.number(1 << 62))
		}
		r.Spent[name] = s
	}
	n = p.number(maxServices)
	r.Limits = make(map[uint64][]policy.KeySpend, min(n, 64))
	for range n {
		id, keys := p.hash(), p.number(MaxKeys)
		all := make([]policy.KeySpend, 0, min(keys, uint64(len(p.rest))/9))
		for range keys {
			all = append(all, policy.KeySpend{Key: p.hash(), N: uint32(p.number(1<<32 - 1))})
			if p.rest == nil {
				break
			}
		}
		r.Limits[id] = all
	}
	if p.rest == nil || len(p.rest) > 0 {
		return Report{}, errReport
	}
	return r, nil
}

// parser takes bytes from the front. At the first mistake what is left becomes nil, and all else is empty.
type parser struct{ rest []byte }

func (p *parser) bytes(n uint64) []byte {
	if p.rest == nil || n > uint64(len(p.rest)) {
		p.rest = nil
		return nil
	}
	b := p.rest[:n]
	p.rest = p.rest[n:]
	return b
}

func (p *parser) number(most uint64) uint64 {
	v, n := binary.Uvarint(p.rest)
	if n <= 0 || v > most {
		p.rest = nil
		return 0
	}
	p.rest = p.rest[n:]
	return v
}

func (p *parser) hash() uint64 {
	b := p.bytes(8)
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

// fits returns an error for a report that is too large to be sent.
func fits(frame []byte) error {
	if len(frame) > maxFrame {
		return fmt.Errorf("peerlink: a report of %d bytes: %d are possible", len(frame), maxFrame)
	}
	return nil
}
