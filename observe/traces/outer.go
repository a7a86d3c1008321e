package traces

import (
	"encoding/hex"
	"hash/fnv"
)

// Gateway is the service of spans that were seen from outside the services.
const Gateway = "gateway"

// Outer is a call as whoever passed it on saw it. The ids of the spans in the services do not lead to it, for what is passed on gets an
// id of its own: it is joined to them by trace, service and time.
type Outer struct {
	Span *Span
	// From is the service that called ("": none), To the one that was called.
	From, To string
}

// SpanIDOf is a span's id made of a text that is unlike others.
func SpanIDOf(text string) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(text)) // never fails
	return hex.EncodeToString(h.Sum(nil))
}

// AddOuter takes calls that were seen from outside the services. They are not counted: whoever saw them counts all of them.
func (t *Traces) AddOuter(calls ...Outer) {
	now := t.cfg.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range calls {
		s := *c.Span
		s.from, s.to = c.From, c.To
		t.counters.spans++
		t.add(&s, now)
	}
	t.bound(now)
}

// slack is how far the clocks of a span and of the call around it may be apart, in nanoseconds: one machine, read at two places.
const slack = 2e6

// maxAdopt spans of a trace are joined to calls; in larger traces each pair would have to be looked at.
const maxAdopt = 500

// adopt gives parents to spans whose parent is not there: to a span of a service, the call to that service around it; to a call,
// the span of the calling service, or the call to that service, around it. Of several the innermost is taken.
func adopt(spans []*Span) {
	if len(spans) > maxAdopt {
		return
	}
	calls := false
	byID := make(map[string]*Span, len(spans))
	for _, s := range spans {
		byID[s.SpanID] = s
		calls = calls || s.to != ""
	}
	if !calls {
		return
	}
	for _, s := range spans {
		if byID[s.Parent] != nil {
			continue
		}
		var parent *Span
		for _, p := range spans {
			fits := p.to != "" && (s.to == "" && p.to == s.Service || s.to != "" && p.to == s.from) || s.to != "" && s.from != "" && p.to == "" && p.Service == s.from
			if p == s || !fits || p.Start > s.Start+slack || p.End() < s.End()-slack || p.Duration < s.Duration && p.End() < s.End() {
				continue
			}
			if parent == nil || p.Duration < parent.Duration {
				parent = p
			}
		}
		if parent != nil && !leadsTo(parent, s, byID) {
			s.Parent = parent.SpanID
		}
	}
}

// leadsTo reports whether a span's parents lead to another span, so that adopting it would make a circle.
func leadsTo(s, to *Span, byID map[string]*Span) bool {
	for range byID {
		if s == nil || s == to {
			return s == to
		}
		s = byID[s.Parent]
	}
	return true
}
